"""Which images come when: every image once per epoch, in an order that only the seed and the position decide.

The stream of image numbers is one random permutation after another. A step of a run with W processes takes the next
W·B of them; process r takes its B. So the position in the data is one number, how many images were drawn, and a resumed
run meets the images that an uninterrupted one would have met.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from facenb.image_sets import ImageSet


def image_numbers(count: int, seed: int, drawn: int, batch: int) -> Int[np.ndarray, " batch"]:
    """The next `batch` of `count` images after `drawn` ones."""
    place = np.arange(drawn, drawn + batch)
    numbers = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(place // count):
        order = np.random.default_rng([seed, int(epoch)]).permutation(count)
        here = place // count == epoch
        numbers[here] = order[place[here] % count]
    return numbers


def batches(
    images: ImageSet, seed: int, drawn: int, batch: int, rank: int = 0, world: int = 1
) -> Iterator[UInt8[Tensor, "batch 3 S S"]]:
    """Endless batches of process `rank` of `world`; the next one is read while the present one is used.

    One thread reads, and nobody else meanwhile, so that an image set need not be made for several.
    """

    def read(drawn: int) -> Tensor:
        numbers = image_numbers(len(images), seed, drawn, world * batch)[rank * batch : (rank + 1) * batch]
        return torch.stack([images[int(i)] for i in numbers])

    with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
        following = reader.submit(read, drawn)
        while True:
            present = following.result()
            drawn += world * batch
            following = reader.submit(read, drawn)
            yield present
