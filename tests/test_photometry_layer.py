"""Light and albedo from colour and correspondence: equations (39) to (41) and the options of the layer."""

import pytest
import torch
from dense_least_squares import Lambda_rows, dense_photometry, sample_map
from synthetic_samples import synthetic_truth

from facenb.lighting import sh_basis
from facenb.photometry_layer import inverse_shading, model_albedo, photometry_residual, solve_photometry
from facenb.uv_model import uv_model

NAMES = ("uv", "colour", "weight")


@pytest.fixture(scope="module")
def flat(tiny_model):
    return uv_model(tiny_model, resolution=24)


@pytest.fixture(scope="module")
def truth(flat):
    return synthetic_truth(flat, images=2, samples=400, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def noisy(truth):
    g = torch.Generator().manual_seed(4)
    colour = truth.colour + 0.03 * torch.randn(truth.colour.shape, generator=g, dtype=torch.float64)
    return [x.clone().requires_grad_() for x in (truth.uv, colour, truth.weight)]


def pull(tensors):
    """A scalar that depends on every entry of all tensors, at comparable size."""
    g = torch.Generator().manual_seed(5)
    factors = [torch.randn(x.shape, generator=g, dtype=torch.float64) / x.detach().abs().mean() for x in tensors]
    return sum((x * factor).sum() for x, factor in zip(tensors, factors, strict=True))


def same(a, b, tolerance):
    return (a - b).abs().max() <= tolerance * b.abs().max()


def test_the_rows_of_lambda_multiply_colour_by_inverse_light(flat, truth):
    """(39): i_j F_j l, F_j block-diagonal, l red's nine coefficients first."""
    normals = flat.sample_normal(truth.uv)
    rows = Lambda_rows(truth.colour, normals)
    direct = truth.colour * torch.einsum("bsi,bki->bsk", sh_basis(normals), truth.l)
    assert same(torch.einsum("bskc,bc->bsk", rows, truth.l.flatten(1)), direct, 1e-14)


def test_the_layer_equals_the_dense_solution_and_its_gradients(flat, noisy):
    """(39), (41): values and gradients in uv (through D, c and the normal), i, w and the albedo weights, to 1e-9."""
    albedo_weight = torch.linspace(0.01, 0.03, flat.n_albedo, dtype=torch.float64, requires_grad=True)
    fast = solve_photometry(flat, *noisy, albedo_weight=albedo_weight, light_weight=1e-3)
    dense = dense_photometry(flat, *noisy, albedo_weight, torch.full((27,), 1e-3, dtype=torch.float64))
    assert same(fast.l, dense[0], 1e-9) and same(fast.h, dense[1], 1e-9)
    inputs = [*noisy, albedo_weight]
    ours, theirs = torch.autograd.grad(pull((fast.l, fast.h)), inputs), torch.autograd.grad(pull(dense), inputs)
    assert all(same(a, b, 1e-9) for a, b in zip(ours, theirs, strict=True))


def test_single_precision_follows_double(flat, noisy):
    """The same in float32: solution to 5e-3 of its largest entry, gradients to 2 %."""
    single = [x.detach().float().requires_grad_() for x in noisy]
    ours, exact = solve_photometry(flat.to(dtype=torch.float32), *single), solve_photometry(flat, *noisy)
    assert same(ours.l, exact.l, 5e-3) and same(ours.h, exact.h, 5e-3)
    gradients = [torch.autograd.grad(pull((p.l, p.h)), x) for p, x in ((ours, single), (exact, noisy))]
    assert all(same(a, b, 2e-2) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("person", [None, [4, 4]])
def test_gradients_equal_finite_differences(flat, noisy, person):
    few = [x.detach()[:, :60].clone().requires_grad_() for x in noisy]
    person = None if person is None else torch.tensor(person)

    def solution(*samples):
        answer = solve_photometry(flat, *samples, person=person)
        return answer.l, answer.h

    assert torch.autograd.gradcheck(solution, few, eps=1e-7, atol=1e-4, rtol=1e-4, fast_mode=True)


def test_normals_of_ones_own_are_used_and_differentiable(flat, noisy, truth):
    normals = (2.0 * flat.sample_normal(truth.uv)).requires_grad_()  # any length
    own, read = solve_photometry(flat, *noisy, normals=normals), solve_photometry(flat, *noisy)
    assert same(own.l, read.l, 1e-9)
    (gradient,) = torch.autograd.grad(pull((own.l, own.h)), normals)
    assert torch.isfinite(gradient).all() and gradient.any()


def test_exact_samples_give_back_light_and_albedo(flat, truth):
    """Promised: float64 recovery to 1e-6 with the priors switched off."""
    answer = solve_photometry(flat, truth.uv, truth.colour, truth.weight, albedo_weight=1e-14, light_weight=0.0)
    assert (answer.l - truth.l).abs().max() < 1e-6 and (answer.h - truth.h).abs().max() < 1e-6
    for units in ("albedo", "image"):
        residual = photometry_residual(flat, truth.uv, truth.colour, answer, units=units)
        assert residual.abs().max() < 1e-6


def test_residuals_are_what_their_units_say(flat, truth):
    answer = solve_photometry(flat, truth.uv, 0.8 * truth.colour + 0.1, truth.weight)
    colour = 0.8 * truth.colour + 0.1
    inverse, albedo = inverse_shading(flat, truth.uv, answer.l), model_albedo(flat, truth.uv, answer.h)
    image = photometry_residual(flat, truth.uv, colour, answer, units="image")
    assert same(image * inverse, photometry_residual(flat, truth.uv, colour, answer), 1e-9)
    assert same(colour - image, albedo / inverse, 1e-12)


def test_pictures_of_one_person_equal_one_dense_system(flat, noisy):
    """Shared albedo columns, own light columns, one set of regularisation rows."""
    with torch.no_grad():
        uv, colour, weight = noisy
        X = sample_map(flat.albedo, 24, 24, uv)
        F = Lambda_rows(colour, flat.sample_normal(uv))
        rows = X.new_zeros(2, X.shape[1], 3, 54 + flat.n_albedo)
        for b in range(2):
            rows[b, ..., 27 * b : 27 * b + 27] = F[b]
            rows[b, ..., 54:] = -X[b, ..., :-1]
        root = weight.sqrt()[..., None, None]
        prior = 1e-3**0.5 * torch.eye(rows.shape[-1], dtype=X.dtype)[54:]
        right = torch.cat([(X[..., -1:] * root).flatten(), X.new_zeros(len(prior))])
        dense = torch.linalg.lstsq(torch.cat([(rows * root).flatten(0, 2), prior]), right[:, None]).solution[:, 0]
        answer = solve_photometry(flat, *noisy, person=torch.tensor([7, 7]), light_weight=0.0)
        assert same(answer.h, dense[54:].expand(2, -1), 1e-8) and same(answer.l.flatten(), dense[:54], 1e-8)


def test_all_weights_zero_gives_the_prior(flat, truth):
    answer = solve_photometry(flat, truth.uv, truth.colour, 0 * truth.weight)
    assert not answer.l.any() and not answer.h.any()


def test_a_black_picture_has_no_light_and_a_finite_albedo(flat, truth):
    answer = solve_photometry(flat, truth.uv, 0 * truth.colour, truth.weight)
    assert not answer.l.any() and torch.isfinite(answer.h).all()


@pytest.mark.parametrize("pixels", [1, 4, 9])
def test_fewer_pixels_than_unknowns_is_finite_and_fits(flat, truth, pixels):
    samples = [getattr(truth, name)[:, :pixels] for name in NAMES]
    answer = solve_photometry(flat, *samples)
    assert photometry_residual(flat, *samples[:2], answer).abs().max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_an_input_that_is_no_number_is_named(flat, truth, name):
    samples = {n: getattr(truth, n).clone() for n in NAMES}
    samples[name][0, 5] = float("nan")
    with pytest.raises(ValueError, match=name):
        solve_photometry(flat, **samples)


def test_normals_that_are_no_numbers_and_negative_weights_are_refused(flat, truth):
    samples = [getattr(truth, name) for name in NAMES]
    with pytest.raises(ValueError, match="normals"):
        solve_photometry(flat, *samples, normals=torch.full((2, 400, 3), float("nan"), dtype=torch.float64))
    with pytest.raises(ValueError, match="negative"):
        solve_photometry(flat, truth.uv, truth.colour, -truth.weight)
