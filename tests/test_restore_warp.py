"""Π: views, the depth raster with its gradient, and the inverse warp."""

from math import radians, tan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import grid_sample

from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW, depth_to_points
from facenb.rasterise_cuda import rasterise_pytorch3d
from facenb.restore.depth_raster import STEEPEST, _scatter_anywhere, grid_triangles, rasterise_depth
from facenb.restore.view import Viewpoint, from_view, frontal_view, to_view
from facenb.restore.warp import FAR, lookup, render_view, sample, view_depth

f64 = torch.float64


def bowl(size: int = 24, relief: float = 0.06) -> torch.Tensor:
    """A smooth face-like depth map (1, size, size): nearest off the middle, so that nothing is symmetric."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size, dtype=f64)] * 2, indexing="ij")
    return (1.05 - relief * torch.exp(-2 * ((x - 0.2) ** 2 + (y + 0.1) ** 2)))[None]


def pose(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, x: float = 0.0, y: float = 0.0) -> Viewpoint:
    """Angles in degrees, shift in per mille."""
    angles = torch.tensor([[radians(a) for a in (yaw, pitch, roll)]], dtype=f64)
    return Viewpoint(angles, torch.tensor([[x / 1000, y / 1000, 0]], dtype=f64))


def test_a_turn_to_the_left_moves_the_nose_to_the_right_of_the_picture():
    """Signs of the three angles, on a point in front of the middle and one above it."""
    nose = torch.tensor([0, 0, 0.95], dtype=f64).reshape(1, 1, 1, 3)
    top = torch.tensor([0, -0.05, 1.0], dtype=f64).reshape(1, 1, 1, 3)
    assert to_view(nose, pose(yaw=20))[0, 0, 0, 0] > 0.01
    assert to_view(nose, pose(pitch=20))[0, 0, 0, 1] > 0.01
    assert to_view(top, pose(roll=20))[0, 0, 0, 0] < -0.01
    assert torch.allclose(to_view(nose, pose(x=3, y=-2)) - nose, torch.tensor([3e-3, -2e-3, 0], dtype=f64))


@given(st.lists(st.floats(-80, 80), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_back_from_the_view_is_where_one_came_from(numbers):
    X = depth_to_points(bowl(8))
    view = pose(*numbers)
    assert torch.allclose(from_view(to_view(X, view), view), X, atol=1e-12)
    distances = [torch.pdist(Y.reshape(-1, 3)) for Y in (X, to_view(X, view))]
    assert torch.allclose(*distances, atol=1e-12)  # a rigid motion


def test_the_frontal_view_gives_back_depth_and_texture():
    depth, texture = bowl().float(), torch.rand(1, 3, 24, 24)
    seen = render_view(depth, texture, frontal_view(1, depth))
    inner = (slice(None), slice(1, -1), slice(1, -1))  # centres on the mesh's own edge belong to nobody
    assert seen.mask[inner].all()
    assert torch.allclose(seen.depth[inner], depth[inner], atol=1e-6)
    assert torch.allclose(seen.image[..., 1:-1, 1:-1], texture[..., 1:-1, 1:-1], atol=1e-4)


def test_depth_in_the_view_is_that_of_pytorch3d():
    """Drawn by another rasteriser, which shares no line with ours."""
    depth, view = bowl(20), pose(25, -12, 5, 2, 1)
    z, mask = view_depth(depth, view)
    X = to_view(depth_to_points(depth), view).reshape(1, -1, 3)
    K = intrinsics_from_fov(FIELD_OF_VIEW, 20, 20, dtype=f64)
    pixels = X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]
    theirs = rasterise_pytorch3d(torch.cat([pixels, X[..., 2:]], -1).float(), grid_triangles(20, 20), 20, 20)
    both = mask & theirs.mask
    assert (mask ^ theirs.mask).float().mean() < 0.02
    assert both.float().mean() > 0.5
    assert torch.allclose(z[both].float(), theirs.depth[both], atol=1e-5)
    assert (z[~mask] == FAR).all()


def test_a_plane_in_a_view_has_the_depth_that_geometry_says():
    """A plane at depth 1, turned about the vertical by θ: z = 1 / (1 − tan θ · x), x the ray's slope."""
    θ, size = radians(30), 33
    z, mask = view_depth(torch.ones(1, size, size, dtype=f64), pose(yaw=30))
    focal = intrinsics_from_fov(FIELD_OF_VIEW, size, size, dtype=f64)[0, 0]
    x = (torch.arange(size, dtype=f64) - (size - 1) / 2) / focal
    expected = (1 / (1 - tan(θ) * x)).expand(1, size, size)
    assert mask.float().mean() > 0.7
    assert torch.allclose(z[mask], expected[mask], atol=1e-9)


def test_there_and_back_is_the_same_picture():
    """A smooth texture, warped into a view and, through that view's own depth, back again."""
    size = 64
    depth, view = bowl(size), pose(15, 8, 4)
    y, x = torch.meshgrid(*[torch.linspace(0, 3, size, dtype=f64)] * 2, indexing="ij")
    texture = torch.stack([x.sin(), y.cos(), (x + y).sin()])[None]
    seen = render_view(depth, texture, view)
    X = to_view(depth_to_points(depth), view)
    K = intrinsics_from_fov(FIELD_OF_VIEW, size, size, dtype=f64)
    place = X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]  # of each canonical pixel in the view
    back = sample(seen.image, place)
    covered = sample(seen.mask[:, None].to(f64), place)[:, 0] > 0.99
    covered &= ((place > 1) & (place < size - 2)).all(-1)
    assert covered.float().mean() > 0.6
    assert (back - texture).abs().amax(1)[covered].max() < 0.01
    assert (seen.image - texture).abs().max() > 0.2  # the view was another picture


def test_sampling_hits_pixel_centres_exactly():
    """Under our own convention; the public code's mixture of two moves every pixel but the middle one."""
    size = 9
    picture = torch.arange(size, dtype=f64).expand(1, 1, size, size)
    y, x = torch.meshgrid(*[torch.arange(size, dtype=f64)] * 2, indexing="ij")
    pixels = torch.stack([x, y], -1)[None]
    assert torch.allclose(sample(picture, pixels), picture)
    mixed = grid_sample(picture, 2 * pixels / (size - 1) - 1, align_corners=False, padding_mode="border")
    moved = (mixed - picture)[0, 0, 4]
    assert moved.abs().max() == pytest.approx(0.5, abs=0.05) or moved.abs().max() > 0.3
    assert moved[4] == pytest.approx(0)


def test_gradients_of_the_depth_raster_are_those_of_its_formula():
    """At fixed visibility the depth of a pixel is smooth in the points: compare with finite differences."""
    X = to_view(depth_to_points(bowl(9)), pose(12, 5, 3)).requires_grad_()
    assert gradcheck(lambda X: rasterise_depth(X, steepest=1e-6)[0], (X,), eps=1e-7, atol=1e-4)


def test_the_compiled_gradient_is_the_readable_one():
    X = to_view(depth_to_points(bowl(16)), pose(35, -10, 5)).requires_grad_()
    z, _ = rasterise_depth(X)
    weights = torch.randn(z.shape, dtype=f64, generator=torch.Generator().manual_seed(0))
    _, triangle, barycentric = z.grad_fn.saved_tensors
    (fast,) = torch.autograd.grad((z * weights).sum(), X)
    K = intrinsics_from_fov(FIELD_OF_VIEW, 16, 16, dtype=f64)
    slow = _scatter_anywhere(X.detach(), weights, triangle, barycentric, K, STEEPEST)
    assert torch.allclose(fast, slow, atol=1e-12)
    assert fast.abs().sum() > 1


def test_grazing_triangles_have_bounded_gradients():
    """Nearly edge-on, 1 / n·r would be huge."""
    X = to_view(depth_to_points(bowl(16, relief=0.3)), pose(70)).requires_grad_()
    z, mask = rasterise_depth(X)
    (bounded,) = torch.autograd.grad(z[mask].sum(), X)
    assert bounded.abs().max() < 16 * 16 / STEEPEST


def test_gradients_reach_depth_texture_and_view():
    depth, texture = bowl(8).requires_grad_(), torch.rand(1, 2, 8, 8, dtype=f64, requires_grad=True)
    view = pose(9, 4, 2, 1, 1)
    angles, shift = view.angles.requires_grad_(), view.shift.requires_grad_()

    def image(depth, texture, angles, shift):
        seen = render_view(depth, texture, Viewpoint(angles, shift))
        return seen.image[seen.mask[:, None].expand_as(seen.image)]

    assert gradcheck(image, (depth, texture, angles, shift), eps=1e-7, atol=1e-4)


def test_many_pictures_are_each_their_own():
    depth = torch.cat([bowl(12), bowl(12, 0.02)])
    views = [pose(20), pose(-10, 5)]
    together = Viewpoint(*(torch.cat(part) for part in zip(*views, strict=True)))
    texture = torch.rand(2, 3, 12, 12, dtype=f64)
    both = render_view(depth, texture, together)
    for i, view in enumerate(views):
        alone = render_view(depth[i : i + 1], texture[i : i + 1], view)
        assert torch.equal(both.image[i], alone.image[0])


def test_lookup_undoes_the_view():
    """A pixel of the view, looked up, is a canonical pixel that the view moves to it."""
    depth, view = bowl(32), pose(15, 5)
    z, mask = view_depth(depth, view)
    place = lookup(z, view)
    canonical = sample(depth[:, None], place)[:, 0]
    K = intrinsics_from_fov(FIELD_OF_VIEW, 32, 32, dtype=f64)
    ray = torch.cat([(place - K[:2, 2]) / K[0, 0], torch.ones_like(place[..., :1])], -1)
    X = to_view(ray * canonical[..., None], view)
    back = X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]
    y, x = torch.meshgrid(*[torch.arange(32, dtype=f64)] * 2, indexing="ij")
    off = (back - torch.stack([x, y], -1)).norm(dim=-1)
    inside = mask & ((place > 0) & (place < 31)).all(-1)
    assert off[inside].max() < 0.1  # the surface between pixels is flat here and bilinear there


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="texture"):
        render_view(bowl(8), torch.ones(1, 3, 9, 8, dtype=f64), pose())
    with pytest.raises(ValueError, match="grid of points"):
        rasterise_depth(torch.ones(4, 4, 3))
    with pytest.raises(ValueError, match="positive"):
        view_depth(-bowl(8), pose())
