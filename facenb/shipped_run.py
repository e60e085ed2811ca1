"""The training run whose network comes with the package: its curves, its evaluation, and what it said on the way.

Everything lies in facenb/data/run/ and was written by `facenb pretrain`, `facenb train`, `facenb evaluate` and
`python -m facenb.record_frames`; the book shows it (*Training at full scale*, *Does it work?*).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from facenb.train_log import read_log

Part = Literal["pretrain", "train"]


def run_folder() -> Path:
    """Where the files lie."""
    return Path(str(resources.files("facenb") / "data" / "run"))


def curves(part: Part) -> list[dict[str, float]]:
    """A point for every 20 steps: "step", "loss" and what the task reports. Means over those steps."""
    return read_log(run_folder() / part)


def options(part: Part) -> dict[str, Any]:
    """What `facenb pretrain` or `facenb train` was told."""
    return json.loads((run_folder() / part / "config.json").read_text(encoding="utf-8"))


def evaluation() -> dict[str, Any]:
    """What `facenb evaluate` wrote about the shipped network on 500 test images that nothing else was done with."""
    return json.loads((run_folder() / "evaluation.json").read_text(encoding="utf-8"))


def short_runs() -> dict[str, Any]:
    """What shorter trainings reached: "ablations" and "sizes", by name a list of (step, mean, median, IoU).

    Errors are Fitted's five points in % of the inter-ocular distance, on "test"; how each was trained: "options".
    """
    return json.loads((run_folder() / "short_runs.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Frames:
    """What the moving average said of N pictures after some steps of the main training.

    Attributes:
        step: 0 is the pretrained network.
        image: what the network saw.
        uv, depth, confidence: its maps; float16.
        five: true landmarks (px) of the rendered pictures, NaN for photos: for looking only.
    """

    step: Int[np.ndarray, " F"]
    image: UInt8[np.ndarray, "N 3 S S"]
    uv: Float[Tensor, "F N 2 S S"]
    depth: Float[Tensor, "F N S S"]
    confidence: Float[Tensor, "F N S S"]
    five: Float[np.ndarray, "N 5 2"]


def frames() -> Frames:
    """The run, replayed."""
    with np.load(run_folder() / "frames.npz") as file:
        maps = {name: torch.from_numpy(file[name]).float() for name in ("uv", "depth", "confidence")}
        return Frames(step=file["step"], image=file["image"], five=file["five"], **maps)
