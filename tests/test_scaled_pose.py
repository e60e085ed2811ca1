"""The pose of seven numbers: the same camera as K, R, t, and a Jacobian that is the derivative."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.augment import invert, move_points, random_similarity
from facenb.camera import Camera, project
from facenb.rotation import exponential, rotation_from_angles
from facenb.scaled_pose import FARTHEST, LARGEST_STEP, N_POSE, NEAREST, Pose, pose_of

F64 = torch.float64
CENTRE = torch.tensor([3.0, -8.0, 30.0], dtype=F64)  # X₀, mm
SEED = st.integers(0, 2**31)


def random_pose(n: int, generator: torch.Generator) -> Pose:
    """Heads turned by up to half a radian about each axis, 0.2 to 1.6 px/mm large, 300 mm to 2 m away."""
    lot = 2 * torch.rand(n, N_POSE, generator=generator, dtype=F64) - 1
    R = rotation_from_angles(*(0.5 * lot[:, :3].T))
    return Pose(R, math.log(0.6) + lot[:, 3], 40 + 20 * lot[:, 4:6], math.log(800) + 0.95 * lot[:, 6])


def random_points(n: int, k: int, generator: torch.Generator) -> torch.Tensor:
    """Within a head's reach of its middle, mm."""
    return 90 * (2 * torch.rand(n, k, 3, generator=generator, dtype=F64) - 1)


def moved(pose: Pose, delta: torch.Tensor) -> Pose:
    """The step without its limits: what the Jacobian is the derivative of."""
    return Pose(
        exponential(delta[:, :3]) @ pose.R,
        pose.log_scale + delta[:, 3],
        pose.centre + delta[:, 4:6],
        pose.log_distance + delta[:, 6],
    )


@settings(max_examples=30, deadline=None)
@given(SEED)
def test_the_pose_sees_points_where_its_camera_does(seed):
    """x = s U_xy / D + c is K (R X + t) with K and t as the module states them; depth is z₀ + U_z."""
    g = torch.Generator().manual_seed(seed)
    pose, X = random_pose(2, g), random_points(2, 9, g)
    x, U = pose.project(X)
    pixels, depth = project(pose.camera(CENTRE), X + CENTRE)
    torch.testing.assert_close(x, pixels)
    torch.testing.assert_close(U[..., 2] + pose.offset[:, None, 2], depth)


def test_the_camera_is_the_one_the_module_states():
    pose = Pose(torch.eye(3, dtype=F64)[None], *(torch.tensor(v, dtype=F64) for v in ([0.5], [[31.0, 30.0]], [6.0])))
    camera = pose.camera(CENTRE)
    s, z = math.exp(0.5), math.exp(6)
    K = torch.tensor([[[s * z, 0, 31], [0, s * z, 30], [0, 0, 1]]], dtype=F64)
    torch.testing.assert_close(camera.K, K)
    torch.testing.assert_close(camera.t, torch.tensor([[0, 0, z]], dtype=F64) - CENTRE)


@settings(max_examples=30, deadline=None)
@given(SEED)
def test_pose_of_takes_the_camera_back(seed):
    pose = random_pose(3, torch.Generator().manual_seed(seed))
    again = pose_of(pose.camera(CENTRE), CENTRE)
    for name in ("R", "log_scale", "centre", "log_distance"):
        torch.testing.assert_close(getattr(again, name), getattr(pose, name))


@pytest.mark.parametrize("distance", [60.0, 20_000.0])
def test_a_camera_at_a_senseless_distance_keeps_its_scale_and_place(distance):
    """Only z₀ is limited. The scale, which the photo tells well, and the image of X₀ are still the camera's."""
    g = torch.Generator().manual_seed(1)
    pose = replace(random_pose(2, g), log_distance=torch.full((2,), math.log(distance), dtype=F64))
    limited = pose_of(pose.camera(CENTRE), CENTRE)
    assert limited.log_distance.exp().tolist() == pytest.approx([min(max(distance, NEAREST), FARTHEST)] * 2)
    torch.testing.assert_close(limited.log_scale, pose.log_scale)
    torch.testing.assert_close(limited.centre, pose.centre)


def test_a_camera_with_its_back_to_the_face_gives_a_finite_pose():
    """A bad fit may say so; the refinement must be able to start, and to reject it."""
    camera = random_pose(1, torch.Generator().manual_seed(2)).camera(CENTRE)
    camera = Camera(camera.K, camera.R, -camera.t - 2 * camera.R @ CENTRE)
    pose = pose_of(camera, CENTRE)
    assert all(getattr(pose, name).isfinite().all() for name in ("log_scale", "centre", "log_distance"))


@settings(max_examples=20, deadline=None)
@given(SEED)
def test_the_jacobian_is_the_derivative_in_all_seven_parameters_and_in_the_point(seed):
    """Against autograd through `project` of the moved pose, for three row vectors g at each point."""
    g = torch.Generator().manual_seed(seed)
    pose, X = random_pose(2, g), random_points(2, 4, g)
    rows = torch.randn(2, 4, 3, 2, generator=g, dtype=F64)
    J, J_X = pose.jacobian(pose.project(X)[1], rows)

    def values(delta, X):  # g x, B K C
        return torch.einsum("bkcj,bkj->bkc", rows, moved(pose, delta).project(X)[0])

    delta = torch.zeros(2, N_POSE, dtype=F64)
    by_delta, by_X = torch.autograd.functional.jacobian(values, (delta, X))
    images, points = torch.arange(2), torch.arange(4)
    torch.testing.assert_close(J, by_delta[images, :, :, images])
    torch.testing.assert_close(J_X, by_X[images[:, None], points, :, images[:, None], points])


def test_the_jacobian_agrees_with_finite_differences():
    """Autograd knows `exponential` only by its own rules: central differences know nothing."""
    g = torch.Generator().manual_seed(3)
    pose, X = random_pose(1, g), random_points(1, 5, g)
    J, _ = pose.jacobian(pose.project(X)[1], torch.eye(2, dtype=F64).expand(1, 5, 2, 2))
    for i, h in enumerate([1e-5] * 3 + [1e-5, 1e-3, 1e-3, 1e-5]):
        step = torch.zeros(1, N_POSE, dtype=F64)
        step[0, i] = h
        slope = (moved(pose, step).project(X)[0] - moved(pose, -step).project(X)[0]) / (2 * h)
        torch.testing.assert_close(J[..., i], slope, rtol=1e-6, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEED, st.floats(1e-3, 1e4))
def test_no_step_goes_farther_than_the_limits_and_rotations_stay_rotations(seed, length):
    g = torch.Generator().manual_seed(seed)
    pose = random_pose(4, g)
    after = pose.move(length * torch.randn(4, N_POSE, generator=g, dtype=F64))
    turn, scale, shift, distance = (limit * (1 + 1e-9) for limit in LARGEST_STEP)
    angle = torch.acos((((after.R @ pose.R.mT).diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    assert (angle <= turn + 1e-6).all()
    assert ((after.log_scale - pose.log_scale).abs() <= scale).all()
    assert ((after.centre - pose.centre).abs() <= shift + 1e-9).all()
    assert ((after.log_distance - pose.log_distance).abs() <= distance).all()
    torch.testing.assert_close(after.R @ after.R.mT, torch.eye(3, dtype=F64).expand(4, 3, 3))
    torch.testing.assert_close(torch.linalg.det(after.R), torch.ones(4, dtype=F64))


def test_a_small_step_is_taken_in_full():
    g = torch.Generator().manual_seed(4)
    pose = random_pose(3, g)
    delta = 0.1 * (2 * torch.rand(3, N_POSE, generator=g, dtype=F64) - 1)
    after, full = pose.move(delta), moved(pose, delta)
    for name in ("R", "log_scale", "centre", "log_distance"):
        torch.testing.assert_close(getattr(after, name), getattr(full, name))


def test_however_many_steps_the_distance_stays_sensible():
    pose = random_pose(1, torch.Generator().manual_seed(5))
    for direction, limit in ((-1.0, NEAREST), (1.0, FARTHEST)):
        step = torch.zeros(1, N_POSE, dtype=F64)
        step[0, 6] = direction
        for _ in range(20):
            pose = pose.move(step)
        assert pose.log_distance.exp().item() == pytest.approx(limit)


@settings(max_examples=30, deadline=None)
@given(SEED)
def test_a_face_moved_with_its_picture_is_seen_where_the_picture_went(seed):
    """Projecting and then moving by θ is moving the pose and then projecting; and back again is where it began."""
    g = torch.Generator().manual_seed(seed)
    pose, X = random_pose(3, g), random_points(3, 9, g)
    theta = random_similarity(3, g, source=96, size=64, rotation=math.pi, dtype=F64)
    there = pose.moved(theta)
    torch.testing.assert_close(move_points(theta, there.project(X)[0]), pose.project(X)[0])
    torch.testing.assert_close(there.R @ there.R.mT, torch.eye(3, dtype=F64).expand(3, 3, 3))
    back = there.moved(invert(theta))
    for name in ("R", "log_scale", "centre", "log_distance"):
        torch.testing.assert_close(getattr(back, name), getattr(pose, name))


def test_repeated_poses_stand_side_by_side():
    pose = random_pose(2, torch.Generator().manual_seed(0))
    twice = pose.repeated(2)
    assert torch.equal(twice.centre, pose.centre[[0, 0, 1, 1]]) and torch.equal(twice.R, pose.R[[0, 0, 1, 1]])
