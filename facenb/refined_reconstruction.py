"""The seam between maps and photo: a reconstruction goes in, the photo itself improves it, a reconstruction comes out.

`reconstruct` believes the network; `refinement.refine` then compares the face with the picture, at fixed points of the
model. This module translates between the two, for `--refine` of the commands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from facenb.camera import Camera, project
from facenb.face_points import FacePoints, face_points
from facenb.morphable_model import MorphableModel
from facenb.photometry_layer import Photometry
from facenb.reconstruction import DEFAULTS, Reconstruction, ReconstructionOptions, landmark_points
from facenb.refinement import Pose, RefinementOptions, refine
from facenb.uv_model import UVModel

POINTS = 1500  # of the face that are compared with the photo


def refinement_points(
    model: MorphableModel, uv_model: UVModel, options: ReconstructionOptions = DEFAULTS, n: int = POINTS
) -> FacePoints:
    """Points for `refine_reconstruction` with the components that `uv_model` has."""
    small = model.truncate(options.n_identity, options.n_expression, options.n_albedo)
    return face_points(small, n, torch.Generator().manual_seed(0), uv_model.flattening)


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
    camera = refined.pose.camera(points)
    parts = (camera.K, camera.R, camera.t, refined.m, refined.l, refined.h)
    good = r.found & torch.stack([x.flatten(1).isfinite().all(1) for x in parts]).all(0)

    def pick(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(good.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    camera = Camera(*(pick(getattr(camera, k), getattr(r.camera, k)) for k in ("K", "R", "t")))
    m = pick(refined.m, r.shape)
    landmarks68, _ = project(camera, landmark_points(uv_model, m))
    photometry = Photometry(pick(refined.l, r.photometry.l), pick(refined.h, r.photometry.h))
    return replace(r, camera=camera, shape=m, landmarks68=landmarks68, photometry=photometry)


def pose_of(camera: Camera, centre: Float[Tensor, " 3"]) -> Pose:
    """The scaled perspective pose of `refinement` that sees the face as `camera` (square pixels) does.

    Its principal point is the image c of the face's `centre` (mm, model coordinates). So the camera is first turned
    to look straight at the face; where the face was off the axis, that changes the picture by less than a perspective.
    """
    at, depth = project(camera, centre.expand(len(camera.R), 1, 3))
    c, depth = at[:, 0], depth[:, 0]
    ray = normalize((camera.R @ centre) + camera.t, dim=-1)  # camera coordinates
    axis = ray.new_tensor([0.0, 0.0, 1.0]).expand_as(ray)
    turn = _rotation_between(ray, axis)
    distance = torch.linalg.vector_norm((camera.R @ centre) + camera.t, dim=-1)
    focal = camera.K[:, 0, 0] * camera.K[:, 1, 1]
    scale = focal.sqrt() / depth
    return Pose(turn @ camera.R, scale.log(), c, distance.log())


def _rotation_between(a: Float[Tensor, "B 3"], b: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """The smallest rotation that takes unit vectors a to b, not opposite: I + [v] + [v]² / (1 + a·b), v = a × b."""
    v = torch.linalg.cross(a, b)
    o = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(-1)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    return torch.eye(3).to(a) + skew + skew @ skew / (1 + (a * b).sum(-1))[:, None, None]
