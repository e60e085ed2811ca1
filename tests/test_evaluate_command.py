"""`facenb evaluate` from its options to the JSON file."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rendered_faces import rendered_faces

from facenb import face_finder
from facenb.cli import main
from facenb.flatten import flatten
from facenb.networks import build_network
from facenb.open_model import open_model
from facenb.photo import to_uint8
from facenb.rotation import angles_from_rotation
from facenb.shards import Description, images_path, member_name, start_dataset, truth_path, write_shard
from facenb.version import __version__
from facenb.weights import save_weights


def write_rendered_set(folder, n):
    """n bare faces in the layout of `facenb render`, without waiting for hair and clothes."""
    model = open_model(progress=False)
    faces = rendered_faces(model, flatten(model), n, torch.Generator().manual_seed(6))
    start_dataset(folder, Description(n, n, True, {"seed": 5, "size": 64, "framing": "wild"}))
    yaw, pitch, roll = angles_from_rotation(faces.camera.R)
    k = model.n_identity
    truth = {
        **{"uv": faces.maps.uv.movedim(1, -1).half(), "depth": faces.depth, "mask": faces.mask, "yaw": yaw},
        **{"landmarks68": faces.landmarks68, "landmarks5": faces.five, "pitch": pitch, "roll": roll},
        **{"identity": faces.m[:, :k], "expression": faces.m[:, k:], "albedo": faces.albedo},
        **{name: getattr(faces.camera, name) for name in "KRt"},
    }
    pictures, arrays = [], []
    for i in range(n):
        png, npz = io.BytesIO(), io.BytesIO()
        Image.fromarray(to_uint8(faces.image[i])).save(png, "PNG")
        np.savez(npz, **{name: values[i].numpy() for name, values in truth.items()})
        pictures.append(png.getvalue()), arrays.append(npz.getvalue())
    write_shard(images_path(folder, 0), [member_name(i, "png") for i in range(n)], pictures)
    write_shard(truth_path(folder, 0), [member_name(i, "npz") for i in range(n)], arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six rendered pictures, a list of two photos, two files of untrained weights."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_rendered_set(folder / "test", 6)
    for seed in (0, 1):
        save_weights(build_network("narrow", seed), folder / f"{seed}.safetensors", about={"steps": seed})
    for name in "ab":
        Image.new("RGB", (120, 100), (150, 120, 100)).save(folder / f"{name}.png")
    points = [[40, 40], [70, 40], [55, 55], [43, 70], [67, 70]]
    (folder / "points.json").write_text(json.dumps({"a.png": points, "b.png": points}))
    return folder


def test_a_rendered_set_gives_all_numbers_with_their_circumstances(folder, tmp_path, capsys):
    out = tmp_path / "result.json"
    arguments = ["--weights", str(folder / "0.safetensors"), "--pretrained", str(folder / "1.safetensors")]
    assert main(["evaluate", str(folder / "test"), "--out", str(out), *arguments, "--refine", "1"]) == 0
    content = json.loads(out.read_text())
    assert content["facenb"] == __version__ and content["machine"]["torch"] == torch.__version__
    assert (content["kind"], content["seed"], content["count"], content["size"]) == ("rendered", 5, 6, 64)
    assert content["weights"]["kind"] == "narrow" and content["weights"]["steps"] == 0
    assert content["pretrained"]["weights"]["steps"] == 1 and content["reconstruction"]["texels"] == 160
    for part in (content["results"], content["refined"], content["pretrained"]):
        assert {"fitted", "direct", "iou", "uv_texels", "depth_percent", "vertex_mm", "yaw_correlation"} <= set(part)
        assert part["fitted"]["count"] == 6
    assert set(content["baselines"]) == {"mean_landmarks", "oracle_similarity"}
    printed = capsys.readouterr().out
    assert "baseline oracle_similarity" in printed and "refined fitted" in printed and str(out) in printed


def test_photos_with_points_give_landmark_errors_only(folder, tmp_path, monkeypatch):
    """Also found by the network itself, which here finds nothing: two failures, written as null where not finite."""
    monkeypatch.setattr(face_finder.find_face, "__defaults__", (face_finder.FinderOptions(scales=(1.0,), angles=(0,)),))
    for framing, failures in (("points", None), ("find", 2)):
        out = tmp_path / f"{framing}.json"
        arguments = ["--weights", str(folder / "0.safetensors"), "--framing", framing, "--size", "32"]
        assert main(["evaluate", str(folder / "points.json"), "--out", str(out), *arguments]) == 0
        content = json.loads(out.read_text())
        assert set(content["results"]) == {"fitted", "direct", "curve"} and content["count"] == 2
        assert content["seed"] is None and content["kind"] == f"photos, framing {framing}"
        if failures is not None:
            assert content["results"]["fitted"]["failures"] == failures
            assert content["results"]["fitted"]["median"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing", "--out", "r.json"], "missing: no such file or folder"),
        (["test", "--out", "r.txt"], "call the file .json"),
        (["test", "--out", "r.json", "--weights", "a.png"], "a.png"),
        (["points.json", "--out", "r.json", "--size", "50"], "multiples of 16"),
        (["points.json", "--out", "r.json", "--framing", "guess"], "guess"),
        (["empty", "--out", "r.json"], "needs one list"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(folder, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    with_weights = [] if "--weights" in arguments else ["--weights", "0.safetensors"]
    try:
        code = main(["evaluate", *arguments, *with_weights])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (folder / "r.json").exists()
