"""The one door to all models opens the right one by content."""

import pytest
from basel_file import write_basel

from facenb.model_io import ModelFileError, save_model
from facenb.model_source import load_model


@pytest.mark.parametrize("name", ["model", "model.txt", "model.safetensors"])
def test_files_are_told_by_content_and_not_by_name(tiny_model, tmp_path, name):
    save_model(tiny_model, tmp_path / name)
    assert load_model(tmp_path / name).name == "tiny random model"
    write_basel(tmp_path / name, tiny_model)
    assert load_model(str(tmp_path / name)).name == "model"


def test_open_is_the_open_model(tiny_model, monkeypatch):
    monkeypatch.setattr("facenb.open_model.open_model", lambda: tiny_model, raising=False)
    assert load_model() is tiny_model
    assert load_model("open") is tiny_model


def test_a_tilde_is_the_home_folder(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_model(tiny_model, tmp_path / "mine.safetensors")
    assert load_model("~/mine.safetensors").n_vertices == tiny_model.n_vertices


@pytest.mark.parametrize("content", [b"solid cube\n", b"\x80\x04\x95 a pickle", b"PK\x03\x04 a zip", b"x", b"{"])
def test_anything_else_is_refused_with_the_list_of_what_works(tmp_path, content):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.h5: no face model that facenb knows; give") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_missing_empty_and_foreign_places_are_named(tmp_path):
    with pytest.raises(ModelFileError, match=r'nowhere: no such file; a model is "open"'):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ModelFileError, match="empty file"):
        load_model(tmp_path / "empty")
    with pytest.raises(ModelFileError, match="ICT-FaceKit"):
        load_model(tmp_path)
