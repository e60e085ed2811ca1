"""The browser's face model: what is written is the model to half a step, and the scripts are one module."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import traitlets

from facenb.flatten import flatten
from facenb.widgets import FaceExplorer, bundle
from facenb.widgets.component_names import component_names
from facenb.widgets.face_file import STEPS, expected, face_file, mesh_file, neighbours_before, to_planes


def slow_read(data: bytes) -> dict:
    """Number by number, as the text at the top of `face_file` says."""
    data = zlib.decompress(data)
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    at, rows = 4 + length, {}
    for name, count, n in header["fields"]:
        rows[name] = []
        for _ in range(count):
            z = [data[at + i] + 256 * data[at + n + i] + 65536 * data[at + 2 * n + i] for i in range(n)]
            rows[name].append([-(x + 1) // 2 if x % 2 else x // 2 for x in z])
            at += 3 * n
    assert at == len(data)
    triangles = np.cumsum(rows.pop("triangles")[0]).reshape(-1, 3)
    near = [set() for _ in range(header["vertices"])]
    for t in triangles.tolist():
        for a in t:
            near[a] |= {b for b in t if b < a}
    tables = {}
    for name, list_of_rows in rows.items():
        for row in list_of_rows:
            for v in range(len(row)):
                few = sorted(near[v])[-3:]
                if few:
                    row[v] += (2 * sum(row[b] for b in few) + len(few)) // (2 * len(few))
        tables[name] = np.array(list_of_rows) * header["steps"][name]
    return header | {"triangles": triangles, **tables}


def test_a_model_comes_back_to_half_a_step(tiny_model):
    model = tiny_model
    file = slow_read(face_file(model, flatten(model), 3, 2, 4, expressions={"grin": [1.0, 2.0]}))
    V = model.n_vertices
    assert (file["face"], file["identity"], file["expression"], file["albedo"][:, :V].shape[0]) == (V, 3, 2, 15)
    assert file["expressions"] == {"grin": [1.0, 2.0]} and file["landmarks"] == model.landmarks68.tolist()
    shape = torch.cat([model.shape_mean[..., None], model.identity_basis[..., :3], model.expression_basis[..., :2]], -1)
    albedo = torch.cat([model.albedo_mean[..., None], model.albedo_basis[..., :4]], -1)
    for name, truth in (("shape", shape), ("albedo", albedo)):
        rows = truth.permute(2, 1, 0).reshape(-1, V).numpy()
        assert np.abs(file[name][:, :V] - rows).max() <= STEPS[name] / 2 + 1e-9
    assert (file["triangles"][: len(model.triangles)] == model.triangles.numpy()).all()


def test_the_dark_of_a_mouth_hangs_on_its_rim(tiny_model):
    model = tiny_model
    file = slow_read(face_file(model, flatten(model)))
    V, W = model.n_vertices, file["vertices"]
    assert W == V + 24 + 1  # its mouth has 24 corners
    rim = file["shape"][:, V : W - 1]  # copies of vertices that move as they do
    where = np.abs(rim[:3, :, None] - file["shape"][:3, None, :V]).max(0).argmin(1)
    assert np.abs(rim - file["shape"][:, where]).max() < 1e-9
    behind = rim[:3].mean(1) - [0, 0, 12]
    assert np.abs(file["shape"][:3, W - 1] - behind).max() < 0.02
    assert np.ptp(file["albedo"][:3, V:], axis=1).max() == 0, "it is all of one colour"


def test_a_face_of_its_own_keeps_its_normals(tiny_model):
    model = tiny_model
    normals = torch.nn.functional.normalize(torch.randn(model.n_vertices, 3, dtype=torch.float64), dim=-1)
    uv = flatten(model).uv[: model.n_vertices]
    file = slow_read(mesh_file("one", model.shape_mean, normals, uv, model.triangles))
    assert np.abs(file["normal"].T - normals.numpy()).max() <= STEPS["normal"] / 2 + 1e-9
    assert np.abs(file["uv"].T - uv.numpy()).max() <= STEPS["uv"] / 2 + 1e-9


def test_smooth_numbers_are_expected_well():
    """On a ramp over a strip of triangles the difference from what the neighbours say is a fraction of the number."""
    T = np.array([[i, i + 1, i + 2] for i in range(100)])
    steps = (10 * np.arange(102))[:, None, None]
    left = steps - expected(steps, neighbours_before(T, 102))
    assert np.abs(left[2:]).max() <= 16 and steps.max() == 1010


def test_numbers_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="millimetres"):
        to_planes(np.array([[1 << 23]]))


def test_components_are_called_after_what_they_move(tiny_model):
    V = tiny_model.n_vertices
    nose, chin = torch.zeros(V), torch.zeros(V)
    nose[:5], chin[5:10] = 1, 1
    basis = torch.zeros(V, 3, 3, dtype=torch.float64)
    basis[:5, 0, 0], basis[5:10, 1, 1], basis[:10, 2, 2] = 1, 1, 1
    model = replace(tiny_model, identity_basis=basis, regions={"nose": nose, "chin": chin})
    assert component_names(model)["identity"][:2] == ["nose", "chin"]
    assert component_names(replace(model, regions={})) == {}


def test_the_scripts_are_one_module_without_imports():
    text = bundle.script()
    assert "import {" not in text and text.rstrip().endswith("export default module_main.default;")
    with pytest.raises(ValueError, match="no script nowhere"):
        bundle.script("nowhere")


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"pose": (0, 0)}, "pose"),
        ({"light": [[0] * 9] * 2}, "light"),
        ({"identity": [float("nan")]}, "identity"),
        ({"identity": "tall"}, "identity"),
        ({"colour": 1}, "no 'colour'"),
    ],
    ids=["two angles", "two channels", "nan", "words", "unknown"],
)
def test_a_trait_of_the_wrong_kind_is_named(state, complaint):
    with pytest.raises(traitlets.TraitError, match=complaint):
        FaceExplorer(**state)


def test_traits_take_tensors_and_widgets_follow():
    face = FaceExplorer(identity=torch.tensor([1.0, -0.5]))
    assert face.identity == [1.0, -0.5]
    widget = face.widget
    widget.identity = [0.25]
    assert face.identity == [0.25]
    face.pose = np.array([0.1, 0.2, 0.3])
    assert widget.pose == [0.1, 0.2, 0.3]
