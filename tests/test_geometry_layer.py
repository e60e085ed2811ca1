"""Camera and shape from correspondence and depth: equations (33) to (35) and the options of the layer."""

import pytest
import torch
from dense_least_squares import Psi, dense_geometry, sample_map
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_samples import synthetic_truth

from facenb.camera import decompose
from facenb.geometry_layer import geometry_residual, model_points, pixel_residual, solve_geometry, viewing_axis
from facenb.uv_model import uv_model

NAMES = ("uv", "depth", "weight", "pixels")


@pytest.fixture(scope="module")
def flat(tiny_model):
    return uv_model(tiny_model, resolution=24)


@pytest.fixture(scope="module")
def truth(flat):
    return synthetic_truth(flat, images=3, samples=400, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def noisy(truth):
    """Samples that no model fits exactly, as leaves of autograd."""
    g = torch.Generator().manual_seed(4)

    def noise(x, size):
        return x + size * torch.randn(x.shape, generator=g, dtype=x.dtype)

    samples = (noise(truth.uv, 0.01), noise(truth.depth, 0.01), truth.weight, noise(truth.pixels, 2.0))
    return [x.clone().requires_grad_() for x in samples]


def pull(tensors, seed=5):
    """A scalar that depends on every entry of all tensors, at comparable size."""
    g = torch.Generator().manual_seed(seed)
    factors = [torch.randn(x.shape, generator=g, dtype=torch.float64) / x.detach().abs().mean() for x in tensors]
    return sum((x * factor).sum() for x, factor in zip(tensors, factors, strict=True))


def same(a, b, tolerance):
    return (a - b).abs().max() <= tolerance * b.abs().max()


def test_the_rows_of_psi_are_the_inverse_camera(truth):
    """(33): Ψ_j [p1 q1 p2 q2 p3 q3] = P (d_j x_j) + q."""
    g = torch.Generator().manual_seed(0)
    Pq = torch.randn(3, 3, 4, generator=g, dtype=torch.float64)
    x = torch.cat([truth.pixels, torch.ones_like(truth.depth)[..., None]], -1)
    direct = torch.einsum("bik,bsk->bsi", Pq[..., :3], truth.depth[..., None] * x) + Pq[:, None, :, 3]
    assert same(torch.einsum("bsic,bc->bsi", Psi(truth.depth, truth.pixels), Pq.flatten(1)), direct, 1e-14)


@pytest.mark.parametrize("centre_weight", [0.0, 30.0])
def test_the_layer_equals_the_dense_solution_and_its_gradients(flat, noisy, centre_weight):
    """(34), (35): values and gradients in uv, d, w, x and the shape weights, float64, to 1e-9."""
    shape_weight = torch.linspace(0.5, 2, flat.n_shape, dtype=torch.float64, requires_grad=True)
    camera_weight = torch.tensor([0.0, 0, 0, centre_weight] * 3, dtype=torch.float64)
    target = torch.tensor([0.0] * 11 + [600.0], dtype=torch.float64)  # [0₁₁; z₀]
    fast = solve_geometry(flat, *noisy, shape_weight=shape_weight, centre_weight=centre_weight)
    dense = dense_geometry(flat, *noisy, shape_weight, camera_weight, target)
    fast = (fast.P, fast.q, fast.m)
    assert all(same(a, b, 1e-9) for a, b in zip(fast, dense, strict=True))
    inputs = [*noisy, shape_weight]
    ours, theirs = torch.autograd.grad(pull(fast), inputs), torch.autograd.grad(pull(dense), inputs)
    assert all(same(a, b, 1e-9) for a, b in zip(ours, theirs, strict=True))


def test_single_precision_follows_double(flat, noisy):
    """The same in float32: solution to 1e-3 of a standard deviation, gradients to 1 %."""
    single = [x.detach().float().requires_grad_() for x in noisy]
    ours, exact = solve_geometry(flat.to(dtype=torch.float32), *single), solve_geometry(flat, *noisy)
    assert (ours.m - exact.m).abs().max() < 1e-3
    assert (ours.q - exact.q).abs().max() < 0.1  # mm
    gradients = [torch.autograd.grad(pull((g.P, g.q, g.m)), x) for g, x in ((ours, single), (exact, noisy))]
    assert all(same(a, b, 1e-2) for a, b in zip(*gradients, strict=True))


def test_half_precision_tables_cost_little(flat, noisy):
    """float16 bases with float32 means: a few hundredths of a standard deviation."""
    half, single = flat.to(dtype=torch.float16), [x.detach().float() for x in noisy]
    ours, exact = solve_geometry(half, *single), solve_geometry(flat, *noisy)
    assert (ours.m - exact.m).abs().max() < 0.05
    assert (model_points(half, single[0], ours.m) - model_points(flat, noisy[0], exact.m)).abs().max() < 0.1  # mm


def options(flat, truth):
    return {
        "plain": {},
        "centre": {"centre_weight": 5.0},
        "known calibration": {"K": truth.K},
        "one person": {"person": torch.tensor([8, 8, 2]), "n_identity": 6},
        "one person, known calibration": {"K": truth.K, "person": torch.tensor([8, 8, 2]), "n_identity": 6},
    }


@pytest.mark.parametrize("option", options(None, type("", (), {"K": None})))
def test_gradients_equal_finite_differences_under_every_option(flat, truth, noisy, option):
    few = [x.detach()[:, :60].clone().requires_grad_() for x in noisy]

    def solution(*samples):
        geometry = solve_geometry(flat, *samples, **options(flat, truth)[option])
        return geometry.P, geometry.q / 600, geometry.m

    assert torch.autograd.gradcheck(solution, few, eps=1e-7, atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("option", options(None, type("", (), {"K": None})))
def test_exact_samples_give_back_camera_and_shape(flat, truth, option):
    """Promised: float64 recovery to 1e-6 (the prior switched off), with and without the options."""
    settings = options(flat, truth)[option] | {"centre_weight": 0.0, "shape_weight": 1e-12}
    if "person" in settings:  # make the pictures show what the option assumes
        model_truth = synthetic_truth(flat, 1, 400, torch.Generator().manual_seed(9))
        m = torch.cat([model_truth.m[:, :6].expand(3, -1), truth.m[:, 6:]], 1)
        X = model_points(flat, truth.uv, m) @ truth.R.mT + truth.t[:, None]
        x = X @ truth.K.mT
        depth, pixels = X[..., 2] / 600, x[..., :2] / x[..., 2:]
        settings["person"] = torch.tensor([1, 1, 1])
    else:
        m, depth, pixels = truth.m, truth.depth, truth.pixels
    geometry = solve_geometry(flat, truth.uv, depth, truth.weight, pixels, **settings)
    camera = decompose(geometry.P, geometry.q)
    assert (geometry.m - m).abs().max() < 1e-6
    assert (geometry.q - truth.centre).abs().max() < 1e-6
    assert same(camera.K, truth.K, 1e-6) and (camera.R - truth.R).abs().max() < 1e-6
    assert pixel_residual(flat, truth.uv, pixels, geometry).abs().max() < 1e-6
    assert geometry_residual(flat, truth.uv, depth, pixels, geometry).abs().max() < 1e-6


def test_a_known_calibration_is_kept_exactly_and_is_the_best_scaled_rotation(flat, truth, noisy):
    """P K must be a scaled rotation, and no neighbouring one may fit better."""
    with torch.no_grad():
        geometry = solve_geometry(flat, *noisy, K=truth.K, shape_weight=0.7)
        A = geometry.P @ truth.K
        scale = torch.det(A) ** (1 / 3)
        R = A / scale[:, None, None]
        eye = torch.eye(3, dtype=torch.float64)
        assert torch.allclose(R @ R.mT, eye.expand(3, 3, 3), atol=1e-12)

        def cost(A):
            """Minimal cost over q and m for the given P = A K⁻¹, by dense least squares."""
            X = sample_map(flat.shape, 24, 24, noisy[0])
            x = torch.cat([noisy[3], torch.ones_like(noisy[1])[..., None]], -1) * noisy[1][..., None]
            rows = X.new_zeros(*X.shape[:3], 3 + flat.n_shape)
            rows[..., :3] = eye
            rows[..., 3:] = -X[..., :-1]
            right = X[..., -1] - x @ (A @ torch.linalg.inv(truth.K)).mT
            root = noisy[2].sqrt()[..., None]
            prior = 0.7**0.5 * torch.eye(3 + flat.n_shape, dtype=X.dtype)[3:].expand(3, -1, -1)
            rows = torch.cat([(rows * root[..., None]).flatten(1, 2), prior], 1)
            right = torch.cat([(right * root).flatten(1), X.new_zeros(3, flat.n_shape)], 1)[..., None]
            solution = torch.linalg.lstsq(rows, right).solution
            return (rows @ solution - right).square().sum((1, 2))

        best = cost(A)
        g = torch.Generator().manual_seed(2)
        for _ in range(10):
            eta = 1e-3 * torch.randn(3, 3, 3, generator=g, dtype=torch.float64)
            turn = torch.matrix_exp(eta - eta.mT + eta[:, :1, :1] * eye)
            assert (cost(A @ turn) > best).all()


def test_images_of_one_person_equal_one_dense_system(flat, noisy):
    """All rows of all images in one matrix with shared identity columns; one set of regularisation rows."""
    n_identity, n_own = 6, flat.n_shape - 6
    with torch.no_grad():
        uv, depth, weight, pixels = noisy
        X, psi = sample_map(flat.shape, 24, 24, uv), Psi(depth, pixels)
        rows = X.new_zeros(3, X.shape[1], 3, 3 * 12 + 3 * n_own + n_identity)
        for b in range(3):
            rows[b, ..., 12 * b : 12 * b + 12] = psi[b]
            rows[b, ..., 36 + n_own * b : 36 + n_own * (b + 1)] = -X[b, ..., n_identity:-1]
            rows[b, ..., 36 + 3 * n_own :] = -X[b, ..., :n_identity]
        root = weight.sqrt()[..., None, None]
        prior = torch.eye(rows.shape[-1], dtype=X.dtype)[36:]
        matrix = torch.cat([(rows * root).flatten(0, 2), prior])
        right = torch.cat([(X[..., -1:] * root).flatten(), X.new_zeros(len(prior))])
        dense = torch.linalg.lstsq(matrix, right[:, None]).solution[:, 0]
        fast = solve_geometry(flat, *noisy, person=torch.tensor([5, 5, 5]), n_identity=n_identity)
        assert same(fast.m[:, :n_identity], dense[36 + 3 * n_own :].expand(3, -1), 1e-8)
        assert same(fast.m[:, n_identity:], dense[36 : 36 + 3 * n_own].reshape(3, -1), 1e-8)
        assert same(torch.cat([fast.P, fast.q[..., None]], -1).flatten(), dense[:36], 1e-8)


def test_different_persons_do_not_influence_each_other(flat, noisy):
    with torch.no_grad():
        alone, together = (
            solve_geometry(flat, *noisy),
            solve_geometry(flat, *noisy, person=torch.tensor([3, 1, 2]), n_identity=6),
        )
    assert same(together.m, alone.m, 1e-9) and same(together.q, alone.q, 1e-9)


@settings(deadline=None, max_examples=15)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-2000, 2000))
def test_units_of_depth_and_origin_of_pixels_change_nothing_but_the_camera(flat, noisy, scale, shift):
    """P absorbs both; q, m and the meaning of the centre prior stay."""
    with torch.no_grad():
        uv, depth, weight, pixels = noisy
        a = solve_geometry(flat, uv, depth, weight, pixels, centre_weight=3.0)
        b = solve_geometry(flat, uv, scale * depth, weight, pixels + shift, centre_weight=3.0)
    assert same(b.m, a.m, 1e-7) and same(b.q, a.q, 1e-7)


def test_planar_depth_needs_the_centre_prior(flat, truth):
    """Section F. Constant depth: finite without the prior, a proper camera at the target with it."""
    planar = torch.full_like(truth.depth, 0.9)
    bare = solve_geometry(flat, truth.uv, planar, truth.weight, truth.pixels)
    assert all(torch.isfinite(x).all() for x in (bare.P, bare.q, bare.m))
    assert torch.linalg.cond(bare.P).min() > 1e6
    helped = solve_geometry(flat, truth.uv, planar, truth.weight, truth.pixels, centre_weight=10.0)
    assert torch.allclose(helped.q, torch.tensor([0.0, 0.0, 600.0], dtype=torch.float64).expand(3, 3), atol=1e-6)
    assert same(helped.m, bare.m, 1e-6)  # the two differ by what the data cannot see


def test_the_centre_on_the_axis_follows_a_turned_head(flat, truth):
    """Two passes: the target is −z₀ times the axis, so a planar depth still gives the turn of the head."""
    planar = torch.ones_like(truth.depth)
    geometry = solve_geometry(
        flat, truth.uv, planar, truth.weight, truth.pixels, centre_weight=50.0, centre="axis", centre_distance=500.0
    )
    axis = viewing_axis(geometry.P)
    assert torch.allclose(geometry.q.norm(dim=-1), torch.full((3,), 500.0, dtype=torch.float64), atol=1e-3)
    assert ((geometry.q / -500.0 * axis).sum(-1) > 0.98).all()
    assert (geometry.q[:, :2].norm(dim=-1) > 40).all()  # mm: not straight ahead of the face


def test_all_weights_zero_gives_the_prior(flat, truth):
    for option in ({}, {"K": truth.K}):
        geometry = solve_geometry(flat, truth.uv, truth.depth, 0 * truth.weight, truth.pixels, **option)
        assert not geometry.m.any() and not geometry.P.any() and not geometry.q.any()
    pulled = solve_geometry(flat, truth.uv, truth.depth, 0 * truth.weight, truth.pixels, centre_weight=1.0)
    assert torch.allclose(pulled.q, torch.tensor([0.0, 0.0, 600.0], dtype=torch.float64).expand(3, 3))


@pytest.mark.parametrize("pixels", [1, 3, 5])
def test_fewer_pixels_than_unknowns_is_finite_and_fits(flat, truth, pixels):
    samples = [getattr(truth, name)[:, :pixels] for name in NAMES]
    geometry = solve_geometry(flat, *samples, shape_weight=1e-6)
    uv, depth, _, x = samples
    assert torch.isfinite(geometry.m).all()
    assert geometry_residual(flat, uv, depth, x, geometry).abs().max() < 1e-2  # mm


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_input_that_is_no_number_is_named(flat, truth, name, bad):
    samples = {n: getattr(truth, n).clone() for n in NAMES}
    samples[name][1, 7] = bad
    with pytest.raises(ValueError, match=name):
        solve_geometry(flat, **samples)


def test_depth_behind_the_camera_is_refused_unless_it_has_no_weight(flat, truth):
    depth, weight = truth.depth.clone(), truth.weight.clone()
    depth[0, 3] = -1.0
    with pytest.raises(ValueError, match="positive"):
        solve_geometry(flat, truth.uv, depth, weight, truth.pixels)
    weight[0, 3] = 0
    assert torch.isfinite(solve_geometry(flat, truth.uv, depth, weight, truth.pixels).m).all()


def test_a_negative_weight_is_refused(flat, truth):
    with pytest.raises(ValueError, match="negative"):
        solve_geometry(flat, truth.uv, truth.depth, truth.weight - 0.5, truth.pixels)


def test_a_person_without_a_number_of_identity_components_is_refused(flat, truth):
    with pytest.raises(ValueError, match="n_identity"):
        solve_geometry(
            flat, truth.uv, truth.depth, truth.weight, truth.pixels, person=torch.zeros(3, dtype=torch.int64)
        )


def test_numbers_that_overflow_are_refused(flat, truth):
    with pytest.raises(ValueError, match="overflow"):
        solve_geometry(flat, truth.uv, truth.depth, 1e308 * truth.weight, truth.pixels)
