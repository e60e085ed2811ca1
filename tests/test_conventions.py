"""The page *Conventions*, statement by statement, across module borders: what one module writes the next must read."""

import math

import pytest
import torch

from facenb.camera import Camera, decompose, homogeneous, intrinsics, inverse_camera, project
from facenb.colour import to_linear, to_srgb
from facenb.flatten import flatten
from facenb.lighting import sh_basis, shade
from facenb.normals import vertex_normals
from facenb.pictures import render_mesh
from facenb.rasterise import interpolate, rasterise
from facenb.rotation import rotation_from_angles
from facenb.uv_model import sample_table

F64 = torch.float64


def frontal_camera(focal=400.0, width=65, height=49, distance=800.0) -> Camera:
    t = torch.tensor([0.0, 0.0, distance], dtype=F64)
    return Camera(intrinsics(focal, width, height, F64), rotation_from_angles(dtype=F64), t)


def test_triangles_turn_counterclockwise_so_normals_point_out_of_the_face(tiny_model):
    n = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    assert (n[:, 2] > 0).all()  # a dome that faces +z
    assert tiny_model.triangles.dtype == torch.int64 and tiny_model.triangles.min() == 0


def test_the_subjects_left_is_at_the_right_of_the_picture_and_its_forehead_at_the_top(tiny_model):
    """Camera, rasteriser and picture together: red where x > 0, green where y > 0."""
    X = tiny_model.shape_mean
    colours = torch.stack([(X[:, 0] > 0).double(), (X[:, 1] > 0).double(), torch.zeros(len(X), dtype=F64)], -1)
    picture, mask = render_mesh(X, tiny_model.triangles, colours, frontal_camera(), 49, 65, background=0.0)
    assert mask.sum() > 500
    assert picture[0, :, 33:].sum() > 5 * picture[0, :, :32].sum()
    assert picture[1, :24].sum() > 5 * picture[1, 25:].sum()


def test_whole_numbers_are_pixel_centres_and_the_picture_ends_half_a_pixel_further():
    """A rectangle from (−½, −½) to (W − ½, H − ½) covers every pixel; what it carries is read at the centres."""
    W, H = 7, 5
    corner = torch.tensor([[-0.5, -0.5], [W - 0.5, -0.5], [W - 0.5, H - 0.5], [-0.5, H - 0.5]], dtype=F64)
    corners = torch.cat([corner, torch.full((4, 1), 500.0, dtype=F64)], -1)
    triangles = torch.tensor([[0, 3, 2], [0, 2, 1]])  # counterclockwise for the viewer, whose y points down
    fragments = rasterise(corners[None], triangles, H, W)
    assert (fragments.triangle >= 0).all()
    x, y = interpolate(fragments, triangles, corner)[0].unbind(-1)
    assert torch.allclose(x, torch.arange(W, dtype=F64).expand(H, W))
    assert torch.allclose(y, torch.arange(H, dtype=F64)[:, None].expand(H, W))


def test_the_fragment_at_a_pixel_is_the_model_point_of_the_inverse_camera(tiny_model):
    """Rasteriser and inverse camera agree: barycentrics give the point P (d x) + q, with d the rasteriser's depth."""
    camera, X = frontal_camera(), tiny_model.shape_mean
    pixels, depth = project(camera, X)
    fragments = rasterise(torch.cat([pixels, depth[:, None]], -1)[None], tiny_model.triangles, 49, 65)
    seen = fragments.mask[0]
    y, x = seen.nonzero(as_tuple=True)
    P, q = inverse_camera(camera)
    points = (fragments.depth[0][seen][:, None] * homogeneous(torch.stack([x, y], -1).to(F64))) @ P.T + q
    assert len(points) > 500
    assert torch.allclose(points, interpolate(fragments, tiny_model.triangles, X)[0][seen], atol=1e-6)  # mm


def test_depth_is_measured_along_the_axis_and_in_any_unit():
    camera = frontal_camera()
    sideways = torch.tensor([[0.0, 0, 0], [300, 0, 0]], dtype=F64)
    assert project(camera, sideways)[1].tolist() == [800, 800]  # not along the ray
    P, q = inverse_camera(camera)
    assert torch.allclose(decompose(25.4 * P, q).K, camera.K)  # depth in inches


def test_u_grows_to_the_subjects_left_and_v_downwards(tiny_model):
    flat = flatten(tiny_model)
    uv, X = flat.uv[: tiny_model.n_vertices].to(F64), tiny_model.shape_mean

    def correlation(a, b):
        return torch.corrcoef(torch.stack([a, b]))[0, 1]

    assert correlation(uv[:, 0], X[:, 0]) > 0.9
    assert correlation(uv[:, 1], X[:, 1]) < -0.9
    assert uv.min() >= 0 and uv.max() <= 1


def test_texel_centres_lie_half_a_texel_inside_and_rows_run_down():
    H, W = 3, 4
    table = torch.arange(H * W, dtype=F64)[:, None]
    r, c = torch.meshgrid(torch.arange(H, dtype=F64), torch.arange(W, dtype=F64), indexing="ij")
    uv = torch.stack([(c + 0.5) / W, (r + 0.5) / H], -1)
    assert torch.allclose(sample_table(table, H, W, uv)[..., 0], r * W + c)
    corner = sample_table(table, H, W, torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64))
    assert corner.flatten().tolist() == [0, H * W - 1]  # clamped to the edge texels' centres


def test_spherical_harmonics_come_in_this_order_and_scale(generator):
    n = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=F64), dim=-1)
    x, y, z = n.unbind(-1)
    monomials = [torch.ones_like(x), y, z, x, x * y, y * z, 3 * z**2 - 1, x * z, x**2 - y**2]
    squares = [1 / 4, 3 / 4, 3 / 4, 3 / 4, 15 / 4, 15 / 4, 5 / 16, 15 / 4, 15 / 16]  # of the constants, times π
    expected = torch.stack([f * math.sqrt(c / math.pi) for f, c in zip(monomials, squares, strict=True)], -1)
    assert torch.allclose(sh_basis(n), expected)


def test_a_light_is_channels_by_nine_and_its_27_numbers_are_red_first(generator):
    n = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator, dtype=F64), dim=-1)
    light = torch.randn(1, 3, 9, generator=generator, dtype=F64)
    F = torch.block_diag(*[sh_basis(n[:1])] * 3)  # 3 × 27, the F_j of equation (39)
    assert torch.allclose(F @ light.reshape(27), shade(light, n)[0, :, 0])


def test_photos_hold_display_values_and_half_of_white_is_a_fifth_of_the_light():
    """IEC 61966-2-1: display value 0.5 is linear 0.2140."""
    assert to_linear(torch.tensor(0.5, dtype=F64)) == pytest.approx(0.21404, abs=1e-5)
    assert to_srgb(torch.tensor([0.0, 1.0], dtype=F64)).tolist() == pytest.approx([0, 1])


def test_coefficients_count_standard_deviations(tiny_model, generator):
    identity, expression, albedo = tiny_model.sample(20000, generator)
    for z in (identity, expression, albedo):
        assert z.mean().abs() < 0.02 and abs(z.std() - 1) < 0.02
