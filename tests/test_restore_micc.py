"""Scans in the layout of MICC Florence become subjects of the experiment; broken ones are named."""

import numpy as np
import pytest
import torch
import trimesh

from facenb.open_model import open_model
from facenb.restore.cross_view import measure, photograph_poses
from facenb.restore.micc import RADIUS, ScanError, micc_scans, micc_subjects, read_scan
from facenb.restore.studio import UNIT, canonical, open_studio, random_subject


@pytest.fixture(scope="module")
def model():
    return open_model()


@pytest.fixture(scope="module")
def head(model):
    """A face in the scanner's coordinates: somewhere else, a little turned."""
    rng = np.random.default_rng(11)
    k = torch.from_numpy(0.8 * rng.standard_normal(60)).to(model.shape_mean.dtype)
    truth = model.truncate(60, 0, 60).vertices(k)
    turn = trimesh.transformations.rotation_matrix(0.15, [0.3, 1, 0.2])[:3, :3]
    scanned = truth.double().numpy() @ turn.T + [120.0, -40.0, 900.0]
    colours = (255 * model.albedo_mean.clamp(0, 1)).byte().numpy().reshape(-1, 3)
    return truth, trimesh.Trimesh(scanned, model.triangles.numpy(), vertex_colors=colours, process=False)


@pytest.fixture
def folder(tmp_path, head):
    for number in (1, 2):
        where = tmp_path / f"subject_{number:02}" / "Model" / "frontal1" / "obj"
        where.mkdir(parents=True)
        head[1].export(where / "scan.obj")
    (tmp_path / "subject_03" / "Videos").mkdir(parents=True)  # as in the data set, some have no model
    return tmp_path


def test_every_subject_with_a_scan_is_found(folder):
    assert [p.parts[-5] for p in micc_scans(folder)] == ["subject_01", "subject_02"]


def test_a_scan_is_laid_where_the_model_stands(folder, model, head):
    name, subject = next(micc_subjects(folder, model))
    assert name == "subject_01"
    truth = canonical(head[0])
    nearest = torch.cdist(subject.X.double(), truth.double()).min(1).values * UNIT
    assert nearest.mean() < 3.0  # mm: laid on the average face, which is not this one
    tip = subject.X[subject.X[:, 2].argmin()]
    assert ((subject.X - tip).norm(dim=1) * UNIT).max() <= RADIUS + 10
    assert subject.normals[subject.X[:, 2].argmin(), 2] > 0.5  # towards the viewer
    assert 0.1 < subject.colours.mean() < 0.9


def test_a_scan_can_be_photographed_and_measured(folder, model):
    _, subject = next(micc_subjects(folder, model))
    sitting = photograph_poses(subject, np.random.default_rng(0), size=32)
    assert sitting.photos.mask.float().mean((1, 2)).min() > 0.2
    few = type(sitting)(subject, sitting.photos[::3])
    truth = measure([few], lambda f: (torch.where(f.canonical_mask, f.canonical_depth, 1.07), f.view))
    plane = measure([few], lambda f: (torch.ones_like(f.depth), f.view))
    assert truth.distance.mean() < 1.0 < plane.distance.mean()


def test_the_open_models_own_subjects_have_the_same_form(model):
    subject = random_subject(open_studio(model), np.random.default_rng(0))
    assert subject.skin.sum() == model.n_vertices


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not a mesh", "no triangles|not a readable"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "must be in mm"),
        ("v 0 0 0\nv 1e9 0 0\nv 0 nan 0\nf 1 2 3\n", "not numbers|must be in mm|not a readable"),
    ],
)
def test_a_broken_scan_is_named(tmp_path, model, content, says):
    path = tmp_path / "scan.obj"
    path.write_text(content)
    with pytest.raises(ScanError, match=says) as error:
        read_scan(path, model)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ScanError, match="subject_01/Model"):
        micc_scans(tmp_path)
