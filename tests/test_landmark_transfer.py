"""Carrying landmarks from one model to another that names only some of them."""

from dataclasses import replace

import pytest
import torch
from basel_file import write_basel

from facenb import model_source
from facenb.bfm import load_bfm
from facenb.landmark_transfer import BASEL_TO_MULTI_PIE, complete_landmarks68
from facenb.model_source import load_model
from facenb.rotation import rotation_from_angles

NONE = torch.zeros(0, dtype=torch.int64)


def shuffled(model, seed=0):
    """The same surface with its vertices in another order, and where each old vertex went."""
    order = torch.randperm(model.n_vertices, generator=torch.Generator().manual_seed(seed))
    new = torch.empty_like(order)
    new[order] = torch.arange(len(order))
    return replace(model, shape_mean=model.shape_mean[order], triangles=new[model.triangles], landmarks68=NONE), new


def test_a_turned_and_scaled_copy_gets_every_landmark_exactly(tiny_model):
    R = rotation_from_angles(0.7, -0.2, 0.4, dtype=torch.float64)
    X = 1.3 * tiny_model.shape_mean @ R.T + torch.tensor([10.0, -20.0, 300.0], dtype=torch.float64)
    model, new = shuffled(replace(tiny_model, shape_mean=X))
    expected = new[tiny_model.landmarks68]
    known = {i: int(expected[i]) for i in range(0, 68, 8)}
    assert torch.equal(complete_landmarks68(model, known, tiny_model).landmarks68, expected)


def test_another_person_gets_them_within_half_an_edge(tiny_model, generator):
    identity, _, _ = tiny_model.sample(1, generator, scale=2.0)
    X = tiny_model.vertices(identity)[0]
    model, new = shuffled(replace(tiny_model, shape_mean=X))
    expected = new[tiny_model.landmarks68]
    known = {i: int(expected[i]) for i in range(0, 68, 4)}
    found = complete_landmarks68(model, known, tiny_model).landmarks68
    edge = (X[tiny_model.triangles[:, 0]] - X[tiny_model.triangles[:, 1]]).norm(dim=-1).mean()
    distance = (model.shape_mean[found] - model.shape_mean[expected]).norm(dim=-1)
    assert distance.mean() < edge / 2
    assert (distance[list(known)] == 0).all()


def test_too_few_or_unhelpful_points_are_refused(tiny_model):
    with pytest.raises(ValueError, match="7 of the 68 landmarks are known, at least 8"):
        complete_landmarks68(tiny_model, dict.fromkeys(range(7), 0), tiny_model)
    with pytest.raises(ValueError, match="lie on a line"):
        complete_landmarks68(tiny_model, dict.fromkeys(range(9), 3), tiny_model)
    with pytest.raises(ValueError, match="has no 68 landmarks to take over"):
        complete_landmarks68(tiny_model, dict.fromkeys(range(9), 3), replace(tiny_model, landmarks68=NONE))


def test_a_basel_file_opens_with_68_landmarks_taken_from_the_open_model(tiny_model, tmp_path, monkeypatch):
    """Those that Basel names are its own; a file beside the model wins over all of this."""
    monkeypatch.setattr(model_source, "_open_model", lambda: tiny_model)
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    names = {name: int(tiny_model.landmarks68[i]) for name, i in BASEL_TO_MULTI_PIE.items()}
    write_basel(path, tiny_model, names=names)
    assert load_bfm(path).landmarks68.shape == (0,)
    assert torch.equal(load_model(path).landmarks68, tiny_model.landmarks68)
    beside = tiny_model.landmarks68.flip(0).tolist()
    path.with_name(f"{path.stem}.landmarks68.json").write_text(str(beside))
    assert load_model(path).landmarks68.tolist() == beside


def test_a_basel_file_that_names_too_few_points_opens_without_landmarks(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(model_source, "_open_model", lambda: pytest.fail("not needed"))
    write_basel(tmp_path / "a.h5", tiny_model)
    assert load_model(tmp_path / "a.h5").landmarks68.shape == (0,)
