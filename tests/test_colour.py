"""The sRGB curve."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from facenb.colour import to_linear, to_srgb


def test_the_curve_meets_the_standards_values():
    """IEC 61966-2-1: black, white and the foot stay; mid grey of 0.5 is 21.4 % light; 18 % light shows as 0.461."""
    srgb = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)
    linear = torch.tensor([0.0, 0.0031308, 0.2140411, 1.0], dtype=torch.float64)
    torch.testing.assert_close(to_linear(srgb), linear, atol=1e-7, rtol=0)
    torch.testing.assert_close(to_srgb(linear), srgb, atol=1e-6, rtol=0)
    assert to_srgb(torch.tensor(0.18)).item() == pytest.approx(0.4613, abs=1e-4)


@given(st.floats(-2, 4))
def test_there_and_back_is_the_identity_even_outside_the_unit_interval(x):
    value = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(to_srgb(to_linear(value)), value, atol=2e-7, rtol=1e-12)
    torch.testing.assert_close(to_linear(to_srgb(value)), value, atol=2e-7, rtol=1e-12)


def test_both_directions_rise_everywhere():
    x = torch.linspace(-0.5, 2, 100_001, dtype=torch.float64)
    assert (to_linear(x).diff() > 0).all()
    assert (to_srgb(x).diff() > 0).all()


@pytest.mark.parametrize("curve", [to_linear, to_srgb])
def test_gradients_are_exact_and_finite_also_at_black(curve):
    x = torch.tensor([-0.1, 0.0, 0.002, 0.03, 0.2, 0.5, 1.0, 1.3], dtype=torch.float64, requires_grad=True)
    assert gradcheck(curve, (x,))
    (gradient,) = torch.autograd.grad(curve(x).sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("curve", [to_linear, to_srgb])
def test_shape_and_type_are_kept(curve):
    x = torch.rand(2, 3, 4, dtype=torch.float32)
    assert curve(x).shape == x.shape
    assert curve(x).dtype == x.dtype
