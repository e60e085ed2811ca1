"""`facenb render`: the same pictures from any number of processes, whole shards after any stop, one line for errors."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from facenb.cli import main
from facenb.render_command import encode_truth, render_dataset
from facenb.shards import images_path, read_shard_index, read_truth, truth_path
from facenb.snapshots import render_snapshot

COUNT, SIZE, SHARD = 11, 24, 4


def render(out, workers):
    return render_dataset(out, COUNT, SIZE, "wild", 5, SHARD, workers=workers, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("rendered")
    assert render(out, 2) == COUNT
    return out


def test_pictures_and_truth_are_those_of_the_generator(folder):
    index, truth = read_shard_index(folder), read_truth(folder)
    assert len(index) == len(truth) == COUNT
    for i in (0, 9):
        made = render_snapshot(5, i, SIZE, "wild")
        (folder / "one.png").write_bytes(index.image_bytes(i))
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "one.png")), made.image)
        np.testing.assert_array_equal(truth.mask[i], made.truth.mask)
        np.testing.assert_allclose(truth.K[i], made.truth.K, rtol=1e-6)


def test_truth_is_an_npz_file_that_numpy_reads_back_to_the_bit():
    truth = render_snapshot(5, 1, 64, "wild").truth
    encoded = encode_truth(truth)
    assert encoded == encode_truth(truth)
    with np.load(io.BytesIO(encoded)) as arrays:
        assert set(arrays) == set(vars(truth))
        for name, value in vars(truth).items():
            expected = truth.uv.astype(np.float16) if name == "uv" else np.asarray(value)
            assert arrays[name].dtype == expected.dtype
            np.testing.assert_array_equal(arrays[name], expected)


def test_missing_shards_are_made_again_alike_by_another_number_of_processes(folder):
    paths = [images_path(folder, 0), images_path(folder, 2), truth_path(folder, 2)]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert render(folder, 1) == SHARD + COUNT % SHARD
    assert [path.read_bytes() for path in paths] == before
    assert render(folder, 1) == 0


def test_the_dataset_says_what_it_is(folder):
    table = json.loads((folder / "dataset.json").read_text())
    assert table["count"] == COUNT and table["shard_size"] == SHARD and table["truth"] is True
    assert table["config"]["seed"] == 5 and table["config"]["framing"] == "wild" and table["config"]["size"] == SIZE


def test_another_configuration_is_refused_in_one_line(folder, capsys):
    arguments = ["render", "--out", str(folder), "--count", str(COUNT), "--size", "32", "--framing", "wild"]
    assert main([*arguments, "--seed", "5", "--shard-size", str(SHARD)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "size 24, not 32" in error and "choose another folder" in error


@pytest.mark.parametrize("wrong", [["--framing", "tilted"], ["--count", "0"], ["--size", "8"], ["--workers", "0"]])
def test_wrong_options_are_refused_in_one_line(tmp_path, capsys, wrong):
    options = {"--out": str(tmp_path / "out"), "--count": "1"} | {wrong[0]: wrong[1]}
    try:
        code = main(["render", *(word for pair in options.items() for word in pair)])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_stopped_run_leaves_whole_shards_and_no_crumbs(tmp_path):
    command = [sys.executable, "-m", "facenb", "render", "--out", str(tmp_path), "--count", "5000", "--size", "16"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([*command, "--shard-size", "8", "--workers", "1"], stderr=subprocess.PIPE, env=environment)
    try:
        patience = time.monotonic() + 120
        while not images_path(tmp_path, 0).exists():
            assert run.poll() is None and time.monotonic() < patience
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert error.decode().rstrip().endswith("facenb: stopped")
    assert "Traceback" not in error.decode()
    names = {path.name for path in tmp_path.iterdir()}
    assert "dataset.json" in names and all(n.startswith(("images-", "truth-", "dataset.json")) for n in names)
