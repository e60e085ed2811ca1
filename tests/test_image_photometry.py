"""Gauss–Newton on colours: its Jacobian is the derivative, its fixed point the minimum, and it does not run away."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.image_photometry import DARKEST, image_step, painted
from facenb.lighting import SH_CONSTANTS, sh_basis
from facenb.photometry_layer import Photometry

F64 = torch.float64


def problem(seed: int, S: int = 60, n: int = 3, noise: float = 0.0):
    """Pixels of a smooth skin of n patterns under a soft coloured light, and the truth."""
    g = torch.Generator().manual_seed(seed)
    normal = torch.nn.functional.normalize(
        torch.randn(1, S, 3, generator=g, dtype=F64) * 0.5 + torch.tensor([0, 0, 1.0]), dim=-1
    )
    F, c = sh_basis(normal), 0.4 + 0.3 * torch.rand(1, S, 3, generator=g, dtype=F64)
    D = 0.05 * torch.randn(1, S, 3, n, generator=g, dtype=F64)
    l = 0.1 * torch.randn(1, 3, 9, generator=g, dtype=F64)
    l[..., 0] = 1.2 / SH_CONSTANTS[0]
    truth = Photometry(l, torch.randn(1, n, generator=g, dtype=F64))
    albedo, inverse = painted(truth, F, c, D)
    colour = albedo / inverse + noise * torch.randn(1, S, 3, generator=g, dtype=F64)
    return F, c, D, colour, torch.rand(1, S, generator=g, dtype=F64), truth


def step(answer, F, c, D, colour, weight, target, albedo=1e-4, light=1e-4):
    priors = {"albedo_weight": torch.tensor([albedo], dtype=F64), "light_weight": torch.tensor([light], dtype=F64)}
    return image_step(answer, F, c, D, colour, weight, light_target=target, **priors)


def cost(l, h, F, c, D, colour, weight, target, albedo=1e-4, light=1e-4):
    """What is minimised, written down once more."""
    picture = torch.stack(
        [(c[0, j] + D[0, j] @ h[0]) / (l[0] @ F[0, j]) for j in range(F.shape[1])]  # one pixel at a time
    )
    e = (weight[0] * (colour[0] - picture).square().sum(-1)).sum()
    return e + albedo * h.square().sum() + light * (l - target).square().sum()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_its_fixed_point_is_the_minimum(seed):
    """After some steps the gradient of the cost, by autograd, is zero."""
    F, c, D, colour, weight, truth = problem(seed, noise=0.02)
    target = torch.zeros(1, 3, 9, dtype=F64)
    target[..., 0] = 1.0 / SH_CONSTANTS[0]
    answer = Photometry(target.clone(), torch.zeros_like(truth.h))
    for _ in range(30):
        answer = step(answer, F, c, D, colour, weight, target)
    l, h = answer.l.clone().requires_grad_(), answer.h.clone().requires_grad_()
    gradients = torch.autograd.grad(cost(l, h, F, c, D, colour, weight, target), (l, h))
    assert max(g.abs().max() for g in gradients) < 1e-5


def test_without_noise_and_priors_it_finds_the_truth():
    F, c, D, colour, weight, truth = problem(3)
    answer = Photometry(truth.l * 1.2, 0 * truth.h)
    for _ in range(12):
        answer = step(answer, F, c, D, colour, weight, truth.l, albedo=0.0, light=0.0)
    torch.testing.assert_close(answer.l, truth.l, atol=1e-6, rtol=0)
    torch.testing.assert_close(answer.h, truth.h, atol=1e-6, rtol=0)


def test_pixels_without_weight_have_no_say_and_no_component_is_no_problem():
    F, c, D, colour, weight, truth = problem(4)
    weight = weight * (torch.arange(60) < 40)
    spoilt = torch.where(weight[..., None] > 0, colour, 9.0)
    one, other = (step(truth, F, c, D, i, weight, truth.l) for i in (colour, spoilt))
    assert torch.equal(one.l, other.l) and torch.equal(one.h, other.h)
    none = step(Photometry(truth.l, truth.h[:, :0]), F, c, D[..., :0], colour, weight, truth.l)
    assert none.h.shape == (1, 0) and none.l.isfinite().all()


@pytest.mark.parametrize("brightness", [0.0, 1.0])
def test_black_and_white_pictures_stay_finite(brightness):
    F, c, D, colour, weight, truth = problem(5)
    answer = truth
    for _ in range(10):
        answer = step(answer, F, c, D, torch.full_like(colour, brightness), weight, truth.l, light=1.0, albedo=1.0)
    assert answer.l.isfinite().all() and answer.h.isfinite().all()
    assert painted(answer, F, c, D)[1].min() >= DARKEST
