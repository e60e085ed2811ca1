"""Tests of facenb.robust: what counts, what does not, and how little a few wild pixels matter."""

import pytest
import torch

from facenb.robust import TUKEY, reweighted, robust_scale, tukey_weight


def test_weights_fall_from_one_to_exactly_zero():
    d = torch.linspace(0, 2 * TUKEY, 101, dtype=torch.float64)
    w = tukey_weight(d, 1.0)
    assert w[0] == 1 and (w.diff() <= 0).all() and (w[d > TUKEY] == 0).all()


def test_weights_are_those_of_tukeys_cost():
    """w(r) = ρ'(r) / r for ρ(r) = c²/6 (1 − (1 − r²/c²)³), by autograd."""
    r = torch.linspace(0.01, 0.99 * TUKEY, 50, dtype=torch.float64, requires_grad=True)
    cost = TUKEY**2 / 6 * (1 - (1 - (r / TUKEY) ** 2) ** 3)
    slope = torch.autograd.grad(cost.sum(), r)[0]
    torch.testing.assert_close(tukey_weight(r.detach(), 1.0), slope / r.detach())


def test_the_scale_is_the_standard_deviation_of_gaussian_noise_even_with_a_third_of_outliers(generator):
    noise = 0.3 * torch.randn(2, 100_000, generator=generator, dtype=torch.float64).abs()
    torch.testing.assert_close(robust_scale(noise), torch.full((2, 1), 0.3, dtype=torch.float64), rtol=0.02, atol=0)
    noise[:, :33_000] += 100
    assert (robust_scale(noise) < 0.6).all()
    among = torch.ones_like(noise, dtype=torch.bool)
    among[:, :33_000] = False
    torch.testing.assert_close(
        robust_scale(noise, among), torch.full((2, 1), 0.3, dtype=torch.float64), rtol=0.02, atol=0
    )


@pytest.mark.parametrize("rounds", [0, 2, 6])
def test_reweighting_finds_the_line_that_most_points_lie_on(generator, rounds):
    x = torch.rand(1, 400, generator=generator, dtype=torch.float64)
    y = 2 * x + 1 + 0.01 * torch.randn(1, 400, generator=generator, dtype=torch.float64)
    y[:, :60] += 5  # 15 % wild
    A = torch.stack([x[0], torch.ones_like(x[0])], -1)

    def solve(w):
        return torch.linalg.lstsq(A * w[0, :, None].sqrt(), (w[0].sqrt() * y[0])[:, None]).solution[:, 0]

    line, trust = reweighted(solve, lambda m: (A @ m - y[0]).abs()[None], torch.ones_like(x), rounds)
    error = (line - torch.tensor([2.0, 1.0], dtype=torch.float64)).abs().max()
    if rounds == 0:
        assert error > 0.5 and (trust == 1).all()
    if rounds == 6:
        assert error < 0.01 and (trust[0, :60] == 0).all()


def test_a_perfect_fit_stays_finite():
    w = torch.ones(1, 5)
    answer, trust = reweighted(lambda w: w.sum(), lambda _: torch.zeros(1, 5), w)
    assert answer == 5 and torch.equal(trust, w)
