"""A bank of random patterns on the cage: strands, locks and lumps (book: *It learns*).

Filtering noise for every head would take longer than drawing the head. So two dozen patterns of each kind are made
once, and heads take them shifted, mirrored and mixed. All have zero mean and unit standard deviation, and close around
the head.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from facenb.heads.cage import N_CAP, N_COLUMNS, N_HANG

SEED = 11
N_PATTERNS = 16
ROWS = N_CAP + N_HANG
KINDS = {  # blur in rows and columns: a row is about 7 mm, a column about 4
    "strands": (9.0, 0.6),
    "locks": (6.0, 2.0),
    "curls": (0.9, 1.1),
    "waves": (2.2, 5.0),
    "lumps": (5.0, 7.0),
    "shape": (11.0, 16.0),
}


@functools.cache
def patterns(kind: str) -> Float[np.ndarray, "N R U"]:
    """The bank of one kind, float32."""
    rng = np.random.default_rng([SEED, list(KINDS).index(kind)])
    noise = rng.standard_normal((N_PATTERNS, ROWS, N_COLUMNS))
    bank = np.stack([gaussian_filter(x, KINDS[kind], mode=("reflect", "wrap")) for x in noise])
    bank -= bank.mean((1, 2), keepdims=True)
    return (bank / bank.std((1, 2), keepdims=True)).astype(np.float32)


def pattern(kind: str, rng: np.random.Generator) -> Float[np.ndarray, "R U"]:
    """One random pattern."""
    chosen = patterns(kind)[rng.integers(N_PATTERNS)]
    if rng.random() < 0.5:
        chosen = chosen[:, ::-1]
    return np.roll(chosen, rng.integers(N_COLUMNS), axis=1)
