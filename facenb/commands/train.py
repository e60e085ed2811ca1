"""`facenb train`: the main training, without labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading
from facenb.train_config import TrainConfig

NAME = "train"
SHORT = "the main training, from photos without labels"

ABOUT = """\
Train a network, begun by `facenb pretrain`, on photos without any label.

--loss distil fits each photo from what the network says, as well as the photo's own residual
allows, and teaches the network to say that at once. --loss residual is the paper's: it follows
the gradient of the residuals.

It writes to the folder DIR of --out
  weights.safetensors   the network, at the end
  checkpoints/          the last two; the same command goes on from there
  log.jsonl             the curves, and for `tensorboard --logdir DIR` with pictures
  config.json           what the run was told

Ctrl-C saves a checkpoint before it stops. Steps with a loss that is not a number or a singular
system are skipped and counted; ten in a row end the run.
"""

EXAMPLES = """\
examples:
  facenb train faces --weights pretrained/weights.safetensors --out trained
  facenb train faces --weights w.safetensors --out paper --loss residual --lr 5e-5 --steps 300
  facenb train faces --weights w.safetensors --out trained --precision bf16 --devices 8
  torchrun --nproc-per-node 8 -m facenb train faces --weights w.safetensors --out trained
  facenb train --config train.toml      # images = "faces", weights = "w.safetensors", ...
"""


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """Options of `facenb train`."""

    weights: Annotated[Path, Option("weights to begin with: weights.safetensors of `facenb pretrain`", "FILE")]
    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 10_000
    batch: Annotated[int, Option("images in each step of each process", "N", at_least=1)] = 5
    lr: Annotated[float, Option("learning rate of Adam", "NUMBER", at_least=0)] = 1e-3
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.55, 0.8, 0.93)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.4, 0.3, 0.3)
    clip: Annotated[float, Option("longest gradient; longer ones are shortened", "NUMBER", at_least=0)] = 2.0
    loss: Annotated[str, Option("what to learn from", choices=("distil", "residual"))] = "distil"
    size: Annotated[int, Option("side of what the network sees, a multiple of 16", "PIXELS", at_least=16)] = 64
    model: Annotated[
        str, Option('face model: "open", or the path of one that `facenb fit` takes, too', "open|PATH")
    ] = "open"
    identity: Annotated[int, Option("components of identity, the first N", "N", at_least=1)] = 60
    expression: Annotated[int, Option("components of expression, the first N", "N", at_least=1)] = 30
    albedo: Annotated[int, Option("components of albedo, the first N", "N", at_least=1)] = 40
    map_size: Annotated[int, Option("side of the model's map over the flattened face", "TEXELS", at_least=16)] = 160
    views: Annotated[int, Option("distil: random views of each image in a step", "N", at_least=1)] = 4
    photometric: Annotated[bool, Option("distil: the network sees other exposure, tone and colour than the fit")] = True


def run(config: Config) -> None:
    with loading():
        from facenb.train_commands import main_training

    main_training(config)
