"""The command line, from words to files: on the small random model, with a fit that costs nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import ExifTags, Image

from facenb.camera import project
from facenb.cli import COMMANDS, main
from facenb.fit_result import PortraitFit, read_fit
from facenb.flatten import flatten
from facenb.interrupts import loading
from facenb.model_io import save_model
from facenb.model_source import load_model
from facenb.photo import read_photo, write_photo
from facenb.pictures import portrait_camera, render_face
from facenb.texture import sample_texture

WIDTH, HEIGHT = 96, 120


@pytest.fixture
def model_path(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "tiny.safetensors", dtype=torch.float32)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "ada.png")
    return tmp_path / "ada.png"


@pytest.fixture
def points(tmp_path):
    values = [[20 + 0.7 * i, 30 + (7 * i) % 60] for i in range(68)]
    (tmp_path / "points.json").write_text(json.dumps(values))
    return tmp_path / "points.json"


@pytest.fixture
def fits(monkeypatch):
    """Puts a known answer in the place of the fit; returns the list of its calls (photo, landmarks)."""
    calls = []

    def fit_portrait(photo, landmarks, model):
        calls.append((photo, landmarks))
        g = torch.Generator().manual_seed(2)
        identity, expression, albedo = (c[0] for c in model.sample(1, g))
        camera = portrait_camera(model, photo.shape[1], photo.shape[2])
        where, _ = project(camera, model.vertices(identity, expression)[model.landmarks68])
        light = torch.zeros(3, 9)
        light[:, 0] = 3.5
        return PortraitFit(
            camera, identity, expression, albedo, light, where, {"landmarks_median_px": 1.5, "colour": 0.1}
        )

    monkeypatch.setattr("facenb.fit_command.fit_portrait", fit_portrait)
    return calls


def run(*words):
    return main([str(word) for word in words])


def test_fit_writes_json_mesh_and_picture(model_path, photo, points, fits, tmp_path, capsys):
    out = tmp_path / "new" / "results"
    assert run("fit", photo, "--landmarks", points, "--out", out, "--model", model_path) == 0
    assert sorted(p.name for p in out.iterdir()) == ["ada.glb", "ada.json", "ada.png"]
    file = read_fit(out / "ada.json")
    assert (file.image, file.width, file.height) == ("ada.png", WIDTH, HEIGHT)
    assert load_model(file.model).name == "tiny random model"
    model = load_model(model_path)
    seen, _ = project(file.fit.camera, model.vertices(file.fit.identity, file.fit.expression)[model.landmarks68])
    torch.testing.assert_close(file.fit.landmarks68, seen, atol=1e-3, rtol=0)
    mesh = trimesh.load(out / "ada.glb", force="mesh", process=False)
    metres = model.vertices(file.fit.identity, file.fit.expression) / 1000
    np.testing.assert_allclose(mesh.vertices, metres, atol=1e-5)
    picture = read_photo(out / "ada.png")
    assert picture.shape == (3, HEIGHT, 2 * WIDTH)
    assert torch.equal(picture[..., :WIDTH], read_photo(photo))  # the photo itself, untouched
    changed = (picture[..., WIDTH:] - read_photo(photo)).abs().amax(0) > 0.02
    assert 0.2 < changed.float().mean() < 0.9  # the face covers the middle, not the border
    assert "landmarks_median_px 1.5" in capsys.readouterr().out


def test_the_real_fit_finds_a_rendered_face_again(tiny_model, model_path, tmp_path):
    """No stand-in for the fit here: a picture of a known person, its landmarks, and back."""
    model = load_model(model_path)
    identity, expression, albedo = (c[0] for c in model.sample(1, torch.Generator().manual_seed(5), scale=0.7))
    camera = portrait_camera(model, 240, 200, yaw=0.3)
    light = torch.zeros(3, 9)
    light[:, 0], light[:, 3] = 3.5, 0.4
    person = {"identity": identity, "expression": expression, "albedo": albedo}
    picture, _ = render_face(model, camera, 240, 200, **person, light=light, inverse=True, background=0.2)
    write_photo(picture, tmp_path / "ada.png")
    marks, _ = project(camera, model.vertices(identity, expression)[model.landmarks68])
    (tmp_path / "points.json").write_text(json.dumps(marks.tolist()))
    words = ("--landmarks", tmp_path / "points.json", "--out", tmp_path / "r", "--model", model_path)
    assert run("fit", tmp_path / "ada.png", *words) == 0
    fit = read_fit(tmp_path / "r" / "ada.json").fit
    assert (fit.landmarks68 - marks).norm(dim=-1).median() < 1.0
    again, mask = render_face(
        model, fit.camera, 240, 200, identity=fit.identity, expression=fit.expression, albedo=fit.albedo,
        light=fit.lighting, inverse=True, background=0.2,
    )  # fmt: skip
    assert (again - picture).abs().mean(0)[mask > 0].median() < 0.03


def test_a_large_photo_is_fitted_small_and_reported_in_its_own_pixels(
    model_path, photo, points, fits, tmp_path, tiny_model
):
    assert (
        run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path, "--max-side", 60) == 0
    )
    (small, landmarks), given = fits[0], torch.tensor(json.loads(points.read_text()))
    assert small.shape == (3, 60, 48)
    torch.testing.assert_close(landmarks, (given + 0.5) / 2 - 0.5)
    file = read_fit(tmp_path / "r" / "ada.json")
    assert (file.width, file.height) == (WIDTH, HEIGHT)
    assert file.fit.residuals == pytest.approx({"landmarks_median_px": 3.0, "colour": 0.1})
    X = load_model(model_path).vertices(file.fit.identity, file.fit.expression)[tiny_model.landmarks68]
    torch.testing.assert_close(project(file.fit.camera, X)[0], file.fit.landmarks68, atol=1e-3, rtol=0)


def test_a_photo_turned_by_exif_is_fitted_upright(model_path, photo, points, fits, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(photo).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned = tmp_path / "turned.png"
    assert run("fit", turned, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path) == 0
    assert torch.equal(fits[0][0], read_photo(photo))
    assert (read_fit(tmp_path / "r" / "turned.json").width, HEIGHT) == (WIDTH, HEIGHT)


def test_several_photos_share_a_file_of_points_or_bring_their_own(model_path, photo, points, fits, tmp_path):
    second = tmp_path / "bob.png"
    second.write_bytes(photo.read_bytes())
    values = json.loads(points.read_text())
    shared = tmp_path / "shared.json"
    shared.write_text(json.dumps({"ada.png": values, "bob.png": {"landmarks68": values[::-1]}}))
    common = ("--out", tmp_path / "r", "--model", model_path)
    assert run("fit", photo, second, "--landmarks", shared, *common) == 0
    assert run("fit", photo, second, "--landmarks", points, points, *common) == 0
    assert [float(landmarks[0, 0]) for _, landmarks in fits] == pytest.approx([20.0, values[-1][0], 20.0, 20.0])
    assert len(list((tmp_path / "r").iterdir())) == 6
    assert run("fit", photo, second, "--landmarks", points, *common) == 2  # one face's points are not everybody's


def test_options_come_from_a_file_and_unknown_keys_stop_it(model_path, photo, points, fits, tmp_path, capsys):
    config = tmp_path / "fit.toml"
    text = f'photos = "{photo}"\nlandmarks = "{points}"\nout = "{tmp_path / "r"}"\nmodel = "{model_path}"\n'
    config.write_text(text)
    assert run("fit", "--config", config) == 0
    config.write_text(text + "landmark = 3\n")
    capsys.readouterr()
    assert run("fit", "--config", config) == 2
    assert "unknown key 'landmark'" in capsys.readouterr().err


@pytest.mark.parametrize("ending, scale", [("obj", 1.0), ("ply", 1.0), ("glb", 1e-3)])
@pytest.mark.parametrize("neutral", [False, True])
def test_export_writes_the_fitted_face(model_path, photo, points, fits, tmp_path, ending, scale, neutral):
    run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path)
    path = tmp_path / "meshes" / f"face.{ending}"
    assert run("export", tmp_path / "r" / "ada.json", "--out", path, *(["--neutral"] if neutral else [])) == 0
    model, fit = load_model(model_path), read_fit(tmp_path / "r" / "ada.json").fit
    mesh = trimesh.load(path, force="mesh", process=False)
    expected = scale * model.vertices(fit.identity, None if neutral else fit.expression)
    np.testing.assert_allclose(mesh.vertices, expected, atol=2e-3 * scale)


def test_export_wears_the_photo_that_was_fitted(model_path, photo, points, fits, tmp_path, tiny_model):
    """A colour ramp as the photo: what a vertex wears must be what the photo shows where the vertex is seen."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramp = np.stack([x * 2, y * 2, np.full_like(x, 90)], -1).astype(np.uint8)
    Image.fromarray(ramp).save(photo)
    run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path)
    assert run("export", tmp_path / "r" / "ada.json", "--out", tmp_path / "face.obj", "--photo", photo) == 0
    texture = read_photo(tmp_path / "face.png")
    fit, model = read_fit(tmp_path / "r" / "ada.json").fit, load_model(model_path)
    flat = flatten(model)
    X = flat.extend(model.vertices(fit.identity, fit.expression))
    T = flat.triangles[flat.source >= 0]
    a, b, c = X[T].unbind(1)
    facing = torch.nn.functional.normalize((b - a).cross(c - a, dim=-1), dim=-1)[:, 2] > 0.75
    where, _ = project(fit.camera, X[T[facing]].mean(1))
    worn = sample_texture(texture, flat.uv[T[facing]].mean(1).float())
    expected = torch.stack([where[:, 0] * 2, where[:, 1] * 2, torch.full_like(where[:, 0], 90)], -1) / 255
    assert facing.sum() > 100
    assert ((worn - expected).abs().amax(-1) < 0.02).float().mean() > 0.95


def test_export_refuses_another_photo(model_path, photo, points, fits, tmp_path, capsys):
    run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path)
    Image.new("RGB", (10, 20)).save(tmp_path / "other.png")
    for words, message in (
        (("--out", tmp_path / "f.glb", "--photo", tmp_path / "other.png"), "10 × 20 pixels, but ada.png was fitted at"),
        (("--out", tmp_path / "f.ply", "--photo", photo), "a .ply holds no texture"),
    ):
        assert run("export", tmp_path / "r" / "ada.json", *words) == 2
        assert message in capsys.readouterr().err


def test_export_writes_the_mean_and_random_people_of_a_model(model_path, tmp_path):
    for name, words in {"mean": (), "a": ("--seed", 1), "b": ("--seed", 1), "c": ("--seed", 2)}.items():
        assert run("export", model_path, "--out", tmp_path / f"{name}.ply", *words) == 0
    X = {n: trimesh.load(tmp_path / f"{n}.ply", process=False).vertices for n in ("mean", "a", "b", "c")}
    np.testing.assert_allclose(X["mean"], load_model(model_path).shape_mean, atol=1e-3)
    assert (X["a"] == X["b"]).all()
    assert np.abs(X["a"] - X["c"]).max() > 1


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: f["photo"].unlink(), "ada.png: no such file"),
        (lambda f: f["photo"].write_bytes(b""), "ada.png: empty file"),
        (lambda f: f["photo"].write_bytes(b"hello"), "ada.png: not a picture"),
        (lambda f: f["photo"].write_bytes(f["photo"].read_bytes()[:3000]), "ada.png: broken or truncated"),
        (lambda f: f["points"].unlink(), "points.json: no such file"),
        (lambda f: f["points"].write_text("[[1, 2]]"), "points.json: 1 entries for ada.png"),
        (lambda f: f["points"].write_text("{"), "points.json: not valid JSON"),
        (lambda f: f["model_path"].write_bytes(b"pickle"), "tiny.safetensors: no face model that facenb knows"),
        (lambda f: f["model_path"].write_bytes(f["model_path"].read_bytes()[:999]), "broken safetensors"),
        (lambda f: f["model_path"].unlink(), "tiny.safetensors: no such file"),
    ],
)
def test_bad_input_ends_with_code_2_one_line_and_no_results(
    model_path, photo, points, fits, tmp_path, capsys, spoil, message
):
    spoil({"photo": photo, "points": points, "model_path": model_path})
    assert run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("facenb: ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_results_never_replace_the_photo_or_its_points(model_path, photo, points, fits, tmp_path, capsys):
    """ada.png beside its results would be replaced by the overlay, ada.json by the fit."""
    before = photo.read_bytes()
    own = tmp_path / "ada.json"
    own.write_text(points.read_text())
    elsewhere = tmp_path / "elsewhere" / "ada.png"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(before)
    for picture, marks, endangered in ((photo, points, photo), (elsewhere, own, own)):
        assert run("fit", picture, "--landmarks", marks, "--out", tmp_path, "--model", model_path) == 2
        assert f"{endangered}: a result in {tmp_path} would replace it" in capsys.readouterr().err
    assert (photo.read_bytes(), own.read_text()) == (before, points.read_text())


def test_a_fit_that_fails_names_its_photo(model_path, photo, points, fits, tmp_path, capsys, monkeypatch):
    def fit_portrait(photo, landmarks, model):
        raise ValueError("the landmarks lie on a line")

    monkeypatch.setattr("facenb.fit_command.fit_portrait", fit_portrait)
    assert run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path) == 2
    assert capsys.readouterr().err == f"facenb: {photo}: the landmarks lie on a line\n"


def test_a_model_without_landmarks_says_how_to_give_them(tiny_model, photo, points, fits, tmp_path, capsys):
    from dataclasses import replace

    path = tmp_path / "bare.safetensors"
    save_model(replace(tiny_model, landmarks68=torch.zeros(0, dtype=torch.int64)), path)
    assert run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", path) == 2
    assert "has no 68 landmark vertices; put them beside it in bare.landmarks68.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "COMMAND"),
        (("bogus",), "bogus"),
        (("fit",), "PHOTO is missing"),
        (("fit", "a.png"), "--landmarks is missing"),
        (("fit", "a.png", "--landmarks", "p"), "--out is missing"),
        (("fit", "a.png", "--size", "3"), "--size 3; see facenb fit --help"),
        (("fit", "x/a.png", "y/a.jpg", "--landmarks", "p", "--out", "o"), "two photos are called a"),
        (("fit", "x/a.png", "y/A.png", "--landmarks", "p", "--out", "o"), "two photos are called a"),
        (("fit", "a", "b", "c", "--landmarks", "p", "q", "--out", "o"), "3 photos but 2 landmark files"),
        (("export",), "FIT|MODEL is missing"),
        (("export", "open"), "--out is missing"),
        (("export", "open", "--out", "face.stl"), "face.stl: no mesh format has this ending; use .obj, .ply, .glb"),
        (("export", "a.json", "--out", "f.obj"), "a.json: no such file"),
        (("export", "a.json", "--out", "f.obj", "--seed", "1"), "--seed draws a random face"),
        (("export", "open", "--out", "f.obj", "--model", "open"), "leave --model out"),
        (("export", "nowhere.h5", "--out", "f.obj"), "nowhere.h5: no such file"),
        (("export", "open", "--out", "f.obj", "--seed", "x"), "--seed"),
    ],
)
def test_wrong_words_end_with_code_2_and_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as stop:  # argparse's own way out
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_fit_with_another_model_is_refused(model_path, photo, points, fits, tmp_path, capsys, tiny_model):
    run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path)
    save_model(tiny_model.truncate(identity=2), tmp_path / "small.safetensors")
    words = ("--out", tmp_path / "f.obj", "--model", tmp_path / "small.safetensors")
    assert run("export", tmp_path / "r" / "ada.json", *words) == 2
    assert "6 identity coefficients, but this model has 2" in capsys.readouterr().err


def test_ctrl_c_ends_with_code_130_and_no_half_files(model_path, photo, points, fits, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("facenb.fit_command.write_fit", interrupted)
    assert run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path) == 130
    assert capsys.readouterr().err == "facenb: stopped\n"
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["ada.glb", "ada.png"]  # whole; the JSON comes last


def test_ctrl_c_while_libraries_load_waits_until_they_are_whole():
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        with pytest.raises(KeyboardInterrupt), loading():
            signal.raise_signal(signal.SIGINT)
            done.append("loaded")
        assert done == ["loaded"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_or_forbidden_folder_is_one_line(model_path, photo, points, fits, tmp_path, capsys):
    (tmp_path / "r").write_text("a file where the folder should be")
    assert run("fit", photo, "--landmarks", points, "--out", tmp_path / "r", "--model", model_path) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{tmp_path / 'r'}: cannot write there" in message and "choose" in message


@pytest.mark.parametrize("words, expected", [(("--help",), "facenb export"), (("fit", "--help"), "NAME.json")])
def test_help_is_quick_because_it_loads_neither_torch_nor_numpy(words, expected):
    code = "import sys, facenb.cli\ntry: facenb.cli.main()\nfinally: assert not {'torch', 'numpy'} & sys.modules.keys()"
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}  # the poorest terminal
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=plain, check=True)
    assert expected in done.stdout


def test_every_command_has_its_words_and_options(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([command.NAME, "--help"])
        page = capsys.readouterr().out
        assert stop.value.code == 0
        assert command.ABOUT in page and command.EXAMPLES in page and "--config FILE.toml" in page
        assert max(len(line) for line in (command.ABOUT + command.EXAMPLES).splitlines()) <= 100


def test_the_exit_code_is_the_command_s_own(monkeypatch, capsys):
    monkeypatch.setattr("facenb.commands.export.run", lambda config: 3)
    assert run("export", "open", "--out", "face.obj") == 3


def test_python_dash_m_is_the_same_command():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "facenb", "--version"], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith("facenb ")


def test_a_misspelt_option_is_not_taken_for_another(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["reconstruct", "portrait.jpg", "--out", "results", "--refin", "8"])
    assert stop.value.code == 2 and "unrecognized arguments: --refin 8" in capsys.readouterr().err
