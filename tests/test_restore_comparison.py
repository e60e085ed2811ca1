"""Intervals hold what they promise, and all methods are asked the same."""

import json
import sys

import numpy as np
import torch

from facenb.restore import compare
from facenb.restore.albedo_prior import PriorOptions
from facenb.restore.collection import CollectionNetwork, CollectionOptions
from facenb.restore.comparison import interval, over_seeds
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.restorer import Restorer, RestorerOptions
from facenb.restore.studio_files import write_studio
from facenb.weights import save_weights


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(30), 9)
    covered = 0
    for _ in range(100):
        values = 2 + rng.normal(0, 0.5, 30)[subject] + rng.normal(0, 0.1, len(subject))
        found = interval(values, subject)
        assert found.low < found.mean < found.high
        covered += found.low < 2 < found.high
    assert 87 <= covered <= 99


def test_photos_of_one_subject_do_not_count_as_many():
    rng = np.random.default_rng(1)
    subject = np.repeat(np.arange(5), 20)
    values = rng.normal(0, 1, 5)[subject]
    together, apart = interval(values, subject), interval(values, np.arange(len(values)))
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert together == interval(values, subject)
    assert str(together).count("–") == 1


def test_runs_of_one_method_belong_together():
    groups = over_seeds({"proxy, clean": 1, "ours 1": 3, "ours 0": 2, "plane": 4})
    assert groups == {"proxy, clean": [1], "ours": [2, 3], "plane": [4]}


def test_all_methods_are_asked_and_a_second_call_asks_none_again(tmp_path, monkeypatch, capsys):
    write_studio(tmp_path / "faces", 4, 16, seed=3, workers=1, progress=False)
    options = ProxyOptions(size=16, coarse=8, width=4)
    save_weights(Proxy(options), tmp_path / "proxy.safetensors", half=False)
    prior = PriorOptions(size=16, codes=5, style=8, width=4)
    save_weights(Restorer(RestorerOptions(options, prior, width=8)), tmp_path / "ours.safetensors", half=False)
    command = ["compare", "--faces", tmp_path / "faces", "--proxy", tmp_path / "proxy.safetensors", "--subjects", "1"]
    command += ["--restorer", f"ours={tmp_path / 'ours.safetensors'}", "--out", tmp_path / "out.json"]
    save_weights(CollectionNetwork(CollectionOptions(options, width=4)), tmp_path / "lap.safetensors", half=False)
    command += ["--collection", tmp_path / "lap.safetensors"]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    for name, small in (("alignment.ROUNDS", 4), ("alignment.LEAST_ROUNDS", 2), ("cross_view.POINTS", 100)):
        monkeypatch.setattr(f"facenb.restore.{name}", small)  # for speed
    assert compare.main() == 0
    result = json.loads((tmp_path / "out.json").read_text())
    methods = {f"{name}, {way}" for name in ("proxy", "LAP") for way in ("clean", "degraded", "restored in 2D")}
    methods |= {"ours"}
    assert set(result["same view"]) == methods
    assert set(result["cross view"]) == methods | {"truth", "mean, true view", "plane"}
    assert all(len(entry["distance"]) == 9 for entry in result["cross view"].values())
    assert result["cross view"]["truth"]["subject"] == [0] * 9
    assert np.mean(result["cross view"]["truth"]["distance"]) < np.mean(result["cross view"]["plane"]["distance"])

    def never(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(compare, "measure", never)
    assert compare.main() == 0
    assert json.loads((tmp_path / "out.json").read_text()) == result
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--factor", "2"])
    assert compare.main() == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "out.json: holds answers with another factor" in line


def test_degraded_photos_are_the_same_for_every_method():
    ways = compare.inputs(4)
    photos = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(ways["clean"](photos), photos)
    assert torch.equal(ways["degraded"](photos), ways["degraded"](photos))
    assert not torch.equal(ways["restored in 2D"](photos), ways["degraded"](photos))


def test_a_file_that_is_no_restorer_is_refused(tmp_path, monkeypatch, capsys):
    write_studio(tmp_path / "faces", 2, 16, seed=3, workers=1, progress=False)
    save_weights(Proxy(ProxyOptions(size=16, coarse=8, width=4)), tmp_path / "proxy.safetensors", half=False)
    command = ["compare", "--faces", tmp_path / "faces", "--proxy", tmp_path / "proxy.safetensors"]
    command += ["--restorer", f"ours={tmp_path / 'proxy.safetensors'}", "--out", tmp_path / "out.json"]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    assert compare.main() == 2
    assert "a 'restorer' one is needed" in capsys.readouterr().err
