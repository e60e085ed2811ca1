"""`facenb train-prior`: what skin looks like, learnt from albedos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import TrainConfig

NAME = "train-prior"
SHORT = "a generative prior: canonical albedos from random numbers"

ABOUT = """\
Train the prior of the second system: a network that draws canonical albedos from a code of random
numbers. It learns to redraw faces of the open model seen from the front without light ('open': they
are drawn on the way), or a folder of such pictures of your own; with --critic also to draw random
ones that a critic takes for such.

It writes to the folder DIR of --out
  weights.safetensors   the prior, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told
"""

EXAMPLES = """\
examples:
  facenb train-prior open --out prior
  facenb train-prior albedos --out mine
"""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Options of `facenb train-prior`."""

    images: Annotated[Path, Option("'open', or a folder of canonical albedos", "DIR", positional=True)]
    count: Annotated[int, Option("how many faces of the open model are drawn", "N", at_least=100)] = 4_000
    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 1_500
    batch: Annotated[int, Option("images in each step of each process", "N", at_least=1)] = 16
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.6, 0.85)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.3, 0.3)
    size: Annotated[int, Option("side of the albedos, a power of two", "PIXELS", at_least=16)] = 64
    codes: Annotated[int, Option("numbers in a code", "N", at_least=1)] = 64
    critic: Annotated[float, Option("weight of the critic of random codes", "NUMBER", at_least=0)] = 0.0
    width: Annotated[int, Option("channels at the full size", "N", at_least=4)] = 24


def run(config: Config) -> None:
    with loading():
        from facenb.restore.prior_command import train_prior

    train_prior(config)
