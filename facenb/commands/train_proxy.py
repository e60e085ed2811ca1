"""`facenb train-proxy`: depth, albedo, light and view from photos alone, by symmetry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import TrainConfig

NAME = "train-proxy"
SHORT = "depth, albedo, light and view from photos without labels, by symmetry"

ABOUT = """\
Train the proxy of the second system: five small networks that take each photo apart into canonical
depth, albedo, light and view, such that it can be put together again, also from the mirrored face.
Photos are roughly aligned faces, or pictures of `facenb studio`.

It writes to the folder DIR of --out
  weights.safetensors   the networks, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told

--yaw-spread is the only thing that the photos themselves do not say: how far the people in them
turn their heads to the sides (standard deviation, degrees). It cures most of the bas-relief.

Ctrl-C saves a checkpoint before it stops. Steps with a loss that is not a number are skipped and
counted; ten in a row end the run.
"""

EXAMPLES = """\
examples:
  facenb train-proxy faces --out proxy
  facenb train-proxy faces --out proxy --yaw-spread 23
  facenb train-proxy photos --out mine --steps 20000 --device cuda
"""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Options of `facenb train-proxy`."""

    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 10_000
    batch: Annotated[int, Option("images in each step of each process", "N", at_least=2)] = 16
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.65, 0.8, 0.92)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.5, 0.4, 0.3)
    clip: Annotated[float, Option("longest gradient; longer ones are shortened", "NUMBER", at_least=0)] = 5.0
    decay: Annotated[
        float, Option("how much the moving average of the weights keeps in each step", "PART", at_least=0, at_most=1)
    ] = 0.998
    size: Annotated[int, Option("side of the photos, a power of two", "PIXELS", at_least=16)] = 64
    coarse: Annotated[int, Option("side of the pictures in early training, a power of two", "PIXELS", at_least=8)] = 32
    width: Annotated[int, Option("channels of the first convolutions", "N", at_least=4)] = 16
    small: Annotated[int, Option("steps with small pictures", "N", at_least=0)] = 6_000
    shared: Annotated[int, Option("first steps, in which all faces have the same shape", "N", at_least=0)] = 2_000
    smooth: Annotated[float, Option("weight of a smooth depth", "NUMBER", at_least=0)] = 0.5
    individual: Annotated[float, Option("weight that keeps faces near the shared one", "NUMBER", at_least=0)] = 0.2
    held: Annotated[float, Option("the same at full size", "NUMBER", at_least=0)] = 10.0
    shading: Annotated[bool, Option("light each photo's own depth at full size, too")] = False
    near: Annotated[float, Option("depth behind which nothing counts at full size", "NUMBER", at_least=0)] = 1.05
    centre: Annotated[float, Option("weight of a mean shift of zero", "NUMBER", at_least=0)] = 10.0
    bump: Annotated[float, Option("relief of the start; 0 is a plane, below 0 a hollow", "NUMBER")] = 0.4
    template: Annotated[bool, Option("learn a face that all photos share")] = True
    mirror: Annotated[float, Option("weight of the mirrored reconstruction", "NUMBER", at_least=0)] = 0.5
    edges: Annotated[float, Option("weight of differences of neighbours", "NUMBER", at_least=0)] = 0.0
    vgg: Annotated[Path | None, Option("torchvision's VGG16, for a term that compares features", "FILE")] = None
    vgg_weight: Annotated[float, Option("weight of that term", "NUMBER", at_least=0)] = 0.2
    yaw_spread: Annotated[float, Option("standard deviation of yaw, if known; 0: it is not", "DEGREES", at_least=0)] = 0


def run(config: Config) -> None:
    with loading():
        from facenb.restore.proxy_command import train_proxy

    train_proxy(config)
