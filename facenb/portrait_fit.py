"""From one photograph and 68 points to a face: everything by least squares (book: *From a photograph to a face*).

The points give camera and shape (`landmark_fit`). Drawing that shape into the photo tells for each pixel where on the
model it is; the photometry layer then finds light and albedo together, and pixels that the model cannot explain (hair,
glasses, teeth, shine) lose their say round by round. Section E's softplus clamp, which keeps black pixels from
upsetting training, is not needed here: a black pixel is one of those.

Pixels, millimetres and colours as everywhere; the photo comes in display (sRGB) values.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import Delaunay
from torch import Tensor
from torch.nn.functional import normalize

from facenb.camera import Camera
from facenb.colour import to_linear, to_srgb
from facenb.fit_result import PortraitFit
from facenb.flatten import Flattening
from facenb.image_photometry import image_step, painted, white_light
from facenb.landmark_fit import fit_landmarks
from facenb.lighting import sh_basis
from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals
from facenb.photometry_layer import Photometry, inverse_shading, solve_photometry
from facenb.pictures import see
from facenb.pixel_sampling import gather_pixels, sample_pixels
from facenb.rasterise import interpolate
from facenb.robust import robust_scale, tukey_weight
from facenb.uv_model import UVModel, uv_model

SAMPLES = 10_000  # pixels, section C of the supplement
ROUNDS = 8  # of robust weights; they settle after four or five
# Neighbouring pixels err together. As if only one pixel in this many were independent evidence: without it ten thousand
# pixels shout the prior down, and the albedo learns the shine on the cheeks.
CORRELATED_PIXELS = 50
WHITE_LIGHT = 0.02  # how strongly the light is held to be white and of the usual exposure; a pixel's own say is one
FLAT = 0.01  # standard deviation of the colours below which a photo shows nothing between the landmarks
TOO_FLAT = "the photo is too dark or too flat to tell light from skin; use one with the face better lit"
BRIGHTEN = 1.5  # reciprocal shading beyond which a pixel's light is rather an error of its normal


@dataclass(frozen=True)
class FaceMap:
    """What each pixel of a photo sees of a face.

    Attributes:
        mask: pixels that see the face at all.
        uv: place on the flattened face.
        normal: unit normals of the surface, model coordinates.
        facing: cosine between the normal and the line of sight; 0 outside the face.
        depth: along the optical axis, mm.
    """

    mask: Bool[Tensor, "H W"]
    uv: Float[Tensor, "H W 2"]
    normal: Float[Tensor, "H W 3"]
    facing: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]


def fit_portrait(
    photo: Float[Tensor, "3 H W"],
    landmarks: Float[Tensor, "68 2"],
    model: MorphableModel,
    *,
    tables: UVModel | None = None,
    focal: float | None = None,
    noise: float | None = None,
    generator: torch.Generator | None = None,
) -> PortraitFit:
    """Camera, shape, light and albedo of the one face in `photo`.

    Args:
        photo: display values in [0, 1].
        landmarks: pixels of the 68 Multi-PIE points; a few may be wrong.
        tables: `uv_model(model)`, if at hand; else one of 160² texels is made.
        focal: focal length (px), if known.
        noise: of the landmarks (px), see `fit_landmarks`.
        generator: draws the sampled pixels; seed 0 by default, so that a photo always gives the same face.

    Raises ValueError for a photo that is not (3, H, W) or holds NaN, for landmarks that no face can have, and where
    the fitted face covers too little of the photo to tell its colours.
    """
    if photo.ndim != 3 or photo.shape[0] != 3:
        raise ValueError(f"a photo has shape (3, H, W), this one {tuple(photo.shape)}")
    if not photo.isfinite().all():
        raise ValueError("the photo has NaN or infinite pixels; save it again as PNG or JPEG")
    _, H, W = photo.shape
    points = fit_landmarks(model, landmarks, W, H, focal=focal, noise=noise)
    tables = uv_model(model, resolution=160) if tables is None else tables
    X = model.vertices(points.identity, points.expression)
    face = face_map(X, model, tables.flattening, points.camera, H, W)
    generator = torch.Generator(photo.device).manual_seed(0) if generator is None else generator
    inside = inside_hull(points.predicted, H, W)
    photometry, colour_residual, inliers = fit_colours(photo, face, inside, tables, model, generator)
    eyes = torch.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    inter_ocular = torch.linalg.vector_norm(eyes[0] - eyes[1])
    return PortraitFit(
        camera=points.camera,
        identity=points.identity,
        expression=points.expression,
        albedo=photometry.h[0],
        lighting=photometry.l[0],
        landmarks68=points.predicted,
        residuals={
            "landmarks_median_px": points.residual.median().item(),
            "landmarks_median_percent_of_inter_ocular": (100 * points.residual.median() / inter_ocular).item(),
            "colour_median": colour_residual,
            "colour_inliers_percent": 100 * inliers,
        },
    )


def face_map(
    X: Float[Tensor, "V 3"],
    model: MorphableModel,
    flattening: Flattening,
    camera: Camera,
    height: int,
    width: int,
    closed: bool = False,
    normals: Float[Tensor, "W 3"] | None = None,
) -> FaceMap:
    """Correspondence, normals and depth of every pixel, by drawing the vertices X (mm) of a face of `model`.

    `closed` draws a lid on the open mouth, too, which belongs to the square but not to the model. `normals` of the
    vertices (with those of the lid, if closed) replace the surface's own.
    """
    if closed:
        X, T, uv = flattening.extend(X), flattening.triangles.to(X.device), flattening.uv
    else:
        T, uv = model.triangles, flattening.uv[: model.n_vertices]
    fragments = see(X, T, camera, height, width)
    normals = vertex_normals(X, T) if normals is None else normals
    values = interpolate(fragments, T, torch.cat([uv.to(X), normals, X], -1))[0]
    uv, n, point = values.split([2, 3, 3], -1)
    n = normalize(n, dim=-1)
    facing = (n * normalize(camera.centre.to(X) - point, dim=-1)).sum(-1).clamp(min=0)
    mask = fragments.mask[0]
    return FaceMap(mask, uv, n, facing * mask, fragments.depth[0])


def fit_colours(
    photo: Float[Tensor, "3 H W"],
    face: FaceMap,
    inside: Bool[Tensor, "H W"],
    tables: UVModel,
    model: MorphableModel,
    generator: torch.Generator,
) -> tuple[Photometry, float, float]:
    """Light and albedo of the face in the photo, median colour residual, and the share of pixels that were believed.

    The linear problem begins, Gauss–Newton in the image's own residual goes on (`image_photometry`). In each round
    every pixel has Tukey's weight of its residual, whose scale is that of the pixels `inside` the landmarks' hull,
    where skin is certain: those alone begin. And the light is pulled towards white and the usual exposure, because
    nothing in a single photo tells a dim lamp from dark skin, or a blue lamp from blue skin; the prior of the albedo
    must not decide that.

    The albedo's prior is the maximum a-posteriori one for the measured scale, with `CORRELATED_PIXELS` in mind.

    Raises ValueError if the face covers too few pixels, or if its light goes dark.
    """
    if face.mask.sum() < 100:
        raise ValueError(f"the face covers {int(face.mask.sum())} pixels of the photo; use a larger picture")
    index = sample_pixels(face.facing[None], min(SAMPLES, int(face.mask.sum())), generator)  # 1 S

    def pixels(image: Float[Tensor, "C H W"]) -> Float[Tensor, "1 S C"]:
        return gather_pixels(image[None], index)

    colour = pixels(in_model_space(photo, model))  # 1 S 3
    uv, normal = pixels(face.uv.movedim(-1, 0)), pixels(face.normal.movedim(-1, 0))
    facing, inner = pixels(face.facing[None])[..., 0], pixels(inside[None].to(photo))[..., 0]  # 1 S
    if colour[inner > 0].std() < FLAT:
        raise ValueError(TOO_FLAT)
    F = sh_basis(normal)  # 1 S 9
    c, D = tables.sample_albedo(uv)  # 1 S 3, 1 S 3 Nal
    target = white_light(F, facing * inner, F.new_zeros(1, 3, 9))
    photometry, scale, trust = None, facing.new_full((1, 1), 0.1), inner
    for _ in range(ROUNDS):
        weight = facing * trust
        priors = {"albedo_weight": CORRELATED_PIXELS * scale[:, 0] ** 2, "light_weight": WHITE_LIGHT * weight.sum(1)}
        if photometry is None:
            linear = {name: value.item() for name, value in priors.items()}
            photometry = solve_photometry(tables, uv, colour, weight, normals=normal, light_target=target, **linear)
        else:
            photometry = image_step(photometry, F, c, D, colour, weight, light_target=target, **priors)
        target = white_light(F, weight, photometry.l)
        albedo, inverse = painted(photometry, F, c, D)
        distance = (colour - albedo / inverse).square().mean(-1).sqrt()  # 1 S, colours
        scale = robust_scale(distance, inner > 0, floor=1e-3)
        trust = tukey_weight(distance, scale)
    if (inverse_shading(tables, uv, photometry.l, normal)[trust > 0.5] <= 0).any():
        raise ValueError(TOO_FLAT)
    return photometry, distance[inner > 0].median().item(), (trust > 0.5).to(trust.dtype).mean().item()


def inside_hull(points: Float[Tensor, "N 2"], height: int, width: int) -> Bool[Tensor, "H W"]:
    """The pixels inside the convex hull of some points (px)."""
    y, x = np.mgrid[:height, :width]
    inside = Delaunay(points.detach().cpu().double().numpy()).find_simplex(np.stack([x, y], -1)) >= 0
    return torch.from_numpy(inside).to(points.device)


def photo_albedo(
    photo: Float[Tensor, "3 H W"], face: FaceMap, lighting: Float[Tensor, "3 9"], tables: UVModel, model: MorphableModel
) -> Float[Tensor, "3 H W"]:
    """The photo with its light taken off, i ⊙ (F l), in display values: the skin's own colour, pores and all.

    Black outside the face. Nothing is brightened more than `BRIGHTEN` times: where the light seems to die
    it is rather the normal that errs, and a cheek would turn white.
    """
    H, W = face.mask.shape
    inverse = inverse_shading(tables, face.uv.reshape(1, -1, 2), lighting[None], face.normal.reshape(1, -1, 3))
    inverse = inverse * (BRIGHTEN / inverse.mean(-1, keepdim=True)).clamp(0, 1)
    albedo = in_model_space(photo, model) * inverse[0].T.reshape(3, H, W)
    albedo = albedo if model.colour_space == "sRGB" else to_srgb(albedo.clamp(0, 1))
    return (albedo * face.mask).clamp(0, 1)


def in_model_space(photo: Float[Tensor, "3 H W"], model: MorphableModel) -> Float[Tensor, "3 H W"]:
    """Display values in the colour space of the model's albedo, in which the photometric problem is solved."""
    return photo if model.colour_space == "sRGB" else to_linear(photo)
