"""The average face, drawn where faces are on average: landmarks, uv and region, and how they move with a picture."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.augment import move_points, similarity
from facenb.flatten import flatten
from facenb.image_sets import ImageSet, celeba_landmarks5
from facenb.mean_pose import (
    ALIGNED_SCALE,
    aligned_landmarks5,
    average_landmarks5,
    forehead_limit,
    mean_supervision,
    similarity_onto,
    to_pixels,
)
from facenb.metrics import direct_landmarks, five_points
from facenb.open_model import open_model

SIZE = 96


@pytest.fixture(scope="module")
def face():
    model = open_model().truncate(1, 1, 1).to(dtype=torch.float64)
    return model, flatten(model)


@pytest.fixture(scope="module")
def points(face):
    return to_pixels(aligned_landmarks5(face[0]), SIZE)


@pytest.fixture(scope="module")
def supervision(face, points):
    return mean_supervision(*face, points, SIZE)


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(-9, 9), st.floats(-9, 9))
def test_a_similarity_is_found_exactly_where_there_is_one(angle, log_scale, tx, ty):
    source = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c, s = math.exp(log_scale) * math.cos(angle), math.exp(log_scale) * math.sin(angle)
    A, t = torch.tensor([[c, -s], [s, c]], dtype=torch.float64), torch.tensor([tx, ty], dtype=torch.float64)
    found, moved = similarity_onto(source, source @ A.T + t)
    torch.testing.assert_close(found, A)
    torch.testing.assert_close(moved, t)


def test_a_similarity_is_the_least_squares_one():
    """The four numbers of a similarity are linear in the points: ordinary least squares must agree."""
    g = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 7, 2, generator=g, dtype=torch.float64)
    x, y = source.T
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.cat([torch.stack([x, -y, one, zero], -1), torch.stack([y, x, zero, one], -1)])
    a, b, tx, ty = torch.linalg.lstsq(rows, target.T.reshape(-1, 1)).solution[:, 0]
    A, t = similarity_onto(source, target)
    torch.testing.assert_close(A, torch.stack([torch.stack([a, -b]), torch.stack([b, a])]))
    torch.testing.assert_close(t, torch.stack([tx, ty]))


def test_a_similarity_needs_two_points():
    with pytest.raises(ValueError, match="two different points"):
        similarity_onto(torch.ones(5, 2), torch.rand(5, 2))


def test_aligned_points_are_centred_and_of_the_frames_scale(face):
    model, _ = face
    five = aligned_landmarks5(model)
    torch.testing.assert_close(five.mean(0), torch.tensor([0.5, 0.5], dtype=torch.float64))
    eyes = five_points(model.shape_mean[model.landmarks68])[:2]
    assert float((five[1, 0] - five[0, 0]) / (eyes[1, 0] - eyes[0, 0])) == pytest.approx(ALIGNED_SCALE / 100)
    assert five[2, 1] > five[0, 1] and five[3, 1] > five[2, 1]  # the nose below the eyes, the mouth below the nose


def test_celebas_points_are_those_of_the_aligned_frame_to_two_percent_of_the_side(face):
    assert (celeba_landmarks5() - aligned_landmarks5(face[0])).norm(dim=-1).max() < 0.02


def test_a_set_knows_its_average_points_if_its_frame_is_known(face):
    def images(frame):
        return ImageSet(["a.jpg"], lambda i: None, frame=frame)

    assert torch.equal(average_landmarks5(images("aligned"), face[0]), aligned_landmarks5(face[0]))
    assert torch.equal(average_landmarks5(images("celeba"), face[0]), celeba_landmarks5())
    with pytest.raises(ValueError, match=r"a\.jpg.*not known where their faces are.*facenb render"):
        average_landmarks5(images(None), face[0])


def test_the_uv_map_points_to_the_landmarks_where_they_were_asked_for(face, points, supervision):
    """Read back as a network's answer is: nearest uv, then subpixel; the eyes' middles are 12 of the 68 points."""
    _, flattening = face
    landmarks_uv = flattening.uv[face[0].landmarks68].float()
    found = direct_landmarks(supervision.uv[None], supervision.face[None].float(), landmarks_uv)[0]
    error = (five_points(found) - points.float()).norm(dim=-1)
    assert error.max() < 0.5


def test_uv_follows_left_and_right_up_and_down(supervision):
    """The subject's left, larger u, is on the right of the picture; v grows downwards."""
    u, v = supervision.uv
    assert u[40, 60] > u[40, 35] and v[70, 47] > v[30, 47]
    assert (u[:, 47] + u[:, 48] - 1)[supervision.face[:, 47]].abs().max() < 1e-5  # a symmetric face


def test_the_face_ends_a_third_of_the_way_up_the_forehead(face, points, supervision):
    model, _ = face
    P = model.shape_mean[model.landmarks68]
    brows, nose = P[17:27, 1].max(), P[33, 1]
    assert forehead_limit(model) == pytest.approx(float(brows + (brows - nose) / 3))
    rows = supervision.face.any(1).nonzero()[:, 0]
    five = five_points(P)
    top = points[0, 1] - (forehead_limit(model) - five[0, 1]) * ALIGNED_SCALE / 100 * SIZE
    assert abs(float(rows[0] - top)) <= 1
    chin = points[0, 1] + (five[0, 1] - P[8, 1]) * ALIGNED_SCALE / 100 * SIZE
    assert abs(float(rows[-1] - chin)) <= 2.5  # a little of the underside of the chin shows


def test_outside_the_face_uv_goes_on_without_a_jump(supervision):
    assert supervision.uv.isfinite().all() and supervision.uv.min() >= 0 and supervision.uv.max() <= 1
    corner = supervision.uv[:, 0, 0]
    assert (corner < 0.5).all() and not (corner == 0).all()


@pytest.mark.parametrize(
    "angle, zoom, shift", [(0.5, 0.2, (0.08, -0.1)), (-0.4, -0.25, (-0.1, 0.05)), (0.0, 0.0, (0, 0))]
)
def test_supervision_that_is_turned_equals_supervision_drawn_at_the_turned_landmarks(
    face, points, supervision, angle, zoom, shift
):
    """The heart of section F's augmentation, numerically: warping the map = posing the mean face on moved landmarks."""
    theta = similarity(
        torch.tensor([angle]), torch.tensor([80 * math.exp(zoom)]), torch.tensor([shift]).float(), SIZE, 64
    )
    turned = supervision.moved(theta, 64)
    drawn = mean_supervision(*face, move_points(theta.double(), points[None])[0], 64)
    both = turned.face[0] & drawn.face
    either = turned.face[0] | drawn.face
    assert both.sum() / either.sum() > 0.97
    texels = 320 * (turned.uv[0] - drawn.uv).norm(dim=0)[both]
    assert texels.median() < 0.7 and texels.quantile(0.95) < 6  # between the lips uv jumps, and a warp smooths jumps


def test_a_model_without_landmarks_and_points_outside_are_refused(tiny_model, face):
    without = replace(tiny_model, landmarks68=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="has no landmarks"):
        aligned_landmarks5(without)
    with pytest.raises(ValueError, match="outside the picture"):
        mean_supervision(*face, torch.tensor([[900.0, 900], [940, 900], [920, 920], [910, 940], [930, 940]]), 64)
