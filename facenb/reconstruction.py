"""From a network's maps to everything: camera, shape, light, albedo, landmarks (book: *Your own photos*).

    maps ─ sample pixels ─► geometry (33)–(35) ─► P, q, m     ─► pinhole camera, shape ─► landmarks ("Fitted")
                          └► photometry (39)–(41) ─► l, h
    maps ─ nearest (u, v) ─► landmarks ("Direct")

Batched, without gradient, in the image's own pixels. The paper's linear camera (twelve numbers) stands in `geometry`;
what `camera` and `shape` hold is by default the better answer of `correspondence_fit`, with square pixels.
`refinement.refine` can start from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facenb.camera import Camera, decompose, project
from facenb.correspondence_fit import fit_correspondence
from facenb.geometry_layer import Geometry, solve_geometry
from facenb.image_photometry import image_step, painted, white_light
from facenb.lighting import sh_basis
from facenb.metrics import direct_landmarks
from facenb.morphable_model import MorphableModel
from facenb.photometry_layer import Photometry, solve_photometry
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.robust import robust_scale, tukey_weight
from facenb.softplus_clamp import softplus_clamp
from facenb.uv_model import UVModel, uv_model

if TYPE_CHECKING:
    from facenb.networks import Maps

Network = Callable[[Tensor], "Maps"]
WHITE_LIGHT = 0.02  # per full pixel, pulls the light towards a white one of usual exposure
FIRST_SCALE = 0.1  # colours, by which a pixel is expected to be off before it is known better


@dataclass(frozen=True)
class ReconstructionOptions:
    """Everything that can be chosen between the maps and the face.

    Attributes:
        n_identity, n_expression, n_albedo: leading components; 64 pixels do not show more.
        texels: of the UV model each way. 160 hold a face of 64 px; the paper's 320 are for 256 px.
        samples: pixels per image that enter the least squares.
        confident: confidence from which a pixel belongs to the face.
        fewest: confident pixels below which there is no face.
        camera: "pinhole", square pixels, see `correspondence_fit`; or "linear", the paper's, (19)–(32).
        shape_weight: of the linear problem, mm² per full pixel; noise shrinks faces, see `solve_geometry`.
        correlated_pixels: neighbours err together, as if only one pixel in this many told something.
        depth_weight: of the pinhole fit, see `fit_correspondence`.
        centre_weight: full pixels per full pixel, pulls the linear camera's centre to its axis.
        distance: where a camera usually stands, mm.
        photometry_rounds: steps on the picture's residual, each with new weights.
    """

    n_identity: int = 60
    n_expression: int = 30
    n_albedo: int = 40
    texels: int = 160
    samples: int = 1000
    confident: float = 0.5
    fewest: int = 40
    camera: Literal["pinhole", "linear"] = "pinhole"
    shape_weight: float = 0.1
    correlated_pixels: float = 12.0
    depth_weight: float = 0.05
    centre_weight: float = 0.02
    distance: float = 700.0
    photometry_rounds: int = 4


DEFAULTS = ReconstructionOptions()


@dataclass(frozen=True)
class Reconstruction:
    """A batch of faces as the network and the least squares see them.

    Attributes:
        maps: what the network said.
        geometry, photometry: the answers of the two linear problems, equations (35) and (41). The photometry saw the
            picture through `softplus_clamp`: to show it, apply `softplus_unclamp` to albedo / (F l).
        camera, shape: the camera and m = [identity; expression] to use.
        landmarks68: "Fitted": the model's landmarks, projected by `camera`, px.
        landmarks68_direct: "Direct": see `metrics.direct_landmarks`, px; NaN without a confident pixel.
        found: whether enough pixels are confident for a face. Where not, all else means nothing.
        linear_failed: the twelve-number camera was degenerate (mirrored, or millimetres or kilometres away), as with
            near-planar depth or in near profile; `camera` is then the pinhole one, whatever the options say.
        refined: whether the photo has improved it, see `refined_reconstruction`.
        residual_px: median distance between where the model puts the pixels' points and the pixels, px.
    """

    maps: Maps
    geometry: Geometry
    photometry: Photometry
    camera: Camera
    shape: Float[Tensor, "B Ns"]
    landmarks68: Float[Tensor, "B 68 2"]
    landmarks68_direct: Float[Tensor, "B 68 2"]
    found: Bool[Tensor, " B"]
    linear_failed: Bool[Tensor, " B"]
    residual_px: Float[Tensor, " B"]
    refined: Bool[Tensor, " B"]


def reconstruction_tables(model: MorphableModel, options: ReconstructionOptions = DEFAULTS) -> UVModel:
    """The UV model that `reconstruct` is fast with: leading components, few texels."""
    small = model.truncate(options.n_identity, options.n_expression, options.n_albedo)
    return uv_model(small, resolution=options.texels)


def reconstruct(
    net: Network,
    uv_model: UVModel,
    image: Float[Tensor, "B 3 S S"],
    options: ReconstructionOptions = DEFAULTS,
    *,
    focal: Float[Tensor, " B"] | None = None,
    principal_point: Float[Tensor, "B 2"] | None = None,
) -> Reconstruction:
    """Run the network, which should be in eval mode, and solve what follows from its maps. See `reconstruct_maps`."""
    with torch.inference_mode():
        maps = net(image)
    return reconstruct_maps(maps, uv_model, image, options, focal=focal, principal_point=principal_point)


@torch.no_grad()
def reconstruct_maps(
    maps: Maps,
    uv_model: UVModel,
    image: Float[Tensor, "B 3 H W"],
    options: ReconstructionOptions = DEFAULTS,
    *,
    focal: Float[Tensor, " B"] | None = None,
    principal_point: Float[Tensor, "B 2"] | None = None,
) -> Reconstruction:
    """Everything that follows from given maps.

    Args:
        image: in the colour space of the model's albedo, [0, 1].
        focal: known focal length, px of `image`; an image whose linear camera is asked for gets the pinhole one.
        principal_point: px of `image`, if the image is a crop of a known photo; else the face's middle.

    An image in which fewer than `options.fewest` pixels are confident is not an error: see `Reconstruction.found`.
    """
    W = image.shape[3]
    o = options
    confidence = maps.confidence
    index = sample_pixels(confidence, o.samples, torch.Generator(image.device).manual_seed(0))
    stack = torch.cat([maps.uv, maps.depth[:, None], confidence[:, None], softplus_clamp(image)], 1)
    uv, depth, weight, colour = gather_pixels(stack, index).split([2, 1, 1, 3], -1)
    uv, depth, weight = uv.contiguous(), depth[..., 0].contiguous(), weight[..., 0].contiguous()
    pixels = pixel_coordinates(index, W, image.dtype)
    total = weight.sum(1).mean().item()  # the batch's images share their options, so their faces' mean size counts

    geometry = solve_geometry(
        uv_model,
        uv,
        depth,
        weight,
        pixels,
        shape_weight=o.shape_weight * total,
        centre_weight=o.centre_weight * total,
        centre="axis",
        centre_distance=o.distance,
    )
    linear = decompose(geometry.P, geometry.q, strict=False)
    linear_failed = ~_credible(linear, geometry, o.distance)
    pinhole = fit_correspondence(
        uv_model,
        uv,
        depth,
        weight,
        pixels,
        evidence=confidence.sum((1, 2)) / o.correlated_pixels,
        depth_weight=o.depth_weight,
        distance=o.distance,
        focal=focal,
        principal_point=principal_point,
    )
    take = linear_failed | (o.camera == "pinhole") | (focal is not None)
    camera = Camera(*(_where(take, getattr(pinhole.camera, k), getattr(linear, k)) for k in ("K", "R", "t")))
    shape = _where(take, pinhole.m, geometry.m)
    landmarks68, _ = project(camera, landmark_points(uv_model, shape))
    return Reconstruction(
        maps=maps,
        geometry=geometry,
        photometry=solve_colours(uv_model, uv, colour.contiguous(), weight, o),
        camera=camera,
        shape=shape,
        landmarks68=landmarks68,
        landmarks68_direct=direct_landmarks(maps.uv, confidence, uv_model.landmarks_uv, threshold=o.confident),
        found=(confidence > o.confident).sum((1, 2)) >= o.fewest,
        linear_failed=linear_failed,
        residual_px=pinhole.residual.masked_fill(weight <= o.confident, torch.nan).nanmedian(1).values,
        refined=torch.zeros_like(linear_failed),
    )


def landmark_points(uv_model: UVModel, m: Float[Tensor, "B Ns"]) -> Float[Tensor, "B 68 3"]:
    """The 68 landmarks of faces, mm, read from the UV model at the landmarks' (u, v)."""
    mean, basis = uv_model.sample_shape(uv_model.landmarks_uv)  # 68 3, 68 3 Ns
    return mean + (m @ basis.flatten(0, 1).T).unflatten(-1, (-1, 3))


def solve_colours(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    colour: Float[Tensor, "B S 3"],
    weight: Float[Tensor, "B S"],
    options: ReconstructionOptions = DEFAULTS,
) -> Photometry:
    """Light and albedo of each image: the linear answer (41), then steps on the picture's own residual.

    As `portrait_fit.fit_photometry`, but in a batch, with the mean face's normals: each of `photometry_rounds` begins
    with Tukey's weights of the last residual (hair, shine) and pulls the light towards a white one of usual exposure,
    because no single photo tells a dim lamp from dark skin.
    """
    normal = uv_model.sample_normal(uv)
    F = sh_basis(normal)  # B S 9
    c, D = uv_model.sample_albedo(uv)  # B S 3, B S 3 Nal
    skin = weight >= 0.5 * weight.amax(1, keepdim=True)
    target = white_light(F, weight, F.new_zeros(len(F), 3, 9))
    total = weight.sum(1).mean().item()  # the linear problem's priors are common to the batch
    answer = solve_photometry(
        uv_model, uv, colour, weight, normals=normal, light_target=target,
        albedo_weight=options.correlated_pixels * FIRST_SCALE**2, light_weight=WHITE_LIGHT * total,
    )  # fmt: skip
    for _ in range(options.photometry_rounds):
        albedo, inverse = painted(answer, F, c, D)
        distance = (colour - albedo / inverse).square().mean(-1).sqrt()  # B S
        scale = robust_scale(distance, skin, 0.01)  # B 1
        w = weight * tukey_weight(distance, scale)
        target = white_light(F, w, answer.l)
        answer = image_step(
            answer, F, c, D, colour, w, light_target=target,
            albedo_weight=options.correlated_pixels * scale[:, 0] ** 2, light_weight=WHITE_LIGHT * w.sum(1),
        )  # fmt: skip
    return answer


def _credible(camera: Camera, geometry: Geometry, distance: float) -> Bool[Tensor, " B"]:
    """A camera that might exist: finite, not mirrored, roughly square pixels, between 15 cm and 10 usual distances."""
    focal = camera.K.diagonal(dim1=1, dim2=2)[:, :2]
    away = geometry.q.norm(dim=-1)
    return (
        camera.K.isfinite().all(-1).all(-1)
        & (torch.det(geometry.P) > 0)
        & ((focal[:, 0] / focal[:, 1]).log().abs() < 0.4)
        & (away > 150)
        & (away < 10 * distance)
    )


def _where(take: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(take.reshape(-1, *[1] * (a.ndim - 1)), a, b)
