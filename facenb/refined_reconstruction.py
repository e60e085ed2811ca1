"""The seam between maps and photo: a reconstruction goes in, the photo itself improves it, a reconstruction comes out.

`reconstruct` believes the network; `refinement.refine` then compares the face with the picture, at fixed points of the
model. This module translates between the two, for `--refine` of the commands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

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
from facenb.rotation import exponential
from facenb.scaled_pose import Pose, pose_of
from facenb.shared_identity import photos_of, refine_together
from facenb.uv_model import UVModel

POINTS = 1500  # of the face that are compared with the photo
# Unlike in training, the network is a good witness here: the prior prefers the shape that it saw, outliers count less.
ALONE = RefinementOptions(shape_prior=30.0, outlier=3.0)
# A face that went farther than this, in distances between the eyes (mean over the landmarks), was lost on the way.
FARTHEST = 0.08
HELD = 1.001  # spread of a distance that is known
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
    *,
    focal: Float[Tensor, " B"] | None = None,
    principal_point: Float[Tensor, "B 2"] | None = None,
) -> Reconstruction:
    """The same faces after `steps` of photometric refinement: camera, shape, photometry and Fitted landmarks anew.

    A known focal length (px) and principal point stay what they are.

    What comes straight from the maps (Direct landmarks, the linear geometry) stays. A face that was not found, that did
    not come back finite or went too far stays as it was.
    """
    if steps < 1:
        return reconstruction
    options = replace(options or ALONE, steps=steps)
    r = reconstruction
    with torch.no_grad():
        m = r.shape.clamp(-3, 3)
        known = None if focal is None else known_camera(focal, principal_point, r.camera)
        pose = pose_of(r.camera, points.centre) if known is None else pose_in_known_camera(r.camera, points.centre)
        if known is None:
            refined = refine(points, image, pose, m, r.maps.confidence, options, usual=m)
        else:  # the photo must not bend the face to another distance: each face is held at its own
            rows = []
            for i, z in enumerate(pose.log_distance.exp().tolist()):
                held = replace(options, distance=z, distance_spread=HELD)
                one = slice(i, i + 1)
                start = (photos_of(pose, one), m[one], r.maps.confidence[one])
                rows.append(refine(points, image[one], *start, held, usual=m[one]))
            refined = _joined(rows)
        return _replaced(r, refined, points, uv_model, FARTHEST, known)


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
    options = replace(options or ALONE, steps=steps)
    rs, crops = zip(*faces.values(), strict=True)
    camera = Camera(*(torch.cat([getattr(r.camera, k) for r in rs]) for k in ("K", "R", "t")))
    m = torch.cat([r.shape for r in rs]).clamp(-3, 3)
    identity = m[:, :n_identity].mean(0).expand(len(m), -1)  # what the network says of the person, all photos together
    usual = torch.cat([identity, m[:, n_identity:]], 1)
    start = (pose_of(camera, points.centre), m, torch.cat([r.maps.confidence for r in rs]))
    refined = refine_together(
        points, torch.cat(crops), *start, n_identity, options, identity_prior=IDENTITY_PRIOR, usual=usual
    )
    for row, i in enumerate(faces):
        result[i] = _replaced(result[i], photos_of(refined, slice(row, row + 1)), points, uv_model)
    return result


def pose_in_known_camera(camera: Camera, centre: Float[Tensor, " 3"]) -> Pose:
    """The face as a camera sees it that is turned to look at its middle: `Pose` has the principal point there.

    Off the optical axis, by an angle θ, a picture is stretched along the radius by 1/cos θ, a pose knows nothing of
    that; 2 % for a face at the edge of a portrait lens's picture.
    """
    middle = camera.R @ centre + camera.t  # B 3
    image = (camera.K @ middle[..., None])[..., 0]
    turn = _turn_to(middle)
    return Pose(
        turn.mT @ camera.R,
        (camera.K[:, 0, 0] / middle[:, 2]).log(),
        image[:, :2] / image[:, 2:],
        middle.norm(dim=-1).log(),
    )


def camera_of_known(pose: Pose, centre: Float[Tensor, " 3"], K: Float[Tensor, "B 3 3"]) -> Camera:
    """The inverse of `pose_in_known_camera` for the same K."""
    ray = torch.linalg.solve(K, torch.cat([pose.centre, torch.ones_like(pose.centre[:, :1])], -1)[..., None])[..., 0]
    middle = ray * (K[:, 0, 0] / pose.log_scale.exp())[:, None]  # B 3, mm
    R = _turn_to(middle) @ pose.R
    return Camera(K, R, middle - R @ centre)


def known_camera(
    focal: Float[Tensor, " B"], principal_point: Float[Tensor, "B 2"] | None, camera: Camera
) -> Float[Tensor, "B 3 3"]:
    """K of a known calibration; without a principal point that of `camera`."""
    K = camera.K.clone()
    K[:, 0, 0] = K[:, 1, 1] = focal
    if principal_point is not None:
        K[:, :2, 2] = principal_point
    return K


def _turn_to(direction: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """The smallest rotation that takes the optical axis to a direction."""
    d = direction / direction.norm(dim=-1, keepdim=True)
    axis = torch.stack([-d[:, 1], d[:, 0], torch.zeros_like(d[:, 0])], -1)  # e_z × d, length sin θ
    sine = axis.norm(dim=-1, keepdim=True)
    return exponential(axis / sine.clamp_min(1e-12) * torch.atan2(sine, d[:, 2:]))


def _joined(rows: list[Refined]) -> Refined:
    """Batches of one as one batch."""
    pose = Pose(*(torch.cat([getattr(row.pose, f.name) for row in rows]) for f in fields(Pose)))
    rest = {f.name: torch.cat([getattr(row, f.name) for row in rows]) for f in fields(Refined) if f.name != "pose"}
    return Refined(pose=pose, **rest)


def _is_finite(r: Reconstruction) -> bool:
    return all(bool(x.isfinite().all()) for x in (r.camera.K, r.camera.R, r.camera.t, r.shape))


def _replaced(
    r: Reconstruction,
    refined: Refined,
    points: FacePoints,
    uv_model: UVModel,
    farthest: float = math.inf,
    known: Float[Tensor, "B 3 3"] | None = None,
) -> Reconstruction:
    """What was refined instead of what the maps said, wherever there is a face, and it is finite and not far away."""
    pose = refined.pose
    camera = pose.camera(points.centre) if known is None else camera_of_known(pose, points.centre, known)
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
    return replace(r, camera=camera, shape=m, landmarks68=landmarks68, photometry=photometry, refined=good)
