"""Rotations: what the signs of yaw, pitch and roll mean, and that nothing breaks at zero."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facenb.camera import Camera, intrinsics, project
from facenb.rotation import angles_from_rotation, exponential, rotation_distance, rotation_from_angles

F64 = torch.float64
angle = st.floats(-3, 3)


def picture_of(point: list[float], **angles: float) -> list[float]:
    """Pixel of a model point, relative to the image's middle, of a head turned by the angles."""
    camera = Camera(
        intrinsics(500.0, 1, 1, F64), rotation_from_angles(**angles, dtype=F64), torch.tensor([0.0, 0, 500])
    )
    return project(camera, torch.tensor([point], dtype=F64))[0][0].tolist()


NOSE, CROWN = [0.0, 0.0, 80.0], [0.0, 120.0, 0.0]


def test_no_turn_is_the_frontal_face():
    assert torch.equal(rotation_from_angles(), torch.diag(torch.tensor([1.0, -1, -1])))


@pytest.mark.parametrize(
    "angles, point, direction",
    [
        ({"yaw": 0.3}, NOSE, (+1, 0)),  # the head turns to its left: in the picture, the nose moves right
        ({"pitch": 0.3}, NOSE, (0, +1)),  # the head bows: the nose moves down
        ({"roll": 0.3}, CROWN, (-1, +1)),  # it tips to its right shoulder: the crown moves left and sinks
    ],
)
def test_positive_angles_turn_left_bow_and_tip_right(angles, point, direction):
    before, after = picture_of(point), picture_of(point, **angles)
    for moved, sign in zip(np.subtract(after, before), direction, strict=True):
        assert abs(moved) < 1e-9 if sign == 0 else moved * sign > 1


@settings(deadline=None)
@given(angle, st.floats(-1.5, 1.5), angle)
def test_angles_survive_the_matrix(yaw, pitch, roll):
    R = rotation_from_angles(yaw, pitch, roll, dtype=F64)
    assert torch.allclose(torch.stack(angles_from_rotation(R)), torch.tensor([yaw, pitch, roll], dtype=F64), atol=1e-6)
    scipys = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()
    assert np.allclose(R.numpy(), np.diag([1, -1, -1]) @ scipys, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_the_exponential_is_scipys_rotation_vector(ω):
    R = exponential(torch.tensor(ω, dtype=F64))
    assert np.allclose(R.numpy(), Rotation.from_rotvec(ω).as_matrix(), atol=1e-12)
    length = np.linalg.norm(ω)
    expected = min(length % (2 * np.pi), 2 * np.pi - length % (2 * np.pi))
    assert rotation_distance(R, torch.eye(3, dtype=F64)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ω", [[0.0, 0.0, 0.0], [1e-9, 0.0, -1e-9], [0.3, -0.2, 0.5]])
def test_gradients_are_exact_even_at_zero(ω):
    ω = torch.tensor(ω, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(exponential, ω)
    assert torch.autograd.functional.hessian(lambda v: exponential(v)[0, 0], ω).isfinite().all()
    assert torch.autograd.gradcheck(rotation_from_angles, tuple(ω.detach().clone().requires_grad_().unbind()))


def test_angles_have_exact_gradients_and_broadcast():
    yaw = torch.tensor([0.1, 0.2], dtype=F64, requires_grad=True)
    assert rotation_from_angles(yaw, 0.5).shape == (2, 3, 3)
    assert torch.autograd.gradcheck(lambda y: angles_from_rotation(rotation_from_angles(y, 0.2, -0.4)), yaw)
