"""The options that `facenb pretrain` and `facenb train` share: of the training loop, not of a task.

Imports nothing heavy: help is instant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option


@dataclass(frozen=True)
class TrainConfig:
    """Options of the training loop (`facenb.trainer`)."""

    images: Annotated[Path, Option("folder of photos, or one of `facenb render` or `studio`", "DIR", positional=True)]
    out: Annotated[
        Path, Option("folder for weights, checkpoints and curves; a run that was stopped there is resumed", "DIR")
    ]
    steps: Annotated[int, Option("length of the run", "N", at_least=1)] = 1000
    batch: Annotated[int, Option("images in each step of each process", "N", at_least=1)] = 8
    lr: Annotated[float, Option("learning rate of Adam", "NUMBER", at_least=0)] = 1e-3
    warm_up: Annotated[int, Option("steps in which the learning rate climbs to its value", "N", at_least=1)] = 50
    drop_at: Annotated[
        tuple[float, ...], Option("where the learning rate drops, as parts of the run", "PART", at_least=0, at_most=1)
    ] = (0.8,)
    drop_by: Annotated[
        tuple[float, ...], Option("by which factor it drops there; one for each PART", "FACTOR", at_least=0)
    ] = (0.1,)
    clip: Annotated[float, Option("longest gradient; longer ones are shortened", "NUMBER", at_least=0)] = 1.0
    decay: Annotated[
        float, Option("how much the moving average of the weights keeps in each step", "PART", at_least=0, at_most=1)
    ] = 0.995
    precision: Annotated[
        str, Option("numbers inside the network; bf16 is faster where the processor knows it", choices=("32", "bf16"))
    ] = "32"
    device: Annotated[str, Option("where to compute", choices=("auto", "cpu", "cuda"))] = "auto"
    devices: Annotated[int, Option("GPUs, or processes on a CPU; torchrun decides for itself", "N", at_least=1)] = 1
    threads: Annotated[int, Option("threads of each process on the CPU; 0: PyTorch's choice", "N", at_least=0)] = 0
    seed: Annotated[int, Option("of all random numbers of the run", "NUMBER", at_least=0)] = 0
    checkpoint_every: Annotated[int, Option("steps between checkpoints", "N", at_least=1)] = 500
    keep: Annotated[int, Option("how many of the last checkpoints are kept", "N", at_least=2)] = 2
    log_every: Annotated[int, Option("steps between points of the curves", "N", at_least=1)] = 20
    picture_every: Annotated[int, Option("steps between pictures in TensorBoard", "N", at_least=1)] = 250
    resume: Annotated[bool, Option("go on from the newest checkpoint in DIR, if there is one")] = True
    tensorboard: Annotated[bool, Option("curves and pictures for `tensorboard --logdir DIR`")] = True


NETWORKS = (  # facenb.networks.KINDS, for help without PyTorch
    "narrow",
    "regular",
    "wide",
    "deep",
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
)
