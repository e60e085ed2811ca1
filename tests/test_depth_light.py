"""Light on depth maps: normals of planes and spheres whose answer is known, Lambert's law, gradients, bad input."""

from math import pi, radians, tan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from facenb.depth_light import FIELD_OF_VIEW, DepthLight, depth_normals, depth_to_points, lambertian, light_depth
from facenb.lighting import lamp, shade

f64 = torch.float64


def rays(size: int, fov: float = FIELD_OF_VIEW) -> torch.Tensor:
    """(x, y, 1) of each pixel's line of sight, written out: the picture spans ± tan(fov / 2) edge to edge."""
    edge = tan(fov / 2)
    x = (2 * torch.arange(size, dtype=f64) + 1 - size) / size * edge
    return torch.stack([x.expand(size, size), x[:, None].expand(size, size), torch.ones(size, size, dtype=f64)], -1)


def plane_depth(size: int, slope_x: float, slope_y: float) -> torch.Tensor:
    """Depth of the plane Z = 1 + slope_x X + slope_y Y in camera coordinates."""
    ray = rays(size)
    return (1 / (1 - slope_x * ray[..., 0] - slope_y * ray[..., 1]))[None]


def sphere_depth(size: int, radius: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth of a sphere that fills the picture (centre at Z = 1 + radius) and its exact normals, model coordinates."""
    ray, centre = rays(size), 1 + radius
    a, b, c = (ray**2).sum(-1), -centre * ray[..., 2], centre**2 - radius**2
    d = (-b - (b * b - a * c).sqrt()) / a  # the nearer of the two crossings of the line of sight
    outwards = (d[..., None] * ray - torch.tensor([0, 0, centre], dtype=f64)) / radius
    return d[None], (outwards * torch.tensor([1.0, -1.0, -1.0], dtype=f64))[None]


def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Degrees between unit vectors."""
    return 2 * torch.rad2deg(torch.asin(((a - b).norm(dim=-1) / 2).clamp(max=1)))


def some_light(batch: int) -> DepthLight:
    g = torch.Generator().manual_seed(8)
    ambient, diffuse = 0.2 + 0.5 * torch.rand(2, batch, generator=g, dtype=f64)
    return DepthLight(ambient, diffuse, 2 * torch.rand(batch, 2, generator=g, dtype=f64) - 1)


def test_points_lie_on_the_lines_of_sight_at_their_depth():
    depth = 1 + 0.1 * torch.rand(2, 9, 9, dtype=f64)
    assert torch.allclose(depth_to_points(depth), depth[..., None] * rays(9))


def test_the_picture_spans_ten_degrees_from_edge_to_edge():
    """Half a pixel beyond the outermost centres the line of sight is 5° off the axis."""
    X = depth_to_points(torch.ones(1, 64, 64, dtype=f64))[0]
    step = X[0, 1, 0] - X[0, 0, 0]
    assert float(X[0, -1, 0] + step / 2) == pytest.approx(tan(radians(5)))


@settings(deadline=None, max_examples=30)
@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_normals_of_a_plane_are_exact_up_to_its_border(slope_x, slope_y):
    """Z = 1 + aX + bY has the outward normal (a, b, -1) in camera coordinates, so (a, -b, 1) in model coordinates."""
    exact = torch.nn.functional.normalize(torch.tensor([slope_x, -slope_y, 1.0], dtype=f64), dim=0)
    n = depth_normals(plane_depth(12, slope_x, slope_y))
    assert torch.allclose(n, exact.expand_as(n), atol=1e-10)


def test_normals_of_a_sphere_converge_with_the_square_of_the_pixel_size():
    inside, border = [], []
    for size in (64, 128, 256):
        depth, exact = sphere_depth(size)
        error = angle(depth_normals(depth), exact)[0]
        inside.append(float(error[1:-1, 1:-1].mean()))
        border.append(float(error.max()))
    assert inside[0] / inside[1] == pytest.approx(4, rel=0.05) and inside[1] / inside[2] == pytest.approx(4, rel=0.05)
    assert border[0] / border[1] == pytest.approx(2, rel=0.05)
    assert inside[0] < 0.005 and border[0] < 0.7  # degrees, at the 64 × 64 pixels of the system


def test_a_bump_towards_the_camera_turns_its_normals_outwards():
    """Right of the nose the normal points to the picture's right (+x), above it up (+y), and always out (+z)."""
    depth, _ = sphere_depth(21)
    n = depth_normals(depth)[0]
    assert (n[..., 2] > 0).all()
    assert n[10, -2, 0] > 0.2 and n[10, 1, 0] < -0.2
    assert n[1, 10, 1] > 0.2 and n[-2, 10, 1] < -0.2


def test_shading_is_lambert_s_law():
    """A wall that faces the lamp gets ambient + diffuse; one at 60° half of it; one turned away the ambient alone."""
    light = DepthLight(*(torch.tensor([v], dtype=f64) for v in (0.3, 0.6)), torch.zeros(1, 2, dtype=f64))
    n = torch.tensor([[0, 0, 1.0], [3**0.5 / 2, 0, 0.5], [1, 0, 0], [0, 0, -1]], dtype=f64)[None, None]
    assert torch.allclose(lambertian(n, light), torch.tensor([0.9, 0.6, 0.3, 0.3], dtype=f64))


def test_a_lamp_on_the_right_brightens_the_right_of_a_bump():
    depth, _ = sphere_depth(32)
    one, zero = torch.ones(1, dtype=f64), torch.zeros(1, dtype=f64)
    right = lambertian(depth_normals(depth), DepthLight(zero, one, torch.tensor([[1.0, 0.0]], dtype=f64)))[0]
    above = lambertian(depth_normals(depth), DepthLight(zero, one, torch.tensor([[0.0, 1.0]], dtype=f64)))[0]
    assert right[16, 28] > right[16, 3] + 0.3
    assert above[3, 16] > above[28, 16] + 0.3


def test_the_same_lamp_means_the_same_light_here_and_in_spherical_harmonics():
    """Nine coefficients follow max(0, cos) to within 0.1 wherever they look: directions agree between the modules."""
    depth, _ = sphere_depth(32)
    light = some_light(3)
    n = depth_normals(depth).expand(3, -1, -1, -1)
    harmonic = lamp(light.direction, light.diffuse[:, None], light.ambient[:, None])[:, :1]  # 3 1 9
    difference = lambertian(n, light) - shade(harmonic, n.flatten(1, 2)).reshape(3, 32, 32)
    assert difference.abs().max() < 0.1


def test_unsup3d_writes_the_same_lamp_with_the_opposite_x():
    """Its normals are right × down, into the face, in camera coordinates; (x, y) there is (-x, y) here."""
    depth, _ = sphere_depth(16)
    X, light = depth_to_points(depth), some_light(1)
    inwards = torch.nn.functional.normalize(torch.linalg.cross(*torch.gradient(X, dim=(2, 1))), dim=-1)
    theirs = torch.nn.functional.normalize(torch.cat([light.xy, torch.ones(1, 1, dtype=f64)], 1), dim=1)
    shading = light.ambient + light.diffuse * (inwards @ theirs[0]).clamp(min=0)
    ours = light._replace(xy=light.xy * torch.tensor([-1.0, 1.0], dtype=f64))
    assert torch.allclose(lambertian(depth_normals(depth), ours), shading)


def test_texture_is_shading_times_albedo():
    depth, albedo = 1 + 0.02 * torch.rand(2, 6, 7, dtype=f64), torch.rand(2, 3, 6, 7, dtype=f64)
    light = some_light(2)
    lit = light_depth(depth, albedo, light)
    assert torch.allclose(lit.shading, lambertian(depth_normals(depth), light))
    assert torch.allclose(lit.texture, albedo * lit.shading[:, None])


def test_a_readable_twin_gives_the_same_texture_and_gradients():
    """Pixel by pixel, in the words of the paper, against the vectorised one."""
    g = torch.Generator().manual_seed(1)
    depth = (1 + 0.05 * torch.rand(1, 5, 6, generator=g, dtype=f64)).requires_grad_()
    albedo = torch.rand(1, 3, 5, 6, generator=g, dtype=f64, requires_grad=True)
    light = some_light(1)

    def point(row, column):
        f = 5 / 2 / tan(FIELD_OF_VIEW / 2)
        d = depth[0, row, column]
        return torch.stack([(column - 2.5) / f * d, -(row - 2.0) / f * d, -d])  # model axes

    twin = torch.zeros(1, 3, 5, 6, dtype=f64)
    for r in range(5):
        for c in range(6):
            right = point(r, min(c + 1, 5)) - point(r, max(c - 1, 0))
            up = point(max(r - 1, 0), c) - point(min(r + 1, 4), c)
            n = torch.linalg.cross(right, up)
            cosine = (n / n.norm() * light.direction[0]).sum().clamp(min=0)
            twin[0, :, r, c] = albedo[0, :, r, c] * (light.ambient[0] + light.diffuse[0] * cosine)
    fast = light_depth(depth, albedo, light).texture
    assert torch.allclose(fast, twin, atol=1e-12)
    probe = torch.randn(twin.shape, generator=g, dtype=f64)
    for variable in (depth, albedo):
        ours, theirs = (torch.autograd.grad((probe * t).sum(), variable, retain_graph=True)[0] for t in (fast, twin))
        assert torch.allclose(ours, theirs, atol=1e-9)


def test_gradients_agree_with_finite_differences():
    g = torch.Generator().manual_seed(1)
    depth = (1 + 0.01 * torch.rand(2, 4, 5, generator=g, dtype=f64)).requires_grad_()
    albedo = torch.rand(2, 3, 4, 5, generator=g, dtype=f64, requires_grad=True)
    light = [part.requires_grad_() for part in some_light(2)]
    assert gradcheck(lambda d, a, *light: light_depth(d, a, DepthLight(*light)).texture, (depth, albedo, *light))


@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_the_type_of_the_depth_map_is_kept(dtype):
    lit = light_depth(
        *(torch.ones(1, *s, dtype=dtype) for s in ((4, 4), (3, 4, 4))),
        DepthLight(*map(lambda part: part.to(dtype), some_light(1))),
    )
    assert all(part.dtype == dtype for part in lit)


def test_float32_normals_are_good_to_a_tenth_of_a_degree():
    """Depth near 1 and steps of 0.003: float32 has digits enough at 64 × 64."""
    depth, exact = sphere_depth(64)
    assert angle(depth_normals(depth.float()), exact.float())[:, 1:-1, 1:-1].max() < 0.1


def test_bad_input_is_refused_with_a_reason():
    light, depth, albedo = some_light(1), torch.ones(1, 4, 4, dtype=f64), torch.ones(1, 3, 4, 4, dtype=f64)
    with pytest.raises(ValueError, match="H, W ≥ 2"):
        light_depth(torch.ones(4, 4), albedo, light)
    with pytest.raises(ValueError, match="H, W ≥ 2"):
        depth_normals(torch.ones(1, 1, 4))
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive everywhere"):
            depth_normals(torch.full((1, 4, 4), bad))
    with pytest.raises(ValueError, match="does not match depth"):
        light_depth(depth, albedo[..., :3], light)
    with pytest.raises(ValueError, match="1 depth maps need"):
        light_depth(depth, albedo, some_light(2))
    with pytest.raises(ValueError, match="between 0 and π"):
        depth_normals(depth, fov=2 * pi)
