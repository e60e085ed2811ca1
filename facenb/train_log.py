"""What a training run tells: a progress bar, TensorBoard's curves and pictures, and log.jsonl for one's own plots.

A resumed run forgets what it had told after its checkpoint, so that every curve has one line.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

FILE = "log.jsonl"


class TrainLog:
    """Of one run, in its first process only (`quiet` for the others). Use as a context.

    log.jsonl has a line for every point: the step and the mean of each number since the last one.
    """

    def __init__(self, folder: Path, steps: int, first: int, batch: int, tensorboard: bool = True, quiet: bool = False):
        self._sums: dict[str, list[float]] = {}
        self._file, self._board, self._quiet = folder / FILE, None, quiet
        if quiet:
            return
        kept = [point for point in read_log(folder) if point["step"] <= first]
        self._file.write_text("".join(_line(point) for point in kept), encoding="utf-8")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # takes a moment to import

            self._board = SummaryWriter(str(folder), purge_step=first + 1)
        on_screen = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps * batch,
            initial=first * batch,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.3 if on_screen else 30,  # a log file needs no animation
        )

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._quiet:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def advance(self, scalars: dict[str, float], images: int) -> None:
        """Count one step and gather its numbers."""
        if self._quiet:
            return
        for name, value in scalars.items():
            if math.isfinite(value):
                self._sums.setdefault(name, []).append(value)
        self._bar.update(images)

    def point(self, step: int, **now: float) -> None:
        """One point of every curve: means since the last point, and the numbers `now`."""
        if self._quiet:
            return
        means = {name: math.fsum(values) / len(values) for name, values in self._sums.items()} | now
        self._sums.clear()
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line({"step": step, **means}))
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, step)
        shown = {name: f"{means[name]:.3g}" for name in ("loss", "lr") if name in means}
        if now.get("skipped"):
            shown["skipped"] = str(int(now["skipped"]))
        self._bar.set_postfix(shown, refresh=False)

    def pictures(self, step: int, pictures: dict[str, Float[Tensor, "3 H W"]]) -> None:
        """Pictures in [0, 1] by name."""
        if self._board is not None:
            for name, picture in pictures.items():
                self._board.add_image(name, picture.clamp(0, 1), step)

    def say(self, line: str) -> None:
        """A line above the progress bar."""
        if not self._quiet:
            self._bar.write(line, file=sys.stderr)


def read_log(folder: Path) -> list[dict[str, float]]:
    """The points of a run, oldest first; a last line that a killed run left unfinished is passed over."""
    points = []
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            points.append(json.loads(line))
        except ValueError:
            continue
    return points


def _line(point: dict[str, float]) -> str:
    return json.dumps(point, ensure_ascii=False) + "\n"
