"""`facenb train-restorer`: albedo and geometry of spoilt photos, given a proxy and a prior."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import TrainConfig

NAME = "train-restorer"
SHORT = "restoring albedo and geometry of degraded photos"

ABOUT = """\
Train the second system's restoration on clean photos, which are spoilt on the way: reduced,
blurred, noisy, compressed. It begins with a proxy (`facenb train-proxy`) and an albedo prior
(`facenb train-prior`). In the first --mutual steps light and view are the proxy's of the clean
photo; then they are learnt, too, and a critic looks at renderings from other views.

With --no-arn --no-grn --tune-all --critic 0 it is the plain rival, a proxy tuned on spoilt photos;
--begin goes on from there. Parts can be left out to see what they are good for: --no-arn, --no-grn,
--critic 0, --mutual as long as the run.

It writes to the folder DIR of --out
  weights.safetensors   proxy, prior and restoration in one file, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told
"""

EXAMPLES = """\
examples:
  facenb train-restorer faces --out tuned --no-arn --no-grn --tune-all --critic 0
  facenb train-restorer faces --out restorer --begin tuned/weights.safetensors
"""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Options of `facenb train-restorer`."""

    proxy: Annotated[Path | None, Option("weights of the proxy (default: the one shipped)", "FILE")] = None
    begin: Annotated[Path | None, Option("a tuned rival, to begin with its proxy", "FILE")] = None
    prior: Annotated[Path | None, Option("weights of the albedo prior (default: the one shipped)", "FILE")] = None
    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 600
    mutual: Annotated[int, Option("steps before light and view learn and the critic joins", "N", at_least=0)] = 240
    lr: Annotated[float, Option("learning rate of Adam", "NUMBER", at_least=0)] = 5e-4
    batch: Annotated[int, Option("images in each step of each process", "N", at_least=2)] = 16
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.4, 0.8)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.2, 0.3)
    clip: Annotated[float, Option("longest gradient; longer ones are shortened", "NUMBER", at_least=0)] = 5.0
    arn: Annotated[bool, Option("restore albedo with the prior")] = True
    grn: Annotated[bool, Option("restore geometry by a displacement")] = True
    tune_all: Annotated[bool, Option("let the whole proxy learn from the first step on")] = False
    shading: Annotated[bool, Option("let GRN learn from shading, too")] = False
    width: Annotated[int, Option("channels of ARN's and GRN's first convolutions", "N", at_least=4)] = 24
    critic: Annotated[float, Option("weight of the critic of novel views", "NUMBER", at_least=0)] = 0.01
    teacher: Annotated[float, Option("weight of the clean photo's albedo", "NUMBER", at_least=0)] = 2.0
    edges: Annotated[float, Option("weight of differences of neighbours", "NUMBER", at_least=0)] = 2.0
    smooth: Annotated[float, Option("weight of a smooth displacement", "NUMBER", at_least=0)] = 1.5
    factors: Annotated[tuple[int, ...], Option("by which photos are reduced, one by lot", "N", at_least=1)] = (4,)


def run(config: Config) -> None:
    with loading():
        from facenb.restore.restorer_command import train_restorer

    train_restorer(config)
