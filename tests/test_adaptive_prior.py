"""The controller of section G alone: a population of coefficients, a ridge estimate, and nothing else."""

import pytest
import torch

from facenb.adaptive_prior import LARGEST_CHANGE, LIMITS, START, UPDATE, AdaptivePrior


def settled(spread: torch.Tensor, steps: int, generator: torch.Generator, update: float = UPDATE) -> AdaptivePrior:
    """Coefficients of standard deviation `spread`, each estimated with noise-free data of unit weight: α / (1 + w)."""
    prior = AdaptivePrior.start(len(spread))
    for _ in range(steps):
        alpha = spread * torch.randn(8, len(spread), generator=generator) / (1 + prior.weight)
        prior = prior.after(alpha.square().mean(0), update)
    return prior


def test_one_step_is_equation_18():
    square = torch.tensor([0.0, 0.1, 50.0])
    before = AdaptivePrior(torch.tensor([0.3, 2.0, 9e3]), torch.tensor([0.2, 2.0, 1e4]), torch.tensor([0.1, 1.0, 1.0]))
    after = before.after(square)
    mean_square = 0.95 * before.mean_square + 0.05 * square
    k = torch.tensor([0.99, 0.99, 1.01])
    assert torch.allclose(after.mean_square, mean_square)
    assert torch.allclose(after.weight, torch.tensor([0.99 * 0.2, 0.99 * 2.0, LIMITS[1]]))
    assert torch.allclose(after.weight, (k * before.mean_weight).clamp(*LIMITS))
    assert torch.allclose(after.mean_weight, 0.95 * before.mean_weight + 0.05 * after.weight)


def test_mean_squares_settle_at_one_where_the_prior_can_reach_it(generator):
    prior = settled(torch.tensor([1.5, 2.0, 3.0]), 8000, generator)
    squares = torch.zeros(3)
    for _ in range(400):
        alpha = torch.tensor([1.5, 2.0, 3.0]) * torch.randn(8, 3, generator=generator) / (1 + prior.weight)
        squares += alpha.square().mean(0) / 400
    assert torch.allclose(squares, torch.ones(3), atol=0.15)
    assert torch.allclose(prior.weight, torch.tensor([0.5, 1.0, 2.0]), rtol=0.15)  # spread / (1 + w) = 1


def test_a_coefficient_that_is_never_large_loses_its_prior(generator):
    prior = settled(torch.tensor([0.3]), 20000, generator, update=0.5)
    assert prior.weight.item() == pytest.approx(LIMITS[0], rel=0.02)


def test_weights_change_by_one_percent_a_step_at_most(generator):
    prior = AdaptivePrior.start(4)
    for _ in range(50):
        after = prior.after(10 * torch.rand(4, generator=generator))
        change = (after.weight / prior.mean_weight - 1).abs().max()
        assert change <= LARGEST_CHANGE + 1e-6
        prior = after


def test_it_begins_as_the_supplement_says():
    prior = AdaptivePrior.start(3)
    assert (prior.weight == 0.1).all() and (prior.mean_weight == START).all() and (prior.mean_square == 0.1).all()
