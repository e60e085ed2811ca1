"""The benchmark runner: what it writes, and that its memory figure is one."""

import json
import sys
import types

import pytest
import torch

from benchmarks import run
from benchmarks.contenders import Contenders


@pytest.fixture
def fake(monkeypatch):
    """A race in place of lsq_geometry: ours touches 20 MB, the peer 160 MB."""
    module = types.ModuleType("benchmarks.lsq_geometry")

    def touch(pieces: int) -> list[torch.Tensor]:
        return [torch.ones(20 * 2**18) for _ in range(pieces)]

    module.contenders = lambda: Contenders(lambda: touch(1), lambda: touch(8), "a slow one")
    monkeypatch.setitem(sys.modules, "benchmarks.lsq_geometry", module)


def test_the_results_are_written_and_shown(fake, tmp_path, capsys):
    """Promised: for each benchmark an object {ours_ms, peer_ms, ratio, ours_mb, peer_mb, peer}."""
    run.main(["--quick", "--only", "lsq_geometry", "--out", str(tmp_path / "deep" / "bench.json")])
    result = json.loads((tmp_path / "deep" / "bench.json").read_text())["lsq_geometry"]
    assert set(result) == {"ours_ms", "peer_ms", "ratio", "ours_mb", "peer_mb", "peer"}
    assert result["ratio"] == pytest.approx(result["peer_ms"] / result["ours_ms"]) and result["ours_ms"] > 0
    assert 4 < result["peer_mb"] / result["ours_mb"] < 12
    assert "a slow one" in capsys.readouterr().out
    assert torch.get_num_threads() == 1  # numba, which shares OpenMP with PyTorch, once had the last word


@pytest.mark.parametrize("megabytes", [8, 64, 300])
def test_the_peak_is_the_memory_that_a_call_touches(megabytes):
    peak = run.peak_megabytes(lambda: torch.ones(megabytes * 2**18).sum())
    assert peak == pytest.approx(megabytes, abs=4)


def test_a_missing_figure_is_a_dash():
    result = {"ours_ms": 1, "peer_ms": 2, "ratio": 2, "ours_mb": None, "peer_mb": None, "peer": "x"}
    assert "–" in run.table({"a": result})
