"""The frames of a run: its checkpoints are asked about the same pictures, and what they said can be read again."""

import sys

import numpy as np
import torch

from facenb import record_frames, shipped_run
from facenb.checkpoint import checkpoints
from facenb.commands.pretrain import Config
from facenb.render_command import render_dataset
from facenb.train_commands import pretrain


def test_each_checkpoint_is_asked_about_the_same_pictures(tmp_path, monkeypatch):
    render_dataset(tmp_path / "test", 2, 64, "wild", 7, workers=1, progress=False)
    config = Config(
        images=tmp_path / "test", out=tmp_path / "run", steps=2, batch=2, size=32, checkpoint_every=1, keep=5,
        tensorboard=False, landmarks5=(0.34, 0.42, 0.66, 0.42, 0.5, 0.6, 0.38, 0.76, 0.62, 0.76),
    )  # fmt: skip
    weights = pretrain(config)
    assert len(checkpoints(tmp_path / "run" / "checkpoints")) == 2
    monkeypatch.setattr(record_frames, "portraits", lambda: [torch.rand(3, 80, 60)])  # nobody: no sixth picture
    monkeypatch.setattr(record_frames, "find_face", lambda *_: None)
    out = tmp_path / "frames.npz"
    arguments = ["record_frames", tmp_path / "run", "--weights", weights, "--test", tmp_path / "test", "--count", 2]
    monkeypatch.setattr(sys, "argv", [str(a) for a in [*arguments, "--out", out]])
    record_frames.main()
    monkeypatch.setattr(shipped_run, "run_folder", lambda: tmp_path)
    frames = shipped_run.frames()
    assert frames.step.tolist() == [0, 1, 2] and frames.image.shape == (2, 3, 64, 64)
    assert frames.uv.shape == (3, 2, 2, 64, 64) and frames.confidence.shape == (3, 2, 64, 64)
    assert np.isfinite(frames.five).all() and frames.five.shape == (2, 5, 2)
    assert not torch.equal(frames.uv[1], frames.uv[2]), "two steps apart"
    assert (frames.uv[0] - frames.uv[2]).abs().max() < 0.02, "the weights of the end, in half precision"

    monkeypatch.setattr(sys, "argv", [str(a) for a in [*arguments, "--steps", 2, "--out", out]])
    record_frames.main()
    assert shipped_run.frames().step.tolist() == [0, 2]
