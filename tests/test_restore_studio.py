"""Faces of the second system's world: the truth about them must be the truth, and the true shape must score as such."""

import numpy as np
import pytest
import torch

from facenb.open_model import open_model
from facenb.restore.depth_metrics import mad, side, without_rim
from facenb.restore.proxy_evaluation import canonical_errors, depth_errors, mean_canonical_depth
from facenb.restore.studio import BEHIND, PITCH, YAW, open_studio, studio_faces
from facenb.restore.view import Viewpoint
from facenb.restore.warp import lookup, sample, view_depth


@pytest.fixture(scope="module")
def studio():
    return open_studio(open_model())


@pytest.fixture(scope="module")
def faces(studio):
    return studio_faces(studio, seed=5, indices=range(12))


def test_a_face_depends_on_its_seed_and_number_alone(studio, faces):
    again = studio_faces(studio, seed=5, indices=[7])
    other = studio_faces(studio, seed=6, indices=[7])
    for name, value in vars(again).items():
        assert torch.equal(value[0], getattr(faces, name)[7]), name
    assert not torch.equal(other.image, again.image)


def test_views_span_the_protocol(studio):
    many = torch.cat([f.angles for f in (studio_faces(studio, 9, range(60), size=16),)])
    yaw, pitch, _ = many.abs().amax(0).tolist()
    assert 0.85 * YAW < yaw <= YAW and 0.85 * PITCH < pitch <= PITCH


def test_the_true_shape_in_the_true_view_scores_almost_zero(faces):
    """The renderer's floor, where the canonical picture shows what the view does: SIDE ≤ 0.10, MAD ≤ 2°."""
    depth = torch.where(faces.canonical_mask, faces.canonical_depth, 1.07)
    z, seen = view_depth(depth, faces.view)
    same = sample(faces.canonical_mask[:, None].float(), lookup(z, faces.view))[:, 0] > 0.99
    where = without_rim(seen) & without_rim(faces.mask) & same
    assert where.sum() > 0.85 * without_rim(faces.mask).sum()
    assert side(z, faces.depth, where).mean() < 0.10
    assert mad(z, faces.depth, where).mean() < 2


def test_the_metrics_rank_truth_before_mean_before_plane(faces):
    n = len(faces)
    plane = torch.ones_like(faces.depth)
    mean = mean_canonical_depth(faces).expand_as(plane).contiguous()
    truth = torch.where(faces.canonical_mask, faces.canonical_depth, 1.07)
    rows = {
        "truth": canonical_errors(truth, faces.view, faces),
        "mean": canonical_errors(mean, faces.view, faces),
        "mean, no view": canonical_errors(mean, Viewpoint(*(torch.zeros(n, 3) for _ in range(2))), faces),
        "plane": depth_errors(plane, torch.ones_like(faces.mask), faces),
    }
    # SIDE of the truth is hurt by what the canonical picture cuts off, so normals decide between it and the mean
    assert rows["truth"].mad.mean() < rows["mean"].mad.mean() < rows["mean, no view"].mad.mean()
    assert rows["mean, no view"].mad.mean() < rows["plane"].mad.mean()
    assert rows["mean"].side.mean() < 0.5 * min(rows[name].side.mean() for name in ("mean, no view", "plane"))
    assert rows["truth"].yaw_slope == pytest.approx(1) and rows["mean, no view"].yaw_slope == pytest.approx(0)
    hollow = canonical_errors(2.1 - mean, faces.view, faces)
    assert hollow.inverted == n and rows["mean"].inverted == 0


def test_albedo_times_shading_is_the_photo(faces):
    """Where a pixel is all face, photo / albedo is the same for the three colours."""
    albedo, photo = faces.albedo.float(), faces.image.float()
    inner = without_rim(without_rim(faces.mask))
    ratio = photo / albedo.clamp(min=1)
    bright = inner & (albedo.amin(1) > 60) & (photo.amax(1) < 250)
    spread = (ratio.amax(1) - ratio.amin(1))[bright]
    assert spread.median() < 0.05
    assert (ratio.mean(1)[bright] > 0.2).float().mean() > 0.99


def test_brightness_follows_the_lamp(studio, faces):
    """Shading of each pixel, predicted from the canonical normals and the lamp, against photo / albedo."""
    from facenb.depth_light import DepthLight, depth_normals, lambertian

    depth = torch.where(faces.canonical_mask, faces.canonical_depth, 1.07)
    normals = depth_normals(depth)
    lit = faces.lamp[:, 2] > 0.2  # lamps that a DepthLight can name
    light = DepthLight(faces.ambient, faces.diffuse, faces.lamp[:, :2] / faces.lamp[:, 2:].clamp(min=0.2))
    shading = lambertian(normals, light)[:, None]
    seen = sample(shading, lookup(view_depth(depth, faces.view)[0], faces.view))[:, 0]
    ratio = (faces.image.float() / faces.albedo.float().clamp(min=1)).mean(1)
    where = without_rim(without_rim(faces.mask)) & (faces.albedo.amin(1) > 40) & (faces.image.amax(1) < 250)
    where &= lit[:, None, None]
    assert where.sum() > 1000
    correlation = np.corrcoef(seen[where], ratio[where])[0, 1]
    assert correlation > 0.9


def test_depth_and_mask_belong_together(faces):
    assert (faces.depth[~faces.mask] == BEHIND).all()
    assert ((faces.depth[faces.mask] > 0.9) & (faces.depth[faces.mask] < BEHIND)).all()
    assert faces.mask.float().mean((1, 2)).min() > 0.2
    closed = torch.nn.functional.max_pool2d((~faces.mask)[:, None].float(), 3, 1, 1)  # no holes inside a face
    middle = (slice(None), slice(24, 40), slice(24, 40))
    assert closed[:, 0][middle].mean() < 0.2
