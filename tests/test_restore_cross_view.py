"""The cross-view metric must rank what is right before what is wrong, and must not mind what is harmless."""

import numpy as np
import pytest
import torch

from facenb.open_model import open_model
from facenb.restore.cross_view import POSES, RENDERINGS, Sitting, hold_sitting, measure, pose_view, seen_vertices
from facenb.restore.proxy_evaluation import mean_canonical_depth
from facenb.restore.studio import StudioFaces, open_studio, studio_faces, turn
from facenb.restore.view import MIDDLE, Viewpoint


@pytest.fixture(scope="module")
def studio():
    return open_studio(open_model())


@pytest.fixture(scope="module")
def sitting(studio):
    return hold_sitting(studio, seed=3, number=0)


@pytest.fixture(scope="module")
def one_each(sitting):
    """One photo of each pose, for speed."""
    photos = [sitting.photos[i : i + 1] for i in range(0, len(sitting.photos), RENDERINGS)]
    return Sitting(sitting.subject, StudioFaces.joined(photos))


def true_depth(faces: StudioFaces) -> torch.Tensor:
    return torch.where(faces.canonical_mask, faces.canonical_depth, 1.07)


@pytest.fixture(scope="module")
def errors(studio, one_each):
    """Of one photo of each pose, for guesses from right to wrong."""
    mean = mean_canonical_depth(studio_faces(studio, 1, range(30)))

    def moved(yaw=0.0, x=0.0, z=0.0, relief=1.0, factor=1.0):
        def guess(faces):
            angles = faces.angles + torch.tensor([float(yaw), 0, 0])
            depth = factor * (1 + relief * (true_depth(faces) - 1))
            return depth, Viewpoint(angles, faces.shift + torch.tensor([x, 0, z]))

        return guess

    def wavy(faces):
        wave = 0.004 * torch.sin(torch.arange(64) / 3)
        return true_depth(faces) + wave, faces.view

    guesses = {
        "truth": moved(),
        "truth, 2 cm nearer": moved(z=-0.02),
        "truth, two pixels aside": moved(x=0.005),
        "truth, turned by 5°": moved(yaw=np.radians(5)),
        "truth, waved": wavy,
        "truth, 10 % flatter": moved(relief=0.9),
        "mean": lambda faces: (mean.expand(len(faces), -1, -1).contiguous(), faces.view),
        "plane": lambda faces: (torch.ones_like(faces.depth), faces.view),
    }
    return {name: measure([one_each], guess) for name, guess in guesses.items()}


def test_nine_photos_at_three_poses(sitting, studio):
    assert len(sitting.photos) == len(POSES) * RENDERINGS
    yaw = torch.rad2deg(sitting.photos.angles[:, 0])
    torch.testing.assert_close(yaw, torch.tensor(POSES).repeat_interleave(RENDERINGS))
    again = hold_sitting(studio, seed=3, number=0)
    assert torch.equal(again.photos.image, sitting.photos.image)


def test_truth_before_perturbed_truth_before_mean_before_plane(errors):
    for name in ("distance", "rigid", "side", "mad"):
        e = {key: getattr(value, name).mean() for key, value in errors.items()}
        assert e["truth"] < e["truth, 10 % flatter"] < e["mean"] < e["plane"], (name, e)
        assert e["truth"] < e["truth, waved"] < e["plane"], (name, e)
    assert errors["truth"].distance.mean() < 0.5  # mm: the renderer's and the grid's own


@pytest.mark.parametrize("harmless", ["truth, 2 cm nearer", "truth, two pixels aside", "truth, turned by 5°"])
def test_a_face_in_another_place_is_the_same_face(errors, harmless):
    np.testing.assert_allclose(errors[harmless].distance, errors["truth"].distance, atol=0.05)  # mm
    assert errors["truth, waved"].distance.mean() > errors[harmless].distance.mean() + 0.3


def test_a_rigid_motion_does_not_excuse_a_wrong_size(one_each, errors):
    """A face 5 % larger and 5 % farther away gives the same photo: by a similarity it is the same face."""

    def larger(faces):
        e = torch.tensor(MIDDLE)
        view = Viewpoint(faces.angles, 1.05 * faces.shift + 0.05 * (e - faces.view.rotation @ e))
        return 1.05 * true_depth(faces), view

    scaled = measure([one_each], larger)
    np.testing.assert_allclose(scaled.distance, errors["truth"].distance, atol=0.05)
    assert (scaled.rigid > scaled.distance + 0.3).all()


def test_a_profile_sees_one_side_only(sitting):
    X = sitting.subject.X
    left, right = (seen_vertices(sitting.subject, turn(X, pose_view(yaw))) for yaw in (-45.0, 45.0))
    assert len(left) > 1000 and len(right) > 1000
    both = np.intersect1d(left, right)
    assert len(both) < 0.9 * min(len(left), len(right))
    assert sitting.subject.skin[torch.from_numpy(left)].all()


def test_a_guess_that_misses_the_picture_still_gets_an_error(one_each):
    away = measure([one_each], lambda f: (true_depth(f), Viewpoint(f.angles, f.shift + torch.tensor([5.0, 0, 0]))))
    assert np.isfinite(away.distance).all()
