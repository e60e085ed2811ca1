"""What `python -m facenb.restore.compare` found for this book, and how sure one may be (book: *Does geometry survive a
change of view?*)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

DRAWS = 2000


def comparison() -> dict[str, Any]:
    """All methods: "same view" by name a row of means, "cross view" by name every photo's numbers."""
    path = Path(str(resources.files("facenb") / "data" / "restore" / "comparison.json"))
    return json.loads(path.read_text(encoding="utf-8"))


def over_seeds(entries: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Entries called "method 0", "method 1", … together under "method", in the order of their seeds."""
    groups: dict[str, dict[int, Any]] = {}
    for name, entry in entries.items():
        method, _, seed = name.rpartition(" ")
        method, seed = (method, int(seed)) if seed.isdigit() and method else (name, 0)
        groups.setdefault(method, {})[seed] = entry
    return {method: [runs[seed] for seed in sorted(runs)] for method, runs in groups.items()}


class Interval(NamedTuple):
    """A mean and the bounds between which it lies with 95 % confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f}–{self.high:.2f})"


def interval(values: Float[np.ndarray, " N"], subject: Int[np.ndarray, " N"], seed: int = 0) -> Interval:
    """The mean over photos, and its bootstrap interval over *subjects*: photos of one face do not err independently.

    In each of 2000 draws as many subjects are drawn as there are, with replacement, each with all photos.
    """
    values, subject = np.asarray(values, float), np.asarray(subject)
    people, place = np.unique(subject, return_inverse=True)
    sums, counts = (np.bincount(place, weights=w, minlength=len(people)) for w in (values, np.ones_like(values)))
    drawn = np.random.default_rng(seed).integers(len(people), size=(DRAWS, len(people)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
