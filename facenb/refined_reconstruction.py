"""The seam between maps and photo: a reconstruction goes in, the photo itself improves it, a reconstruction comes out.

`reconstruct` believes the network; `refinement.refine` then compares the face with the picture, at fixed points of the
model. This module translates between the two, for `--refine` of the commands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.camera import Camera, project
from facenb.face_points import BLUR, FacePoints, blurred, inner_face, random_points, vertices_as_points
from facenb.morphable_model import MorphableModel
from facenb.photometry_layer import Photometry
from facenb.reconstruction import DEFAULTS, Reconstruction, ReconstructionOptions, landmark_points
from facenb.refinement import RefinementOptions, refine
from facenb.scaled_pose import pose_of
from facenb.uv_model import UVModel

POINTS = 1500  # of the face that are compared with the photo


def refinement_points(
    model: MorphableModel, uv_model: UVModel, options: ReconstructionOptions = DEFAULTS, n: int = POINTS
) -> FacePoints:
    """Points for `refine_reconstruction` with the components that `uv_model` has: the inner face's, softened, as in
    training."""
    small = model.truncate(options.n_identity, options.n_expression, options.n_albedo)
    surface = blurred(vertices_as_points(small, uv_model.flattening), small.triangles, BLUR)
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

    What comes straight from the maps (Direct landmarks, the linear geometry) stays. A face that was not found, or that
    did not come back finite, stays as it was.
    """
    if steps < 1:
        return reconstruction
    options = replace(options or RefinementOptions(), steps=steps)
    r = reconstruction
    confidence = r.maps.confidence
    with torch.no_grad():
        refined = refine(points, image, pose_of(r.camera, points.centre), r.shape.clamp(-3, 3), confidence, options)
    camera = refined.pose.camera(points.centre)
    parts = (camera.K, camera.R, camera.t, refined.m, refined.l, refined.h)
    good = r.found & torch.stack([x.flatten(1).isfinite().all(1) for x in parts]).all(0)

    def pick(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(good.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    camera = Camera(*(pick(getattr(camera, k), getattr(r.camera, k)) for k in ("K", "R", "t")))
    m = pick(refined.m, r.shape)
    landmarks68, _ = project(camera, landmark_points(uv_model, m))
    photometry = Photometry(pick(refined.l, r.photometry.l), pick(refined.h, r.photometry.h))
    return replace(r, camera=camera, shape=m, landmarks68=landmarks68, photometry=photometry)
