"""Photos are spoilt by the ranges that are asked for, and always in the same way."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from facenb.restore.degrade import Degradation, Spoiling, degrade, draw_spoiling, spoil


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.random((3, 32, 32, 3)), (0, 2, 2, 0))
    soft = (soft - soft.min()) / np.ptp(soft)
    return torch.from_numpy((255 * soft).astype(np.uint8)).permute(0, 3, 1, 2)


def test_a_photo_is_spoilt_by_seed_and_number_alone(photos):
    together = degrade(photos, seed=3)
    alone = degrade(photos[2:], seed=3, first=2)
    assert together.shape == photos.shape and together.dtype == torch.uint8
    assert torch.equal(together[2:], alone)
    assert not torch.equal(degrade(photos, seed=4), together)
    assert not torch.equal(degrade(photos[:1].expand(2, -1, -1, -1), seed=3)[0], together[1])


def test_it_is_the_formula(photos):
    """Blur, r × r means, noise, JPEG, bicubic: each step done here once more."""
    photo = photos[0].permute(1, 2, 0).numpy()
    s = Spoiling(blur=1.0, factor=4, noise=5.0, quality=60)
    ours = spoil(photo, s, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    blurred = np.stack([gaussian_filter(photo[..., c].astype(np.float32), 1.0, mode="nearest") for c in range(3)], -1)
    small = np.zeros((8, 8, 3))
    for y in range(8):
        for x in range(8):
            small[y, x] = blurred[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean((0, 1))
    small = np.floor(np.clip(small + rng.normal(0, 5, small.shape) + 0.5, 0, 255)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).save(file, "JPEG", quality=60)
    again = np.asarray(Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(ours.astype(int) - again).max() <= 2  # a mean that falls between two bytes


@pytest.mark.parametrize(
    ("name", "mild", "bad"),
    [("blur", 0.1, 3.0), ("factor", 1, 8), ("noise", 0.0, 30.0), ("quality", 95, 5)],
)
def test_each_kind_of_damage_does_damage(photos, name, mild, bad):
    usual = {"blur": 0.1, "factor": 1, "noise": 0.0, "quality": 95}
    photo = photos[0].permute(1, 2, 0).numpy()
    good, worse = (
        np.abs(spoil(photo, Spoiling(**usual | {name: v}), np.random.default_rng(0)).astype(int) - photo).mean()
        for v in (mild, bad)
    )
    assert worse > good + 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), low=st.floats(0, 2), more=st.floats(0, 2), quality=st.integers(1, 95))
def test_what_is_drawn_lies_in_the_ranges(seed, low, more, quality):
    ranges = Degradation(blur=(low, low + more), factors=(4, 8), noise=(low, low + more), quality=(quality, 95))
    s = draw_spoiling(ranges, np.random.default_rng(seed))
    assert low <= s.blur <= low + more and low <= s.noise <= low + more
    assert s.factor in (4, 8) and quality <= s.quality <= 95


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blur": (2.0, 1.0)}, "smaller one first"),
        ({"noise": (-1.0, 1.0)}, "from 0 on"),
        ({"quality": (0, 50)}, "1 to 95"),
        ({"factors": ()}, "one or more"),
    ],
)
def test_impossible_ranges_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Degradation(**options)


def test_a_factor_that_does_not_divide_the_side_is_refused(photos):
    with pytest.raises(ValueError, match="divides its side"):
        degrade(photos, 0, Degradation(factors=(5,)))
