"""What training runs were told, how they went and how long they took: `python -m facenb.restore.run_records RUN… --out
FILE` (book: *Restoring albedo and geometry*).

Weights are worth little without that. The runs are folders of `facenb train-prior` or `train-restorer`, called by their
names; the file is what `facenb.restore.shipped_restorer.runs` reads. Runs that FILE already tells of stay in it, unless
they are given again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from facenb.atomic import atomic_path
from facenb.checkpoint import CheckpointError, checkpoints
from facenb.restore.proxy_history import minutes
from facenb.scripts import answered
from facenb.train_log import read_log
from facenb.train_state import portable

DIGITS = 4  # of the curves' numbers


def record(run: Path) -> dict[str, Any]:
    """{"config", "log", "minutes"} of a run.

    Raises CheckpointError, naming the folder, if it holds no run with checkpoints.
    """
    config, found = run / "config.json", checkpoints(run / "checkpoints")
    if not config.is_file() or not found:
        raise CheckpointError(f"{run}: no config.json and checkpoints; give a folder that a training has written")
    points = [{name: float(f"{value:.{DIGITS}g}") for name, value in point.items()} for point in read_log(run)]
    told = portable(json.loads(config.read_text(encoding="utf-8")))
    return {"config": told, "log": points, "minutes": minutes(found)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facenb.restore.run_records", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of training runs")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()

    def work() -> None:
        known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
        records = known | {run.name: record(run) for run in given.runs}
        with atomic_path(given.out) as unfinished:
            unfinished.write_text(json.dumps(records, separators=(",", ":")) + "\n", encoding="utf-8")

    return answered("run_records", work)


if __name__ == "__main__":
    sys.exit(main())
