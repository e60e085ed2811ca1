"""Main training, refine and distil: our addition to the paper (book: *Learning from residuals*).

The paper moves the network along the gradient of the residuals. For a single image that gradient is a poor guide, but
the residual is a good judge. So fit each image first as well as its residual allows, starting from what the network
says of it now, and then teach the network to say the result at once:

    photo → network → correspondence fit → `refinement.refine` → draw the refined face → uv, depth, confidence to say

Nothing else enters: no label, and nothing that a renderer knows about its images. Each face is a little wrong in its
own way; what the network can learn from all of them is what they have in common.

Fitting a face costs more than showing a picture. So each photo is fitted once, as it is: upright, at its full
resolution, with the moving average of the network as the adviser. The result then serves several random views of the
photo, turned, scaled, shifted and smaller: a face that was moved with its picture still fits it. A few pictures without
a face go with them, patched together from the corners of others, or the network would see a face in every wall.

Loss, averages over pixels, of the images whose energy is not unusually high:

    10 · |uv − target| + 10 · |log depth − target| on the face,  +  cross-entropy(confidence, well explained face)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, max_pool2d

from facenb.augment import CROP, backgrounds, faceless, invert, jitter, random_similarity, similarity, warp
from facenb.camera import project
from facenb.correspondence_fit import fit_correspondence
from facenb.face_points import BLUR, HOLLOW, FacePoints, as_photographed, inner_face, random_points
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
TOLERANCE, EDGE = 5.5, 8.0  # medians at which a pixel is believed by half, and how steeply belief falls around there
NEIGHBOURS = 2  # px around a pixel whose residuals count as well; also the radius of an eye that is closed
FACELESS = 0.1  # pictures without a face for each view of one
GUESS_DEPTH = 0.05  # weight of the predicted depth in the first guess: an untrained depth is worth little
FORGET = 0.02  # share of the newest batch in the running median of energies
FORGET_FACES = 0.005  # and in the running mean of expressions
LEAN = 0.005  # by how much of the batch's mean identity the prior leans to the other side


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
    hollow: float = HOLLOW,
    inner: bool = True,
) -> FaceTables:
    """The tables of a model, which should be truncated to the components that the images can show.

    Args:
        n_points: drawn evenly over the surface, by `seed`; about one for each pixel that it covers.
        texels: of the UV model, each way.
        blur, hollow: see `as_photographed`.
        inner: measure on the inner face only (`inner_face`), else on all of the model.
    """
    surface = as_photographed(model, flattening, blur, hollow)
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

    def and_nothing(self, n: int) -> Targets:
        """The same, and n pictures more in which there is no face."""
        return Targets(*(torch.cat([x, x.new_zeros(n, *x.shape[1:])]) for x in vars(self).values()))


@torch.no_grad()
def first_guess(
    faces: FaceTables, maps: Maps, samples: int, generator: torch.Generator, distance: float = DEFAULTS.distance
) -> tuple[Pose, Float[Tensor, "B Ns"]]:
    """Pose and shape that the maps themselves say, by `fit_correspondence` of `samples` randomly drawn pixels.

    Raises ValueError if a confidence is not finite.
    """
    index = sample_pixels(maps.confidence, samples, generator)
    stack = torch.cat([maps.uv, maps.depth[:, None], maps.confidence[:, None]], 1)
    uv, depth, weight = gather_pixels(stack, index).split([2, 1, 1], -1)
    pixels = pixel_coordinates(index, maps.logit.shape[-1], uv.dtype)
    fit = fit_correspondence(
        faces.tables,
        uv.contiguous(),
        depth[..., 0],
        weight[..., 0],
        pixels,
        depth_weight=GUESS_DEPTH,
        distance=distance,
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
        images = mirrored(images, generator)
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


def mirrored(images: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    """Half of the images, by lot, as a mirror shows them: other people, with the same right to be faces."""
    lot = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device).to(images.device) < 0.5
    return torch.where(lot, images.flip(-1), images)


def upright(n: int, source: int, size: int) -> Float[Tensor, "n 2 3"]:
    """θ of the view in the middle of what the network is trained on: neither turned nor shifted."""
    still = torch.zeros(n)
    return similarity(still, torch.full((n,), CROP * source), torch.zeros(n, 2), source, size)


def _median(values: Float[Tensor, "B H W"], mask: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Median over each image's mask; 0 where the mask is empty."""
    return values.masked_fill(~mask, torch.nan).flatten(1).nanmedian(1).values.nan_to_num(0.0)
