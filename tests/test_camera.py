"""Cameras: projection, the inverse camera, and equations (19)–(32) against scipy's RQ, PyTorch3D and random cameras."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.camera import (
    Camera,
    crop,
    decompose,
    depth_scale,
    dolly_zoom,
    focal_from_35mm,
    focal_from_fov,
    fov_from_focal,
    homogeneous,
    intrinsics,
    intrinsics_from_fov,
    inverse_camera,
    look_at,
    project,
    project_orthographic,
    resize,
    to_pytorch3d,
    unproject,
)
from facenb.rotation import exponential, rotation_from_angles

F64 = torch.float64


def vector(low: float, high: float, size: int = 3):
    return st.lists(st.floats(low, high), min_size=size, max_size=size).map(lambda v: torch.tensor(v, dtype=F64))


@st.composite
def cameras(draw) -> Camera:
    """Any camera with positive focal lengths, some skew, any rotation, standing anywhere within two metres."""
    fx, fy = draw(vector(50, 5000, 2))
    skew, cx, cy = draw(st.floats(-50, 50)), draw(st.floats(-100, 2000)), draw(st.floats(-100, 2000))
    K = torch.tensor([[fx, skew, cx], [0, fy, cy], [0, 0, 1]], dtype=F64)
    return Camera(K, exponential(draw(vector(-3, 3))), draw(vector(-2000, 2000)))


def turned_camera(dtype: torch.dtype = F64, batch: tuple[int, ...] = ()) -> Camera:
    g = torch.Generator().manual_seed(7)
    angles = (0.5 * torch.randn(3, *batch, generator=g, dtype=F64)).to(dtype)
    K = torch.tensor([[900.0, 3, 250], [0, 950, 180], [0, 0, 1]], dtype=dtype).expand(*batch, 3, 3)
    t = torch.tensor([20.0, -30, 600], dtype=dtype) + 30 * torch.randn(*batch, 3, generator=g, dtype=F64).to(dtype)
    return Camera(K, rotation_from_angles(*angles), t)


def face_points(n: int = 40, dtype: torch.dtype = F64) -> torch.Tensor:
    return 60 * torch.randn(n, 3, generator=torch.Generator().manual_seed(3), dtype=F64).to(dtype)


# --- forwards and back


def test_a_frontal_face_is_seen_upright_with_its_left_on_the_right():
    K = intrinsics(1000.0, 201, 101, dtype=F64)
    camera = Camera(K, torch.diag(torch.tensor([1.0, -1, -1], dtype=F64)), torch.tensor([0.0, 0, 500], dtype=F64))
    X = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 100]], dtype=F64)
    pixels, depth = project(camera, X)
    assert torch.allclose(pixels, torch.tensor([[100.0, 50], [120, 50], [100, 30], [100, 50]], dtype=F64))
    assert depth.tolist() == [500, 500, 500, 400]  # the nose is nearer
    assert camera.centre.tolist() == [0, 0, 500]


@settings(max_examples=60, deadline=None)
@given(cameras(), vector(-200, 200), vector(-500, 500, 2), st.floats(1, 5000))
def test_projecting_an_unprojected_pixel_returns_it(camera, X, pixel, d):
    """The identity behind (19) and (20): X = P (d x) + q projects to x at depth d."""
    P, q = inverse_camera(camera)
    X = P @ (d * homogeneous(pixel)) + q
    x, depth = project(camera, X[None])
    assert torch.allclose(depth, torch.tensor([d], dtype=F64), rtol=1e-6, atol=1e-6)
    assert torch.allclose(x[0], pixel, atol=1e-5 * (1 + 2000 / d))
    assert torch.allclose(unproject(camera, x, depth)[0], X, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(cameras(), st.floats(1e-3, 1e3))
def test_decomposing_an_inverse_camera_returns_the_camera_at_any_scale_of_depth(camera, gamma):
    """(19)–(32) undo the inverse camera; P⁻¹ = γ K R (19) and −P⁻¹ q = γ K t (20) hold for every γ > 0."""
    P, q = inverse_camera(camera)
    P = P / gamma
    found = decompose(P, q)
    assert torch.allclose(found.K, camera.K, rtol=1e-7, atol=1e-6)
    assert torch.allclose(found.R, camera.R, atol=1e-8)
    assert torch.allclose(found.t, camera.t, rtol=1e-7, atol=1e-6)
    assert torch.allclose(depth_scale(P), torch.tensor(gamma, dtype=F64), rtol=1e-8)
    P_inv = torch.linalg.inv(P)
    assert torch.allclose(P_inv, gamma * found.K @ found.R, rtol=1e-7, atol=1e-6 * gamma)  # (19)
    assert torch.allclose(-P_inv @ q, gamma * found.K @ found.t, rtol=1e-6, atol=1e-3 * gamma)  # (20)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9), vector(-500, 500))
def test_any_regular_matrix_decomposes_as_scipys_rq_says(entries, q):
    """The twin: RQ decomposition of P⁻¹ by LAPACK, with the signs moved so that K's diagonal is positive."""
    P = torch.tensor(entries, dtype=F64).reshape(3, 3) + 2 * torch.eye(3, dtype=F64)
    if torch.det(P) < 0.1:
        P = P + 3 * torch.eye(3, dtype=F64)
    K, R = (torch.from_numpy(x) for x in scipy.linalg.rq(np.linalg.inv(P.numpy())))
    signs = torch.diag(K.diagonal().sign())
    K, R = K @ signs, signs @ R
    camera = decompose(P, q)
    assert torch.allclose(camera.K, K / K[2, 2], atol=1e-8)
    assert torch.allclose(camera.R, R, atol=1e-9)
    assert torch.allclose(depth_scale(P), K[2, 2], atol=1e-9)
    assert torch.det(camera.R) > 0.999


def test_a_batch_is_decomposed_as_its_members_are():
    camera = turned_camera(batch=(2, 3))
    P, q = inverse_camera(camera)
    scale = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=F64)
    found = decompose(P * scale[..., None, None], q)
    alone = decompose(6 * P[1, 2], q[1, 2])
    for name in ("K", "R", "t"):
        batched, member, truth = (getattr(c, name) for c in (found, alone, camera))
        assert torch.allclose(batched, truth)
        assert torch.allclose(batched[1, 2], member, rtol=1e-12)
    assert torch.allclose(found[1, 2].t, alone.t)
    assert torch.allclose(depth_scale(P * scale[..., None, None]), 1 / scale)


@pytest.mark.parametrize("name", ["project", "unproject", "inverse_camera", "decompose", "depth_scale", "dolly_zoom"])
def test_gradients_are_exact(name):
    camera = turned_camera(batch=(2,))
    X = face_points(3)
    upper = torch.triu(torch.ones(3, 3, dtype=F64))  # K is triangular: perturb only what may change
    upper[2] = 0
    last = torch.zeros(3, 3, dtype=F64)
    last[2, 2] = 1

    def make(K, R, t):
        return Camera(K * upper + last, R, t)

    P, q = inverse_camera(camera)
    operation, inputs = {
        "project": (lambda K, R, t, X: project(make(K, R, t), X), (camera.K, camera.R, camera.t, X)),
        "unproject": (
            lambda K, R, t, x, d: unproject(make(K, R, t), x, d),
            (camera.K, camera.R, camera.t, *project(camera, X)),
        ),
        "inverse_camera": (lambda K, R, t: inverse_camera(make(K, R, t)), (camera.K, camera.R, camera.t)),
        "decompose": (lambda P, q: tuple(vars(decompose(P, q)).values()), (100 * P, q)),
        "depth_scale": (depth_scale, (100 * P,)),
        "dolly_zoom": (
            lambda K, t, s: project(dolly_zoom(Camera(K, camera.R, t), s), X)[0],
            (camera.K, camera.t, torch.tensor([2.0, 3.0], dtype=F64)),
        ),
    }[name]
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(operation, inputs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-2), (torch.float64, 1e-9)])
def test_single_and_double_precision_come_back_as_they_went_in(dtype, tolerance):
    camera = turned_camera(dtype)
    x, depth = project(camera, face_points(dtype=dtype))
    P, q = inverse_camera(camera)
    again, _ = project(decompose(P, q), face_points(dtype=dtype))
    assert x.dtype == depth.dtype == again.dtype == P.dtype == dtype
    assert (again - x).abs().max() < tolerance  # px


# --- signs and degenerate data


def test_a_mirrored_camera_is_refused_or_put_behind_the_points():
    """det P < 0: with det R = +1 no camera has the points in front; equation (21) alone would return a reflection."""
    camera = turned_camera()
    P, q = inverse_camera(camera)
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=F64))
    P_mirrored, q_mirrored = mirror @ P, mirror @ q
    with pytest.raises(ValueError, match="mirrored"):
        decompose(P_mirrored, q_mirrored)

    found = decompose(P_mirrored, q_mirrored, strict=False)
    assert torch.allclose(torch.det(found.R), torch.ones((), dtype=F64))
    x, d = project(camera, face_points())
    X = (d[:, None] * homogeneous(x)) @ P_mirrored.T + q_mirrored
    again, depth = project(found, X)
    assert torch.allclose(again, x)  # every point still falls on its pixel …
    assert (depth < 0).all()  # … from behind
    assert torch.allclose(depth, d / depth_scale(P_mirrored))
    assert depth_scale(P_mirrored) < 0


def test_points_in_front_have_positive_depth():
    P, q = inverse_camera(turned_camera())
    x = torch.tensor([[10.0, 20], [300, 100]], dtype=F64)
    d = torch.tensor([3.0, 4.0], dtype=F64)  # in a unit of its own: P is scaled by 200
    X = (d[:, None] * homogeneous(x)) @ (200 * P).T + q
    _, depth = project(decompose(200 * P, q), X)
    assert torch.allclose(depth, 200 * d)


@pytest.mark.parametrize("broken", ["zero", "rank 2", "rank 1", "nan", "inf"])
def test_a_degenerate_camera_is_an_error_or_nan_in_its_own_place_only(broken):
    P, q = inverse_camera(turned_camera(batch=(3,)))
    bad = P[1].clone()
    bad = {
        "zero": torch.zeros_like(bad),
        "rank 2": bad @ torch.diag(torch.tensor([1.0, 1, 0], dtype=F64)),
        "rank 1": torch.outer(bad[:, 0], bad[0]),
        "nan": bad * torch.nan,
        "inf": bad / 0,
    }[broken]
    P = torch.stack([P[0], bad, P[2]]).requires_grad_()
    with pytest.raises(ValueError, match=r"no camera.*batch index \[\[1\]\]"):
        decompose(P, q)
    camera = decompose(P, q, strict=False)
    assert camera.K[1].isnan().all() and camera.R[1].isnan().all() and camera.t[1].isnan().all()
    assert camera.K[[0, 2]].isfinite().all()
    (camera.K[[0, 2]].sum() + camera.R[[0, 2]].sum()).backward()
    assert P.grad[[0, 2]].isfinite().all() and P.grad[[0, 2]].abs().sum() > 0


# --- helpers


@settings(max_examples=60, deadline=None)
@given(vector(-300, 300), vector(-300, 300))
def test_look_at_centres_its_target_and_keeps_up_up(centre, target):
    if torch.linalg.vector_norm((target - centre)[[0, 2]]) < 1:
        centre = centre + torch.tensor([5.0, 0, 5.0], dtype=F64)
    camera = look_at(intrinsics(800.0, 640, 480, dtype=F64), centre, target)
    assert torch.allclose(camera.R @ camera.R.T, torch.eye(3, dtype=F64), atol=1e-12)
    assert torch.allclose(torch.det(camera.R), torch.ones((), dtype=F64))
    assert torch.allclose(camera.centre, centre, atol=1e-9)
    pixel, depth = project(camera, target[None])
    assert torch.allclose(pixel, torch.tensor([[319.5, 239.5]], dtype=F64), atol=1e-6)
    assert torch.allclose(depth, torch.linalg.vector_norm(target - centre)[None])
    above, _ = project(camera, (target + torch.tensor([0, 1e-3, 0], dtype=F64))[None])
    assert above[0, 1] < pixel[0, 1] and abs(above[0, 0] - pixel[0, 0]) < 1e-6


def test_look_at_from_the_front_is_the_frontal_rotation():
    o = torch.zeros(3)
    camera = look_at(intrinsics(800.0, 64, 64), torch.tensor([0.0, 0, 500]), o)
    assert torch.equal(camera.R, torch.diag(torch.tensor([1.0, -1, -1])))
    assert torch.equal(camera.t, torch.tensor([0.0, 0, 500]))
    with pytest.raises(ValueError, match="coincide"):
        look_at(camera.K, o, o)
    with pytest.raises(ValueError, match="parallel"):
        look_at(camera.K, torch.tensor([0.0, 500, 0]), o)


@settings(deadline=None)
@given(st.floats(0.01, 3.1), st.integers(1, 5000))
def test_field_of_view_and_focal_length_are_inverse(fov, size):
    assert fov_from_focal(focal_from_fov(fov, size), size) == pytest.approx(fov, rel=1e-5)


def test_the_field_of_view_spans_the_image_from_border_to_border():
    K = intrinsics_from_fov(torch.tensor(0.5, dtype=F64), width=300, height=200)
    z = torch.tensor(1000.0, dtype=F64)
    rim = torch.stack([torch.zeros_like(z), z * torch.tan(torch.tensor(0.25, dtype=F64)), z])
    camera = Camera(K, torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64))
    assert project(camera, rim[None])[0][0].tolist() == pytest.approx([149.5, 199.5])  # H − ½
    assert intrinsics(torch.tensor([100.0, 200.0]), 10, 20).shape == (2, 3, 3)
    assert focal_from_35mm(50, 3600, 2400) == pytest.approx(5000)  # a 3:2 picture has 36 mm across its width
    with pytest.raises(ValueError, match="degrees"):
        intrinsics_from_fov(40.0, 300, 200)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 4), st.floats(0.1, 4), st.floats(-50, 50), st.floats(-50, 50))
def test_cropping_and_resizing_move_pixels_by_their_borders(sx, sy, left, top):
    camera = turned_camera()
    X = face_points()
    x, _ = project(camera, X)
    cropped, _ = project(crop(camera, left, top), X)
    assert torch.allclose(cropped, x - torch.tensor([left, top], dtype=F64))
    resized, _ = project(resize(camera, (100, 100), (100 * sx, 100 * sy)), X)
    assert torch.allclose(resized + 0.5, (x + 0.5) * torch.tensor([sx, sy], dtype=F64))


def test_stepping_back_while_zooming_in_keeps_the_subject_and_ends_orthographic():
    camera, X = turned_camera(), face_points()
    subject = X[0]
    x, depth = project(camera, X)
    flat = project_orthographic(camera, X, subject)
    assert torch.allclose(flat[0], x[0])
    # the stated error: the offset from the axis is off by the factor depth / subject's depth
    axis = camera.K[:2, 2]
    assert torch.allclose(flat - axis, (x - axis) * (depth / depth[0])[:, None])
    gap = []
    for factor in (1.0, 10.0, 100.0, 1e6):
        far, far_depth = project(dolly_zoom(camera, factor, subject), X)
        assert torch.allclose(far[0], x[0])
        assert torch.allclose(far_depth[0], factor * depth[0])
        gap.append((far - flat).abs().max().item())
    assert gap[1] < gap[0] / 5 and gap[2] < gap[1] / 5 and gap[3] < 1e-3  # px


@pytest.mark.parametrize("width, height", [(640, 480), (300, 500)])
def test_pytorch3d_projects_to_the_same_pixels(width, height):
    """Left, up, row vectors and NDC on their side; x right, y down, pixel centres on ours; with skew and fx ≠ fy."""
    camera, X = turned_camera(batch=(2,)), face_points()
    theirs = to_pytorch3d(camera, width, height)
    screen = theirs.transform_points_screen(X.float().expand(2, -1, -1), image_size=((height, width),))
    ours, depth = project(camera, X)
    assert torch.allclose(screen[..., :2] - 0.5, ours.float(), atol=2e-3)
    view = theirs.get_world_to_view_transform().transform_points(X.float().expand(2, -1, -1))
    assert torch.allclose(view[..., 2], depth.float(), rtol=1e-5)
    assert torch.allclose(theirs.get_camera_center(), camera.centre.float(), atol=1e-3)
