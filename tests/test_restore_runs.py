"""The record of training runs, and what ships beside the weights."""

import json
import sys

import pytest

from facenb.commands.train_prior import Config
from facenb.restore import run_records
from facenb.restore.prior_command import train_prior


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "prior"
    train_prior(
        Config(
            images="open", out=out, count=100, size=16, codes=5, width=4, steps=6, batch=4, log_every=2,
            checkpoint_every=2, keep=9, tensorboard=False,
        )
    )  # fmt: skip
    return out


def told(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["run_records", *map(str, words)])
    return run_records.main()


def test_a_record_holds_config_curves_and_time(run, tmp_path, monkeypatch):
    assert told(monkeypatch, run, "--out", tmp_path / "runs.json") == 0
    record = json.loads((tmp_path / "runs.json").read_text())["prior"]
    assert record["config"]["codes"] == 5 and record["minutes"] >= 0
    assert [point["step"] for point in record["log"]] == [2, 4, 6]
    assert all(point["psnr"] > 0 for point in record["log"])
    run.rename(run.with_name("again"))
    assert told(monkeypatch, run.with_name("again"), "--out", tmp_path / "runs.json") == 0
    run.with_name("again").rename(run)
    assert json.loads((tmp_path / "runs.json").read_text()) == {"prior": record, "again": record}


def test_a_folder_without_a_run_is_named_in_one_line(run, tmp_path, monkeypatch, capsys):
    assert told(monkeypatch, run, tmp_path, "--out", tmp_path / "runs.json") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(tmp_path) in line and "no config.json" in line
    assert not (tmp_path / "runs.json").exists()
