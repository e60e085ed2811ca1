"""Training the proxy, as a task of `facenb.trainer` (book: *Shape from one image by symmetry*).

With the reconstruction Î of a photo I, the spread σ and the number of seen pixels N, the loss of Wu et al. 2020 is the
negative logarithm of a Laplace density,

    L(Î, σ, I) = 1/N Σ_Ω √2 ‖Î − I‖₁ / σ + ln √2 σ,        L(Î, σ, I) + λ L(Î', σ', I),

the second term for the mirrored face Î', λ = ½. To it come terms that cost the method nothing of its independence,
smooth canonical depth, small individual residuals and shifts of mean zero, and one that does: `yaw_spread`, the
standard deviation of yaw over the photos. Who gives it says how far people in his photos turn their heads. It is off
unless given.

At full size the training is *strict*: Ω ends about where the face does, at the depth `near`, so that little depends on
how the wall behind it is drawn; Λ lights the shared template, so that one photo's depth learns from where things lie
and not from how bright they are; and that depth is held near the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facenb.augment import mirrored_at_random
from facenb.restore.perceptual import VGGLoss, edge_loss
from facenb.restore.proxy import RELIEF, SHIFT, Proxy, mirrored, reconstruct
from facenb.task import StepResult


@dataclass(frozen=True)
class ProxyLoss:
    """Weights of the loss.

    Attributes:
        mirror: λ, of the mirrored reconstruction.
        smooth: of the mean second difference of canonical depth, in units of the relief.
        individual: of the mean square of each photo's residual, in small.
        held: the same at full size.
        shading: let Λ light each photo's own depth at full size, too, instead of the template.
        near: at full size only what both reconstructions show nearer than this counts, units of the distance.
        centre: of the squared mean shift over the photos, in units of the largest: who is in the middle of the photos
            shall be in the middle of the canonical picture. See `squared_mean`.
        yaw_spread: standard deviation of yaw over the photos, radians, if it is known; 0: it is not.
        yaw_weight: of the squared difference to it.
        edges: of differences of neighbours, see `facenb.restore.perceptual`.
        vgg: of what VGG16 sees, if its weights are at hand.
        shared: steps in which all photos share the template's shape.
        small: steps with small reconstructions.
    """

    mirror: float = 0.5
    smooth: float = 0.5
    individual: float = 0.2
    held: float = 10.0
    shading: bool = False
    near: float = 1.05
    centre: float = 10.0
    yaw_spread: float = 0.0
    yaw_weight: float = 5.0
    edges: float = 0.0
    vgg: float = 0.0
    shared: int = 2000
    small: int = 6000


class ProxyTask:
    """Photos → the loss above."""

    name = "proxy"

    def __init__(self, network: Proxy, loss: ProxyLoss = ProxyLoss(), vgg: VGGLoss | None = None):
        self.vgg = vgg
        self.network, self.weights, self.network_options = network, loss, network.options
        self.detail = list(network.detail.parameters())
        self.taken = 0  # steps
        self.about: dict[str, Any] = {"network": "proxy", **vars(network.options), **vars(loss)}

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        w, options = self.weights, self.network_options
        small = self.taken < w.small
        images = mirrored_at_random(images, generator)
        face = self.network(images, individual=float(self.taken >= w.shared), small=small)
        if small:
            images = avg_pool2d(images, options.size // options.coarse)
        lit = face.depth if small or w.shading else face.shared
        straight, flipped = reconstruct(face, lit), reconstruct(mirrored(face), lit.flip(2))
        seen = straight.mask & flipped.mask
        if not small:
            seen = seen & (straight.depth < w.near) & (flipped.depth < w.near)
        first = laplace(straight.image, face.spread[:, 0], images, seen)
        second = laplace(flipped.image, face.spread[:, 1], images, seen)
        parts = {
            "photo": first,
            "mirror": w.mirror * second,
            "smooth": w.smooth * roughness(face.depth, options.coarse) / RELIEF,
            "individual": (w.individual if small else w.held) * face.residual.square().mean(),
            "centre": w.centre * squared_mean(face.view.shift / SHIFT),
        }
        if small:  # all take part in every step, or several processes would wait for each other
            parts["photo"] = first + 0 * sum(p.sum() for p in self.detail)
        if w.edges:
            parts["edges"] = w.edges * sum(edge_loss(r.image, images, seen) for r in (straight, flipped))
        if self.vgg is not None and w.vgg:
            looks = self.vgg.to(images.device)
            parts["vgg"] = w.vgg * looks(straight.image, images, face.spread[:, 0], seen)
        yaw = face.view.angles[:, 0]
        if w.yaw_spread:
            parts["yaw"] = w.yaw_weight * (yaw.std() - w.yaw_spread).square()
        numbers = {name: part.item() for name, part in parts.items()}
        numbers |= {"error": _error(straight.image, images, seen), "yaw spread": yaw.std().item()}
        return StepResult(sum(parts.values()), numbers, {"one": images.new_ones(())})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        self.taken += 1

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = int(state["taken"])

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        face = self.network(images)
        straight = reconstruct(face)
        depth = ((1 + RELIEF - face.depth) / (2 * RELIEF))[:, None].expand(-1, 3, -1, -1)
        rows = {"photos": images, "reconstructions": straight.image, "depth": depth, "albedo": face.albedo}
        return {name: torch.cat(list(row), dim=-1) for name, row in rows.items()}


def squared_mean(values: Float[Tensor, "B n"]) -> Float[Tensor, ""]:
    """Squared norm of the mean of all that `values` are drawn from, without bias: the product of two halves' means.

    The square of the mean of the batch is larger by its variance, so would also draw each photo's value to zero.
    """
    middle = len(values) // 2
    return (values[:middle].mean(0) * values[middle:].mean(0)).sum()


def laplace(
    image: Float[Tensor, "B 3 S S"], spread: Float[Tensor, "B S S"], photo: Tensor, seen: Bool[Tensor, "B S S"]
) -> Float[Tensor, ""]:
    """L(Î, σ, I): mean over the seen pixels of a photo, then over photos; colours count in [−1, 1]."""
    spread = spread[:, None] + 1e-3
    each = sqrt(2) * 2 * (image - photo).abs() / spread + (sqrt(2) * spread).log()  # B 3 S S
    w = seen[:, None].to(each.dtype)
    return ((each * w).sum((1, 2, 3)) / (3 * w.sum((1, 2, 3)) + 1)).mean()


def roughness(depth: Float[Tensor, "B S S"], side: int) -> Float[Tensor, ""]:
    """Mean second difference of depth along rows and columns, as if there were `side` of them; a plane has none."""
    rows = depth[:, 2:] - 2 * depth[:, 1:-1] + depth[:, :-2]
    columns = depth[:, :, 2:] - 2 * depth[:, :, 1:-1] + depth[:, :, :-2]
    return (depth.shape[-1] / side) ** 2 * (rows.abs().mean() + columns.abs().mean()) / 2


def _error(image: Tensor, photo: Tensor, seen: Tensor) -> float:
    w = seen[:, None].float()
    return (((image - photo).abs() * w).sum() / (3 * w.sum() + 1)).item()
