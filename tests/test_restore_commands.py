"""`facenb studio` and `facenb train-proxy`: written, read again, resumed bit for bit, and clear about bad input."""

import sys
from dataclasses import replace

import pytest
import torch

from facenb.cli import main
from facenb.commands.train_proxy import Config
from facenb.config import ConfigError
from facenb.image_sets import open_images
from facenb.restore import proxy_task
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.proxy_command import train_proxy
from facenb.restore.studio_files import read_studio, write_studio
from facenb.shards import ShardError, images_path
from facenb.train_log import read_log
from facenb.weights import WeightsError, load_weights, read_about, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "faces"
    assert write_studio(out, 6, 32, seed=3, shard_size=4, workers=1, progress=False) == 6
    return out


def config(folder, out, **changes) -> Config:
    """A run that a test can afford."""
    small = dict(size=32, coarse=8, width=4, steps=6, batch=3, small=3, shared=2, tensorboard=False, log_every=1)
    return Config(images=folder, out=out, **small | {"checkpoint_every": 2} | changes)


def test_a_studio_folder_is_read_again(folder):
    faces = read_studio(folder)
    images = open_images(folder)
    assert len(faces) == len(images) == 6 and faces.image.shape == (6, 3, 32, 32)
    assert torch.equal(faces.image[5], images[5])
    assert faces.depth.dtype == torch.float32 and faces.mask.dtype == torch.bool
    assert faces.angles.shape == (6, 3) and (faces.depth[faces.mask] < 1.1).all()
    assert write_studio(folder, 6, 32, seed=3, shard_size=4, workers=1, progress=False) == 0
    images_path(folder, 1).unlink()
    assert write_studio(folder, 6, 32, seed=3, shard_size=4, workers=1, progress=False) == 2
    assert torch.equal(read_studio(folder).image, faces.image), "the same pictures again"


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(ShardError, match="seed 3, not 4"):
        write_studio(folder, 6, 32, seed=4, shard_size=4, workers=1, progress=False)
    with pytest.raises(ShardError, match=r"no dataset\.json"):
        read_studio(tmp_path)
    write_studio(tmp_path / "blind", 1, 16, truth=False, workers=1, progress=False)
    with pytest.raises(ShardError, match="without truth"):
        read_studio(tmp_path / "blind")


def test_training_writes_weights_that_say_what_they_are(folder, tmp_path):
    path = train_proxy(config(folder, tmp_path / "run", yaw_spread=20))
    network = load_weights(path)
    assert isinstance(network, Proxy) and network.options == ProxyOptions(size=32, coarse=8, width=4)
    about = read_about(path)
    assert about["kind"] == "proxy" and about["task"] == "proxy" and about["options"]["steps"] == 6
    assert about["yaw_spread"] == pytest.approx(0.349, abs=1e-3)
    log = read_log(tmp_path / "run")
    assert [p["step"] for p in log] == [1, 2, 3, 4, 5, 6] and all("yaw" in p for p in log)
    assert log[1]["individual"] == 0 and log[2]["individual"] > 0
    face = network(read_studio(folder).photos)
    assert torch.isfinite(face.depth).all() and face.depth.shape == (6, 32, 32)


def test_a_stopped_run_ends_as_if_it_had_not_been(folder, tmp_path):
    whole = train_proxy(config(folder, tmp_path / "whole"))
    real, calls = proxy_task.ProxyTask.step, []

    def interrupted(self, images, generator):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, images, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxy_task.ProxyTask, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_proxy(config(folder, tmp_path / "parts"))
    again = train_proxy(config(folder, tmp_path / "parts"))
    assert len(calls) == 4
    for name, value in load_weights(whole).state_dict().items():
        assert torch.equal(value, load_weights(again).state_dict()[name]), name


def test_several_processes_train_one_proxy(folder, tmp_path):
    import subprocess

    command = [sys.executable, "-m", "facenb", "train-proxy", str(folder), "--out", str(tmp_path / "two")]
    options = "--size 32 --coarse 8 --width 4 --steps 4 --batch 2 --small 2 --shared 1 --devices 2 --threads 1"
    done = subprocess.run(
        [*command, *options.split(), "--device", "cpu", "--no-tensorboard"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert load_weights(tmp_path / "two" / "weights.safetensors").kind == "proxy"


def test_options_that_cannot_be_are_refused_in_one_line(folder, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"--size 48.*power of two"):
        train_proxy(config(folder, tmp_path / "a", size=48))
    with pytest.raises(ConfigError, match="--coarse 64 is more than --size 32"):
        train_proxy(config(folder, tmp_path / "b", coarse=64))
    assert main(["train-proxy", str(tmp_path / "nowhere"), "--out", str(tmp_path / "c")]) == 2
    line = capsys.readouterr().err.strip()
    assert "nowhere" in line and "\n" not in line
    train_proxy(config(folder, tmp_path / "d", steps=2))
    with pytest.raises(ConfigError, match="begun with width 4, not 8"):
        train_proxy(config(folder, tmp_path / "d", width=8))


def test_foreign_options_of_a_weights_file_are_refused(tmp_path):
    network = Proxy(ProxyOptions(size=16, coarse=8, width=4))
    save_weights(network, tmp_path / "a.safetensors", half=False)
    again = load_weights(tmp_path / "a.safetensors", kind="proxy")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with pytest.raises(WeightsError, match="'narrow' one is needed"):
        load_weights(tmp_path / "a.safetensors", kind="narrow")
    network.options = replace(network.options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facenb.weights.asdict", lambda _: {"size": 16, "flavour": "sweet"})
        save_weights(network, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="flavour"):
        load_weights(tmp_path / "b.safetensors")
