"""The JSON file of a fit: everything comes back, and what is not such a file is refused in one line."""

import json
from dataclasses import replace

import pytest
import torch

from facenb.camera import Camera
from facenb.fit_result import FitFile, FitFileError, PortraitFit, read_fit, write_fit


def random_fit(dtype=torch.float32):
    g = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    R = torch.linalg.qr(draw(3, 3))[0]
    fit = PortraitFit(
        camera=Camera(draw(3, 3), R * torch.linalg.det(R), 700 * draw(3)),
        identity=draw(6),
        expression=draw(4),
        albedo=draw(0),
        lighting=draw(3, 9),
        landmarks68=100 * draw(68, 2),
        residuals={"landmarks_median_px": 1.25, "photometric_rms": 0.03},
    )
    return FitFile("Ada ✓.jpg", 640, 480, "open", fit)


@pytest.fixture
def path(tmp_path):
    write_fit(random_fit(), tmp_path / "a.json")
    return tmp_path / "a.json"


def test_a_float32_fit_comes_back_bit_by_bit(path):
    expected, found = random_fit(), read_fit(path)
    assert (found.image, found.width, found.height, found.model) == ("Ada ✓.jpg", 640, 480, "open")
    for name in ("identity", "expression", "albedo", "lighting", "landmarks68"):
        assert torch.equal(getattr(found.fit, name), getattr(expected.fit, name))
    for name in "KRt":
        assert torch.equal(getattr(found.fit.camera, name), getattr(expected.fit.camera, name))
    assert found.fit.residuals == pytest.approx(expected.fit.residuals)


def test_the_file_has_the_keys_that_are_promised(path):
    content = json.loads(path.read_text())
    assert content.keys() >= {
        *("image", "width", "height", "camera", "identity", "expression", "albedo", "lighting"),
        *("landmarks68", "residuals"),
    }
    assert content["camera"].keys() == {"K", "R", "t"}
    assert [len(content["landmarks68"]), len(content["landmarks68"][0])] == [68, 2]
    assert len(path.read_text().splitlines()) == len(content) + 2  # one line a key


def test_nan_is_not_written(tmp_path):
    file = random_fit()
    with pytest.raises(FitFileError, match="holds NaN"):
        write_fit(replace(file, fit=replace(file.fit, identity=file.fit.identity * torch.nan)), tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def change(**entries):
    def spoil(path):
        content = json.loads(path.read_text()) | entries
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return spoil


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: (p.unlink(), p.mkdir()), "not a file"),
        (lambda p: p.write_text(""), "not valid JSON"),
        (lambda p: p.write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda p: p.write_text(p.read_text()[:-9]), "not valid JSON"),
        (lambda p: p.write_text("[" * 100_000), "not valid JSON"),
        (lambda p: p.write_text("[1, 2]"), "not a fit"),
        (change(camera=None), "camera missing"),
        (change(camera=[]), "camera needs K, R and t"),
        (change(camera={"K": 1, "R": 2}), "camera needs K, R and t"),
        (change(camera={"K": 1, "R": 2, "t": 3}), "K is not 3×3 finite numbers"),
        (change(lighting=[0.0] * 27), "lighting is not 3×9"),
        (change(landmarks68=[[0, 0]] * 67), "landmarks68 is not 68×2"),
        (change(identity=["one"]), "identity is not n finite"),
        (change(identity=[float("nan")]), "identity is not n finite"),
        (change(identity=[10**400]), "identity is not n finite"),
        (change(residuals=[1]), "residuals a name"),
        (change(residuals={"x": "small"}), "x is not one of the finite numbers"),
        (change(width="wide"), "wrong type"),
        (change(image=7), "wrong type"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(path, spoil, message):
    spoil(path)
    with pytest.raises(FitFileError, match=message) as error:
        read_fit(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
