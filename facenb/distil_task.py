"""Main training, refine and distil: our addition to the paper (book: *Learning from residuals*).

The paper moves the network along the gradient of the residuals. For a single image that gradient is a poor guide, but
the residual is a good judge. So fit each image first as well as its residual allows, starting from what the network
says of it now, and then teach the network to say the result at once:

    photo → network → correspondence fit → `refinement.refine` → draw the refined face → uv, depth, confidence to say

Nothing else enters: no label, and nothing that a renderer knows about its images. Each face is a little wrong in its
own way; what the network can learn from all of them is what they have in common.

Fitting a face has its price, and one fit can be shown more than once. So each photo is fitted once, as it is: upright,
at its full resolution, with the moving average of the network as the adviser. The result then serves several random
views of the photo, turned, scaled, shifted and smaller: a face that was moved with its picture still fits it. A few
pictures without a face go with them, patched together from the corners of others, or the network would see a face in
every wall.

Loss, averages over pixels, of the images whose energy is not unusually high:

    10 · |uv − target| + 10 · |log depth − target| on the face,  +  cross-entropy(confidence, well explained face)
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from facenb.augment import (
    CROP,
    backgrounds,
    faceless,
    invert,
    jitter,
    mirrored_at_random,
    random_similarity,
    similarity,
    warp,
)
from facenb.lessons import UNEXPLAINED, FaceTables, Targets, draw_targets, first_guess
from facenb.networks import Maps
from facenb.pretrain_task import confidences, side_by_side, uv_colours
from facenb.refinement import DEFAULTS, Refined, RefinementOptions, refine
from facenb.task import StepResult

UV_WEIGHT, DEPTH_WEIGHT = 10.0, 10.0
FACELESS = 0.1  # pictures without a face for each view of one
FORGET = 0.02  # share of the newest batch in the running median of energies
FORGET_FACES = 0.005  # and in the running mean of expressions
LEAN = 0.005  # by how much of the batch's mean identity the prior leans to the other side


def distil_loss(
    maps: Maps, target: Targets, accepted: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss above, and its three parts without their weights. The distance in uv is a length, √(Δu² + Δv²).

    `accepted` is 1 for the images that teach and 0 for the others, which then have no gradient.
    """
    weight = target.covered * (UNEXPLAINED + target.believed) * accepted[:, None, None]
    total = weight.sum().clamp_min(1)
    uv = (((maps.uv - target.uv).square().sum(1) + 1e-8).sqrt() * weight).sum() / total
    depth = ((maps.depth.log() - target.log_depth).abs() * weight).sum() / total
    confidence = binary_cross_entropy_with_logits(maps.logit, target.believed, reduction="none").mean((1, 2))
    confidence = (confidence * accepted).mean()
    loss = UV_WEIGHT * uv + DEPTH_WEIGHT * depth + confidence
    return loss, {"uv": uv.item(), "depth": depth.item(), "confidence": confidence.item()}


class DistilTask:
    """Refine and distil as a task of `facenb.trainer`.

    Args:
        size: side of what the network sees, a multiple of 16.
        views: how many random views of each photo the network sees in a step.
        samples: pixels that enter the correspondence fit.
        options: of the refinement.
        accept: images whose refined energy exceeds this many running medians teach nothing.
        shrink: of the shape that the refinement starts with; what the photo does not support fades away.
        photometric: show the network the picture as another camera would (`augment.jitter`); the refinement sees the
            original.
    """

    name = "distil"

    def __init__(
        self,
        network: nn.Module,
        faces: FaceTables,
        size: int = 64,
        views: int = 4,
        samples: int = 700,
        options: RefinementOptions = DEFAULTS,
        accept: float = 1.3,
        shrink: float = 0.7,
        photometric: bool = True,
    ):
        self.network = network
        self.average = copy.deepcopy(network).eval()
        self.faces = faces
        self.size, self.views, self.samples, self.options = size, views, samples, options
        self.accept, self.shrink, self.photometric = accept, shrink, photometric
        self.typical = torch.zeros(())  # running median of the energy; 0 before the first step
        self.usual = torch.zeros(faces.points.n_shape)  # what the prior holds for usual, see `absorb`
        self.about: dict[str, Any] = {
            "network": getattr(network, "kind", type(network).__name__),
            "face model": faces.model,
            "size": size,
            "views": views,
            "shape components": faces.points.n_shape,
            "albedo components": faces.points.n_albedo,
        }

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        """The loss of `views` random views of each image or, by lot, of its mirror image, and of a few without a face.

        Raises ValueError where a confidence is not finite.
        """
        images = mirrored_at_random(images, generator)
        face = self.teach(images, generator)
        energy = face.energy.median()
        typical = torch.where(self.typical > 0, self.typical.to(energy), energy)
        accepted = (face.energy < self.accept * typical).to(images.dtype)
        view, seen = self.random_views(images, face, generator, self.views)
        nobody = faceless(images, max(1, round(FACELESS * len(view))), self.size, generator)
        shown = torch.cat([view, nobody])
        shown = jitter(shown, generator) if self.photometric else shown
        maps = self.network(shown.contiguous(memory_format=torch.channels_last))
        target = draw_targets(self.faces, view, seen).and_nothing(len(nobody))
        taught = torch.cat([accepted.repeat_interleave(self.views), accepted.new_ones(len(nobody))])
        loss, parts = distil_loss(maps, target, taught)
        parts |= {
            "energy": energy.item(),
            "accepted": accepted.mean().item(),
            "m²": face.m.square().mean().item(),
            "h²": face.h.square().mean().item(),
        }
        parts["usual expression"] = self.usual[self.faces.n_identity :].norm().item()
        usual = (accepted[:, None] * face.m).sum(0) / accepted.sum() if accepted.any() else self.usual.to(view)
        return StepResult(loss, parts, {"energy": energy, "m": usual})

    def teach(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> Refined:
        """What the network should have said of each image, as a face in its pixels."""
        B, _, S, _ = images.shape
        theta = upright(B, S, self.size).to(images)
        with torch.no_grad():
            said = self.average(warp(images, theta, self.size, samples=2).contiguous(memory_format=torch.channels_last))
        pose, m = first_guess(self.faces, said, self.samples, generator, self.options.distance)
        usual = self.usual.to(images)
        m = usual + self.shrink * (m - usual)
        confidence = warp(said.confidence[:, None], invert(theta), S)[:, 0]
        return refine(self.faces.points, images, pose.moved(theta), m, confidence, self.options, usual=usual)

    def random_views(
        self, images: Float[Tensor, "B 3 S S"], face: Refined, generator: torch.Generator, views: int
    ) -> tuple[Float[Tensor, "BV 3 s s"], Refined]:
        """So many views of each image one after the other, and the face in the pixels of each."""
        B, _, S, _ = images.shape
        theta = random_similarity(B * views, generator, source=S, size=self.size)
        fill = torch.stack([backgrounds(images, self.size, generator) for _ in range(views)], 1).flatten(0, 1)
        view = warp(images.repeat_interleave(views, 0), theta, self.size, fill, samples=2)
        pose = face.pose.repeated(views).moved(invert(theta.to(images)))
        m, l, h = (x.repeat_interleave(views, 0) for x in (face.m, face.l, face.h))
        return view, replace(face, pose=pose, m=m, l=l, h=h)

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Follow the median energy and the mean expression; keep the mean identity at zero.

        The model's mean is a face at rest, and people in photos smile: a prior about rest makes every mouth a little
        too straight, and what is wrong alike in all lessons is what the network learns. So the prior's expression
        follows the faces. Its identity goes *against* them: people are average on average, that is what a model's mean
        means. Where fitted faces are not, something else than shape has bent them, light mostly, and the prior leans
        the other way until they are.
        """
        energy = statistics["energy"].detach().cpu()
        self.typical = energy.clone() if self.typical == 0 else torch.lerp(self.typical, energy, FORGET)
        m, n = statistics["m"].detach().cpu().to(self.usual), self.faces.n_identity
        self.usual = torch.cat([self.usual[:n] - LEAN * m[:n], torch.lerp(self.usual[n:], m[n:], FORGET_FACES)])

    def state_dict(self) -> dict[str, Any]:
        """The running median and mean."""
        return {"typical": self.typical, "usual": self.usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the running median and mean over."""
        self.typical, self.usual = state["typical"].clone(), state["usual"].clone()

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """One view of each image, what the network says of it, and what the refinement makes of that."""
        generator = torch.Generator(images.device).manual_seed(0)
        view, seen = self.random_views(images, self.teach(images, generator), generator, 1)
        maps, target = self.network(view), draw_targets(self.faces, view, seen)
        taught = Maps(target.uv, target.log_depth.exp(), torch.logit(target.believed.clamp(1e-4, 1 - 1e-4)))
        return {
            "views": side_by_side(view),
            "uv": side_by_side(uv_colours(maps)),
            "confidence": confidences(maps),
            "taught uv": side_by_side(uv_colours(taught)),
            "taught confidence": confidences(taught),
        }


def upright(n: int, source: int, size: int) -> Float[Tensor, "n 2 3"]:
    """θ of the view in the middle of what the network is trained on: neither turned nor shifted."""
    still = torch.zeros(n)
    return similarity(still, torch.full((n,), CROP * source), torch.zeros(n, 2), source, size)
