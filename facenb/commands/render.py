"""`facenb render`: pictures of people who do not exist, to learn from and to be tested on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "render"
SHORT = "photo-like pictures of random people, with the truth about each"

ABOUT = """\
Render random people in random light before random backgrounds, as a random camera would see them.

It writes
  dataset.json        what the folder holds
  images-00000.tar    the pictures (PNG), in WebDataset's layout
  truth-00000.tar     for each picture uv, depth, mask, landmarks, coefficients and camera (.npz),
                      which training never reads

Picture number i depends on the seed and on i alone. Stopped with Ctrl-C, or by anything else, the
same command goes on with the shards that are missing.
"""

EXAMPLES = """\
examples:
  facenb render --out faces --count 30000 --size 96 --framing aligned --seed 1
  facenb render --out test --count 500 --size 64 --framing wild --seed 2
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb render`."""

    out: Annotated[Path, Option("folder for the dataset", "DIR")]
    count: Annotated[int, Option("how many pictures", "NUMBER", at_least=1)]
    size: Annotated[int, Option("width and height of a picture", "PIXELS", at_least=16, at_most=1024)] = 96
    framing: Annotated[
        str,
        Option(
            '"aligned": upright faces in the middle, as in sets of aligned photos; "wild": turned, shifted and scaled',
            choices=("aligned", "wild"),
        ),
    ] = "aligned"
    seed: Annotated[int, Option("another number gives other people", "NUMBER", at_least=0)] = 1
    shard_size: Annotated[int, Option("pictures per tar file", "NUMBER", at_least=1)] = 1000
    truth: Annotated[bool, Option("write the truth about each picture; training does without")] = True
    workers: Annotated[int | None, Option("processes (default: one per core)", "NUMBER", at_least=1)] = None


def run(config: Config) -> None:
    with loading():
        from facenb.render_command import render_dataset

    made = render_dataset(
        config.out,
        config.count,
        config.size,
        config.framing,
        config.seed,
        config.shard_size,
        config.truth,
        config.workers,
    )
    print(config.out if made else f"{config.out}: complete already")
