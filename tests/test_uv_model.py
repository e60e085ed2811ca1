"""The UV-3DMM: what the tables hold, and that sampling equals PyTorch's `grid_sample` in values and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample

from facenb.flatten import flatten
from facenb.normals import vertex_normals
from facenb.uv_model import (
    HALF,
    UVModel,
    bilinear,
    locate_texels,
    sample_table,
    texels_per_region,
    texels_per_triangle,
    uv_model,
)


@pytest.fixture(scope="module")
def tables(tiny_model) -> UVModel:
    return uv_model(tiny_model, resolution=48)


def twin_sample(table: torch.Tensor, height: int, width: int, uv: torch.Tensor) -> torch.Tensor:
    """Slow, readable twin: channels first, PyTorch's own bilinear sampling, texel centres at (c + ½)/W."""
    picture = table.T.reshape(1, -1, height, width)
    grid = (2 * uv - 1).reshape(1, 1, -1, 2)
    out = grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out[0, :, 0].T.reshape(*uv.shape[:-1], -1)


def random_uv(n: int, seed: int = 0, margin: float = 0.1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return (1 + 2 * margin) * torch.rand(n, 2, generator=g, dtype=torch.float64) - margin


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**31))
def test_sampling_equals_grid_sample_in_values_and_gradients(height, width, channels, seed):
    """Inside, at the rim and outside (clamped), for every map size down to one texel."""
    g = torch.Generator().manual_seed(seed)
    table = torch.randn(height * width, channels, generator=g, dtype=torch.float64)
    uv = random_uv(40, seed, margin=0.4)
    ours, twin = uv.clone().requires_grad_(), uv.clone().requires_grad_()
    a, b = sample_table(table, height, width, ours), twin_sample(table, height, width, twin)
    assert torch.allclose(a, b, atol=1e-12)
    weight = torch.randn(a.shape, generator=g, dtype=torch.float64)
    (a * weight).sum().backward()
    (b * weight).sum().backward()
    assert torch.allclose(ours.grad, twin.grad, atol=1e-10)


def test_the_gradient_in_uv_is_exact(tables):
    uv = random_uv(20, margin=0).requires_grad_()
    assert torch.autograd.gradcheck(lambda uv: torch.cat([x.flatten(1) for x in tables.sample_shape(uv)], -1), uv)
    assert torch.autograd.gradcheck(lambda uv: torch.cat([x.flatten(1) for x in tables.sample_albedo(uv)], -1), uv)
    assert torch.autograd.gradcheck(tables.sample_normal, uv)


def test_outside_the_square_the_value_is_clamped_and_the_gradient_zero(tables):
    uv = torch.tensor([[-0.3, 0.4], [0.4, 1.2], [2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    a, _ = tables.sample_shape(uv)
    inside, _ = tables.sample_shape(uv.detach().clamp(0, 1))
    assert torch.equal(a, inside)
    jacobian = torch.autograd.functional.jacobian(lambda uv: tables.sample_shape(uv)[0], uv)
    du = torch.stack([jacobian[k, :, k] for k in range(3)])  # 3 points, 3 coordinates, (u, v)
    assert (du[0, :, 0] == 0).all() and (du[0, :, 1] != 0).any()
    assert (du[1, :, 1] == 0).all() and (du[1, :, 0] != 0).any()
    assert (du[2] == 0).all()


def test_texel_centres_return_the_table_itself(tables):
    H, W = tables.height, tables.width
    r, c = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    uv = torch.stack([(c.double() + 0.5) / W, (r.double() + 0.5) / H], -1)  # H W 2
    assert torch.allclose(tables.sample(tables.shape, uv).reshape(H * W, -1), tables.shape, atol=1e-11)


@pytest.mark.parametrize("batch", [(), (0,), (5,), (2, 3), (2, 0, 4)])
def test_any_batch_shape_works(tables, tiny_model, batch):
    uv = torch.full((*batch, 2), 0.3, dtype=torch.float64, requires_grad=True)
    a, B = tables.sample_shape(uv)
    c, D = tables.sample_albedo(uv)
    n = tables.sample_normal(uv)
    assert a.shape == c.shape == n.shape == (*batch, 3)
    assert B.shape == (*batch, 3, tiny_model.n_shape) and D.shape == (*batch, 3, tiny_model.n_albedo)
    sum(x.sum() for x in (a, B, c, D, n)).backward()
    assert uv.grad.shape == uv.shape


def test_float32_coordinates_may_sample_float64_tables_and_back(tables):
    for uv_type, table_type in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        uv = random_uv(7).to(uv_type).requires_grad_()
        a, _ = tables.to(dtype=table_type).sample_shape(uv)
        a.sum().backward()
        assert a.dtype == table_type and uv.grad.dtype == uv_type
        assert torch.allclose(a.double(), tables.sample_shape(uv.double())[0], atol=1e-3)


def test_the_weights_of_the_four_texels_are_a_partition_of_one():
    index, weight = bilinear(random_uv(1000, margin=0.5), 7, 11)
    assert index.min() >= 0 and index.max() < 77
    assert (weight >= 0).all() and torch.allclose(weight.sum(-1), torch.ones(1000, dtype=torch.float64))


def test_a_coordinate_that_is_not_a_number_gives_nan_and_no_crash(tables):
    bad = torch.tensor([[float("nan"), 0.5], [0.5, 0.5], [float("inf"), 0.5]], dtype=torch.float64)
    a, _ = tables.sample_shape(bad)
    assert a[0].isnan().all() and a[1:].isfinite().all()


def test_the_tables_hold_the_linear_interpolation_of_every_component(tiny_model, tables):
    """Slow twin: for 60 texels, the triangle is found by trying all, and the components are mixed by hand."""
    flat = tables.flattening
    uv, T = flat.uv.numpy(), flat.triangles.numpy()
    B = flat.extend(torch.cat([tiny_model.shape_basis, tiny_model.shape_mean[..., None]], -1)).numpy()
    D = flat.extend(torch.cat([tiny_model.albedo_basis, tiny_model.albedo_mean[..., None]], -1)).numpy()
    for texel in np.random.default_rng(0).integers(0, 48 * 48, 60):
        p = np.array([(texel % 48 + 0.5) / 48, (texel // 48 + 0.5) / 48])
        lam = np.linalg.solve(
            np.concatenate([uv[T].transpose(0, 2, 1), np.ones((len(T), 1, 3))], 1), np.append(p, 1.0)[None, :, None]
        )[..., 0]
        t = lam.min(1).argmax()
        assert lam[t].min() > -1e-9
        assert np.allclose(np.tensordot(lam[t], B[T[t]], 1).ravel(), tables.shape[texel].numpy(), atol=1e-9)
        assert np.allclose(np.tensordot(lam[t], D[T[t]], 1).ravel(), tables.albedo[texel].numpy(), atol=1e-9)


def test_the_last_column_is_the_mean_and_the_normals_are_unit(tiny_model, tables):
    """The layout that the least-squares layers rely on: (3, Ns+1), mean last."""
    rows = tables.shape.unflatten(-1, (3, -1))
    assert rows.shape[-1] == tiny_model.n_shape + 1 and torch.allclose(rows[..., -1], tables.mean[:, :3])
    assert torch.allclose(tables.albedo.unflatten(-1, (3, -1))[..., -1], tables.mean[:, 3:])
    assert torch.allclose(tables.normal.norm(dim=-1), torch.ones(48 * 48, dtype=torch.float64))
    n = tables.sample_normal(random_uv(50))
    assert torch.allclose(n.norm(dim=-1), torch.ones(50, dtype=torch.float64))


def test_sampling_at_a_vertex_finds_the_vertex_and_the_landmarks_theirs(tiny_model):
    """Up to the size of a texel: finer texels, smaller error."""
    m = torch.randn(tiny_model.n_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    X = tiny_model.shape_mean + tiny_model.shape_basis @ m
    errors = []
    for resolution in (80, 160, 320):
        tables = uv_model(tiny_model, resolution=resolution)
        a, B = tables.sample_shape(tables.flattening.uv[: tiny_model.n_vertices])
        errors.append((a + B @ m - X).norm(dim=-1).square().mean().sqrt().item())
        assert torch.equal(tables.landmarks_uv, tables.flattening.uv[tiny_model.landmarks68])
    assert errors[2] < 0.2 and errors[0] > 1.6 * errors[1] > 2.5 * errors[2]


def test_the_normals_are_those_of_the_mean_shape(tiny_model):
    tables = uv_model(tiny_model, resolution=200)
    n = tables.sample_normal(tables.flattening.uv[: tiny_model.n_vertices])
    N = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    assert (n * N).sum(-1).quantile(0.1) > 0.999


def test_the_mouth_is_marked_invalid(tiny_model, tables):
    mouth_area = float(tables.valid.logical_not().double().mean())
    T = tables.flattening.triangles[tables.flattening.source < 0]
    p = tables.flattening.uv[T]
    e, f = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    assert mouth_area == pytest.approx(float((e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]).abs().sum() / 2), rel=0.1)
    aux = tables.flattening.uv[tiny_model.n_vertices]
    r, c = (aux.flip(0) * 48).long().tolist()
    assert not tables.valid[r * 48 + c]


def test_every_texel_has_a_triangle_and_one_that_is_missed_takes_its_neighbour(tiny_model):
    flat = flatten(tiny_model)
    triangle, b = locate_texels(flat, 64, 40)
    assert triangle.min() >= 0 and (b >= 0).all() and torch.allclose(b.sum(-1), torch.ones_like(b[:, 0]))
    torn = replace(flat, triangles=flat.triangles[1:])
    missed, b = locate_texels(torn, 64, 40)
    assert missed.min() >= 0 and torch.allclose(b.sum(-1), torch.ones_like(b[:, 0]))
    claimed = triangle > 0
    assert torch.equal(missed[claimed], triangle[claimed] - 1) and (~claimed).any()


def test_texels_are_counted_by_triangle_and_by_region(tiny_model):
    flat = flatten(tiny_model)
    counts = texels_per_triangle(flat, 50)
    assert counts.sum() == 2500 and len(counts) == len(flat.triangles)
    everywhere = replace(tiny_model, regions={"all": torch.ones(tiny_model.n_vertices), "none": torch.zeros(168)})
    assert texels_per_region(everywhere, flat, 50) == {"all": 2500 - counts[flat.source < 0].sum(), "none": 0}


@pytest.mark.parametrize(("dtype", "step"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_half_precision_halves_the_tables_and_errs_by_its_own_rounding(tiny_model, tables, dtype, step):
    """Samples are float32; table, weights and sum are each rounded to `step`, the mean is not."""
    half = uv_model(tiny_model, tables.flattening, 48, dtype=dtype)
    assert half.shape.dtype == half.albedo.dtype == dtype and half.mean.dtype == torch.float32
    assert half.shape.element_size() * 4 == tables.shape.element_size()
    for built, cast in ((half.shape, tables.shape), (half.albedo, tables.albedo)):
        assert torch.equal(built, cast.to(dtype))
    uv = random_uv(200)
    (a, B), (a64, B64) = half.sample_shape(uv.float()), tables.sample_shape(uv)
    (c, D), (c64, D64) = half.sample_albedo(uv.float()), tables.sample_albedo(uv)
    assert a.dtype == B.dtype == c.dtype == D.dtype == torch.float32
    assert (a - a64).abs().max() < 1e-3 and (c - c64).abs().max() < 1e-5  # float32, although the tables are not
    assert (B - B64).abs().max() < 4 * step * tables.shape.unflatten(-1, (3, -1))[..., :-1].abs().max()
    assert (D - D64).abs().max() < 4 * step * tables.albedo.unflatten(-1, (3, -1))[..., :-1].abs().max()


@pytest.mark.parametrize("dtype", HALF)
def test_the_gradient_through_half_precision_is_that_of_the_stored_table_and_cannot_overflow(tables, dtype):
    table = tables.shape.to(dtype)
    uv = random_uv(300).float()
    g = 1e6 * torch.randn(300, table.shape[1], generator=torch.Generator().manual_seed(3))  # overflows float16
    ours, twin = uv.clone().requires_grad_(), uv.double().requires_grad_()
    (sample_table(table, 48, 48, ours) * g).sum().backward()
    (twin_sample(table.double(), 48, 48, twin) * g).sum().backward()
    assert ours.grad.isfinite().all() and (ours.grad - twin.grad).norm() < 1e-4 * twin.grad.norm()


def test_to_moves_and_converts(tables):
    half = tables.to(dtype=torch.float16)
    assert half.shape.dtype == torch.float16 and half.normal.dtype == half.landmarks_uv.dtype == torch.float32
    assert half.n_bytes < 0.3 * tables.n_bytes
    single = tables.to("cpu", torch.float32)
    assert single.shape.dtype == single.mean.dtype == torch.float32 and single.flattening is tables.flattening
    assert tables.to().shape.dtype == torch.float64


def test_a_truncated_model_gives_the_leading_columns(tiny_model, tables):
    small = uv_model(tiny_model.truncate(2, 1, 0), tables.flattening, 48)
    assert small.n_shape == 3 and small.n_albedo == 0 and small.albedo.shape[1] == 3
    rows = tables.shape.unflatten(-1, (3, -1))
    assert torch.allclose(small.shape.unflatten(-1, (3, -1)), rows[..., [0, 1, 6, -1]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_model_of_one_skin_has_its_albedo_and_no_components(tables, dtype, generator):
    h = torch.randn(tables.n_albedo, generator=generator, dtype=torch.float64)
    one = tables.to(dtype=dtype).of_skin(h)
    uv = random_uv(50, margin=0)
    c, D = tables.sample_albedo(uv)
    skin, nothing = one.sample_albedo(uv.to(one.mean))
    torch.testing.assert_close(skin.double(), c + D @ h, atol=1e-3 if dtype in HALF else 1e-9, rtol=0)
    assert nothing.shape == (50, 3, 0) and one.n_albedo == 0
    torch.testing.assert_close(one.sample_shape(uv)[0].double(), tables.sample_shape(uv)[0], atol=1e-4, rtol=1e-5)


def test_a_table_of_another_size_is_refused(tables):
    with pytest.raises(ValueError, match="2304 rows for 3 × 4 texels"):
        sample_table(tables.shape, 3, 4, torch.zeros(1, 2))
