"""The softplus clamp of section E."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facenb.softplus_clamp import softplus_clamp, softplus_unclamp


@given(st.floats(0, 1), st.floats(0.5, 40))
def test_the_clamp_is_the_printed_formula(i, xi):
    """Section E: i' = log(1 + exp(ξ i)) / ξ."""
    assert math.isclose(
        softplus_clamp(torch.tensor(i, dtype=torch.float64), xi).item(),
        math.log(1 + math.exp(xi * i)) / xi,
        rel_tol=1e-12,
    )


@given(st.floats(0, 1), st.floats(0.5, 40))
def test_unclamping_undoes_clamping(i, xi):
    x = torch.tensor(i, dtype=torch.float64)
    assert abs(softplus_unclamp(softplus_clamp(x, xi), xi).item() - i) < 1e-9


def test_black_is_lifted_and_large_values_do_not_overflow():
    """With the paper's ξ = 4 black becomes log(2)/4."""
    lifted = softplus_clamp(torch.tensor([0.0, 1000.0]))
    assert torch.allclose(lifted, torch.tensor([math.log(2) / 4, 1000.0]))


def test_a_value_out_of_range_is_black_when_shown():
    shown = softplus_unclamp(torch.tensor([-1.0, 0.0]))
    assert torch.isfinite(shown).all() and (shown < 0).all()


def test_both_have_the_gradient_that_finite_differences_have():
    x = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.2
    assert torch.autograd.gradcheck(softplus_clamp, x.requires_grad_())
    assert torch.autograd.gradcheck(softplus_unclamp, x)


@pytest.mark.parametrize("function", [softplus_clamp, softplus_unclamp])
def test_a_sharpness_of_zero_is_refused(function):
    with pytest.raises(ValueError, match="positive"):
        function(torch.ones(2), xi=0)
