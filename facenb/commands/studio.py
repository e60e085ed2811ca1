"""`facenb studio`: faces under one lamp, with depth and normals known, for the second system."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "studio"
SHORT = "faces under one lamp, with their depth, for `facenb train-proxy`"

ABOUT = """\
Render faces of the open model as the second system sees the world: through a long lens, under one
lamp, heads turned up to 40° to the sides and 20° up and down.

It writes
  dataset.json        what the folder holds
  images-00000.tar    the pictures (PNG), in WebDataset's layout
  truth-00000.tar     for each picture depth, mask, albedo, view and light (.npz), which training
                      never reads

Picture number i depends on the seed and on i alone. Stopped with Ctrl-C, or by anything else, the
same command goes on with the shards that are missing.
"""

EXAMPLES = """\
examples:
  facenb studio --out faces --count 8000 --seed 1 --no-truth
  facenb studio --out test --count 200 --seed 2
  facenb studio --out people --count 4800 --photos 4 --seed 1 --no-truth
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb studio`."""

    out: Annotated[Path, Option("folder for the dataset", "DIR")]
    count: Annotated[int, Option("how many pictures", "NUMBER", at_least=1)]
    size: Annotated[int, Option("width and height of a picture", "PIXELS", at_least=16, at_most=512)] = 64
    seed: Annotated[int, Option("another number gives other people", "NUMBER", at_least=0)] = 1
    photos: Annotated[int, Option("of each person, in other moods: for train-collection", "N", at_least=1)] = 1
    shard_size: Annotated[int, Option("pictures per tar file", "NUMBER", at_least=1)] = 1000
    truth: Annotated[bool, Option("write the truth about each picture; training does without")] = True
    workers: Annotated[int | None, Option("processes (default: one per core)", "NUMBER", at_least=1)] = None


def run(config: Config) -> None:
    with loading():
        from facenb.restore.studio_files import write_studio

    made = write_studio(
        config.out,
        config.count,
        config.size,
        config.seed,
        config.shard_size,
        config.truth,
        config.workers,
        photos=config.photos,
    )
    print(config.out if made else f"{config.out}: complete already")
