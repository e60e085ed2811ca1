"""`facenb pretrain`: a network that knows where faces are, from an average face."""

from dataclasses import dataclass
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import NETWORKS, TrainConfig

NAME = "pretrain"
SHORT = "a first network: where faces are, from an average face"

ABOUT = """\
Teach a fresh network where faces are and which way up, from images without any label.

All images get the same supervision, the average face at the average place, and image and
supervision are turned, scaled and shifted together. The result is where `facenb train` begins.

It writes to the folder DIR of --out
  weights.safetensors   the network, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told

Ctrl-C saves a checkpoint before it stops. Steps with a loss that is not a number are skipped and
counted; ten in a row end the run.
"""

EXAMPLES = """\
examples:
  facenb pretrain faces --out pretrained
  facenb pretrain faces --out pretrained --network regular --precision bf16 --devices 8
  facenb pretrain photos --out pretrained --landmarks5 .34 .42 .66 .42 .5 .6 .38 .76 .62 .76
  torchrun --nproc-per-node 8 -m facenb pretrain faces --out pretrained
  facenb pretrain --config pretrain.toml     # images = "faces", out = "pretrained", ...
"""


@dataclass(frozen=True)
class Config(TrainConfig):
    """Options of `facenb pretrain`."""

    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 1000
    lr: Annotated[float, Option("learning rate of Adam", "NUMBER", at_least=0)] = 2e-3
    network: Annotated[str, Option("which one; see the book for their sizes", "KIND", choices=NETWORKS)] = "narrow"
    size: Annotated[int, Option("side of what the network sees, a multiple of 16", "PIXELS", at_least=16)] = 64
    model: Annotated[
        str, Option('face model: "open", or the path of one that `facenb fit` takes, too', "open|PATH")
    ] = "open"
    landmarks5: Annotated[
        tuple[float, ...],
        Option(
            "where the eyes, the nose and the corners of the mouth lie in the average image: x y each, from the "
            "subject's right eye, as parts of the square's side; known for rendered images and CelebA",
            "X",
        ),
    ] = ()
    photometric: Annotated[bool, Option("also change exposure, tone and colour of the images at random")] = True


def run(config: Config) -> None:
    with loading():
        from facenb.train_commands import pretrain

    pretrain(config)
