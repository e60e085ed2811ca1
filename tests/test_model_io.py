"""Saving and loading in our own format, and the messages for files that are not what they should be."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import save_file

from facenb.model_files import checked
from facenb.model_io import FORMAT, VERSION, ModelFileError, load_saved, save_model


def assert_same(a, b, tolerance=0.0):
    for name in (f.name for f in fields(a)):
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, torch.Tensor):
            torch.testing.assert_close(x.to(y.dtype), y, atol=tolerance, rtol=0)
        elif isinstance(x, dict):
            assert x.keys() == y.keys()
            for key in x:
                torch.testing.assert_close(x[key].to(y[key].dtype), y[key], atol=tolerance, rtol=0)
        else:
            assert x == y


def test_float32_comes_back_bit_by_bit(tiny_model, tmp_path):
    model = replace(tiny_model, name="Ada's model ✓", colour_space="linear").to(dtype=torch.float32)
    save_model(model, tmp_path / "a.safetensors", dtype=torch.float32)
    assert_same(model, load_saved(tmp_path / "a.safetensors"))


def test_half_precision_moves_no_vertex_by_more_than_ten_micrometres(tiny_model, tmp_path):
    """The module promises errors in the micrometres, over random people."""
    save_model(tiny_model, tmp_path / "a.safetensors")
    loaded = load_saved(tmp_path / "a.safetensors")
    assert loaded.shape_mean.dtype == loaded.identity_basis.dtype == torch.float32
    identity, expression, albedo = tiny_model.sample(100, torch.Generator().manual_seed(1))
    move = tiny_model.vertices(identity, expression) - loaded.to(dtype=torch.float64).vertices(identity, expression)
    assert move.norm(dim=-1).max() < 0.01
    assert (tiny_model.colours(albedo) - loaded.to(dtype=torch.float64).colours(albedo)).abs().max() < 1e-3


def test_a_model_without_landmarks_regions_or_albedo_components_survives(tiny_model, tmp_path):
    model = replace(tiny_model.truncate(albedo=0), landmarks68=torch.zeros(0, dtype=torch.int64), regions={})
    save_model(model, tmp_path / "a.safetensors", dtype=torch.float32)
    assert_same(model.to(dtype=torch.float32), load_saved(tmp_path / "a.safetensors"))


def test_landmarks_may_lie_beside_a_model_without_them(tiny_model, tmp_path):
    save_model(replace(tiny_model, landmarks68=torch.zeros(0, dtype=torch.int64)), tmp_path / "a.safetensors")
    (tmp_path / "a.landmarks68.json").write_text(json.dumps(tiny_model.landmarks68.tolist()))
    assert torch.equal(load_saved(tmp_path / "a.safetensors").landmarks68, tiny_model.landmarks68)


def test_the_same_model_makes_the_same_file(tiny_model, tmp_path):
    for name in "ab":
        save_model(tiny_model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_replaces_an_old_file_and_leaves_nothing_else_behind(tiny_model, tmp_path):
    path = tmp_path / "new folder" / "a.safetensors"
    save_model(tiny_model, path)
    save_model(replace(tiny_model, name="second"), path)
    assert load_saved(path).name == "second"
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_values_too_large_for_half_precision_are_refused(tiny_model, tmp_path):
    with pytest.raises(ModelFileError, match=r"float16 cannot hold.*float32"):
        save_model(replace(tiny_model, identity_basis=tiny_model.identity_basis * 1e6), tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def header(**entries):
    return {"facenb": json.dumps({"format": FORMAT, "name": "x", "colour_space": "sRGB", **entries})}


@pytest.fixture
def saved(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: (p.unlink(), p.mkdir()), "not a file"),
        (lambda p: p.write_bytes(b""), "empty file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1000]), "broken safetensors"),
        (lambda p: p.write_bytes(p.read_bytes()[:5]), "broken safetensors"),
        (lambda p: p.write_bytes(b"\x80\x04 a pickle, perhaps"), "broken safetensors"),
        (lambda p: p.write_bytes((2**60).to_bytes(8, "little") + p.read_bytes()[8:]), "broken safetensors"),
        (lambda p: save_file({"weight": torch.zeros(3)}, p), "not a face model"),
        (lambda p: save_file({"weight": torch.zeros(3)}, p, {"facenb": "{"}), "not a face model"),
        (lambda p: save_file({"shape_mean": torch.zeros(9, 3)}, p, header(version=VERSION)), "missing"),
        (lambda p: save_file({"shape_mean": torch.zeros(9, 3)}, p, header(version=7)), "version 7"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(saved, spoil, message):
    spoil(saved)
    with pytest.raises(ModelFileError, match=message) as error:
        load_saved(saved)
    assert str(error.value).startswith(f"{saved}: ")
    assert "\n" not in str(error.value)


def test_a_header_that_declares_absurd_sizes_is_refused(saved):
    """The tensor table promises more numbers than the file holds: no memory may be set aside for them."""
    raw = saved.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    header["shape_mean"]["shape"] = [10**12, 3]
    text = json.dumps(header).encode()
    saved.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + n :])
    with pytest.raises(ModelFileError, match="broken safetensors"):
        load_saved(saved)


def test_a_file_larger_than_any_face_model_is_refused_unread(saved):
    with saved.open("r+b") as file:
        file.truncate(5 * 2**30)  # sparse: takes no room on the disk
    with pytest.raises(ModelFileError, match=r"5\.0 GiB, more than any face model"):
        load_saved(saved)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: {"shape_mean": m.shape_mean * torch.nan}, "shape_mean holds NaN"),
        (lambda m: {"albedo_basis": m.albedo_basis[1:]}, "albedo_basis is"),
        (lambda m: {"identity_basis": m.identity_basis[:, 0]}, "identity_basis is"),
        (lambda m: {"triangles": m.triangles + m.n_vertices}, "triangles points beyond"),
        (lambda m: {"triangles": m.triangles[:0]}, "no triangles"),
        (lambda m: {"landmarks68": -m.landmarks68 - 1}, "landmarks68 points beyond"),
        (lambda m: {"landmarks68": m.landmarks68[:5]}, "expected 68"),
        (lambda m: {"regions": {"nose": m.shape_mean}}, "region nose is"),
        (lambda m: {"shape_mean": m.shape_mean[:2]}, "2 vertices is no face model"),
    ],
)
def test_parts_that_do_not_fit_together_are_named(tiny_model, change, message):
    with pytest.raises(ModelFileError, match=rf"^some/file: .*{message}"):
        checked(replace(tiny_model, **change(tiny_model)), "some/file")
