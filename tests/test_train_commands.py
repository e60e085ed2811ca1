"""`facenb pretrain` and `facenb train` from words to weights, on the small random model and pictures of noise."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from facenb.cli import main
from facenb.model_io import save_model
from facenb.networks import KINDS, build_network
from facenb.train_config import NETWORKS
from facenb.train_log import read_log
from facenb.weights import load_weights, read_about, save_weights

FIVE = ("0.35", "0.4", "0.65", "0.4", "0.5", "0.55", "0.4", "0.7", "0.6", "0.7")


@pytest.fixture
def model_path(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "tiny.safetensors", dtype=torch.float32)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def first_weights(tmp_path):
    save_weights(build_network("narrow"), tmp_path / "first.safetensors", half=False)
    return tmp_path / "first.safetensors"


@pytest.fixture
def words(photos, model_path, tmp_path):
    """What both commands need."""
    small = ("--size", 32, "--batch", 2, "--steps", 3, "--device", "cpu", "--no-tensorboard")
    return (photos, "--out", tmp_path / "run", "--model", model_path, *small)


def run(*words):
    return main([str(word) for word in words])


def test_pretrain_writes_weights_a_log_and_what_it_was_told(words, tmp_path, capsys):
    assert run("pretrain", *words, "--landmarks5", *FIVE, "--seed", 3) == 0
    out = tmp_path / "run"
    network = load_weights(out / "weights.safetensors", kind="narrow")
    assert not torch.equal(network.answer.weight, build_network("narrow", seed=3).answer.weight)
    about = read_about(out / "weights.safetensors")
    assert about["task"] == "pretrain" and about["options"]["seed"] == 3 and about["end"]["step"] == 3
    assert read_log(out)[-1]["step"] == 3
    told = json.loads((out / "config.json").read_text())
    assert told["size"] == 32 and told["images"] == str(tmp_path / "photos")
    assert "5 images; 1 files left out, broken.png: " in capsys.readouterr().err


@pytest.mark.parametrize("loss, curve", [("distil", "energy"), ("residual", "inliers")])
def test_train_goes_on_from_weights(words, first_weights, tmp_path, loss, curve):
    assert run("train", *words, "--weights", first_weights, "--map-size", 48, "--loss", loss) == 0
    about = read_about(tmp_path / "run" / "weights.safetensors")
    assert about["task"] == loss
    assert (about["shape components"], about["albedo components"]) == (10, 5)  # it has no more
    assert {"loss", curve} <= read_log(tmp_path / "run")[-1].keys()


@pytest.mark.parametrize("loss", ["distil", "residual"])
def test_the_main_training_resumes_to_the_same_weights(words, first_weights, tmp_path, loss):
    """What the tasks adapt by themselves, typical energies and prior weights, comes back as well."""
    more = ("--weights", first_weights, "--map-size", 48, "--loss", loss, "--drop-at", 1, "--drop-by", 1)
    assert run("train", *words, *more, "--steps", 4, "--out", tmp_path / "whole") == 0
    for steps in (2, 4):
        assert run("train", *words, *more, "--steps", steps) == 0
    whole, parts = (load_weights(tmp_path / name / "weights.safetensors").state_dict() for name in ("whole", "run"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_two_losses_do_not_mix_in_one_folder(words, first_weights, capsys):
    more = ("--weights", first_weights, "--map-size", 48, "--steps", 1)
    assert run("train", *words, *more) == 0
    capsys.readouterr()
    assert run("train", *words, *more, "--loss", "residual") == 2
    assert "a checkpoint of distil, not of residual; choose another --out" in capsys.readouterr().err


def test_a_command_given_again_resumes_and_ends_the_same(words, tmp_path, capsys):
    """In pieces and at one go: the same weights, from the command line, too."""
    more = ("--landmarks5", *FIVE, "--steps", 4, "--drop-at", 1, "--drop-by", 1)
    assert run("pretrain", *words, *more, "--out", tmp_path / "whole") == 0
    assert run("pretrain", *words, *more, "--steps", 2) == 0
    capsys.readouterr()
    assert run("pretrain", *words, *more) == 0
    message = capsys.readouterr().err
    assert "resumed at step 2" in message and "changed since: steps 2 → 4" in message
    whole, parts = (load_weights(tmp_path / name / "weights.safetensors").state_dict() for name in ("whole", "run"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_options_come_from_a_file_and_unknown_keys_are_errors(words, photos, model_path, tmp_path, capsys):
    file = tmp_path / "pretrain.toml"
    text = f'images = "{photos}"\nout = "{tmp_path / "run"}"\nmodel = "{model_path}"\nsize = 32\nbatch = 2\nsteps = 1\n'
    text += f'landmarks5 = [{", ".join(FIVE)}]\ndevice = "cpu"\ntensorboard = false\n'
    file.write_text(text)
    assert run("pretrain", "--config", file) == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()
    file.write_text(text + "learning_rate = 1\n")
    capsys.readouterr()
    assert run("pretrain", "--config", file) == 2
    assert "unknown key 'learning_rate'; known are images, out, steps" in capsys.readouterr().err


def test_nan_ends_with_code_2_and_advice(words, first_weights, tmp_path, capsys):
    network = load_weights(first_weights)
    torch.nn.init.constant_(network.answer.bias, 1e38)
    save_weights(network, first_weights, half=False)
    assert run("train", *words, "--weights", first_weights, "--map-size", 48, "--steps", 30) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("facenb: 10 steps in a row failed") and "try a lower lr" in message
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("command", ["pretrain", "train"])
@pytest.mark.parametrize(
    "more, message",
    [
        (("--size", 40), "--size 40: the network halves images four times, choose a multiple of 16"),
        (("--batch", 0), "--batch 0: must be at least 1"),
        (("--precision", "16"), "--precision 16: choose one of 32, bf16"),
        (("--drop-at", 0.5, 0.7, 0.9, "--drop-by", 0.1), "3 drop_at but 1 drop_by; give one factor for each"),
        (("--model", "nowhere.h5"), "nowhere.h5: no such file"),
        (("--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("--speed", 9), "unrecognized arguments: --speed 9; see facenb COMMAND --help"),
    ],
)
def test_wrong_options_end_with_code_2_and_one_line(words, first_weights, capsys, command, more, message):
    own = ("--weights", first_weights) if command == "train" else ("--landmarks5", *FIVE)
    try:
        code = run(command, *words, *own, *more)
    except SystemExit as stop:  # argparse's own way out
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message.replace("COMMAND", command) in captured.err
    assert captured.err.count("\n") == 1


def test_what_is_missing_or_wrong_is_named(words, photos, first_weights, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    first_weights.write_bytes(b"no weights")
    for call, message in (
        (("pretrain", *words), "with --landmarks5"),
        (("pretrain", *words, "--landmarks5", 0.5, 0.5), "--landmarks5: 2 numbers, expected ten"),
        (("train", *words), "--weights is missing"),
        (("train", *words, "--weights", first_weights), f"{first_weights}: "),
        (("train", *words, "--weights", tmp_path / "none"), "none: no such file"),
        (("pretrain", tmp_path / "empty", *words[1:], "--landmarks5", *FIVE), "empty: no photos to read"),
    ):
        assert run(*call) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_another_size_in_the_same_folder_is_refused(words, tmp_path, capsys):
    assert run("pretrain", *words, "--landmarks5", *FIVE) == 0
    capsys.readouterr()
    assert run("pretrain", *words, "--landmarks5", *FIVE, "--size", 48) == 2
    assert "begun with size 32, not 48; give the same, or choose another --out" in capsys.readouterr().err
    assert run("pretrain", *words, "--landmarks5", *FIVE, "--network", "regular") == 2
    assert "begun with network narrow, not regular" in capsys.readouterr().err


def test_ctrl_c_saves_and_ends_with_code_130(words, tmp_path, capsys, monkeypatch):
    import signal

    from facenb.pretrain_task import PretrainTask

    step = PretrainTask.step

    def pressed(self, images, generator):
        signal.raise_signal(signal.SIGINT)
        return step(self, images, generator)

    monkeypatch.setattr(PretrainTask, "step", pressed)
    assert run("pretrain", *words, "--landmarks5", *FIVE) == 130
    assert "facenb: stopped at step 1, which is saved; the same command goes on" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001.safetensors"]


def test_the_help_names_the_networks_that_there_are():
    assert NETWORKS == KINDS
