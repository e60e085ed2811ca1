"""How good was a proxy while it was trained? `python -m facenb.restore.proxy_history RUN… --faces DIR --out FILE`.

Asks the moving average in every checkpoint that runs of `facenb train-proxy … --keep 100` have left about faces with
truth, made by `facenb studio`, which training never sees. Writes what `facenb.restore.shipped_proxy.history` reads.
Runs that FILE already tells of stay in it, unless they are given again. The last weights may be asked about more faces:
the mean error of 200 is uncertain by a fourteenth of what faces differ. Baselines are asked about the same faces.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.checkpoint import CheckpointError, checkpoints, load_network, read_checkpoint, unpack
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.proxy_evaluation import (
    DepthErrors,
    canonical_errors,
    depth_errors,
    mean_canonical_depth,
    predict,
    relief_gain,
)
from facenb.restore.studio import StudioFaces
from facenb.restore.studio_files import read_studio
from facenb.restore.view import Viewpoint
from facenb.scripts import answered
from facenb.train_state import portable

COLUMNS = ("step", "SIDE", "SIDE sd", "MAD", "MAD sd", "relief", "yaw slope", "inverted", "gain")


def history(run: Path, faces: StudioFaces, more: StudioFaces | None = None) -> dict[str, Any]:
    """What the run was told, a row of `COLUMNS` for each checkpoint, and how long it took; a row for `more` faces.

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
        points.append(_asked(network, checkpoint.facts["position"]["step"], faces))
    result = {"options": portable(config), "points": points, "minutes": minutes(found)}
    return result if more is None else result | {"more": _asked(network, points[-1][0], more)}


def baselines(faces: StudioFaces) -> dict[str, list[float]]:
    """SIDE and MAD of shapes that nobody has learnt: a plane, and the mean face without and with the true view."""
    mean = mean_canonical_depth(faces).expand_as(faces.depth).contiguous()
    ahead = Viewpoint(torch.zeros_like(faces.angles), torch.zeros_like(faces.shift))
    errors = {
        "plane": depth_errors(torch.ones_like(faces.depth), torch.ones_like(faces.mask), faces),
        "mean, straight ahead": canonical_errors(mean, ahead, faces),
        "mean, true view": canonical_errors(mean, faces.view, faces),
    }
    return {name: [round(float(e.side.mean()), 4), round(float(e.mad.mean()), 4)] for name, e in errors.items()}


def _asked(network: Proxy, step: int, faces: StudioFaces) -> list[float]:
    answer = predict(network, faces.photos)
    return row(step, canonical_errors(answer.depth, answer.view, faces), relief_gain(answer.depth, faces))


def minutes(found: list[Path]) -> float:
    """How long the run took, by the usual time of a step between its checkpoints: pauses of a run do not count, and of
    its checkpoints the first ones may be gone."""
    written = np.array([path.stat().st_mtime for path in found]) / 60
    steps = np.array([int(path.stem.rpartition("-")[2]) for path in found])
    half = len(found) // 2  # small pictures first, then large ones, which take longer
    pace = np.diff(written) / np.diff(steps)
    parts = [(pace[:half], steps[half]), (pace[half:], steps[-1] - steps[half])]
    return round(float(sum(np.median(rates) * taken for rates, taken in parts if len(rates))), 1)


def row(step: int, errors: DepthErrors, gain: float) -> list[float]:
    """One line of the table."""
    numbers = (errors.side.mean(), errors.side.std(), errors.mad.mean(), errors.mad.std(), errors.relief.mean())
    return [step, *(round(float(x), 4) for x in (*numbers, errors.yaw_slope)), errors.inverted, round(gain, 4)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facenb.restore.proxy_history", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of `facenb train-proxy`")
    parser.add_argument("--faces", type=Path, required=True, metavar="DIR", help="faces made by `facenb studio`")
    parser.add_argument("--more", type=Path, metavar="DIR", help="more of them, for the last weights alone")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()

    def work() -> None:
        faces = read_studio(given.faces)
        more = read_studio(given.more) if given.more else None
        before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
        found = before.get("runs", {}) | {run.name: history(run, faces, more) for run in given.runs}
        result = {"columns": COLUMNS, "faces": len(faces), "more": len(more) if more else before.get("more", 0)}
        on_more = {"more": baselines(more)} if more else {}
        result["baselines"] = before.get("baselines", {}) | {"faces": baselines(faces)} | on_more
        result["runs"] = found
        with atomic_path(given.out) as unfinished:
            unfinished.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")

    return answered("proxy_history", work)


if __name__ == "__main__":
    sys.exit(main())
