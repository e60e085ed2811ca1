"""Where points go when pictures are turned, that warps are linear in the picture, and what fills the rest."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.augment import (
    CROP,
    ROTATION,
    SHIFT,
    ZOOM,
    backgrounds,
    faceless,
    invert,
    jitter,
    move_points,
    random_similarity,
    similarity,
    warp,
)

PAIRS = st.tuples(*[st.floats(-1, 1)] * 4)


def one(angle=0.0, side=80.0, shift=(0.0, 0.0), source=96, size=64):
    double = {"dtype": torch.float64}
    return similarity(
        torch.tensor([angle], **double), torch.tensor([side], **double), torch.tensor([shift], **double), source, size
    )


def blob(size, x, y, sigma=3.0):
    """A Gaussian spot centred at the pixel position (x, y)."""
    r = torch.arange(size, dtype=torch.float64)
    return torch.exp(-((r[None, :] - x) ** 2 + (r[:, None] - y) ** 2) / (2 * sigma**2))[None, None]


def centroid(image):
    """(x, y) of the middle of a spot."""
    w = image[0, 0] / image.sum()
    r = torch.arange(w.shape[0], dtype=w.dtype)
    return torch.stack([(w.sum(0) * r).sum(), (w.sum(1) * r).sum()])


def test_theta_takes_new_pixels_to_old_ones():
    """Without turn and shift: the middles meet, and a step of one new pixel is side / size old ones."""
    theta = one(side=80, source=96, size=64)[0]
    middle = theta @ torch.tensor([31.5, 31.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(middle, torch.tensor([47.5, 47.5], dtype=torch.float64))
    step = theta @ torch.tensor([32.5, 31.5, 1.0], dtype=torch.float64) - middle
    torch.testing.assert_close(step, torch.tensor([1.25, 0.0], dtype=torch.float64))


def test_a_positive_angle_turns_the_content_clockwise():
    """What was right of the middle comes below it: y points down."""
    moved = move_points(one(angle=math.pi / 2, side=64, source=64), torch.tensor([[[41.5, 31.5]]]).double())
    torch.testing.assert_close(moved[0, 0], torch.tensor([31.5, 41.5], dtype=torch.float64))


def test_a_shift_moves_the_content_by_that_part_of_the_new_picture():
    moved = move_points(one(shift=(0.25, -0.125)), torch.tensor([[[47.5, 47.5]]]).double())
    torch.testing.assert_close(moved[0, 0], torch.tensor([31.5 + 16, 31.5 - 8], dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(PAIRS, st.floats(-8, 8), st.floats(-8, 8), st.sampled_from([1, 2]))
def test_a_spot_lands_where_move_points_says_to_a_fiftieth_of_a_pixel(lot, x, y, samples):
    angle, zoom, sx, sy = lot
    theta = one(angle * ROTATION, 80 * math.exp(zoom * ZOOM), (sx * SHIFT, sy * SHIFT))
    place = torch.tensor([[[47.5 + x, 47.5 + y]]], dtype=torch.float64)
    warped = warp(blob(96, *place[0, 0].tolist()), theta, 64, samples=samples)
    assert (centroid(warped) - move_points(theta, place)[0, 0]).norm() < 0.02


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_a_warp_and_its_inverse_give_a_smooth_picture_back(lot):
    angle, zoom, sx, sy = lot
    theta = one(angle * ROTATION, 96 * math.exp(zoom * ZOOM), (sx * SHIFT, sy * SHIFT), size=96)
    image = blob(96, 45, 50, sigma=8)
    back = warp(warp(image, theta, 96), invert(theta), 96)
    assert (back - image).abs().max() < 0.02


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_points_return_through_the_inverse(lot):
    angle, zoom, sx, sy = lot
    theta = one(angle * math.pi, 80 * math.exp(zoom), (sx, sy))
    points = torch.tensor([[[3.0, 90.0], [50.0, 20.0]]], dtype=torch.float64)
    torch.testing.assert_close(move_points(invert(theta), move_points(theta, points)), points)


def test_the_identity_changes_nothing_and_a_quarter_turn_is_exact():
    image = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(warp(image, one(side=12, source=12, size=12), 12), image)
    turned = warp(image, one(angle=math.pi / 2, side=12, source=12, size=12), 12)
    torch.testing.assert_close(turned, torch.rot90(image, -1, dims=(-2, -1)))  # rot90 counts anticlockwise


def test_two_samples_per_pixel_average_what_one_would_skip():
    """Stripes one pixel wide, made half as large, are grey.

    Shifted by a quarter of a new pixel a single sample falls on one stripe; the mean of 2 × 2 does not.
    """
    stripes = (torch.arange(32) % 2).double().expand(1, 1, 32, 32)
    theta = one(side=32, source=32, size=16, shift=(0.25 / 16, 0.0))
    assert (warp(stripes, theta, 16)[..., 1:-1, 1:-1] - 0.5).abs().max() > 0.4
    assert (warp(stripes, theta, 16, samples=2)[..., 1:-1, 1:-1] - 0.5).abs().max() < 1e-9


def test_what_lies_outside_is_filled_and_nothing_else():
    """Half of the new picture lies left of the old one; its edge is the old picture's, half a pixel beyond a centre."""
    image, fill = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.25)
    theta = one(side=8, source=8, size=8, shift=(0.5, 0.0)).float()
    new = warp(image, theta, 8, fill)
    assert (new[..., :4] == 0.25).all() and (new[..., 4:] == 1).all()
    assert (warp(image, theta, 8, 0.5)[..., :4] == 0.5).all()


def test_warping_is_linear_in_the_image_and_in_what_fills():
    torch.manual_seed(1)
    image = torch.rand(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    fill = torch.rand(2, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    theta = random_similarity(2, torch.Generator().manual_seed(3), 6, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda i, f: warp(i, theta, 5, f, samples=2), (image, fill))
    total = warp(image, theta, 5, fill) + warp(2 * image, theta, 5, 0.0)
    torch.testing.assert_close(total, warp(3 * image, theta, 5, fill))


def test_random_similarities_stay_in_their_ranges_and_reach_them(generator):
    theta = random_similarity(4000, generator, 96, 64, dtype=torch.float64)
    angle = torch.atan2(theta[:, 0, 1], theta[:, 0, 0])
    side = 64 * theta[:, 0, :2].norm(dim=-1)
    middle = move_points(theta, torch.full((4000, 1, 2), 47.5, dtype=torch.float64))[:, 0]
    shift = (middle - 31.5) / 64
    for value, limit in ((angle, ROTATION), ((side / (CROP * 96)).log(), ZOOM), (shift, SHIFT)):
        assert value.abs().max() <= limit * (1 + 1e-9)
        assert value.abs().max() > 0.99 * limit and value.mean().abs() < 0.05 * limit


def test_the_crop_shows_a_hundred_millimetres_as_48_percent():
    """Aligned pictures have 40 % of the side per 100 mm; CROP makes that the 48 % of the test images."""
    crop = 0.40 / CROP
    assert crop == pytest.approx(0.48)


def test_the_same_generator_gives_the_same_views():
    def views():
        g = torch.Generator().manual_seed(7)
        images = torch.rand(4, 3, 24, 24, generator=g)
        theta = random_similarity(4, g, 24, 16)
        return jitter(warp(images, theta, 16, backgrounds(images, 16, g)), g)

    assert torch.equal(views(), views())


def test_backgrounds_are_corners_of_other_images(generator):
    """Each image is one grey, its middle white: no background may be white, or of the image's own grey."""
    grey = torch.linspace(0, 0.7, 5)
    images = grey[:, None, None, None].expand(5, 3, 32, 32).clone()
    images[..., 8:24, 8:24] = 1
    for _ in range(20):
        b = backgrounds(images, 16, generator)
        assert b.shape == (5, 3, 16, 16) and b.max() < 0.8
        assert ((b[:, 0, 0, 0] - grey).abs() > 0.1).all()


def test_faceless_pictures_are_corners_and_nothing_else(generator):
    """Middles are white and must not appear; every number of patches from one to nine is met, and all images are."""
    grey = torch.linspace(0, 0.7, 5)
    images = grey[:, None, None, None].expand(5, 3, 32, 32).clone()
    images[..., 8:24, :] = images[..., 8:24] = 1
    pictures = faceless(images, 60, 24, generator)
    assert pictures.shape == (60, 3, 24, 24) and pictures.max() < 0.8
    corners = pictures[:, 0, ::23, ::23].flatten(1)  # 60 4
    assert {round(v, 3) for v in corners.flatten().tolist()} == {round(v, 3) for v in grey.tolist()}
    several = (corners != corners[:, :1]).any(1)
    assert 0.3 < several.float().mean() < 0.9


def test_jitter_keeps_pictures_in_range_and_greys_some_of_them(generator):
    images = torch.rand(200, 3, 8, 8, generator=generator)
    out = jitter(images, generator, noise=0.0)
    assert out.min() >= 0 and out.max() <= 1
    share = (out.amax(1) - out.amin(1)).amax((1, 2)).lt(1e-6).float().mean()
    assert 0.04 < share < 0.18
    torch.testing.assert_close(jitter(images, generator, 0, 0, 0, 0, 0), images, atol=1e-6, rtol=0)


def test_theta_and_fill_of_the_wrong_shape_are_refused():
    image = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)"):
        warp(image, one().float(), 8)
    with pytest.raises(ValueError, match="8 × 8 cannot be filled from one of 4 × 4"):
        warp(image, torch.cat([one(), one()]).float(), 8, torch.zeros(2, 3, 4, 4))
