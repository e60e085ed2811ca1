"""What the trainer wants from a task: a network, a loss for a batch of images, and some pictures.

Pretraining and the two main trainings are tasks. The trainer (`facenb.trainer`) owns what they share: images,
optimiser, moving average, several processes, checkpoints, curves.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = dict[str, Tensor | float | int | str | bool]


class SingularStep(ArithmeticError):  # noqa: N818 (it is the step that is singular)
    """A step that cannot be taken, for a singular system perhaps. The trainer skips it, counts it and goes on."""


@dataclass(frozen=True)
class StepResult:
    """What one batch of one process gave."""

    loss: Float[Tensor, ""]  # with its graph
    scalars: dict[str, float] = field(default_factory=dict)  # worth a curve each
    statistics: dict[str, Tensor] = field(default_factory=dict)  # for `Task.absorb`; always the same keys and shapes


class Task(Protocol):
    """A way to train a network on images.

    Attributes:
        name: "pretrain", "distil", …: a checkpoint of one task is refused by another.
        about: what else must be the same when a run is resumed, e.g. {"network": "narrow", "face model": "…"}; text and
            numbers.
        network: called as `self.network(images)`. While it trains, the trainer puts a wrapped network in its place
            (several processes, bf16), and for `pictures` the moving average.
        average: the trainer puts the moving average of the weights here, in eval mode: a steadier adviser than the
            network itself, for tasks that ask one.
    """

    name: str
    about: dict[str, Any]
    network: nn.Module
    average: nn.Module

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        """The loss for these images, in [0, 1]. All randomness comes from `generator`, on the images' device.

        Changes nothing that lasts: a step may be skipped. What the task learns about its own settings (adaptive
        weights, running medians) goes into `statistics` and comes back through `absorb`.

        Raises SingularStep, torch.linalg.LinAlgError or ValueError where no step can be taken.
        """
        ...

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """After each step that was taken: its statistics, averaged over all processes, so that all stay the same."""
        ...

    def state_dict(self) -> State:
        """What lasts beyond the network: tensors, numbers, text."""
        ...

    def load_state_dict(self, state: State) -> None: ...

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """Pictures in [0, 1] of what the network says of these images: overlays, residuals. Called without gradient."""
        ...
