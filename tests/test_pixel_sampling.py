"""Which pixels enter the least squares: section C of the supplement."""

import pytest
import torch

from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_between, sample_pixels


def test_only_confident_pixels_are_drawn_while_there_are_enough(generator):
    """Section C: confidence > 0.001 × the image's maximum, for every image by its own maximum."""
    confidence = torch.rand(2, 40, 50, generator=generator)
    confidence[:, :20] *= 1e-4
    confidence[1] *= 1e-3  # a dim image has the same rule
    index = sample_pixels(confidence, 500, generator)
    chosen = confidence.flatten(1).gather(1, index)
    assert (chosen > 1e-3 * confidence.amax((1, 2))[:, None]).all()
    assert all(len(set(row.tolist())) == 500 for row in index)


def test_too_few_confident_pixels_are_all_taken_and_the_rest_is_random(generator):
    """Section C: "we select the rest of the pixels randomly"."""
    confidence = torch.zeros(1, 30, 30)
    confidence[0, 10, :25] = 0.7
    first, second = (sample_pixels(confidence, 100, generator)[0].tolist() for _ in range(2))
    assert set(range(300, 325)) <= set(first) and len(set(first)) == 100
    assert set(first) != set(second)


def test_every_qualifying_pixel_is_equally_likely(generator):
    """Counts of 2,000 draws of 10 among 40 stay within five standard deviations of 500."""
    confidence = torch.linspace(0.01, 1, 40).reshape(1, 1, 40).expand(2000, 1, 40)
    counts = sample_pixels(confidence, 10, generator).flatten().bincount(minlength=40)
    assert (counts - 500).abs().max() < 5 * (2000 * 0.25 * 0.75) ** 0.5


def test_the_draw_depends_on_nothing_but_the_generator():
    confidence = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(1))
    a, b = (sample_pixels(confidence, 20, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b)


def test_a_small_image_gives_all_its_pixels(generator):
    assert sorted(sample_pixels(torch.zeros(1, 3, 4), 100, generator)[0].tolist()) == list(range(12))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_confidence_that_is_no_number_is_refused(bad, generator):
    confidence = torch.ones(1, 4, 4)
    confidence[0, 1, 1] = bad
    with pytest.raises(ValueError, match="confidence"):
        sample_pixels(confidence, 3, generator)


def test_no_sample_at_all_is_refused(generator):
    with pytest.raises(ValueError, match="at least one"):
        sample_pixels(torch.ones(1, 4, 4), 0, generator)


def test_a_gathered_coordinate_map_equals_the_pixel_coordinates(generator):
    """x right, y down, (0, 0) the centre of the top-left pixel."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    index = sample_pixels(torch.ones(2, 6, 9), 20, generator)
    gathered = gather_pixels(torch.stack([x, y]).expand(2, 2, 6, 9), index)
    assert torch.equal(gathered, pixel_coordinates(index, 9, torch.float32))


def test_between_pixels_values_are_bilinear_and_outside_those_of_the_rim():
    """A picture of its own coordinates gives them back."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    points = torch.tensor([[[0.0, 0.0], [7.25, 4.5], [3.0, 1.75], [-5.0, 2.0], [20.0, 9.0]]])
    found = sample_between(torch.stack([x, y])[None], points)
    torch.testing.assert_close(found, points.clamp(min=0).minimum(torch.tensor([8.0, 5.0])))
