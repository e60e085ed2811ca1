"""How good was a proxy while it was trained? `python -m facenb.restore.proxy_history RUN… --faces DIR --out FILE`.

Asks the moving average in every checkpoint that runs of `facenb train-proxy … --keep 100` have left about faces with
truth, made by `facenb studio`, which training never sees. Writes what `facenb.restore.shipped_proxy.history` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.checkpoint import CheckpointError, checkpoints, load_network, read_checkpoint, unpack
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.proxy_evaluation import DepthErrors, canonical_errors, predict, relief_gain
from facenb.restore.studio import StudioFaces
from facenb.restore.studio_files import read_studio
from facenb.scripts import answered

COLUMNS = ("step", "SIDE", "SIDE sd", "MAD", "MAD sd", "relief", "yaw slope", "inverted", "gain")


def history(run: Path, faces: StudioFaces) -> dict[str, Any]:
    """What the run was told, a row of `COLUMNS` for each checkpoint, and how long it took.

    Raises CheckpointError if there is no checkpoint.
    """
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    options = {name: config[name] for name in ("size", "coarse", "width", "bump", "template") if name in config}
    network = Proxy(ProxyOptions(**options))
    found = checkpoints(run / "checkpoints")
    if not found:
        raise CheckpointError(f"{run}: no checkpoints; train with --keep 100, then ask again")
    points = []
    for path in tqdm(found, desc=run.name, leave=False):
        checkpoint = read_checkpoint(path)
        load_network(network, unpack("average", checkpoint.tensors), path)
        answer = predict(network, faces.photos)
        errors = canonical_errors(answer.depth, answer.view, faces)
        points.append(row(checkpoint.facts["position"]["step"], errors, relief_gain(answer.depth, faces)))
    return {"options": config, "points": points, "minutes": minutes(found)}


def minutes(found: list[Path]) -> float:
    """How long the run took, by the usual time between its checkpoints: pauses between pieces of a run do not count."""
    written = np.array([path.stat().st_mtime for path in found])
    half = len(written) // 2  # small pictures first, then large ones, which take longer
    parts = [part for part in (np.diff(written)[:half], np.diff(written)[half:]) if len(part)]
    return round(
        float(sum(np.median(part) * len(part) for part in parts)) * len(found) / max(len(found) - 1, 1) / 60, 1
    )


def row(step: int, errors: DepthErrors, gain: float) -> list[float]:
    """One line of the table."""
    numbers = (errors.side.mean(), errors.side.std(), errors.mad.mean(), errors.mad.std(), errors.relief.mean())
    return [step, *(round(float(x), 4) for x in (*numbers, errors.yaw_slope)), errors.inverted, round(gain, 4)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facenb.restore.proxy_history", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of `facenb train-proxy`")
    parser.add_argument("--faces", type=Path, required=True, metavar="DIR", help="faces made by `facenb studio`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()

    def work() -> None:
        faces = read_studio(given.faces)
        found = {run.name: history(run, faces) for run in given.runs}
        result = {"columns": COLUMNS, "faces": len(faces), "runs": found}
        with atomic_path(given.out) as unfinished:
            unfinished.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")

    return answered("proxy_history", work)


if __name__ == "__main__":
    sys.exit(main())
