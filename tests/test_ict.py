"""The reader of ICT-FaceKit folders, on a folder written here: a quad mesh on a half-ellipsoid in its sizes."""

import math

import numpy as np
import pytest
import torch

from facenb.ict import LANDMARKS68, N_FACE_VERTICES, N_VERTICES, load_ict
from facenb.model_io import ModelFileError


def head():
    """26,719 points in cm: the face vertices on a mask that bulges towards z, the rest on a plane behind it."""
    i = np.arange(N_VERTICES)
    x = 8 * np.cos(i * 2.4) * np.sqrt((i % 4000) / 4000)
    y = 10 * np.sin(i * 2.4) * np.sqrt((i % 4000) / 4000)
    X = np.stack([x, y, 10 - 0.08 * (x**2 + y**2)], 1)
    X[N_FACE_VERTICES:, 2] = -5
    X[LANDMARKS68[36]], X[LANDMARKS68[45]] = (-4.6, 3.0, 8.0), (4.6, 3.0, 8.0)  # outer eye corners 92 mm apart
    return X


def write_obj(path, X, faces=()):
    with open(path, "w") as file:
        file.write("mtllib ICTFaceModelMaterial.mtl\n")
        np.savetxt(file, X, fmt="v %.6f %.6f %.6f")
        file.write("vt 0.5 0.5\n")
        file.writelines("f " + " ".join(f"{v + 1}/1" for v in face) + "\n" for face in faces)


def ccw(X, face):
    """The polygon turned so that it faces +z."""
    a, b, c = X[list(face)[:3]]
    return face if np.cross(b - a, c - a)[2] > 0 else face[::-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ict") / "FaceXModel"
    folder.mkdir()
    X = head()
    g = np.random.default_rng(0)
    faces = [ccw(X, (10, 11, 12)), ccw(X, (20, 21, 23, 22)), (9_407, 9_408, 9_409), (15_000, 15_001, 15_002)]
    write_obj(folder / "generic_neutral_mesh.obj", X, faces)
    offsets = {f"identity{k:03d}": 0.3 * g.standard_normal(X.shape) for k in range(2)}
    offsets["jawOpen"] = g.standard_normal(X.shape)
    offsets["PupilDilate_L"] = np.zeros_like(X)
    offsets["PupilDilate_L"][N_FACE_VERTICES:] = 1.0
    for name, offset in offsets.items():
        write_obj(folder / f"{name}.obj", X + offset)
    return folder, X, faces, offsets


@pytest.fixture
def folder(source, tmp_path):
    """A copy that a test may spoil: links to the files, each replaced when written."""
    copy = tmp_path / "FaceXModel"
    copy.mkdir()
    for path in source[0].iterdir():
        (copy / path.name).symlink_to(path)
    return copy


def test_the_face_comes_in_millimetres_with_offsets_as_bases(source):
    folder, X, _, offsets = source
    model = load_ict(folder)
    V = N_FACE_VERTICES
    assert (model.n_vertices, model.n_identity, model.n_expression, model.n_albedo) == (V, 2, 1, 0)
    np.testing.assert_allclose(model.shape_mean, 10 * X[:V], atol=1e-4)
    for k in range(2):
        np.testing.assert_allclose(model.identity_basis[..., k], 10 * offsets[f"identity{k:03d}"][:V], atol=1e-4)
    np.testing.assert_allclose(model.expression_basis[..., 0] * math.sqrt(12), 10 * offsets["jawOpen"][:V], atol=1e-3)
    assert (model.albedo_mean == 0.5).all()
    assert model.shape_mean.dtype == torch.float32
    assert model.landmarks68.tolist() == list(LANDMARKS68)


def test_polygons_are_cut_into_triangles_and_those_beyond_the_face_left_out(source):
    folder, _, faces, _ = source
    (a, b, c, d) = faces[1]
    assert load_ict(folder).triangles.tolist() == [list(faces[0]), [a, b, c], [a, c, d]]


def test_the_full_head_keeps_everything(source):
    model = load_ict(source[0].parent, region="full")  # the repository's folder will do, too
    assert (model.n_vertices, model.n_expression, len(model.triangles)) == (N_VERTICES, 2, 5)


@pytest.mark.parametrize("factor", [10.0, 0.01, 1 / 2.54])
def test_the_unit_is_told_by_the_eyes(source, folder, factor):
    for path in folder.iterdir():
        text = path.read_text().splitlines()
        path.unlink()
        scaled = [
            "v " + " ".join(str(factor * float(w)) for w in line.split()[1:]) if line.startswith("v ") else line
            for line in text
        ]
        path.write_text("\n".join(scaled))
    torch.testing.assert_close(load_ict(folder).shape_mean, load_ict(source[0]).shape_mean, atol=1e-3, rtol=1e-5)


def test_there_are_68_different_landmarks_and_all_lie_on_the_face():
    assert len(set(LANDMARKS68)) == 68
    assert max(LANDMARKS68) < N_FACE_VERTICES


def rewrite(name, change):
    def spoil(folder):
        text = (folder / name).read_text()
        (folder / name).unlink()
        (folder / name).write_text(change(text))

    return spoil


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), "no generic_neutral_mesh.obj inside"),
        (lambda f: [p.unlink() for p in f.glob("identity*")], "no identity000.obj"),
        (rewrite("identity001.obj", lambda t: ""), r"identity001\.obj: empty file"),
        (rewrite("identity001.obj", lambda t: t[: len(t) // 2]), r"identity001\.obj: .*(vertices, ICT|three numbers)"),
        (
            rewrite("jawOpen.obj", lambda t: "o somebody else's cube\nv 0 0 1\n"),
            r"jawOpen\.obj: 1 vertices, ICT-FaceKit",
        ),
        (rewrite("jawOpen.obj", lambda t: t.replace("v ", "v x", 1)), r"jawOpen\.obj: a vertex line"),
        (rewrite("jawOpen.obj", lambda t: t.replace("v ", "v nan ", 1)), r"jawOpen\.obj: holds NaN"),
        (rewrite("generic_neutral_mesh.obj", lambda t: t.replace("f ", "f x", 1)), "a face line"),
        (rewrite("generic_neutral_mesh.obj", lambda t: t.replace("f ", "f 99999 ", 1)), "point beyond"),
        (rewrite("generic_neutral_mesh.obj", lambda t: t[: t.index("f ")]), "faces are missing"),
        (rewrite("generic_neutral_mesh.obj", lambda t: t.replace("v -4.6", "v -0.6")), "outer eye corners"),
    ],
)
def test_a_bad_folder_gets_one_line_that_names_the_file(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ModelFileError, match=message) as error:
        load_ict(folder)
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)


def test_a_missing_folder_and_an_unknown_region_are_errors(tmp_path, source):
    with pytest.raises(ModelFileError, match="no such folder"):
        load_ict(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="region 'ears'"):
        load_ict(source[0], region="ears")
