"""The trained prior, restorer and collection network that come with the package (book: *A prior for faces*, *Restoring
albedo and geometry*, *Many photos of one person*).

They lie in facenb/data/restore/ and were written by `facenb train-prior`, `train-restorer` and `train-collection`; what
these runs were told and how they went by `python -m facenb.restore.run_records`.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from facenb.restore.albedo_prior import AlbedoPrior
from facenb.restore.collection import CollectionNetwork
from facenb.restore.restorer import Restorer
from facenb.weights import WeightsError, load_weights


def shipped_prior() -> AlbedoPrior:
    """The albedo prior, in evaluation mode. Raises WeightsError if this installation lacks it."""
    return _load("prior.safetensors", AlbedoPrior.kind, "train-prior")


def shipped_restorer() -> Restorer:
    """Proxy, prior, ARN and GRN together, in evaluation mode. Raises WeightsError if this installation lacks it."""
    return _load("restorer.safetensors", Restorer.kind, "train-restorer")


def shipped_collection() -> CollectionNetwork:
    """LAP, in evaluation mode. Raises WeightsError if this installation lacks it."""
    return _load("collection.safetensors", CollectionNetwork.kind, "train-collection")


def restorer_file() -> Path:
    """Where the restorer lies."""
    return _folder() / "restorer.safetensors"


def runs() -> dict[str, Any]:
    """The runs behind them by name: "config", "log" (a row of numbers for each point) and "minutes"."""
    return json.loads((_folder() / "runs.json").read_text(encoding="utf-8"))


def _folder() -> Path:
    return Path(str(resources.files("facenb") / "data" / "restore"))


def _load(name: str, kind: str, command: str) -> nn.Module:
    path = _folder() / name
    if not path.is_file():
        raise WeightsError(f"{path}: it comes with the package; install facenb again, or train one: facenb {command}")
    return load_weights(path, kind)
