"""The state of a training run, saved to its folder and found again there.

The folder holds checkpoints/, config.json (the options) and what `facenb.train_log` writes.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from facenb.atomic import atomic_path
from facenb.checkpoint import (
    Checkpoint,
    checkpoints,
    load_network,
    load_optimizer,
    optimizer_tensors,
    pack,
    read_newest,
    sweep,
    unpack,
    write_checkpoint,
)
from facenb.config import ConfigError
from facenb.result_files import writing_to
from facenb.task import Task
from facenb.train_config import TrainConfig
from facenb.version import __version__

CHECKPOINTS = "checkpoints"
_HARMLESS = ("out", "resume", "tensorboard", "keep")  # options that change no weight


@dataclass
class Position:
    """Where a run is. `drawn` images were taken from the data; `failures` steps in a row were skipped just now."""

    step: int = 0
    drawn: int = 0
    skipped: int = 0
    failures: int = 0


@dataclass
class TrainState:
    """All that a run needs to go on: everything random follows from the options and the position."""

    task: Task
    network: nn.Module
    average: nn.Module
    optimizer: Optimizer
    position: Position = field(default_factory=Position)

    def save(self, config: TrainConfig) -> Path:
        """Write a checkpoint; raises CheckpointError where that fails."""
        state = self.task.state_dict()
        tensors = {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}  # no shared ones
        facts = {
            "task": self.task.name,
            "about": self.task.about,
            "position": asdict(self.position),
            "options": options(config),
            "task state": {name: value for name, value in state.items() if name not in tensors},
            "facenb": __version__,
            "torch": torch.__version__,
        }
        packed = (
            pack("network", self.network.state_dict())
            | pack("average", self.average.state_dict())
            | pack("optimizer", optimizer_tensors(self.optimizer))
            | pack("task", tensors)
        )
        return write_checkpoint(config.out / CHECKPOINTS, self.position.step, Checkpoint(packed, facts), config.keep)

    def resume(self, config: TrainConfig) -> list[str]:
        """Load the newest checkpoint of the run's folder, if there is one; returns lines for the user.

        Raises CheckpointError or ConfigError where it belongs to something else.
        """
        newest = read_newest(config.out / CHECKPOINTS)
        if newest is None:
            return []
        path, found = newest
        _check(path, found.facts, self.task)
        load_network(self.network, unpack("network", found.tensors), path)
        load_network(self.average, unpack("average", found.tensors), path)
        load_optimizer(self.optimizer, unpack("optimizer", found.tensors))
        self.task.load_state_dict(unpack("task", found.tensors) | found.facts["task state"])
        self.position = Position(**found.facts["position"])
        then, now = found.facts["options"], options(config)
        changed = [f"{key} {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]
        notes = [f"resumed at step {self.position.step}, from {path}"]
        return notes + ([f"changed since: {', '.join(changed)}"] if changed else [])


def prepare_folder(config: TrainConfig) -> None:
    """Make the run's folder, note its options there, and clear away what no longer counts.

    Raises ConfigError where it cannot be written to.
    """
    folder = config.out / CHECKPOINTS
    with writing_to(config.out):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        if not config.resume:
            for old in checkpoints(folder):
                old.unlink()


def write_options(config: TrainConfig) -> None:
    """config.json: what this run was told."""
    with atomic_path(config.out / "config.json") as unfinished:
        unfinished.write_text(json.dumps(options(config), indent=2) + "\n")


def options(config: TrainConfig) -> dict[str, Any]:
    """What decides over the weights, as JSON holds it."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in _HARMLESS}
    return json.loads(json.dumps(values, default=str))


def portable(options: dict[str, Any]) -> dict[str, Any]:
    """The same for those who have the weights, but not the machine: of an absolute path only the last name."""
    absolute = (name for name, value in options.items() if isinstance(value, str) and Path(value).is_absolute())
    return options | {name: Path(options[name]).name for name in absolute}


def _check(path: Path, facts: dict[str, Any], task: Task) -> None:
    if facts["task"] != task.name:
        raise ConfigError(f"{path}: a checkpoint of {facts['task']}, not of {task.name}; choose another --out")
    then, now = facts["about"], json.loads(json.dumps(task.about))
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise ConfigError(
                f"{path}: begun with {key} {then.get(key)}, not {now.get(key)}; give the same, or choose another --out"
            )
