"""Training the restorer, as a task of `facenb.trainer` (book: *Restoring albedo and geometry*).

Every photo is spoilt anew in every step; what came out of it is compared with the *clean* photo I and with what the
frozen proxy says of that. No truth about shape, albedo, light or view is used.

    photo      mean ‖Π(Λ(a, d, l), ω) − I‖₁ where the view sees the face, and half of it for the mirrored face
    edges      mean ‖∇Π(…) − ∇I‖₁ there
    teacher    mean ‖a − a*‖₁, a* the proxy's albedo of the clean photo; with ARN + mean ‖∇a − ∇a*‖₁, and a* is
               what the prior believes of that albedo
    depth      mean (Δd)² and second differences of Δd = d − d*, in units of the relief

In the first steps light l* and view ω* are what the pretrained proxy says of the clean photo, so that ARN and GRN learn
from pictures that lie where they should; the proxy's networks rest. Then the restorer must see light and view in the
spoilt photo itself, and these two networks learn with ARN and GRN (*mutual learning*):

    views      10 mean ‖ω − ω*‖₁ + mean ‖l − l*‖₁
    critic     the hinge losses of `facenb.restore.critic`, on renderings from random other views

Λ looks at the coarse depth d_o, so GRN learns from where the photo puts things, not from shading: where light and skin
are guesses, the wrinkles that explain the brightness best are wrong ones (the chapter measures it, with `shading`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facenb.augment import mirrored_at_random
from facenb.restore.degrade import Degradation, degrade
from facenb.restore.perceptual import edge_loss
from facenb.restore.proxy import RELIEF, Face, Proxy, mirrored, reconstruct
from facenb.restore.proxy_task import roughness
from facenb.restore.restorer import Lesson, Restored, Restorer
from facenb.restore.studio import PITCH, YAW
from facenb.restore.view import Viewpoint
from facenb.task import StepResult


@dataclass(frozen=True)
class RestorerLoss:
    """Weights of the loss, and its schedule.

    Attributes:
        mirror, edges, teacher, depth, smooth, views, critic: see above; 0 leaves the part out.
        mutual: steps after which the networks of light and view learn, too, and the critic joins.
        tune_all: let the whole proxy learn from the first step on: the rival without ARN and GRN.
        shading: light the restored depth, so that GRN learns from shading, and not only from where things are.
    """

    mirror: float = 0.5
    edges: float = 0.5
    teacher: float = 0.5
    depth: float = 0.05
    smooth: float = 1.5
    views: float = 1.0
    critic: float = 0.01
    mutual: int = 1000
    tune_all: bool = False
    shading: bool = False


class RestorerTask:
    """Photos → the loss above."""

    name = "restorer"

    def __init__(
        self,
        network: Restorer,
        teacher: Proxy,
        degradation: Degradation,
        loss: RestorerLoss = RestorerLoss(),
    ):
        self.network, self.teacher, self.weights, self.degradation = network, teacher.eval(), loss, degradation
        self.believed = None if network.albedo is None else network.albedo.believed
        self.taken = 0  # steps
        network.requires_grad_(True)
        network.proxy.requires_grad_(loss.tune_all)
        network.proxy.light.requires_grad_(True)
        network.proxy.view.requires_grad_(True)
        if network.albedo is not None:
            network.albedo.prior.requires_grad_(False)
        self.learning = [p for p in network.parameters() if p.requires_grad]
        self.about: dict[str, Any] = {
            "network": network.kind,
            "albedo": network.options.albedo,
            "geometry": network.options.geometry,
            **vars(loss),
        }

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        w, mutual = self.weights, self.taken >= self.weights.mutual
        images = mirrored_at_random(images, generator)
        with torch.no_grad():
            clean = self.teacher.to(images.device)(images)
            if self.believed is not None:
                clean = clean._replace(albedo=self.believed(clean.albedo))
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        spoilt = degrade((255 * images).round().to(torch.uint8), seed, self.degradation).to(images) / 255
        frozen = not (mutual or w.tune_all)
        judged = mutual and w.critic > 0
        real = images * reconstruct(clean).mask[:, None] if judged else None
        turned = _random_views(len(images), generator) if judged else None
        restored = self.network(spoilt, Lesson(clean if frozen else None, real, turned))
        face = restored.face
        parts = _restoration_loss(restored, clean, images, w)
        if self.believed is not None:
            everywhere = torch.ones_like(images[:, 0], dtype=torch.bool)
            parts["teacher"] = parts["teacher"] + w.teacher * edge_loss(face.albedo, clean.albedo, everywhere, levels=1)
        if not frozen:
            turn, light = _difference(face.view, clean.view), _difference(face.light, clean.light)
            parts["views"] = w.views * (10 * turn + light)
        if judged:
            parts["critic"] = restored.critic
            parts["taken for photos"] = w.critic * restored.taken
        else:  # all take part in every step, or several processes would wait for each other
            parts["unused"] = 0 * sum(p.sum() for p in self.learning)
        numbers = {name: part.item() for name, part in parts.items() if name != "unused"}
        return StepResult(sum(parts.values()), numbers, {"one": images.new_ones(())})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        self.taken += 1

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = int(state["taken"])

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        spoilt = degrade((255 * images).round().to(torch.uint8), 0, self.degradation).to(images) / 255
        face = self.network(spoilt)
        rows = {"photos": images, "spoilt": spoilt, "restored": reconstruct(face).image, "albedo": face.albedo}
        return {name: torch.cat(list(row), dim=-1) for name, row in rows.items()}


def _restoration_loss(
    restored: Restored, clean: Face, images: Float[Tensor, "B 3 S S"], w: RestorerLoss
) -> dict[str, Tensor]:
    """Photo, edges, teacher and the displacement's own terms."""
    face, lit = restored.face, restored.face.depth if w.shading else restored.coarse
    straight, flipped = reconstruct(face, lit), reconstruct(mirrored(face), lit.flip(2))
    parts = {
        "photo": masked_error(straight.image - images, straight.mask),
        "mirror": w.mirror * masked_error(flipped.image - images, flipped.mask & straight.mask),
        "edges": w.edges * edge_loss(straight.image, images, straight.mask, levels=1),
        "teacher": w.teacher * (face.albedo - clean.albedo).abs().mean(),
    }
    displacement = (face.depth - clean.depth) / RELIEF
    parts["depth"] = w.teacher * displacement.abs().mean() if w.tune_all else w.depth * displacement.square().mean()
    parts["smooth"] = w.smooth * roughness(displacement, displacement.shape[-1])
    return parts


def masked_error(off: Float[Tensor, "B 3 S S"], where: Bool[Tensor, "B S S"]) -> Float[Tensor, ""]:
    """Mean absolute difference over the pixels `where` of each photo, then over photos."""
    w = where[:, None].to(off.dtype)
    return ((off.abs() * w).sum((1, 2, 3)) / (3 * w.sum((1, 2, 3)) + 1)).mean()


def _difference(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Mean absolute differences of each kind of number, added up."""
    return sum((x - y).abs().mean() for x, y in zip(a, b, strict=True))


def _random_views(n: int, generator: torch.Generator) -> Viewpoint:
    """Views as in the photos, any of them."""
    device = generator.device
    angles = 2 * torch.rand(n, 3, generator=generator, device=device) - 1
    return Viewpoint(angles * angles.new_tensor([YAW, PITCH, 0.0]), angles.new_zeros(n, 3))
