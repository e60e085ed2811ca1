"""A face that is in the photo stays where it is when frames are moved; one that goes with the frame is imagined."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered_faces import rendered_faces

from facenb.augment import move_points
from facenb.face_finder import crop_similarity, cut_out, improve_crops
from facenb.face_judge import FaceJudge, Sightings
from facenb.networks import Maps
from facenb.open_model import open_model
from facenb.reconstruction import reconstruction_tables
from facenb.steadiness import FRAMES, moved_frames, steadiness

SIZE = 64


def crops(n: int, generator: torch.Generator) -> torch.Tensor:
    lot = torch.rand(n, 4, generator=generator)
    return crop_similarity(100 + 200 * lot[:, :2], 80 + 200 * lot[:, 2], (lot[:, 3] - 0.5) * 2 * math.pi, SIZE)


def sees(place, scale, angle):
    """A network that finds the face of the photo: at `place`, `scale` px/mm, turned upright by `angle`."""

    def look(thetas):
        k = torch.linalg.det(thetas[:, :, :2]).sqrt()
        turn = torch.atan2(thetas[:, 0, 1], thetas[:, 0, 0])
        centre = move_points(thetas, place.expand(len(thetas), 1, 2))[:, 0]
        return Sightings(torch.ones(len(thetas)), centre, scale / k, angle - turn)

    return look


def imagines(thetas):
    """One that finds the same face in every frame."""
    n = len(thetas)
    return Sightings(torch.ones(n), torch.full((n, 2), 31.5), torch.full((n,), 0.3), torch.zeros(n))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3.1, 3.1))
def test_whoever_sees_the_photo_is_steady_whatever_the_frame(seed, angle):
    thetas = crops(3, torch.Generator().manual_seed(seed))
    found = steadiness(sees(torch.tensor([210.0, 190.0]), 0.8, angle), thetas, SIZE)
    assert found.place.max() < 1e-3 and found.size.max() < 1e-4 and found.turn.max() < 1e-3
    assert found.score.min() > 0.99


def test_whoever_goes_with_the_frame_deviates_as_the_frames_do():
    found = steadiness(imagines, crops(3, torch.Generator().manual_seed(1)), SIZE)
    degrees, side, _, _ = torch.tensor(FRAMES).unbind(1)
    turns = (degrees - torch.median(degrees)).abs().deg2rad()
    assert found.turn == pytest.approx([float(turns.median())] * 3, abs=0.1)
    sizes = side.log()
    assert found.size == pytest.approx([float((sizes - sizes.median()).abs().median())] * 3, abs=1e-4)
    assert found.place.min() > 0.08  # of 100 mm
    assert found.score.max() < 1e-6


def test_frames_are_moved_as_the_list_says():
    """The content of a frame turns, shrinks and shifts; θ of the whole is the crop's own after the frame's."""
    theta = crops(2, torch.Generator().manual_seed(2))
    frames = moved_frames(theta, SIZE)
    assert frames.shape == (2, len(FRAMES), 2, 3)
    for f, (degrees, side, _, _) in enumerate(FRAMES):
        A, whole = theta[:, :, :2], frames[:, f, :, :2]
        torch.testing.assert_close(torch.linalg.det(whole) / torch.linalg.det(A), torch.full((2,), side**2))
        turn = torch.atan2(whole[:, 0, 1], whole[:, 0, 0]) - torch.atan2(A[:, 0, 1], A[:, 0, 0])
        assert torch.allclose(torch.atan2(turn.sin(), turn.cos()), torch.full((2,), math.radians(degrees)), atol=1e-5)
    shifted = move_points(frames[:, 4], move_points_back(theta))  # turned by 12°, shifted left by a tenth of a side
    torch.testing.assert_close(shifted[:, 0], torch.tensor([[31.5 - 6.4, 31.5]]).expand(2, 2), atol=1e-3, rtol=0)


def move_points_back(theta):
    """Where the crops' middles lie in the photo."""
    middle = torch.full((len(theta), 1, 2), (SIZE - 1) / 2)
    return middle @ theta[:, :, :2].mT + theta[:, None, :, 2]


@pytest.fixture
def faces_of_one_wall():
    """A model's tables, the maps of a face, and a grey wall."""
    model = open_model(progress=False).truncate(20, 10, 5)
    tables = reconstruction_tables(model)
    faces = rendered_faces(model, tables.flattening, 1, torch.Generator().manual_seed(5), yaw=0.2, roll=0.0)
    return tables, faces.maps, torch.full((3, 300, 400), 0.5)


def test_an_imagined_face_is_not_found(faces_of_one_wall):
    """A network that says "a perfect face in the middle" of every picture convinces the judge, but not of a face."""
    tables, maps, photo = faces_of_one_wall

    def net(image):
        n = len(image)
        return Maps(maps.uv.expand(n, -1, -1, -1), maps.depth.expand(n, -1, -1), maps.logit.expand(n, -1, -1))

    judge = FaceJudge(tables)
    theta = crops(2, torch.Generator().manual_seed(3))
    assert judge(net(cut_out(photo, theta, SIZE))).score.min() > 0.7
    assert improve_crops(net, judge, photo, theta).score < 1e-3
