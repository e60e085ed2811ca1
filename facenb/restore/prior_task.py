"""Training the generator of an albedo prior, as a task of `facenb.trainer` (book: *A prior for faces*).

Each albedo a is encoded by the linear part, z = E(a), and must come back:

    10 mean (a(z) − a)² + mean |a(z) − a| + ½ mean |∇a(z) − ∇a|

The squares bring the colour of skin, the absolute values the edges, and the gradients their sharpness.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.augment import mirrored_at_random
from facenb.restore.albedo_prior import AlbedoPrior
from facenb.restore.perceptual import edge_loss
from facenb.restore.picture_metrics import psnr
from facenb.task import StepResult


class PriorTask:
    """Albedos → the loss above."""

    name = "prior"

    def __init__(self, network: AlbedoPrior):
        self.network, self.encode = network, network.encode  # the linear part does not learn
        self.about: dict[str, Any] = {"network": network.kind, **vars(network.options)}

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        images = mirrored_at_random(images, generator)
        answer = self.network(self.encode(images))
        off = answer - images
        parts = {
            "squares": 10 * off.square().mean(),
            "absolute": off.abs().mean(),
            "gradient": 0.5 * edge_loss(answer, images, torch.ones_like(images[:, 0], dtype=torch.bool), levels=1),
        }
        numbers = {name: part.item() for name, part in parts.items()} | {"psnr": psnr(answer, images).mean().item()}
        return StepResult(sum(parts.values()), numbers, {"one": images.new_ones(())})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Nothing to keep."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        z = self.encode(images)
        linear = self.network.linear(z).clamp(0, 1)
        rows = {"albedos": images, "linear part": linear, "prior": self.network(z).clamp(0, 1)}
        return {name: torch.cat(list(row), dim=-1) for name, row in rows.items()}
