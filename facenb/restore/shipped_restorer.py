"""The trained restorer that comes with the package (book: *Restoring albedo and geometry*).

It lies in facenb/data/restore/ and was written by `facenb train-restorer`; the prior and the proxy that it began with
are part of it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from facenb.restore.restorer import Restorer
from facenb.weights import WeightsError, load_weights


def restorer_file() -> Path:
    """Path of its weights. Raises WeightsError if this installation lacks them."""
    path = Path(str(resources.files("facenb") / "data" / "restore" / "weights.safetensors"))
    if not path.is_file():
        raise WeightsError(f"{path}: the trained restorer is missing; install facenb again, or train-restorer one")
    return path


def shipped_restorer() -> Restorer:
    """The network, in evaluation mode."""
    return load_weights(restorer_file(), Restorer.kind)
