"""The seam between maps and photo: a reconstruction goes in, the photo itself improves it, a reconstruction comes out.

`reconstruct` believes the network; `refinement.refine` then compares the face with the picture, at fixed points of the
model. This module translates between the two, for `--refine` of the commands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.camera import Camera, project
from facenb.face_points import FacePoints, as_photographed, inner_face, random_points
from facenb.metrics import five_points, inter_ocular
from facenb.morphable_model import MorphableModel
from facenb.photometry_layer import Photometry
from facenb.reconstruction import DEFAULTS, Reconstruction, ReconstructionOptions, landmark_points
from facenb.refinement import Refined, RefinementOptions, refine
from facenb.scaled_pose import pose_of
from facenb.shared_identity import photos_of, refine_together
from facenb.uv_model import UVModel

POINTS = 1500  # of the face that are compared with the photo
# Unlike in training, the network is a good witness here: the prior prefers the shape that it saw, outliers count less.
ALONE = RefinementOptions(shape_prior=30.0, outlier=3.0)
# A face that went farther than this, in distances between the eyes (mean over the landmarks), was lost on the way.
FARTHEST = 0.08
# Weight of a squared standard deviation of an identity that several photos have in common. What the model cannot paint
# of somebody (beard, make-up, own shadows) errs alike in all of them: they are fewer witnesses than there are photos.
IDENTITY_PRIOR = 60.0


def refinement_points(
    model: MorphableModel, uv_model: UVModel, options: ReconstructionOptions = DEFAULTS, n: int = POINTS
) -> FacePoints:
    """Points for `refine_reconstruction` with the components that `uv_model` has: the inner face's, softened, as in
    training."""
    small = model.truncate(options.n_identity, options.n_expression, options.n_albedo)
    surface = as_photographed(small, uv_model.flattening)
    return random_points(surface, small.triangles, n, torch.Generator().manual_seed(0), inner_face(small))


def refine_reconstruction(
    reconstruction: Reconstruction,
    image: Float[Tensor, "B 3 S S"],
    points: FacePoints,
    uv_model: UVModel,
    steps: int,
    options: RefinementOptions | None = None,
) -> Reconstruction:
    """The same faces after `steps` of photometric refinement: camera, shape, photometry and Fitted landmarks anew.

    What comes straight from the maps (Direct landmarks, the linear geometry) stays. A face that was not found, that did
    not come back finite or went too far stays as it was.
    """
    if steps < 1:
        return reconstruction
    options = replace(options or ALONE, steps=steps)
    r = reconstruction
    with torch.no_grad():
        m = r.shape.clamp(-3, 3)
        start = (pose_of(r.camera, points.centre), m, r.maps.confidence)
        refined = refine(points, image, *start, options, usual=m)
        return _replaced(r, refined, points, uv_model, FARTHEST)


@torch.no_grad()
def refine_same_person(
    reconstructions: Sequence[Reconstruction],
    images: Sequence[Float[Tensor, "1 3 S S"]],
    points: FacePoints,
    uv_model: UVModel,
    steps: int,
    n_identity: int = DEFAULTS.n_identity,
    options: RefinementOptions | None = None,
) -> list[Reconstruction]:
    """The faces of one person in several photos after `steps` of refinement together: equal identity, equal albedo.

    Each reconstruction is a batch of one, `images` its crop, all of one size; otherwise as `refine_reconstruction`.
    A face that was not found has no say.
    """
    result = list(reconstructions)
    pairs = enumerate(zip(reconstructions, images, strict=True))
    faces = {i: (r, image) for i, (r, image) in pairs if bool(r.found) and _is_finite(r)}
    if steps < 1 or not faces:
        return result
    options = replace(options or RefinementOptions(), steps=steps)
    rs, crops = zip(*faces.values(), strict=True)
    camera = Camera(*(torch.cat([getattr(r.camera, k) for r in rs]) for k in ("K", "R", "t")))
    start = (
        pose_of(camera, points.centre),
        torch.cat([r.shape for r in rs]).clamp(-3, 3),
        torch.cat([r.maps.confidence for r in rs]),
    )
    refined = refine_together(points, torch.cat(crops), *start, n_identity, options, identity_prior=IDENTITY_PRIOR)
    for row, i in enumerate(faces):
        result[i] = _replaced(result[i], photos_of(refined, slice(row, row + 1)), points, uv_model)
    return result


def _is_finite(r: Reconstruction) -> bool:
    return all(bool(x.isfinite().all()) for x in (r.camera.K, r.camera.R, r.camera.t, r.shape))


def _replaced(
    r: Reconstruction, refined: Refined, points: FacePoints, uv_model: UVModel, farthest: float = math.inf
) -> Reconstruction:
    """What was refined instead of what the maps said, wherever there is a face, and it is finite and not far away."""
    camera = refined.pose.camera(points.centre)
    parts = (camera.K, camera.R, camera.t, refined.m, refined.l, refined.h)
    refined68, _ = project(camera, landmark_points(uv_model, refined.m))
    moved = (refined68 - r.landmarks68).norm(dim=-1).mean(1) / inter_ocular(five_points(r.landmarks68))
    good = r.found & torch.stack([x.flatten(1).isfinite().all(1) for x in parts]).all(0) & (moved < farthest)

    def pick(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(good.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    camera = Camera(*(pick(getattr(camera, k), getattr(r.camera, k)) for k in ("K", "R", "t")))
    m = pick(refined.m, r.shape)
    landmarks68, _ = project(camera, landmark_points(uv_model, m))
    photometry = Photometry(pick(refined.l, r.photometry.l), pick(refined.h, r.photometry.h))
    return replace(r, camera=camera, shape=m, landmarks68=landmarks68, photometry=photometry)
