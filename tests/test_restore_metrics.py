"""SIDE, MAD and the sign of relief against worked examples and what they must not see."""

from math import log, radians, tan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.depth_light import FIELD_OF_VIEW
from facenb.restore.depth_metrics import mad, relief_correlation, side, without_rim

f64 = torch.float64


def slope(size: int, degrees: float) -> torch.Tensor:
    """A plane through depth 1, turned about the vertical."""
    x = (2 * torch.arange(size, dtype=f64) + 1 - size) / size * tan(FIELD_OF_VIEW / 2)
    return (1 / (1 - tan(radians(degrees)) * x)).expand(1, size, size).contiguous()


def everywhere(depth: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(depth, dtype=torch.bool)


def test_side_by_hand():
    """Two pixels right and two by a factor e^0.02 off: the logarithms' deviation is 0.01."""
    truth = torch.ones(1, 2, 2, dtype=f64)
    guess = torch.tensor([[[1, 1], [1, 1]]], dtype=f64)
    guess[0, 0] *= torch.tensor(0.02, dtype=f64).exp()
    assert side(guess, truth, everywhere(truth)).item() == pytest.approx(1.0)
    assert log(guess[0, 0, 0]) == pytest.approx(0.02)


@given(st.floats(0.5, 2), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_side_and_mad_forgive_the_distance_and_nothing_else(factor, seed):
    g = torch.Generator().manual_seed(seed)
    truth = 1 + 0.05 * torch.rand(1, 8, 8, generator=g, dtype=f64)
    guess = 1 + 0.05 * torch.rand(1, 8, 8, generator=g, dtype=f64)
    where = everywhere(truth)
    assert torch.allclose(side(factor * guess, truth, where), side(guess, truth, where))
    assert torch.allclose(mad(factor * guess, truth, where), mad(guess, truth, where))
    assert side(factor * truth, truth, where).item() == pytest.approx(0, abs=1e-9)
    assert side(guess + 0.5, truth, where) < side(guess, truth, where) * 2 and side(guess, truth, where) > 0.1


def test_mad_is_the_angle_between_planes():
    flat, tilted = slope(16, 0), slope(16, 20)
    assert mad(flat, tilted, everywhere(flat)).item() == pytest.approx(20, abs=1e-4)
    assert mad(slope(16, -10), tilted, everywhere(flat)).item() == pytest.approx(30, abs=1e-4)


def test_only_the_pixels_asked_for_count():
    truth, guess = slope(16, 5), slope(16, 5)
    guess[:, :, 8:] = slope(16, 40)[:, :, 8:] * 1.1
    left = everywhere(truth)
    left[:, :, 6:] = False
    assert side(guess, truth, left).item() == pytest.approx(0, abs=1e-9)
    assert mad(guess, truth, left).item() == pytest.approx(0, abs=1e-5)
    assert side(guess, truth, everywhere(truth)) > 1
    guess[:, :, 8:] = -1  # nonsense elsewhere does no harm …
    assert side(guess, truth, left).item() == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="positive"):  # … and is refused where it counts
        side(guess, truth, everywhere(truth))


def test_a_hollow_face_has_a_negative_correlation():
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 12, dtype=f64)] * 2, indexing="ij")
    face = (1 + 0.05 * (x**2 + y**2))[None]
    where = everywhere(face)
    assert relief_correlation(face, face, where).item() == pytest.approx(1)
    assert relief_correlation(2 - face, face, where).item() == pytest.approx(-1)
    assert relief_correlation(0.3 * face + 2, face, where).item() == pytest.approx(1)


def test_the_rim_is_one_pixel_wide():
    mask = torch.zeros(1, 7, 7, dtype=torch.bool)
    mask[:, 1:6, 1:6] = True
    expected = torch.zeros_like(mask)
    expected[:, 2:5, 2:5] = True
    assert torch.equal(without_rim(mask), expected)
    assert without_rim(torch.ones(1, 5, 5, dtype=torch.bool)).all()  # the picture's border is no rim
