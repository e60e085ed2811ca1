"""Main training, refine and distil: our addition to the paper (book: *Learning from residuals*).

The paper moves the network along the gradient of the residuals. For a single image that gradient is a poor guide, but
the residual is a good judge. So fit each image first as well as its residual allows, starting from what the network
says of it now, and then teach the network to say the result at once:

    photo → network → correspondence fit → `refinement.refine` → draw the refined face → uv, depth, confidence to say

Nothing else enters: no label, and nothing that a renderer knows about its images. Each face is a little wrong in its
own way; what the network can learn from all of them is what they have in common.

Loss, averages over pixels, of the images whose energy is not unusually high:

    10 · |uv − target| + 10 · |log depth − target| on the face,  +  cross-entropy(confidence, well explained face)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, max_pool2d

from facenb.augment import backgrounds, jitter, random_similarity, warp
from facenb.camera import project
from facenb.correspondence_fit import fit_correspondence
from facenb.face_points import BLUR, FacePoints, blurred, inner_face, random_points, vertices_as_points
from facenb.flatten import Flattening
from facenb.lighting import sh_basis
from facenb.morphable_model import MorphableModel
from facenb.networks import Maps
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.pretrain_task import confidences, side_by_side, uv_colours
from facenb.rasterise import interpolate, rasterise
from facenb.refinement import DARKEST, DEFAULTS, Refined, RefinementOptions, refine
from facenb.scaled_pose import Pose, pose_of
from facenb.softplus_clamp import softplus_clamp
from facenb.task import StepResult
from facenb.uv_model import UVModel, uv_model

UV_WEIGHT, DEPTH_WEIGHT = 10.0, 10.0
UNEXPLAINED = 0.15  # what an unexplained pixel of the face still counts for uv and depth: they go on under the hair
EXPLAINED = (0.03, 0.10)  # a median residual outside these limits, in colours, is not a scale to measure others by
TOLERANCE, EDGE = 3.0, 8.0  # medians at which a pixel is believed by half, and how steeply belief falls around there
NEIGHBOURS = 2  # px around a pixel whose residuals count as well; also the radius of an eye that is closed
GUESS_DEPTH = 0.05  # weight of the predicted depth in the first guess: an untrained depth is worth little
FORGET = 0.02  # share of the newest batch in the running median of energies
FORGET_FACES = 0.005  # and in the running mean of expressions


@dataclass(frozen=True)
class FaceTables:
    """A face model in the three forms that a step needs.

    Attributes:
        model: its name.
        surface: all vertices, with `triangles`, to draw with.
        points: a few hundred, to measure with.
        tables: the UV model, to read correspondences with.
        n_identity: how many of the shape components are identity; the others are expression.
    """

    model: str
    surface: FacePoints
    triangles: Int[Tensor, "T 3"]
    points: FacePoints
    tables: UVModel
    n_identity: int

    def to(self, device: torch.device | str) -> FaceTables:
        """Copy on another device."""
        return FaceTables(
            self.model,
            self.surface.to(device),
            self.triangles.to(device),
            self.points.to(device),
            self.tables.to(device),
            self.n_identity,
        )


def face_tables(
    model: MorphableModel,
    flattening: Flattening,
    n_points: int = 1000,
    texels: int = 160,
    seed: int = 0,
    blur: float = BLUR,
    inner: bool = True,
) -> FaceTables:
    """The tables of a model, which should be truncated to the components that the images can show.

    Args:
        n_points: drawn evenly over the surface, by `seed`; about one for each pixel that it covers.
        texels: of the UV model, each way.
        blur: of the albedo, mm; 0 leaves it sharp.
        inner: measure on the inner face only (`inner_face`), else on all of the model.
    """
    surface = vertices_as_points(model, flattening)
    surface = blurred(surface, model.triangles, blur) if blur else surface
    generator = torch.Generator(model.shape_mean.device).manual_seed(seed)
    keep = inner_face(model) if inner else None
    points = random_points(surface, model.triangles, n_points, generator, keep)
    tables = uv_model(model, flattening, texels)
    return FaceTables(model.name, surface, model.triangles, points, tables, model.n_identity)


@dataclass(frozen=True)
class Targets:
    """What the network should say of each pixel.

    Attributes:
        uv, log_depth: of the refined face, 0 elsewhere; log_depth has mean 0 over the face.
        covered: where the refined face is.
        believed: in [0, 1], how well it explains the pixel; 0 elsewhere.
    """

    uv: Float[Tensor, "B 2 H W"]
    log_depth: Float[Tensor, "B H W"]
    covered: Bool[Tensor, "B H W"]
    believed: Float[Tensor, "B H W"]


@torch.no_grad()
def first_guess(
    faces: FaceTables, maps: Maps, samples: int, generator: torch.Generator
) -> tuple[Pose, Float[Tensor, "B Ns"]]:
    """Pose and shape that the maps themselves say, by `fit_correspondence` of `samples` randomly drawn pixels.

    Raises ValueError if a confidence is not finite.
    """
    index = sample_pixels(maps.confidence, samples, generator)
    stack = torch.cat([maps.uv, maps.depth[:, None], maps.confidence[:, None]], 1)
    uv, depth, weight = gather_pixels(stack, index).split([2, 1, 1], -1)
    pixels = pixel_coordinates(index, maps.logit.shape[-1], uv.dtype)
    fit = fit_correspondence(
        faces.tables, uv.contiguous(), depth[..., 0], weight[..., 0], pixels, depth_weight=GUESS_DEPTH
    )
    return pose_of(fit.camera, faces.points.centre), fit.m


@torch.no_grad()
def draw_targets(faces: FaceTables, image: Float[Tensor, "B 3 H W"], face: Refined) -> Targets:
    """Draw the refined faces and compare them with their photos.

    A pixel is believed where the residual around it is small compared with the face's median. A picture that no face
    is drawn into gets targets of zeros, believed nowhere.
    """
    B, _, H, W = image.shape
    surface = faces.surface
    pixels, depth = project(face.pose.camera(faces.points.centre), surface.at(face.m))
    corners = torch.cat([pixels, depth[..., None]], -1)
    seen = rasterise(corners, faces.triangles, H, W, cull="back")
    inverse = (sh_basis(surface.normals(face.m)) @ face.l.mT).clamp_min(DARKEST)  # B V 3
    colours = surface.colours(face.h).clamp_min(0) / inverse
    values = interpolate(seen, faces.triangles, torch.cat([surface.uv.expand(B, -1, -1), colours], -1))
    uv, drawn = values.movedim(-1, 1).split([2, 3], 1)  # B 2 H W, B 3 H W

    covered = seen.mask.to(image.dtype)
    area = covered.sum((1, 2), keepdim=True).clamp_min(1)
    log_depth = torch.where(seen.mask, seen.depth, 1.0).log()
    log_depth = (log_depth - (log_depth * covered).sum((1, 2), keepdim=True) / area) * covered

    residual = (softplus_clamp(image) - drawn).square().mean(1).sqrt() * covered  # B H W
    around = torch.stack([residual, covered], 1)  # B 2 H W
    around = avg_pool2d(around, 2 * NEIGHBOURS + 1, 1, NEIGHBOURS)
    smooth = around[:, 0] / around[:, 1].clamp_min(1e-3)
    limit = TOLERANCE * _median(residual, seen.mask).clamp(*EXPLAINED)[:, None, None]
    explained = covered * torch.sigmoid(EDGE * (1 - smooth / limit))
    return Targets(uv, log_depth, seen.mask, closed(explained, NEIGHBOURS) * covered)


def closed(mask: Float[Tensor, "B H W"], radius: int) -> Float[Tensor, "B H W"]:
    """Grey-scale closing by a square: eyes and nostrils, which no light explains, are not holes in a face."""
    size = 2 * radius + 1
    return -max_pool2d(-max_pool2d(mask[:, None], size, 1, radius), size, 1, radius)[:, 0]


def distil_loss(
    maps: Maps, target: Targets, accepted: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss above, and its three parts without their weights. |uv − target| is a length, √(Δu² + Δv²).

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
        samples: int = 700,
        options: RefinementOptions = DEFAULTS,
        accept: float = 1.3,
        shrink: float = 0.7,
        photometric: bool = True,
    ):
        self.network = network
        self.faces = faces
        self.size, self.samples, self.options = size, samples, options
        self.accept, self.shrink, self.photometric = accept, shrink, photometric
        self.typical = torch.zeros(())  # running median of the energy; 0 before the first step
        self.usual = torch.zeros(faces.points.n_shape)  # running mean of m, in its expression part
        self.about: dict[str, Any] = {
            "network": getattr(network, "kind", type(network).__name__),
            "face model": faces.model,
            "size": size,
            "shape components": faces.points.n_shape,
            "albedo components": faces.points.n_albedo,
        }

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        """The loss of one random view of each image. Raises ValueError where a confidence is not finite."""
        B, _, S, _ = images.shape
        theta = random_similarity(B, generator, source=S, size=self.size)
        view = warp(images, theta, self.size, backgrounds(images, self.size, generator), samples=2)
        shown = jitter(view, generator) if self.photometric else view
        maps = self.network(shown.contiguous(memory_format=torch.channels_last))
        face = self.teach(view, maps, generator)
        energy = face.energy.median()
        typical = torch.where(self.typical > 0, self.typical.to(energy), energy)
        accepted = (face.energy < self.accept * typical).to(view.dtype)
        loss, parts = distil_loss(maps, draw_targets(self.faces, view, face), accepted)
        parts |= {
            "energy": energy.item(),
            "accepted": accepted.mean().item(),
            "m²": face.m.square().mean().item(),
            "h²": face.h.square().mean().item(),
        }
        parts["usual expression"] = self.usual.norm().item()
        usual = (accepted[:, None] * face.m).sum(0) / accepted.sum() if accepted.any() else self.usual.to(view)
        return StepResult(loss, parts, {"energy": energy, "m": usual})

    def teach(self, view: Float[Tensor, "B 3 s s"], maps: Maps, generator: torch.Generator) -> Refined:
        """What the network should have said, as a face."""
        said = Maps(maps.uv.detach(), maps.depth.detach(), maps.logit.detach())
        pose, m = first_guess(self.faces, said, self.samples, generator)
        usual = self.usual.to(view)
        m = usual + self.shrink * (m - usual)
        return refine(self.faces.points, view, pose, m, said.confidence, self.options, usual=usual)

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Follow the median energy and the mean expression.

        The model's mean is a face at rest, and people in photos smile: a prior about rest makes every mouth a little
        too straight, and what is wrong alike in all lessons is what the network learns. Identity stays about the
        model's mean: its average size is nothing that photos could tell.
        """
        energy = statistics["energy"].detach().cpu()
        self.typical = energy.clone() if self.typical == 0 else torch.lerp(self.typical, energy, FORGET)
        expression = slice(self.faces.n_identity, None)
        self.usual = self.usual.clone()
        self.usual[expression].lerp_(statistics["m"].detach().cpu().to(self.usual)[expression], FORGET_FACES)

    def state_dict(self) -> dict[str, Any]:
        """The running median and mean."""
        return {"typical": self.typical, "usual": self.usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the running median and mean over."""
        self.typical, self.usual = state["typical"].clone(), state["usual"].clone()

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """Views of the images, what the network says of them, and what the refinement makes of that."""
        n, _, S, _ = images.shape
        generator = torch.Generator(images.device).manual_seed(0)
        view = warp(images, random_similarity(n, generator, source=S, size=self.size), self.size, samples=2)
        maps = self.network(view)
        face = self.teach(view, maps, generator)
        target = draw_targets(self.faces, view, face)
        taught = Maps(target.uv, target.log_depth.exp(), torch.logit(target.believed.clamp(1e-4, 1 - 1e-4)))
        return {
            "views": side_by_side(view),
            "uv": side_by_side(uv_colours(maps)),
            "confidence": confidences(maps),
            "taught uv": side_by_side(uv_colours(taught)),
            "taught confidence": confidences(taught),
        }


def _median(values: Float[Tensor, "B H W"], mask: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Median over each image's mask; 0 where the mask is empty."""
    return values.masked_fill(~mask, torch.nan).flatten(1).nanmedian(1).values.nan_to_num(0.0)
