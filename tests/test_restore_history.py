"""A run's checkpoints, asked again: the curves of the chapter come from here, and so does the shipped proxy."""

import json
import os
import sys

import pytest

from facenb.checkpoint import CheckpointError
from facenb.commands.train_proxy import Config
from facenb.restore import proxy_history
from facenb.restore.proxy_command import train_proxy
from facenb.restore.proxy_evaluation import evaluate_proxy
from facenb.restore.proxy_history import COLUMNS, minutes
from facenb.restore.shipped_proxy import history, proxy_folder, shipped_proxy
from facenb.restore.studio_files import read_studio, write_studio
from facenb.weights import load_weights, read_about


def test_every_checkpoint_is_asked_and_the_last_is_the_result(tmp_path, monkeypatch):
    write_studio(tmp_path / "faces", 5, 16, seed=3, workers=1, progress=False)
    small = dict(size=16, coarse=8, width=4, steps=6, batch=3, small=3, shared=2, tensorboard=False)
    config = Config(images=tmp_path / "faces", out=tmp_path / "run0", checkpoint_every=2, keep=100, **small)
    weights = train_proxy(config)
    arguments = ["history", tmp_path / "run0", "--faces", tmp_path / "faces", "--out", tmp_path / "history.json"]
    monkeypatch.setattr(sys, "argv", [str(a) for a in arguments])
    assert proxy_history.main() == 0
    result = json.loads((tmp_path / "history.json").read_text())
    run = result["runs"]["run0"]
    assert result["columns"] == list(COLUMNS) and result["faces"] == 5
    assert [point[0] for point in run["points"]] == [2, 4, 6] and all(len(p) == len(COLUMNS) for p in run["points"])
    plane, ahead, known = result["baselines"]["faces"].values()
    assert plane[1] > ahead[1] > known[1] > 0 and "more" not in result["baselines"]
    errors = evaluate_proxy(load_weights(weights), read_studio(tmp_path / "faces"))
    assert run["points"][-1][1] == pytest.approx(float(errors.side.mean()), rel=0.02)  # half precision in the file
    assert run["options"]["seed"] == 0 and run["minutes"] >= 0
    assert run["options"]["images"] == read_about(weights)["options"]["images"] == "faces"  # not where they lay
    (tmp_path / "run0").rename(tmp_path / "run1")
    monkeypatch.setattr(sys, "argv", [str(a) for a in (*arguments[:1], tmp_path / "run1", *arguments[2:])])
    assert proxy_history.main() == 0
    assert json.loads((tmp_path / "history.json").read_text())["runs"] == {"run0": run, "run1": run}
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--more", str(tmp_path / "faces")])
    assert proxy_history.main() == 0
    result = json.loads((tmp_path / "history.json").read_text())
    assert result["baselines"]["more"] == result["baselines"]["faces"]
    assert result["more"] == 5 and result["runs"]["run1"]["more"] == run["points"][-1] and "more" not in run
    monkeypatch.setattr(sys, "argv", sys.argv[:-2])
    assert proxy_history.main() == 0
    again = json.loads((tmp_path / "history.json").read_text())
    assert again["more"] == 5 and again["baselines"] == result["baselines"]


def test_a_run_without_checkpoints_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="--keep 100"):
        proxy_history.history(tmp_path, None)


def test_a_pause_is_no_training(tmp_path):
    files = []
    for step, minute in enumerate((1, 2, 3, 4, 50, 52, 54, 56), 1):
        path = tmp_path / f"{step}"
        path.touch()
        os.utime(path, (60 * minute, 60 * minute))
        files.append(path)
    assert minutes(files) == 5 * 1 + 3 * 2
    assert minutes(files[-2:]) == 8 * 2  # the others were not kept
    assert minutes(files[:1]) == 0  # one checkpoint tells nothing


def test_the_shipped_proxy_is_the_run_that_history_tells_of():
    told = read_about(proxy_folder() / "weights.safetensors")
    runs = history()["runs"]
    assert told["kind"] == "proxy" and told["options"]["seed"] == runs["prior0"]["options"]["seed"] == 0
    assert told["options"]["steps"] == runs["prior0"]["points"][-1][0]
    assert shipped_proxy().options.size == 64
    assert (proxy_folder() / "weights.safetensors").stat().st_size < 10e6
