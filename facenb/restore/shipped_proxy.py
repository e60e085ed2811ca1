"""The trained proxy that comes with the package, and how it and its rivals learnt (book: *Shape from one image by
symmetry*).

Everything lies in facenb/data/proxy/ and was written by `facenb train-proxy` and
`python -m facenb.restore.proxy_history`.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from facenb.restore.proxy import Proxy
from facenb.weights import WeightsError, load_weights


def proxy_folder() -> Path:
    """Where the files lie."""
    return Path(str(resources.files("facenb") / "data" / "proxy"))


def shipped_proxy() -> Proxy:
    """The network, in evaluation mode. Raises WeightsError if this installation lacks it."""
    path = proxy_folder() / "weights.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path}: the trained proxy is missing; install facenb again, or train one: train-proxy")
    return load_weights(path, Proxy.kind)


def history() -> dict[str, Any]:
    """Runs by name: "runs" holds each one's "options" and "points", rows of "columns", of some also the row "more".

    "faces" is the number of faces with truth that points were measured on, "more" that of the others; "baselines" says
    SIDE and MAD of shapes that nobody has learnt, on both.
    """
    return json.loads((proxy_folder() / "history.json").read_text(encoding="utf-8"))
