"""The z-buffer against a slow readable twin, PyTorch3D, counted coverage and its own derivative."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.autograd import gradcheck

from facenb.rasterise import Fragments, differentiable_barycentrics, interpolate, rasterise
from facenb.rasterise_cuda import rasterise_pytorch3d, to_ndc


def slow_twin(vertices: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Triangle, barycentrics, depth and distance to the nearest edge (in λ), one pixel at a time, by solving 3 × 3
    systems.

    The ray through pixel (x, y) meets the plane of a triangle where Σ b_i z_i (x_i, y_i, 1) = z (x, y, 1), Σ b_i = 1:
    in homogeneous coordinates perspective is linear, and no 1/z need be interpolated.
    """
    triangle = np.full((height, width), -1)
    b, depth = np.zeros((height, width, 3)), np.full((height, width), np.inf)
    margin = np.full((height, width), np.inf)
    for t, corners in enumerate(triangles):
        p = vertices[corners].astype(float)  # 3 3
        columns = (p[:, 2:] * np.column_stack([p[:, :2], np.ones(3)])).T  # 3 3: z_i (x_i, y_i, 1)
        area = np.linalg.det(np.column_stack([p[:, :2], np.ones(3)]))
        if area == 0:
            continue
        for y in range(height):
            for x in range(width):
                direction = np.linalg.solve(columns, [x, y, 1.0])
                z = 1 / direction.sum()
                c = direction * z
                margin[y, x] = min(margin[y, x], np.abs(direction * p[:, 2]).min())  # λ_i = b_i z_i / z
                if (c >= 0).all() and z > 0 and z < depth[y, x]:
                    triangle[y, x], b[y, x], depth[y, x] = t, c, z
    return triangle, b, depth, margin


def dome(n: int = 24, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """An n × n height field, (n², 3) in mm, and its triangles counterclockwise from the front."""
    v, u = torch.meshgrid(*[torch.linspace(-1, 1, n, dtype=dtype)] * 2, indexing="ij")
    X = torch.stack([70 * u, -90 * v, 60 * (1 - (u**2 + v**2) / 2)], -1).reshape(-1, 3)
    i = torch.arange(n * n).reshape(n, n)
    a, b, c, d = (k.reshape(-1) for k in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return X, torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)])


def on_screen(X: torch.Tensor, height: int, width: int, distance: float = 300.0) -> torch.Tensor:
    """A strong perspective, straight from the front, of points in model coordinates."""
    z = distance - X[..., 2]
    f = 1.1 * min(height, width) * distance / 180
    return torch.stack([(width - 1) / 2 + f * X[..., 0] / z, (height - 1) / 2 - f * X[..., 1] / z, z], -1)


soups = arrays(float, (6, 3, 3), elements=st.floats(-1, 1, width=32, allow_subnormal=False))


@settings(max_examples=25, deadline=None)
@given(soups)
def test_a_soup_of_triangles_looks_like_the_slow_twin_says(soup):
    """Ids, barycentrics and depth agree wherever the pixel centre is not within rounding of an edge."""
    H, W = 9, 12
    vertices = soup.reshape(-1, 3) * [8, 6, 90] + [5, 4, 100]
    triangles = np.arange(18).reshape(6, 3)
    sides = vertices[triangles][:, [1, 2], :2] - vertices[triangles][:, [0], :2]
    triangles = triangles[np.abs(np.linalg.det(sides)) > 1e-2]  # the twin's 3 × 3 systems need some area
    ours = rasterise(torch.tensor(vertices)[None], torch.tensor(triangles), H, W)
    triangle, b, depth, margin = slow_twin(vertices, triangles, H, W)
    clear = margin > 1e-9
    z = np.where(clear, ours.depth[0], depth)
    np.testing.assert_allclose(z, depth, rtol=1e-7)
    same = ours.triangle[0].numpy() == triangle
    assert (same | ~clear | (depth < np.inf)).all()  # two triangles may cross exactly there, at the depth just checked
    np.testing.assert_allclose(ours.barycentric[0].numpy()[clear & same], b[clear & same], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dome_looks_like_the_slow_twin_says(dtype):
    X, T = dome(7, dtype)
    P = on_screen(X, 20, 16)
    ours = rasterise(P[None], T, 20, 16)
    triangle, b, depth, margin = slow_twin(P.numpy(), T.numpy(), 20, 16)
    clear = margin > 1e-6
    assert (ours.triangle[0].numpy() == triangle)[clear].all() and clear.mean() > 0.9
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(ours.barycentric[0].numpy()[clear], b[clear], atol=tolerance)
    np.testing.assert_allclose(ours.depth[0].numpy()[clear], depth[clear], rtol=tolerance)
    assert ours.barycentric.dtype == ours.depth.dtype == dtype


def coverage(vertices: torch.Tensor, triangles: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """How many of the triangles claim each pixel, each drawn alone."""
    alone = (rasterise(vertices[None], t[None], height, width).mask[0].int() for t in triangles)
    return sum(alone)


@settings(max_examples=15, deadline=None)
@given(arrays(float, (36, 2), elements=st.floats(-0.25, 0.25, width=32)), st.booleans())
def test_a_sheet_of_triangles_claims_every_pixel_exactly_once(shift, on_pixel_centres):
    """Counted coverage of a jittered grid, with vertices anywhere and (the hard case) exactly on pixel centres."""
    n, step = 6, 4  # corners move by a quarter of a cell at most: no triangle is turned over
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64)] * 2, indexing="ij")
    P = torch.stack([x, y], -1).reshape(-1, 2) * step + torch.tensor(shift) * step
    if on_pixel_centres:
        P = P.round()
    border = ((x == 0) | (x == n - 1) | (y == 0) | (y == n - 1)).reshape(-1)
    P[border] = torch.stack([x, y], -1).reshape(-1, 2)[border] * step
    _, T = dome(n)
    count = coverage(torch.cat([P, torch.ones(n * n, 1)], -1), T, n * step, n * step)
    inside = slice(1, (n - 1) * step)  # row and column 0 lie on the border, which owns only half of its edges
    assert (count[inside, inside] == 1).all()


def test_a_closed_mesh_covers_no_pixel_once_only():
    """Every ray that enters an octahedron must leave it: front and back triangles claim the same pixels."""
    X = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    corners = [(x, y, z) for x in (0, 1) for y in (2, 3) for z in (4, 5)]
    T = torch.tensor([t if (t[0] + t[1] + t[2]) % 2 == 0 else (t[0], t[2], t[1]) for t in corners])
    P = on_screen(60 * X @ torch.linalg.qr(torch.tensor([[2.0, 1, 3], [1, 5, 2], [4, 1, 1]]).double())[0], 64, 64)
    front = [rasterise(P[None], T, 64, 64, cull=cull).mask for cull in ("back", "front")]
    assert torch.equal(front[0], front[1]) and front[0].sum() > 300
    assert set(coverage(P, T, 64, 64).unique().tolist()) == {0, 2}


def test_culling_keeps_the_side_that_its_name_does_not_say():
    X, T = dome()
    P = on_screen(X, 32, 32)[None]
    assert torch.equal(rasterise(P, T, 32, 32, cull="back").triangle, rasterise(P, T, 32, 32).triangle)
    assert not rasterise(P, T, 32, 32, cull="front").mask.any()
    assert not rasterise(P, T.flip(-1), 32, 32, cull="back").mask.any()


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 64), (64, 40)])
def test_pytorch3d_gives_the_same_answer(height, width):
    """Two images of a batch, square or not: ids agree in at least 99.9 % of the pixels, barycentrics to 1e-4."""
    X, T = dome(dtype=torch.float32)
    turn = torch.tensor([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    P = on_screen(torch.stack([X, X @ turn]) + 0.01, height, width)
    for cull in ("none", "back"):
        ours, theirs = (draw(P, T, height, width, cull=cull) for draw in (rasterise, rasterise_pytorch3d))
        same = ours.triangle == theirs.triangle
        assert same.double().mean() >= 0.999 and 0.2 < ours.mask.double().mean() < 0.9
        torch.testing.assert_close(ours.barycentric[same], theirs.barycentric[same], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.depth[same], theirs.depth[same], atol=0, rtol=1e-5)


def test_both_rasterisers_survive_vertices_that_no_camera_should_make():
    """NaN, infinite, huge, behind the camera and in its plane: these triangles are dropped, the others drawn."""
    X, T = dome(8)
    P = on_screen(X, 32, 32)
    bad = P.clone()
    for i, value in enumerate([math.nan, math.inf, -math.inf, 1e30, -1e30]):
        bad[i, 0] = bad[i + 8, 1] = value
    for i, value in enumerate([math.nan, math.inf, -math.inf, 0, -100]):
        bad[i + 16, 2] = value
    good = ~torch.isin(T, torch.tensor([*range(5), *range(8, 13), *range(16, 21)])).any(-1)
    for draw in (rasterise, rasterise_pytorch3d):
        broken, expected = draw(bad[None], T, 32, 32), draw(P[None], T[good], 32, 32)
        assert torch.equal(broken.depth, expected.depth) and expected.mask.any()
        assert torch.isfinite(broken.barycentric).all() and good[broken.triangle[broken.mask]].all()


def test_ndc_puts_the_outer_borders_of_the_shorter_side_at_one():
    """PyTorch3D: +x left, +y up, the shorter side spans [−1, 1] between the pixels' outer borders."""
    corners = torch.tensor([[-0.5, -0.5, 7.0], [59.5, 29.5, 7.0]])
    torch.testing.assert_close(to_ndc(corners, 30, 60), torch.tensor([[2.0, 1.0, 7.0], [-2.0, -1.0, 7.0]]))


def test_interpolation_is_perspective_correct():
    """Interpolating the points of space themselves gives points that project to the pixel they belong to."""
    X, T = dome()
    H, W = 40, 30
    P = on_screen(X, H, W)
    fragments = rasterise(P[None], T, H, W)
    points = interpolate(fragments, T, X)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    expected = torch.stack([x, y, fragments.depth[0]], -1)
    torch.testing.assert_close(on_screen(points[0], H, W)[fragments.mask[0]], expected[fragments.mask[0]])
    assert (points[~fragments.mask] == 0).all() and torch.isinf(fragments.depth[~fragments.mask]).all()


def test_each_image_of_a_batch_gets_its_own_vertices_and_attributes():
    X, T = dome(6)
    P = torch.stack([on_screen(X, 16, 16), on_screen(X + 20, 16, 16)])
    A = torch.stack([X, X.flip(-1)])
    both = rasterise(P, T, 16, 16)
    for i in range(2):
        alone = rasterise(P[i : i + 1], T, 16, 16)
        assert torch.equal(alone.triangle[0], both.triangle[i])
        assert torch.equal(interpolate(alone, T, A[i])[0], interpolate(both, T, A)[i])


def test_interpolation_without_a_gradient_is_the_same_but_faster():
    """The compiled loop against embedding_bag, which also has the gradient: two images, attributes shared or not."""
    X, T = dome(6)
    fragments = rasterise(on_screen(torch.stack([X, X + 7]), 16, 17), T, 16, 17)
    for A in (X, torch.stack([X, X.flip(-1)]), X.float(), X[:, :1].expand(-1, 5)):
        fast = interpolate(fragments, T, A)
        slow = interpolate(fragments, T, A.clone().requires_grad_())
        assert slow.requires_grad and not fast.requires_grad and fast.dtype == A.dtype
        torch.testing.assert_close(fast, slow.detach())


def test_gradients_reach_attributes_and_vertices():
    X, T = dome(4)
    P = on_screen(torch.stack([X, X + 5]), 8, 9)
    fragments = rasterise(P, T, 8, 9)

    def image(P, A):
        b, z = differentiable_barycentrics(P, T, fragments)
        z = torch.where(fragments.mask, z, 0)
        return interpolate(Fragments(fragments.triangle, b, z), T, A), z

    assert gradcheck(image, (P.requires_grad_(), torch.stack([X, X**2 / 50]).requires_grad_()))


def test_rasterise_itself_carries_the_gradient_at_fixed_visibility():
    X, T = dome(6)
    P = on_screen(X, 12, 12)[None].requires_grad_()
    with_gradient, without = rasterise(P, T, 12, 12), rasterise(P.detach(), T, 12, 12)
    torch.testing.assert_close(with_gradient.barycentric, without.barycentric)
    torch.testing.assert_close(with_gradient.depth, without.depth)
    with_gradient.depth[with_gradient.mask].sum().backward()
    assert P.grad[..., 2].sum() > 0 and not without.barycentric.requires_grad


def test_the_nearer_triangle_wins_and_of_equals_the_first():
    square = torch.tensor([[-1.0, -1, 10], [9, -1, 10], [-1, 9, 10]])
    P = torch.cat([square, square + torch.tensor([0, 0, 5.0]), square])[None]
    T = torch.tensor([[3, 4, 5], [0, 1, 2], [6, 7, 8]])
    assert (rasterise(P, T, 4, 4).triangle == 1).all()
    assert (rasterise(P, T[[0, 2, 1]], 4, 4).triangle == 1).all()


def test_a_mesh_without_triangles_or_outside_the_image_shows_nothing():
    X, T = dome(4)
    assert not rasterise(on_screen(X, 8, 8)[None], T[:0], 8, 8).mask.any()
    assert not rasterise(on_screen(X, 8, 8)[None] + 100, T, 8, 8).mask.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vertices": torch.zeros(4, 3)}, "vertices must be"),
        ({"triangles": torch.zeros(3, dtype=torch.int64)}, "triangles must be"),
        ({"triangles": torch.tensor([[0, 1, 4]])}, "there are 4 vertices"),
        ({"triangles": torch.tensor([[-1, 1, 2]])}, "run from -1"),
        ({"vertices": torch.ones(1, 4, 3, dtype=torch.float16)}, "float32 or float64"),
        ({"height": 0}, "at least one pixel"),
        ({"near": 0.0}, "near must be positive"),
        ({"cull": "both"}, "cull must be"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    call = {"vertices": torch.ones(1, 4, 3), "triangles": torch.tensor([[0, 1, 2]]), "height": 2, "width": 2}
    with pytest.raises(ValueError, match=message):
        rasterise(**(call | arguments))
