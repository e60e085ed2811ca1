"""Rotations: three angles a person can read, three numbers an optimiser can move (book: *Cameras*).

The matrix R of a camera takes model coordinates (x to the subject's left, y up, z out of the face) to camera
coordinates (x right, y down, z forward). For a frontal face it is FRONTAL = diag(1, −1, −1), and a turned head is

    R = FRONTAL · R_y(yaw) · R_x(pitch) · R_z(roll)

Angles are radians, right-handed about the model's own axes, seen from a head that starts frontal:

    yaw   > 0   turns the face to the subject's left  (the nose moves to the right of the picture)
    pitch > 0   bows the head                         (the nose moves down)
    roll  > 0   tips the head to the subject's right shoulder (the top of the head moves to the left)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pytorch3d.transforms import euler_angles_to_matrix, matrix_to_euler_angles
from torch import Tensor

FRONTAL = (1.0, -1.0, -1.0)  # the diagonal of R for a frontal face: a half turn about x

AngleLike = float | Tensor


def rotation_from_angles(
    yaw: AngleLike = 0.0, pitch: AngleLike = 0.0, roll: AngleLike = 0.0, dtype: torch.dtype | None = None
) -> Float[Tensor, "*batch 3 3"]:
    """R (model → camera) of a head turned by yaw, pitch and roll (radians; signs above). Angles broadcast."""
    angles = [torch.as_tensor(angle, dtype=dtype) for angle in (yaw, pitch, roll)]
    angles = torch.stack(torch.broadcast_tensors(*angles), dim=-1)  # … 3
    return angles.new_tensor(FRONTAL)[:, None] * euler_angles_to_matrix(angles, "YXZ")


def angles_from_rotation(
    R: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """(yaw, pitch, roll) in radians of R (model → camera): yaw and roll in (−π, π], pitch in [−π/2, π/2].

    At pitch = ±π/2, a face looking straight up or down, yaw and roll turn about the same axis and only their sum or
    difference means anything: gimbal lock. Gradients blow up there; optimise with `exponential` instead.
    """
    yaw, pitch, roll = matrix_to_euler_angles(R.new_tensor(FRONTAL)[:, None] * R, "YXZ").unbind(-1)
    return yaw, pitch, roll


def exponential(ω: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation by ‖ω‖ radians about the axis ω / ‖ω‖, the matrix exponential of the cross product with ω.

    Smooth everywhere. Rodrigues' formula says the same with a division by ‖ω‖, and its second derivatives at ω = 0 come
    out as NaN.
    """
    x, y, z = ω.unbind(-1)
    o = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3)))


def rotation_distance(A: Float[Tensor, "*batch 3 3"], B: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle (radians, in [0, π]) of the rotation between A and B.

    By the chord, 2 asin(‖A − B‖_F / √8): accurate for tiny angles, where acos of the trace loses half the digits.
    """
    chord = torch.linalg.matrix_norm(A - B) / 8**0.5
    return 2 * torch.asin(chord.clamp(max=1))
