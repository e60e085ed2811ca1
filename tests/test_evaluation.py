"""The evaluation with a network that knows the truth, one that knows it almost, and one that knows nothing."""

import math

import pytest
import torch
from hidden_faces import FACE, ReadsColours, hidden
from rendered_faces import rendered_faces

from facenb.evaluation import EvaluationSet, baselines, best_similarity, evaluate, machine, photo_set, table
from facenb.labelled_photos import LabelledPhotos
from facenb.metrics import five_point_error, five_points
from facenb.networks import Maps
from facenb.open_model import open_model
from facenb.photo import write_photo
from facenb.reconstruction import reconstruction_tables
from facenb.rotation import angles_from_rotation
from facenb.shards import Truth

N = 5


@pytest.fixture(scope="module")
def model():
    return open_model(progress=False)


@pytest.fixture(scope="module")
def tables(model):
    return reconstruction_tables(model)


@pytest.fixture(scope="module")
def faces(model, tables):
    return rendered_faces(model, tables.flattening, N, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def test_set(faces, model):
    n = model.n_identity
    yaw, pitch, roll = angles_from_rotation(faces.camera.R)
    truth = Truth(
        uv=faces.maps.uv.movedim(1, -1),
        depth=faces.depth,
        mask=faces.mask,
        landmarks68=faces.landmarks68,
        landmarks5=faces.five,
        identity=faces.m[:, :n],
        expression=faces.m[:, n:],
        albedo=faces.albedo,
        K=faces.camera.K,
        R=faces.camera.R,
        t=faces.camera.t,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
    )
    return EvaluationSet(faces.image, faces.five, truth, torch.zeros(N, dtype=torch.bool))


def knowing(faces, change=lambda maps: maps):
    """A "network" that looks up the maps of the image it is shown."""

    def net(image):
        index = [int((faces.image - one).abs().flatten(1).sum(1).argmin()) for one in image]
        return change(Maps(faces.maps.uv[index], faces.maps.depth[index], faces.maps.logit[index]))

    return net


def test_who_knows_the_truth_has_hardly_an_error(faces, test_set, model, tables):
    r = evaluate(knowing(faces), model, tables, test_set)
    assert r["fitted_seen"]["mean"] < r["fitted"]["mean"] + 0.01 and r["fitted_seen"]["failures"] == 0
    assert r["fitted"]["mean"] < 0.7 and r["direct"]["mean"] < 1.5 and r["fitted_box"]["mean"] < r["fitted"]["mean"]
    assert r["iou"]["mean"] == 1 and r["uv_texels"]["mean"] == 0 and r["depth_percent"]["mean"] < 1e-3
    assert r["yaw_correlation"] > 0.99 and r["rotation_degrees"]["mean"] < 2
    assert r["vertex_mm"]["mean"] < r["vertex_mm_unaligned"]["mean"] < 3
    assert all(r[name]["count"] == N and r[name]["failures"] == 0 for name in ("fitted", "iou", "yaw_degrees"))
    curve = r["curve"]
    assert curve["percent_of_inter_ocular"][3] == 3 and curve["fitted"][3] == 1 and curve["fitted"][0] == 0


def test_known_faults_show_up_in_their_own_number(faces, test_set, model, tables):
    """uv off by 1/100 is 3.2 texels; a face that is nowhere confident is a failure of points, pose and vertices."""

    def worse(maps):
        uv = maps.uv + torch.tensor([0.01, 0.0])[:, None, None]
        return Maps(uv, maps.depth, maps.logit)

    r = evaluate(knowing(faces, worse), model, tables, test_set)
    assert r["uv_texels"]["mean"] == pytest.approx(3.2, abs=1e-3) and r["iou"]["mean"] == 1

    def blind(maps):
        return Maps(maps.uv, maps.depth, torch.full_like(maps.logit, -9))

    r = evaluate(knowing(faces, blind), model, tables, test_set)
    for name in ("fitted", "direct", "vertex_mm", "rotation_degrees"):
        assert r[name]["failures"] == N and r[name]["mean"] == 100 and r[name]["median"] == math.inf
    assert r["iou"]["mean"] == 0 and r["curve"]["fitted"][-1] == 0


def test_refinement_is_evaluated_on_the_same_faces(faces, test_set, model, tables):
    """It moves the Fitted landmarks, not far from where perfect maps put them, and leaves the Direct ones alone."""
    plain, refined = (evaluate(knowing(faces), model, tables, test_set, refine=n) for n in (0, 2))
    assert refined["direct"] == plain["direct"]
    assert refined["fitted"] != plain["fitted"] and refined["fitted"]["mean"] < 5


def test_the_baselines_are_what_they_say(test_set, model):
    """The oracle beats the mean, and a set of one face posed by similarities has no oracle error."""
    b = baselines(test_set, model)
    assert b["oracle_similarity"]["mean"] < b["mean_landmarks"]["mean"]
    five = five_points(model.shape_mean[model.landmarks68])[:, :2] * torch.tensor([1.0, -1.0])
    turned = torch.stack([five @ torch.tensor([[0.3, 0.1], [-0.1, 0.3]]) + 30, 0.2 * five + 20])
    exact = EvaluationSet(torch.zeros(2, 3, 16, 16), turned, None, torch.zeros(2, dtype=torch.bool))
    assert baselines(exact, model)["oracle_similarity"]["mean"] < 1e-3
    mean = (turned[0] + turned[1]) / 2
    expected = five_point_error(mean.expand(2, 5, 2), turned).mean().item()
    assert baselines(exact, model)["mean_landmarks"]["mean"] == pytest.approx(expected, rel=1e-5)


def test_the_best_similarity_has_no_better_neighbour_and_never_mirrors():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 2, generator=g, dtype=torch.float64), torch.randn(1, 5, 2, generator=g, dtype=torch.float64)
    best = best_similarity(x, y)
    error = (best - y).square().sum()
    for a, b, c, d in 0.01 * torch.randn(20, 4, generator=g, dtype=torch.float64):
        other = best @ torch.tensor([[1 + a, -b], [b, 1 + a]]) + torch.stack([c, d])
        assert (other - y).square().sum() >= error
    mirrored = x * torch.tensor([-1.0, 1.0])
    assert (best_similarity(x, mirrored[None]) - mirrored).norm() > 0.1


def test_photos_are_framed_about_their_points_or_found(model, tables, tmp_path):
    """The five points' mean in the middle; and with the stand-in network the found crop holds them as well."""
    faces = rendered_faces(model, tables.flattening, 1, torch.Generator().manual_seed(5), size=FACE, yaw=0.3, roll=0.0)
    photo, five = hidden(faces, 0, (120.0, 90.0), 150.0, 10.0, size=(200, 260))
    write_photo(photo, tmp_path / "a.png")
    write_photo(torch.zeros(3, 200, 260), tmp_path / "b.png")
    photos = LabelledPhotos([tmp_path / "a.png", tmp_path / "b.png"], torch.stack([five, five]))
    framed = photo_set(photos, model, 64)
    torch.testing.assert_close(framed.five.mean(1), torch.full((2, 2), 31.5), atol=1e-3, rtol=0)
    assert not framed.missed.any()
    found = photo_set(photos, model, 64, (ReadsColours(), tables))
    assert found.missed.tolist() == [False, True]
    assert (found.five[0].mean(0) - 31.5).norm() < 6
    r = evaluate(ReadsColours(), model, tables, found)
    assert r["fitted"]["failures"] == 1 and r["fitted"]["mean"] > 50 and set(r) == {"fitted", "direct", "curve"}


def test_the_table_shows_every_error_and_every_number(faces, test_set, model, tables):
    r = evaluate(knowing(faces), model, tables, test_set)
    text = table(r, baselines(test_set, model))
    for name in ("baseline mean_landmarks", "fitted", "direct", "iou", "yaw_correlation", "vertex_mm"):
        assert any(line.startswith(name) for line in text.splitlines())
    assert f"0 of {N}" in text and machine()["torch"] == torch.__version__
