"""Pretraining: learn where faces are, and which way up (book: *Pretraining from an average face*).

The supervision is the same average face for every image (`mean_pose`); image and supervision are moved by the same
random similarity (`augment`). What the network can learn from that is exactly what differs between the moved pictures:
position, size and in-plane rotation of the face, and what it looks like. Yaw, shape and expression it cannot.

Loss, all averages over pixels:

    10 · |uv − target| inside the face  +  5 · |log depth|  +  cross-entropy(confidence, face)
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from facenb.augment import backgrounds, jitter, random_similarity, warp
from facenb.mean_pose import Supervision
from facenb.networks import Maps
from facenb.task import StepResult

UV_WEIGHT, DEPTH_WEIGHT = 10.0, 5.0


def pretraining_loss(maps: Maps, target: Supervision) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss above, and its three parts without their weights.

    The distance in uv is ``|Δu| + |Δv|``. A batch without any face has no uv part.
    """
    face = target.face.to(maps.uv.dtype)  # n H W
    uv = ((maps.uv - target.uv).abs().sum(1) * face).sum() / face.sum().clamp(min=1)
    depth = maps.depth.log().abs().mean()
    confidence = binary_cross_entropy_with_logits(maps.logit, face)
    loss = UV_WEIGHT * uv + DEPTH_WEIGHT * depth + confidence
    return loss, {"uv": uv.item(), "depth": depth.item(), "confidence": confidence.item()}


class PretrainTask:
    """Section F as a task of `facenb.trainer`.

    Args:
        supervision: for pictures of the images' own size; see `mean_pose.mean_supervision`.
        size: side of what the network sees, a multiple of 16.
        photometric: also change exposure, tone and colour of the pictures at random.
    """

    name = "pretrain"

    def __init__(self, network: nn.Module, supervision: Supervision, size: int = 64, photometric: bool = False):
        self.network = network
        self.supervision = supervision
        self.size = size
        self.photometric = photometric
        self.about: dict[str, Any] = {
            "network": getattr(network, "kind", type(network).__name__),
            "size": size,
            "photometric": photometric,
        }

    def views(
        self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "B 3 s s"], Supervision]:
        """A random view of each image, as the network sees it, and its supervision.

        Raises ValueError if the images have not the size that the supervision was drawn for.
        """
        n, _, S, _ = images.shape
        if self.supervision.face.shape[-2:] != images.shape[-2:]:
            drawn = self.supervision.face.shape[-1]
            raise ValueError(f"supervision drawn for {drawn} × {drawn} pixels, images of {images.shape[-2]} × {S}")
        theta = random_similarity(n, generator, source=S, size=self.size, dtype=images.dtype)
        seen = warp(images, theta, self.size, backgrounds(images, self.size, generator), samples=2)
        if self.photometric:
            seen = jitter(seen, generator)
        return seen, self.supervision.to(images.device).moved(theta, self.size)

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        """The loss of one random view of each image."""
        seen, target = self.views(images, generator)
        loss, parts = pretraining_loss(self.network(seen.contiguous(memory_format=torch.channels_last)), target)
        return StepResult(loss, parts)

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Nothing: pretraining learns about the network only."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: the supervision follows from the settings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """Views of the images, and what the network says of them: uv (red u, green v) where it is confident."""
        n, _, S, _ = images.shape
        theta = random_similarity(n, torch.Generator().manual_seed(0), source=S, size=self.size).to(images.device)
        seen = warp(images, theta, self.size, samples=2)
        maps = self.network(seen)
        return {"views": side_by_side(seen), "uv": side_by_side(uv_colours(maps)), "confidence": confidences(maps)}


def uv_colours(maps: Maps) -> Float[Tensor, "B 3 H W"]:
    """uv as colours, u red, v green, on grey where the network sees no face."""
    w = maps.confidence[:, None]
    colour = torch.cat([maps.uv.clamp(0, 1), torch.full_like(w, 0.5)], 1)
    return w * colour + (1 - w) * 0.85


def confidences(maps: Maps) -> Float[Tensor, "3 H W"]:
    """The confidence maps in a row, grey."""
    return side_by_side(maps.confidence[:, None].expand(-1, 3, -1, -1))


def side_by_side(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "C H BW"]:
    """A row of pictures."""
    return torch.cat(list(pictures), dim=-1)
