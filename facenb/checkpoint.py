"""Checkpoints: everything that a training run needs to go on as if it had never stopped.

One safetensors file holds the tensors (network, moving average, optimiser, task) and, in its header, JSON (position,
options, versions). One file appears whole or not at all, and loading it runs no code, as a pickle would. The last two
are kept, or more: should a power failure eat the newest, the one before is still there.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from facenb.atomic import atomic_path

KEPT = 2
_NAME = re.compile(r"step-(\d{8})\.safetensors")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or used here; the message names it and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors, and what JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(folder: Path, step: int, checkpoint: Checkpoint, keep: int = KEPT) -> Path:
    """Write `folder`/step-…safetensors, then remove all but the last `keep`.

    Raises CheckpointError where the disk is full or the folder closed; older checkpoints are then untouched.
    """
    path = folder / f"step-{step:08d}.safetensors"
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    content = save(tensors, metadata={"facenb": json.dumps(checkpoint.facts)})
    try:
        with atomic_path(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({_reason(error)}); make room, or choose another --out"
        ) from error
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def read_newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint of a folder that is whole, None where there is none at all.

    Raises CheckpointError where there are some, and none is whole.
    """
    found, broken = checkpoints(folder), None
    for path in reversed(found):
        try:
            return path, read_checkpoint(path)
        except CheckpointError as error:
            broken = broken or error
    if broken is not None:
        raise broken
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint; raises CheckpointError where it is none, or not whole."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facenb"])
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of facenb, or broken ({_reason(error)}); remove it, or choose another --out"
        ) from error


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))


def sweep(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for left in folder.glob(".unfinished-*"):
        shutil.rmtree(left, ignore_errors=True)


def pack(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `name`/ before their names."""
    return {f"{name}/{key}": t for key, t in tensors.items()}


def unpack(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `name`/, without it."""
    return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load all weights into a network that must be of the same kind; raises CheckpointError where it is not."""
    own = network.state_dict()
    for key in sorted(own.keys() | tensors.keys()):
        if key not in own or key not in tensors:
            raise CheckpointError(
                f"{path}: made by another network ({key} is in one of them only); choose another --out"
            )
        if own[key].shape != tensors[key].shape:
            sizes = f"{tuple(tensors[key].shape)} there, {tuple(own[key].shape)} here"
            raise CheckpointError(f"{path}: made by another network ({key} is {sizes}); choose another --out")
    network.load_state_dict(dict(tensors))


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory by parameter number and name: "0/exp_avg"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}/{key}": value for number, values in state.items() for key, value in values.items()}


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the memory of an optimiser of the same parameters.

    Each tensor is laid out in memory as its parameter is (channels last, perhaps), as the optimiser itself would have
    done: another layout may be summed in another order and round otherwise.
    """
    for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        for key, value in unpack(str(number), tensors).items():
            if value.shape == parameter.shape:
                value = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
            optimizer.state[parameter][key] = value


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
