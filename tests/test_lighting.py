"""Lighting: each constant against an integral, each published number against a distribution, each trap against the
truth."""

from math import pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from facenb.inverse_light_validation import PRINTED_MAX, PRINTED_RMS, inverse_light_errors, random_lights
from facenb.lighting import (
    CLAMPED_COSINE,
    ORDERS,
    fit_inverse,
    inverse_light,
    irradiance,
    lamp,
    rotate_light,
    sh_basis,
    sh_gradient,
    shade,
    shade_inverse,
    sphere_points,
)
from facenb.rotation import rotation_from_angles

f64 = torch.float64


@pytest.fixture(scope="module")
def quadrature() -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre in height times an even ring in angle: exact for polynomials of degree ≤ 15 on the sphere."""
    z, wz = np.polynomial.legendre.leggauss(8)
    angle = 2 * pi * np.arange(16) / 16
    r = np.sqrt(1 - z**2)
    points = np.stack([np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle)), np.outer(z, np.ones(16))], -1)
    weights = np.outer(wz, np.full(16, 2 * pi / 16))
    return torch.from_numpy(points.reshape(-1, 3)), torch.from_numpy(weights.ravel())


@pytest.fixture(scope="module")
def sphere() -> torch.Tensor:
    return sphere_points(100_000, torch.Generator().manual_seed(1))


def some_lights(n: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Random lights that stay positive, float64."""
    light = 0.15 * torch.randn(n, channels, 9, generator=torch.Generator().manual_seed(seed), dtype=f64)
    light[..., 0] += sqrt(4 * pi)
    return light


# -- the basis --


def test_the_basis_is_orthonormal(quadrature):
    n, w = quadrature
    F = sh_basis(n)
    assert torch.allclose(F.T @ (w[:, None] * F), torch.eye(9, dtype=f64), atol=1e-13)


def test_the_basis_is_in_the_order_of_the_conventions():
    """1, y, z, x, xy, yz, 3z² - 1, xz, x² - y², each with a positive constant."""
    x, y, z = n = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8], dtype=f64), dim=0)
    polynomials = torch.stack([x / x, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    ratio = sh_basis(n) / polynomials
    assert (ratio > 0).all()
    assert torch.allclose(ratio[[1, 4]], ratio[[2, 5]])
    assert torch.allclose(ratio, sh_basis(-n) / (polynomials * torch.tensor([1, -1, -1, -1, 1, 1, 1, 1, 1])))


def test_its_gradient_is_autograds():
    n = sphere_points(50, dtype=f64)
    slow = torch.func.vmap(torch.func.jacrev(sh_basis))(n)  # 50 9 3
    torch.testing.assert_close(sh_gradient(n), slow)
    torch.testing.assert_close(sh_gradient(n.reshape(5, 10, 3)), slow.reshape(5, 10, 9, 3))


def test_the_basis_agrees_with_scipy_up_to_its_signs():
    """scipy's complex harmonics (Condon-Shortley phase, z the polar axis) recombined into real ones."""
    from scipy.special import sph_harm_y

    n = sphere_points(50, dtype=f64)
    theta, phi = np.arccos(n[:, 2].numpy()), np.arctan2(n[:, 1].numpy(), n[:, 0].numpy())
    columns = []
    for order in range(3):
        for m in range(-order, order + 1):
            Y = sph_harm_y(order, abs(m), theta, phi)
            part = Y.real if m >= 0 else Y.imag
            columns.append(part if m == 0 else sqrt(2) * (-1) ** m * part)
    assert np.allclose(sh_basis(n).numpy(), np.stack(columns, -1), atol=1e-12)


# -- from radiance to shading --


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_clamped_cosine_factors_are_its_projections(order):
    """A_l = 2π ∫₀¹ t P_l(t) dt (Funk-Hecke): π, 2π/3, π/4."""
    t, w = np.polynomial.legendre.leggauss(20)
    t, w = (t + 1) / 2, w / 2  # to [0, 1], where the cosine is not clamped and the integrand is a polynomial
    legendre = np.polynomial.legendre.legval(t, np.eye(3)[order])
    assert CLAMPED_COSINE[order] == pytest.approx(2 * pi * (w * t * legendre).sum(), abs=1e-14)


def test_irradiance_agrees_with_monte_carlo_integration_of_the_clamped_cosine(generator):
    """E(n) = ∫ L(ω) max(0, n·ω) dω under random radiance, 400,000 random ω: within four standard errors."""
    radiance = torch.randn(5, 9, generator=generator, dtype=f64)
    n = sphere_points(8, generator, dtype=f64)
    omega = sphere_points(400_000, generator, dtype=f64)
    L = sh_basis(omega) @ radiance.T  # Ω 5
    cosine = (omega @ n.T).clamp(min=0)  # Ω 8
    samples = 4 * pi * L[:, :, None] * cosine[:, None, :]  # Ω 5 8
    exact = irradiance(radiance) @ sh_basis(n).T  # 5 8
    standard_error = samples.std(0) / len(omega) ** 0.5
    assert ((samples.mean(0) - exact).abs() < 4 * standard_error).all()
    assert standard_error.max() < 0.015  # the check can tell 2π/3 from its neighbours


def test_irradiance_agrees_with_the_closed_form_of_ramamoorthi_and_hanrahan(generator):
    """Their E(n) in the constants c₁ … c₅ printed to six digits, for the same L_lm."""
    L00, L1m1, L10, L11, L2m2, L2m1, L20, L21, L22 = L = torch.randn(9, generator=generator, dtype=f64)
    n = sphere_points(20, dtype=f64)
    x, y, z = n.unbind(-1)
    c1, c2, c3, c4, c5 = 0.429043, 0.511664, 0.743125, 0.886227, 0.247708
    E = (
        c1 * L22 * (x * x - y * y)
        + c3 * L20 * z * z
        + c4 * L00
        - c5 * L20
        + 2 * c1 * (L2m2 * x * y + L21 * x * z + L2m1 * y * z)
        + 2 * c2 * (L11 * x + L1m1 * y + L10 * z)
    )
    assert torch.allclose(irradiance(L) @ sh_basis(n).T, E, atol=1e-5)


def test_a_white_sky_gives_shading_one():
    """The furnace test: radiance 1 everywhere makes irradiance π, hence shading 1 at every normal."""
    sky = torch.zeros(1, 1, 9, dtype=f64)
    sky[..., 0] = sqrt(4 * pi)  # the radiance 1 in the orthonormal basis
    assert torch.allclose(shade(irradiance(sky) / pi, sphere_points(30, dtype=f64)), torch.ones(1, 1, 30, dtype=f64))


def test_three_quarters_lie_in_order_one_and_nine_coefficients_hold_99_percent():
    """Energy of the clamped cosine by order: 37.5, 50, 11.7 %, 99.2 % together (Basri & Jacobs 2003)."""
    energy = [(2 * order + 1) / (4 * pi) * A**2 for order, A in enumerate(CLAMPED_COSINE)]
    share = np.array(energy) / (2 * pi / 3)  # ∫ max(0, cos θ)² over the sphere
    assert share == pytest.approx([3 / 8, 1 / 2, 15 / 128], abs=1e-12)
    assert share.sum() == pytest.approx(0.9922, abs=1e-4)


# -- lamps --


def test_a_lamp_is_the_best_quadratic_fit_of_the_clamped_cosine():
    """Least squares over the sphere of ambient + colour · max(0, n·d) finds the same nine coefficients."""
    d = torch.tensor([0.5, 1.0, 2.0], dtype=f64)
    n = sphere_points(50_000, dtype=f64)
    shading = 0.2 + 0.7 * (n @ (d / d.norm())).clamp(min=0)
    fitted = torch.linalg.lstsq(sh_basis(n), shading[:, None]).solution[:, 0]
    assert torch.allclose(lamp(d, 0.7, 0.2)[0], fitted, atol=1e-5)


def test_a_lamp_lights_a_facing_surface_with_its_colour_and_the_back_with_the_ambient():
    colour, ambient = torch.tensor([1.0, 0.8, 0.6], dtype=f64), torch.tensor([0.2, 0.2, 0.3], dtype=f64)
    d = torch.tensor([[0.0, 0.0, 3.0]], dtype=f64)
    light = lamp(d, colour, ambient)  # 1 3 9
    front, back = shade(light, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=f64)).unbind(-1)
    assert torch.allclose(front[0], ambient + 17 / 16 * colour)
    assert torch.allclose(back[0], ambient + 1 / 16 * colour)
    n = sphere_points(100_000, dtype=f64)
    assert float(shade(lamp(d), n).min()) == pytest.approx(-0.0396, abs=1e-4)  # at cos θ = -8/15


def test_a_lamp_takes_plain_numbers_and_batches():
    assert lamp((0, 1, 1)).shape == (3, 9)
    batch = lamp(torch.eye(3), colour=torch.rand(3, 3), ambient=0.1)
    assert batch.shape == (3, 3, 9)
    assert shade(batch, sphere_points(7)).shape == (3, 3, 7)
    assert shade(batch, sphere_points(21).reshape(3, 7, 3)).shape == (3, 3, 7)


# -- inverse light --


@pytest.mark.parametrize("weight, power", [("plain", 0), ("shading", 1), ("intensity", 2)])
def test_inverse_light_minimises_what_its_weight_says(weight, power):
    """A readable twin: weighted least squares by lstsq, one light and one channel at a time; values and gradients."""
    n, light = sphere_points(300, dtype=f64), some_lights(2).requires_grad_()
    F = sh_basis(n)
    twin = torch.zeros(2, 3, 9, dtype=f64)
    for b in range(2):
        for c in range(3):
            s = F @ light[b, c]
            w = s**power
            twin[b, c] = torch.linalg.lstsq(w[:, None] * F, (w / s)[:, None]).solution[:, 0]
    fast = inverse_light(light, n, weight)
    assert torch.allclose(fast, twin, atol=1e-12)
    probe = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(5), dtype=f64)
    gradients = [torch.autograd.grad((probe * g).sum(), light)[0] for g in (fast, twin)]
    assert torch.allclose(*gradients, atol=1e-11)


@pytest.mark.parametrize("weight", ["plain", "shading", "intensity"])
def test_the_inverse_of_a_constant_light_is_exact(weight):
    light = torch.zeros(1, 3, 9, dtype=f64)
    light[..., 0] = torch.tensor([0.5, 1.0, 2.0], dtype=f64) * sqrt(4 * pi)
    n = sphere_points(50, dtype=f64)
    assert torch.allclose(shade_inverse(inverse_light(light, n, weight), n), shade(light, n))


def test_image_times_inverse_light_is_albedo(generator):
    """Equation (39) without its unknowns: i ⊙ (F g) = albedo, to the accuracy of the inverse."""
    n, light = sphere_points(2000, dtype=f64), lamp(torch.tensor([0.3, 0.4, 1], dtype=f64), 0.4, 0.8)[None]
    albedo = torch.rand(1, 3, 2000, generator=generator, dtype=f64)
    image = albedo * shade(light, n)
    error = image * shade(inverse_light(light, n), n) - albedo
    assert error.abs().max() < 0.04 and error.square().mean().sqrt() < 0.01


def test_inverse_light_reproduces_the_published_errors(sphere):
    """Supplement D, four draws of σ = 0.2 about a constant 0.9: max 0.049 0.109 0.123 0.272 (Fig. 11)."""
    error = inverse_light_errors(random_lights(400, torch.Generator().manual_seed(2)), sphere, "plain")
    for distribution, printed in ((error.maximum, PRINTED_MAX), (error.rms, PRINTED_RMS)):
        low, high = distribution.quantile(0.02), distribution.quantile(0.98)
        assert all(low < p < high for p in printed)
    assert error.maximum.median() <= 0.11
    assert error.rms.median() == pytest.approx(0.027, abs=0.003)


@pytest.mark.parametrize("weight, median_max, median_rms", [("shading", 0.0785, 0.025), ("intensity", 0.075, 0.024)])
def test_a_weighted_fit_is_a_quarter_more_accurate(weight, median_max, median_rms, sphere):
    """Same draws as the published errors. 4,000 draws give medians 0.0752 (shading) and 0.0707 (intensity)."""
    lights = random_lights(400, torch.Generator().manual_seed(2))
    plain, weighted = (inverse_light_errors(lights, sphere, w) for w in ("plain", weight))
    assert weighted.maximum.median() <= median_max
    assert weighted.rms.median() <= median_rms
    assert weighted.maximum.median() < 0.82 * plain.maximum.median()


def test_the_worst_error_sits_where_the_light_is_brightest_or_darkest(sphere):
    """The reciprocal bends hardest there; the middle of the range is never the worst."""
    light = random_lights(50, torch.Generator().manual_seed(3))
    s = shade(light, sphere)[:, 0]
    worst = (1 / shade(inverse_light(light, sphere, "plain"), sphere)[:, 0] - s).abs().argmax(-1)
    rank = (s < s.gather(1, worst[:, None])).float().mean(-1)
    assert ((rank < 0.1) | (rank > 0.9)).float().mean() > 0.85


def test_shade_inverse_with_a_floor_stays_finite():
    g = torch.zeros(1, 1, 9, dtype=f64)
    g[..., 0], g[..., 2] = 1.0, 2.0  # negative for normals that point back
    n = sphere_points(100, dtype=f64)
    assert float(shade_inverse(g, n, floor=0.25).max()) == 4.0


# -- turning lights --

angles = st.floats(-3.1, 3.1)


@settings(deadline=None, max_examples=30)
@given(angles, angles, angles, st.integers(0, 100))
def test_a_turned_light_shades_turned_normals_as_before(yaw, pitch, roll, seed):
    R = rotation_from_angles(yaw, pitch, roll, dtype=f64)
    light, n = some_lights(2, seed=seed), sphere_points(40, dtype=f64)
    assert torch.allclose(shade(rotate_light(light, R), n @ R.T), shade(light, n), atol=1e-12)


def test_turning_a_light_keeps_the_energy_of_each_order():
    """Wigner's matrix is block diagonal and orthogonal."""
    R = rotation_from_angles(0.7, -0.4, 1.1, dtype=f64)
    D = rotate_light(torch.eye(9, dtype=f64), R).T  # columns are turned basis functions
    assert torch.allclose(D @ D.T, torch.eye(9, dtype=f64), atol=1e-13)
    order = torch.tensor(ORDERS)
    assert D[order[:, None] != order].abs().max() < 1e-13


def test_turning_a_lamp_turns_its_direction():
    R = rotation_from_angles(0.5, 0.2, dtype=f64)
    d = torch.tensor([0.2, 0.9, 0.4], dtype=f64)
    assert torch.allclose(rotate_light(lamp(d, 0.8, 0.1), R), lamp(R @ d, 0.8, 0.1))


def test_lights_and_rotations_come_in_batches():
    R = rotation_from_angles(torch.tensor([0.1, 0.2], dtype=f64), 0.3)
    light = some_lights(2)
    turned = rotate_light(light, R)
    assert torch.allclose(turned[1], rotate_light(light[1], R[1]))


# -- points on the sphere --


def test_the_spiral_integrates_better_than_random_points(generator):
    spiral, random = sphere_points(2000, dtype=f64), sphere_points(2000, generator, dtype=f64)
    gram = [4 * pi / 2000 * sh_basis(n).T @ sh_basis(n) for n in (spiral, random)]
    errors = [float((g - torch.eye(9, dtype=f64)).abs().max()) for g in gram]
    assert errors[0] < 0.005 < errors[1] < 0.3
    assert torch.allclose(spiral.norm(dim=-1), torch.ones(2000, dtype=f64))


def test_random_points_come_from_their_generator():
    a, b = (sphere_points(5, torch.Generator().manual_seed(s)) for s in (3, 3))
    assert torch.equal(a, b)
    assert sphere_points(5).dtype == torch.get_default_dtype()


# -- the traps: other people's bases --


def deep3d_basis(n: torch.Tensor) -> torch.Tensor:
    """Constants and signs of `compute_color` in Deep3DFaceRecon_pytorch, models/bfm.py, "a" factors included."""
    x, y, z = n.unbind(-1)
    a0, a1, a2 = pi, 2 * pi / sqrt(3), 2 * pi / sqrt(8)
    c0, c1, c2 = 1 / sqrt(4 * pi), sqrt(3) / sqrt(4 * pi), 3 * sqrt(5) / sqrt(12 * pi)
    second = [x * y, -y * z, 0.5 / sqrt(3) * (3 * z * z - 1), -x * z, 0.5 * (x * x - y * y)]
    return torch.stack([a0 * c0 + 0 * x, -a1 * c1 * y, a1 * c1 * z, -a1 * c1 * x, *(a2 * c2 * p for p in second)], -1)


def deca_basis(n: torch.Tensor) -> torch.Tensor:
    """Constants and order of `add_SHlight` in DECA, decalib/utils/renderer.py."""
    x, y, z = n.unbind(-1)
    first, second = 2 * pi / 3 * sqrt(3 / (4 * pi)), pi / 4 * 3 * sqrt(5 / (12 * pi))
    last = pi / 4 * 1.5 * sqrt(5 / (12 * pi)), pi / 4 * 0.5 * sqrt(5 / (4 * pi))
    polynomials = [first * x, first * y, first * z, second * x * y, second * x * z, second * y * z]
    ends = [last[0] * (x * x - y * y), last[1] * (3 * z * z - 1)]
    return torch.stack([1 / sqrt(4 * pi) + 0 * x, *polynomials, *ends], -1)


def ratio_to_irradiance(basis: torch.Tensor, n: torch.Tensor, order: list[int]) -> torch.Tensor:
    """Factor between each function of a foreign basis and ours times A_l, after undoing order; sign is dropped."""
    ratio = basis / irradiance(sh_basis(n))[:, order]
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio))  # the same functions up to constants
    return ratio[0].abs()


def test_deep3d_has_root_eight_where_root_five_belongs():
    """Its orders are scaled by 1, √3, √8; the pattern √(2l + 1) asks for √5."""
    n = sphere_points(30, torch.Generator().manual_seed(4), f64)
    ratio = ratio_to_irradiance(deep3d_basis(n), n, list(range(9)))
    assert torch.allclose(ratio, torch.tensor([1] + 3 * [sqrt(3)] + 5 * [sqrt(8)], dtype=f64))


def test_deca_leaves_pi_out_of_its_constant_term():
    """Orders 1 and 2 carry A_l, the constant does not carry A₀ = π."""
    n = sphere_points(30, torch.Generator().manual_seed(4), f64)
    ratio = ratio_to_irradiance(deca_basis(n), n, [0, 3, 1, 2, 4, 7, 5, 8, 6])
    assert torch.allclose(ratio, torch.tensor([1 / pi] + 8 * [1.0], dtype=f64))


# -- gradients, types and errors --


def test_gradients_agree_with_finite_differences():
    n = sphere_points(14, dtype=f64).requires_grad_()
    light = some_lights(2, channels=2).requires_grad_()
    R = rotation_from_angles(0.4, 0.3, dtype=f64).requires_grad_()
    d, c, a = (torch.rand(2, 3, dtype=f64, requires_grad=True) for _ in range(3))
    assert gradcheck(sh_basis, n)
    assert gradcheck(shade, (light, n))
    assert gradcheck(irradiance, light)
    assert gradcheck(lamp, (d, c, a))
    assert gradcheck(rotate_light, (light, R))
    assert gradcheck(shade_inverse, (light, n))
    for weight in ("plain", "shading", "intensity"):
        assert gradcheck(lambda light, n, w=weight: inverse_light(light, n, w), (light, n))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (f64, 1e-12)])
def test_every_function_keeps_the_type(dtype, tolerance):
    n, light = sphere_points(500, dtype=dtype), some_lights(2).to(dtype)
    g = inverse_light(light, n)
    R = rotation_from_angles(0.4, dtype=dtype)
    for result in (shade(light, n), g, shade_inverse(g, n), irradiance(light), rotate_light(light, R), lamp(n)):
        assert result.dtype == dtype
    exact = inverse_light(light.to(f64), n.to(f64))
    assert (g - exact).abs().max() < tolerance


def test_bad_input_is_refused_with_a_remedy():
    n, dark = sphere_points(100), lamp((0, 0, 1))[None]
    with pytest.raises(ValueError, match="add ambient light"):
        inverse_light(dark, n)
    with pytest.raises(ValueError, match="shading reaches nan"):
        inverse_light(torch.full((1, 3, 9), float("nan")), n)
    with pytest.raises(ValueError, match="give a floor"):
        shade_inverse(dark, n)
    with pytest.raises(ValueError, match="nine coefficients in its last dimension"):
        shade(torch.ones(1, 3, 4), n)
    with pytest.raises(ValueError, match="do not determine nine coefficients"):
        fit_inverse(torch.ones(1, 1, 5), n[:5])
    with pytest.raises(ValueError, match="do not determine nine coefficients"):
        ring = torch.nn.functional.normalize(n * torch.tensor([1.0, 1.0, 0.0]), dim=-1)
        fit_inverse(torch.ones(1, 1, 100), ring)
    with pytest.raises(ValueError, match="non-zero length"):
        lamp((0, 0, 0))
    with pytest.raises(ValueError, match='choose "plain"'):
        fit_inverse(torch.ones(1, 1, 100), n, "heavy")
    with pytest.raises(ValueError, match="at least one"):
        sphere_points(0)
