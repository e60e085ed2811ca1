"""`facenb train-collection`: one face from many photos of a person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import TrainConfig

NAME = "train-collection"
SHORT = "one face from many photos of a person, given a proxy"

ABOUT = """\
Train LAP, which fuses what a proxy (`facenb train-proxy`) says of several photos of one person into
the face that they share, and gives each photo its own again.

Photos that lie in folders belong together folder by folder; what `facenb studio --photos N` wrote,
N by N. Of a person with more than --photos, the first ones are taken.

It writes to the folder DIR of --out
  weights.safetensors   proxy and network in one file, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told
"""

EXAMPLES = """\
examples:
  facenb train-collection people --out collection
  facenb train-collection albums --out mine --photos 6 --proxy proxy/weights.safetensors
"""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Options of `facenb train-collection`."""

    proxy: Annotated[Path | None, Option("weights of the proxy (default: the one shipped)", "FILE")] = None
    photos: Annotated[int, Option("photos of each person", "N", at_least=2)] = 4
    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 800
    batch: Annotated[int, Option("people in each step of each process", "N", at_least=1)] = 4
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.6, 0.85)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.3, 0.3)
    clip: Annotated[float, Option("longest gradient; longer ones are shortened", "NUMBER", at_least=0)] = 5.0
    width: Annotated[int, Option("channels of the first convolutions", "N", at_least=4)] = 12
    edges: Annotated[float, Option("weight of differences of neighbours", "NUMBER", at_least=0)] = 2.0
    skin: Annotated[float, Option("weight that keeps a photo's own skin near the shared", "NUMBER", at_least=0)] = 1.0
    depth: Annotated[float, Option("weight that keeps displacements small", "NUMBER", at_least=0)] = 1.0


def run(config: Config) -> None:
    with loading():
        from facenb.restore.collection_command import train_collection

    train_collection(config)
