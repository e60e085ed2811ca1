"""Measures of pictures against their formulas and against scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from facenb.restore.picture_metrics import CONTRAST, LUMINANCE, gmsd, psnr, with_gain


def picture(seed, size=24):
    soft = gaussian_filter(np.random.default_rng(seed).random((3, size, size)), (0, 1.5, 1.5))
    return torch.from_numpy((soft - soft.min()) / np.ptp(soft))[None]


def test_psnr_is_that_of_scikit_image():
    a, b = picture(0), picture(1)
    expected = peak_signal_noise_ratio(b[0].numpy(), a[0].numpy(), data_range=1)
    assert psnr(a, b).item() == pytest.approx(expected)
    left = torch.zeros(1, 24, 24, dtype=torch.bool)
    left[..., :12] = True
    expected = peak_signal_noise_ratio(b[0, ..., :12].numpy(), a[0, ..., :12].numpy(), data_range=1)
    assert psnr(a, b, left).item() == pytest.approx(expected)


def test_gmsd_is_the_formula():
    a, b = picture(0), picture(1)

    def steepness(p):
        grey = np.einsum("chw,c->hw", p[0].numpy(), LUMINANCE)
        kernel = np.array([[1, 0, -1]] * 3) / 3
        return np.hypot(convolve(grey, kernel, mode="nearest"), convolve(grey, kernel.T, mode="nearest"))

    g, h = steepness(a), steepness(b)
    s = (2 * g * h + CONTRAST) / (g**2 + h**2 + CONTRAST)
    assert gmsd(a, b).item() == pytest.approx(s.std(), rel=1e-4)
    assert gmsd(a, a).item() == pytest.approx(0, abs=1e-6)


def test_gmsd_sees_a_blur_that_psnr_prefers_to_a_shift():
    truth = picture(2, 48)
    blurred = torch.from_numpy(gaussian_filter(truth.numpy(), (0, 0, 1.2, 1.2)))
    brighter = truth + (blurred - truth).square().mean().sqrt() * 1.5
    assert psnr(blurred, truth) > psnr(brighter, truth)
    assert gmsd(blurred, truth) > gmsd(brighter, truth) + 0.02


@settings(max_examples=20, deadline=None)
@given(gain=st.lists(st.floats(0.3, 3), min_size=3, max_size=3))
def test_a_gain_of_each_channel_is_forgiven(gain):
    truth = picture(3)
    where = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(0)) < 0.5
    other = truth * torch.tensor(gain, dtype=truth.dtype)[:, None, None]
    torch.testing.assert_close(with_gain(other, truth, where), truth)
