"""Hair that is tied: buns, top knots and ponytails (book: *It learns*).

Units mm; colours sRGB.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from facenb.heads.cage import N_COLUMNS, Cage
from facenb.heads.parts import Part
from facenb.heads.tubes import tube


def tied_hair(
    kind: str,
    cage: Cage,
    moved: Float[np.ndarray, "G 3"],
    colour: Float[np.ndarray, " 3"],
    strands: float,
    rng: np.random.Generator,
) -> Part:
    """A "bun" behind, a "top knot" or a "ponytail"; `strands` is how much brightness varies."""
    row = {"bun": rng.integers(14, 24), "top knot": rng.integers(1, 8), "ponytail": rng.integers(8, 22)}[kind]
    k = row * N_COLUMNS + N_COLUMNS // 2 + int(rng.integers(-6, 7))
    root, out = cage.tight[k] + moved[k], cage.normal[k]
    side = rng.normal(0, 10)
    if kind == "ponytail":
        t = np.linspace(0, 1, 14)[:, None]
        length = rng.uniform(120, 300)
        path = root + out * (22 * np.sin(np.pi * t * 0.7) + 10) + np.array([side, -length, 0]) * t**1.4
        size = rng.uniform(14, 30) * np.sin(np.pi * np.clip(0.12 + 0.86 * t[:, 0], 0, 1)) ** 0.6
    else:
        t = np.linspace(0, 1, 9)[:, None]
        radius = rng.uniform(18, 42)
        path = root + out * (radius * 1.7 * t) + np.array([side * 0.3, 0, 0]) * t
        size = radius * np.sin(np.pi * np.clip(0.08 + 0.9 * t[:, 0], 0, 1)) ** 0.6
    X, T = tube(path, 1.0, sides=18, up=(0.9, 0.1, 0.4))
    rings = X.reshape(len(path), 18, 3)
    wobble = 1 + 0.12 * np.sin(np.arange(18) * rng.integers(2, 5) + 4 * t + rng.uniform(0, 6))
    rings = path[:, None] + (rings - path[:, None]) * (size[:, None] * wobble)[..., None]
    streaks = strands * (rng.standard_normal(18) + 0.4 * rng.standard_normal((len(path), 18)))
    tint = colour * np.exp(streaks[..., None] * np.array([0.9, 1.0, 1.1]))
    sky = np.full(len(X), 0.85, np.float32)
    return Part(
        "tied hair", rings.reshape(-1, 3).astype(np.float32), T, np.clip(tint, 0, 1).reshape(-1, 3).astype(np.float32),
        sky, specular=0.06, gloss=12.0, texture_noise=float(0.6 * strands),
    )  # fmt: skip
