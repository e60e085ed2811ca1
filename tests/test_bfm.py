"""The reader of Basel Face Model files, on files written here in their layout."""

import json

import h5py
import numpy as np
import pytest
import torch
from basel_file import orthonormal, write_basel

from facenb.bfm import bfm_landmarks, load_bfm
from facenb.model_io import ModelFileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model2017-1_face12_nomouth.h5"


@pytest.mark.parametrize("version", [(0, 8), (0, 9)])
def test_both_versions_give_both_means_and_bases_of_unit_variance(tiny_model, path, version):
    """x = mean + expression mean + U √λ α in either version (notes on the format; Gerig et al. 2018)."""
    write_basel(path, tiny_model, version)
    model = load_bfm(path)
    torch.testing.assert_close(model.shape_mean.double(), tiny_model.shape_mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.albedo_mean.double(), tiny_model.albedo_mean, atol=1e-6, rtol=0)
    for ours, source, size in (
        (model.identity_basis, tiny_model.identity_basis, 1.0),
        (model.expression_basis, tiny_model.expression_basis, 1.0),
        (model.albedo_basis, tiny_model.albedo_basis, 0.0002),
    ):
        U, variance = orthonormal(source)
        expected = torch.from_numpy(U * np.sqrt(variance * size)).reshape(source.shape)
        torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.triangles, tiny_model.triangles)
    assert model.name == "model2017-1_face12_nomouth"
    assert model.shape_mean.dtype == model.albedo_basis.dtype == torch.float32


def test_the_columns_decide_and_not_the_version_number_in_the_file(tiny_model, path):
    """Converters copy the number: the same contents under a wrong number must load the same."""
    write_basel(path, tiny_model, (0, 8))
    scaled = load_bfm(path)
    with h5py.File(path, "r+") as file:
        for group in ("shape", "expression", "color"):
            file[f"{group}/version/minorVersion"][()] = 9
    torch.testing.assert_close(load_bfm(path).identity_basis, scaled.identity_basis)


def test_colours_that_count_to_255_are_scaled_to_one(tiny_model, path, tmp_path):
    write_basel(path, tiny_model)
    write_basel(tmp_path / "old.h5", tiny_model, colour_scale=255.0)
    new, old = load_bfm(path), load_bfm(tmp_path / "old.h5")
    torch.testing.assert_close(old.albedo_mean, new.albedo_mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(old.albedo_basis, new.albedo_basis, atol=1e-6, rtol=1e-5)


def test_triangles_that_face_inwards_are_turned(tiny_model, path):
    write_basel(path, tiny_model)
    with h5py.File(path, "r+") as file:
        file["shape/representer/cells"][...] = file["shape/representer/cells"][()][::-1]
    X, triangles = load_bfm(path).shape_mean, load_bfm(path).triangles
    a, b, c = X[triangles].unbind(1)
    assert ((b - a).cross(c - a, dim=-1)[:, 2] > 0).all()  # the dome of the fixture faces +z everywhere


@pytest.mark.parametrize("form", ["string", "array", "fixed string", "bytes", "text"])
def test_landmarks_are_found_in_every_stored_form(tiny_model, path, form):
    expected = write_basel(path, tiny_model, landmarks=form)
    assert bfm_landmarks(path) == expected


def test_a_file_without_landmarks_has_none(tiny_model, path):
    write_basel(path, tiny_model, landmarks="none")
    assert bfm_landmarks(path) == {}
    assert load_bfm(path).landmarks68.shape == (0,)


def test_landmarks_refer_to_the_reference_mesh_or_else_to_the_mean(tiny_model, path):
    expected = write_basel(path, tiny_model)
    with h5py.File(path, "r+") as file:
        del file["shape/representer/points"]
    assert bfm_landmarks(path).keys() == expected.keys()


def test_a_broken_reference_mesh_is_reported(tiny_model, path):
    write_basel(path, tiny_model)
    with h5py.File(path, "r+") as file:
        file["shape/representer/points"][0, 3] = np.nan
    with pytest.raises(ModelFileError, match="reference mesh holds NaN"):
        bfm_landmarks(path)


@pytest.mark.parametrize("ending, wrap", [("json", None), ("json", "landmarks68"), ("txt", None)])
def test_a_file_beside_the_model_brings_the_68_points(tiny_model, path, ending, wrap):
    write_basel(path, tiny_model)
    vertices = tiny_model.landmarks68.tolist()
    text = json.dumps({wrap: vertices} if wrap else vertices)
    if ending == "txt":
        text = "# from the right jaw\n" + "\n".join(f"{v}  # point {i}" for i, v in enumerate(vertices))
    path.with_name(f"{path.stem}.landmarks68.{ending}").write_text(text)
    assert load_bfm(path).landmarks68.tolist() == vertices


@pytest.mark.parametrize(
    "text", ["[1, 2, 3]", "{}", "not json", "[" + "1.5, " * 67 + "1]", "[" + "true, " * 67 + "1]", ""]
)
def test_a_wrong_landmark_file_is_named(tiny_model, path, text):
    write_basel(path, tiny_model)
    beside = path.with_name(f"{path.stem}.landmarks68.json")
    beside.write_text(text)
    with pytest.raises(ModelFileError, match=r"landmarks68\.json: (expected 68 vertex indices|empty file)"):
        load_bfm(path)


def test_landmark_indices_beyond_the_mesh_are_refused(tiny_model, path):
    write_basel(path, tiny_model)
    path.with_name(f"{path.stem}.landmarks68.json").write_text(json.dumps([10**6] * 68))
    with pytest.raises(ModelFileError, match="landmarks68 points beyond"):
        load_bfm(path)


def edit(name, change):
    """A function that replaces dataset `name` of a file by change(old array), or deletes it for None."""

    def spoil(path):
        with h5py.File(path, "r+") as file:
            old = file[name][()]
            del file[name]
            if change is not None:
                file[name] = change(old)

    return spoil


def with_nan(x):
    x.reshape(-1)[-1] = np.nan
    return x


def declare_petabytes(path):
    with h5py.File(path, "r+") as file:
        del file["shape/model/pcaBasis"]
        file.create_dataset("shape/model/pcaBasis", shape=(3_000_000_000, 199), dtype="f4", chunks=(1024, 199))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: (p.unlink(), p.mkdir()), "not a file"),
        (lambda p: p.write_bytes(b""), "empty file"),
        (lambda p: p.write_bytes(b"<html>Please log in</html>"), "not an HDF5 file"),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "broken or truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:20]), "broken or truncated"),
        (edit("shape/model/mean", None), "no shape/model/mean inside"),
        (edit("expression/model/pcaBasis", None), "no expression/model/pcaBasis inside"),
        (edit("color/model/pcaVariance", lambda x: x[:-1]), "sizes in color do not fit"),
        (edit("shape/model/pcaBasis", lambda x: x[:-3]), "sizes in shape do not fit"),
        (edit("shape/model/pcaVariance", lambda x: -x), "negative or NaN"),
        (edit("shape/model/pcaVariance", with_nan), "negative or NaN"),
        (edit("shape/model/pcaBasis", with_nan), "identity_basis holds NaN"),
        (edit("color/model/mean", with_nan), "albedo_mean holds NaN"),
        (edit("color/model/mean", lambda x: "green"), "color/model/mean holds no numbers"),
        (edit("shape/representer/cells", lambda x: x + 10**6), "triangles points beyond"),
        (edit("shape/representer/cells", lambda x: x[:2]), "expected 3×T"),
        (edit("shape/representer/cells", lambda x: x[:, :0]), "no triangles"),
        (declare_petabytes, "claims 2224 GiB"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(tiny_model, path, spoil, message):
    write_basel(path, tiny_model)
    spoil(path)
    with pytest.raises(ModelFileError, match=message) as error:
        load_bfm(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_groups_of_different_sizes_are_refused(tiny_model, path):
    write_basel(path, tiny_model)
    with h5py.File(path, "r+") as file:
        for name in ("mean", "pcaBasis"):
            short = file[f"color/model/{name}"][()][:-3]
            del file[f"color/model/{name}"]
            file[f"color/model/{name}"] = short
    with pytest.raises(ModelFileError, match="shape, expression and color have 168, 168 and 167 vertices"):
        load_bfm(path)


@pytest.mark.parametrize(
    "text",
    ["{", '[{"id": "a"}]', '[{"id": "a", "coordinates": [1, 2]}]', '[{"id": "a", "coordinates": [1, 2, NaN]}]', "3"],
)
def test_unreadable_landmarks_are_reported_where_they_are_asked_for(tiny_model, path, text):
    """The model itself still loads: it does not need them."""
    write_basel(path, tiny_model, landmarks="none")
    with h5py.File(path, "r+") as file:
        file["metadata/landmarks/json"] = text
    assert load_bfm(path).n_vertices == tiny_model.n_vertices
    with pytest.raises(ModelFileError, match="cannot read its landmarks"):
        bfm_landmarks(path)


def test_no_flipped_byte_gets_past_the_reader_as_another_error(tiny_model, path):
    """Damage anywhere in the file: a model (the byte was a number) or our one line, never a traceback from below."""
    write_basel(path, tiny_model)
    whole = path.read_bytes()
    g = np.random.default_rng(3)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in g.integers(0, 6000 if g.random() < 0.7 else len(whole), size=4):
            damaged[place] = g.integers(256)
        path.write_bytes(damaged)
        try:
            load_bfm(path)
            bfm_landmarks(path)
        except ModelFileError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 15  # else the damage is too mild to test anything
