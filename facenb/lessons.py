"""What a fit teaches the network about every pixel: uv, depth, confidence (book: *Learning from residuals*).

A face that was found in a photo is drawn again, and what is drawn at a pixel is what the network should have said
there. Where the photo and the drawing disagree, something hides the face, and the lesson says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from facenb.camera import project
from facenb.correspondence_fit import fit_correspondence
from facenb.face_points import BLUR, HOLLOW, FacePoints, as_photographed, inner_face, random_points
from facenb.flatten import Flattening
from facenb.lighting import sh_basis
from facenb.morphable_model import MorphableModel
from facenb.networks import Maps
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.rasterise import interpolate, rasterise
from facenb.refinement import DARKEST, DEFAULTS, Refined
from facenb.scaled_pose import Pose, pose_of
from facenb.softplus_clamp import softplus_clamp
from facenb.uv_model import UVModel, uv_model

UNEXPLAINED = 0.15  # what an unexplained pixel of the face still counts for uv and depth: they go on under the hair
EXPLAINED = (0.03, 0.10)  # a median residual outside these limits, in colours, is not a scale to measure others by
TOLERANCE, EDGE = 5.5, 8.0  # medians at which a pixel is believed by half, and how steeply belief falls around there
NEIGHBOURS = 2  # px around a pixel whose residuals count as well; also the radius of an eye that is closed
GUESS_DEPTH = 0.05  # weight of the predicted depth in the first guess: an untrained depth is worth little


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


def _median(values: Float[Tensor, "B H W"], mask: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Median over each image's mask; 0 where the mask is empty."""
    return values.masked_fill(~mask, torch.nan).flatten(1).nanmedian(1).values.nan_to_num(0.0)
