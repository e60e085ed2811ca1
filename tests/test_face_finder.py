"""Faces hidden in large pictures, found again with a stand-in network that reads (u, v) off the colours."""

import math

import pytest
import torch
from hidden_faces import FACE, ReadsColours, hidden
from rendered_faces import rendered_faces

from facenb.augment import move_points
from facenb.face_finder import FinderOptions, box_similarities, crop_similarity, cut_out, find_face
from facenb.face_judge import FaceJudge
from facenb.networks import Maps
from facenb.open_model import open_model
from facenb.reconstruction import reconstruction_tables


@pytest.fixture(scope="module")
def tables():
    return reconstruction_tables(open_model(progress=False).truncate(20, 10, 5))


@pytest.fixture(scope="module")
def faces(tables):
    model = open_model(progress=False).truncate(20, 10, 5)
    g = torch.Generator().manual_seed(5)
    return rendered_faces(model, tables.flattening, 4, g, size=FACE, yaw=0.4, roll=0.0)


@pytest.mark.parametrize(
    "i, centre, side, degrees",
    [
        (0, (320.0, 250.0), 480.0, 0.0),
        (1, (200.0, 150.0), 200.0, 20.0),
        (2, (420.0, 300.0), 330.0, -100.0),
        (3, (500.0, 100.0), 130.0, -15.0),
        (0, (330.0, 260.0), 400.0, 180.0),
    ],
)
def test_a_hidden_face_is_found_and_framed_as_in_training(tables, faces, i, centre, side, degrees):
    """The five points' mean within 6 % of the crop's side of its middle, eyes level within 12°, 100 mm ≈ 0.48 sides."""
    photo, five = hidden(faces, i, centre, side, degrees)
    found = find_face(ReadsColours(), tables, photo)
    assert found is not None and found.score > 0.5
    in_crop = move_points(found.theta[None], five[None])[0]
    assert (in_crop.mean(0) - 31.5).norm() < 0.06 * 64
    eyes = in_crop[1] - in_crop[0]
    true_side = 100 * side * float(faces.camera.K[i, 0, 0] / faces.camera.t[i, 2]) / FACE / 0.48
    assert found.side == pytest.approx(true_side, rel=0.15)
    assert abs(math.degrees(math.atan2(eyes[1], eyes[0]))) < 12


def test_noise_and_a_wall_that_the_network_takes_for_skin_are_no_faces(tables):
    """Confidence everywhere with one (u, v), or with random ones, or a ramp far too large: confidence is not enough."""
    g = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 300, 400, generator=g)
    sure = lambda image: Maps(image[:, :2], torch.ones_like(image[:, 0]), torch.full_like(image[:, 0], 6.0))  # noqa: E731
    assert find_face(ReadsColours(), tables, 0.5 * noise) is None
    assert find_face(sure, tables, noise) is None
    assert find_face(sure, tables, torch.full((3, 300, 400), 0.5)) is None
    ramp = torch.stack(torch.meshgrid(torch.linspace(0, 1, 300), torch.linspace(0, 1, 400), indexing="ij"))
    stretched = torch.cat([ramp.flip(0) * 0.2 + 0.4, torch.ones(1, 300, 400)])
    assert find_face(sure, tables, stretched) is None


def test_a_perfect_crop_scores_high_and_each_fault_lowers_it(tables, faces):
    judge = FaceJudge(tables)
    small = [
        torch.nn.functional.interpolate(x, (64, 64), mode="nearest")
        for x in (faces.maps.uv, faces.mask[:, None].float())
    ]
    uv, mask = small[0], small[1][:, 0]
    logit = 12 * mask - 6
    good = judge(Maps(uv, mask, logit)).score
    assert good.min() > 0.75
    vague = judge(Maps(uv, mask, 0.1 * logit)).score
    g = torch.Generator().manual_seed(0)
    mixed = judge(Maps(uv + 0.1 * torch.randn(uv.shape, generator=g), mask, logit)).score
    half = judge(Maps(uv, mask, torch.where(torch.arange(64) < 24, logit, -6.0))).score
    mirrored = judge(Maps(uv.flip(-1), mask, logit.flip(-1))).score
    for worse in (vague, mixed, half, mirrored):
        assert (worse < 0.7 * good).all()


def test_window_scores_from_moments_agree_with_scores_of_the_same_windows_alone(tables, faces):
    """Same poses to within a few per cent: the box filter of products is the sum over the window."""
    photo, _ = hidden(faces, 1, (90.0, 80.0), 64.0, 0.0, size=(160, 192))
    judge, net = FaceJudge(tables, FinderOptions(stride=16)), ReadsColours()
    seen, corner = judge.windows(net(photo[None]))
    best = int(seen.score.argmax())
    assert seen.score[best] > 0.3
    x, y = (int(v) for v in corner[best, 1:])
    maps = net(photo[None])
    part = Maps(*(m[..., y : y + 64, x : x + 64] for m in (maps.uv, maps.depth, maps.logit)))
    alone = judge(part)
    torch.testing.assert_close(seen.centre[best], alone.centre[0], atol=1.5, rtol=0)
    torch.testing.assert_close(seen.scale[best], alone.scale[0], atol=0, rtol=0.05)
    assert abs(float(seen.angle[best] - alone.angle[0])) < 0.1


def test_a_crop_shows_what_its_similarity_says():
    """A linear ramp cut out at any size and angle is the ramp at θ x, whatever was averaged on the way."""
    y, x = torch.meshgrid(torch.arange(240.0), torch.arange(320.0), indexing="ij")
    photo = torch.stack([x / 320, y / 240, 0 * x])
    for side, angle in ((40.0, 0.3), (150.0, -0.7), (200.0, 2.0)):
        theta = crop_similarity(torch.tensor([[150.0, 120.0]]), torch.tensor([side]), torch.tensor([angle]), 32)
        crop = cut_out(photo, theta, 32)[0]
        j, i = torch.meshgrid(torch.arange(10.0, 22.0), torch.arange(10.0, 22.0), indexing="ij")
        at = torch.stack([i, j], -1).reshape(-1, 2) @ theta[0, :, :2].T + theta[0, :, 2]
        shown = crop[:2, 10:22, 10:22].reshape(2, -1).T * torch.tensor([320.0, 240.0])
        torch.testing.assert_close(shown, at, atol=0.6, rtol=0)


def test_a_box_is_framed_as_in_training():
    o = FinderOptions(angles=(0, 90))
    theta, turned = box_similarities(100, 50, 62, 62, o)
    middle = theta[:, :2] @ torch.tensor([31.5, 31.5]) + theta[:, 2]
    torch.testing.assert_close(middle, torch.tensor([130.5, 80.5]))
    assert float(theta[0, 0]) == pytest.approx(100 / 64) and float(turned[0, 1]) == pytest.approx(100 / 64)
    torch.testing.assert_close(turned[:, :2] @ torch.tensor([31.5, 31.5]) + turned[:, 2], middle)


def test_the_search_costs_the_same_whatever_the_photo_measures(tables):
    """As many network calls for a photo of twice the size."""
    small, large = ReadsColours(), ReadsColours()
    o = FinderOptions(scales=(1.0, 0.5), angles=(0, 90), full_circle=0.4)
    find_face(small, tables, torch.zeros(3, 96, 128), o)
    find_face(large, tables, torch.zeros(3, 192, 256), o)
    assert small.calls == large.calls == 4
