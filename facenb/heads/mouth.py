"""Teeth, tongue and the dark behind them; lashes (book: *It learns*).

MakeHuman's teeth and tongue follow the same coefficients as the face. Behind them a bag of dark red skin is hung into
the model's mouth hole, so that an open mouth is not a hole through the head.

Units mm; colours sRGB.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.head_model import HeadModel
from facenb.heads.parts import Part

RINGS = ((19.0, 9.0, -7.0), (27.0, 20.0, -20.0), (29.0, 23.0, -36.0), (20.0, 16.0, -52.0))  # bag: half sizes, depth, mm
TEETH, GUMS = np.array([0.86, 0.82, 0.74]), np.array([0.72, 0.42, 0.42])
TONGUE, CAVITY = np.array([0.72, 0.40, 0.38]), np.array([0.36, 0.15, 0.13])


def mouth_parts(
    model: HeadModel,
    face: Float[np.ndarray, "V 3"],
    context: Float[np.ndarray, "C 3"],
    rng: np.random.Generator,
) -> list[Part]:
    """Teeth, tongue and bag of a face (mm)."""
    whole, loop = model.whole, model.areas.mouth
    parts = []
    white = TEETH * rng.uniform(0.88, 1.06) * np.array([1, rng.uniform(0.96, 1.0), rng.uniform(0.9, 1.02)])
    for name in ("upper teeth", "lower teeth", "tongue"):
        X = context[whole.part[name]]
        rest = whole.mean[whole.part[name]]
        back = np.clip((rest[:, 2].max() - rest[:, 2]) / 40, 0, 1)
        colour = np.repeat((TONGUE if name == "tongue" else white)[None], len(X), 0)
        if name != "tongue":  # gums at the root
            root = rest[:, 1].max() - rest[:, 1] if name == "upper teeth" else rest[:, 1] - rest[:, 1].min()
            gum = np.clip((7.0 - root) / 3, 0, 1)[:, None]
            colour = colour + gum * (GUMS - colour)
        sky = (0.62 - 0.55 * back) * (0.8 if name == "lower teeth" else 1.0) * (0.7 if name == "tongue" else 1.0)
        parts.append(
            Part(name, X, whole.triangles[name], np.clip(colour, 0, 1).astype(np.float32),
                 sky.astype(np.float32).clip(0.05, 1), specular=0.25, gloss=40.0)
        )  # fmt: skip

    rim = face[loop]
    middle = rim.mean(0)
    turn = np.arctan2(rim[:, 1] - middle[1], rim[:, 0] - middle[0])  # order along the loop, made even
    n = len(loop)
    start, sense = turn[0], np.sign(np.sin(np.roll(turn, -n // 4)[0] - turn[0])) or 1.0
    angle = start + sense * 2 * np.pi * np.arange(n) / n
    direction = np.stack([np.cos(angle), np.sin(angle)], -1)
    rings = [rim]
    for wide, high, back in RINGS:
        ring = np.empty_like(rim)
        ring[:, :2] = middle[:2] + np.array([wide, high]) * direction
        ring[:, 2] = middle[2] + back
        rings.append(ring)
    X = np.concatenate([*rings, middle[None] + [[0, 0, RINGS[-1][2] - 3]]]).astype(np.float32)
    sky = np.repeat([0.4, 0.25, 0.12, 0.06, 0.04], n)
    parts.append(
        Part("mouth", X, _bag_triangles(n), np.repeat(CAVITY[None], len(X), 0).astype(np.float32),
             np.r_[sky, 0.04].astype(np.float32))
    )  # fmt: skip
    return parts


@cache
def _bag_triangles(n: int) -> Int[np.ndarray, "T 3"]:
    """Triangles between the mouth hole and the rings, of n points each, and of the bag's end, its last point."""
    i, j = np.arange(n), np.roll(np.arange(n), -1)
    T = []
    for k in range(len(RINGS)):
        a, b, c, d = k * n + i, k * n + j, (k + 1) * n + i, (k + 1) * n + j
        T += [np.stack([a, c, d], -1), np.stack([a, d, b], -1)]
    T.append(np.stack([len(RINGS) * n + i, np.full(n, (len(RINGS) + 1) * n), len(RINGS) * n + j], -1))
    return np.concatenate(T).astype(np.int32)


def lashes(model: HeadModel, context: Float[np.ndarray, "C 3"], rng: np.random.Generator) -> Part:
    """Lashes as a translucent fringe: at the size of a snapshot single hairs are not seen."""
    X = context[model.whole.part["lashes"]]
    colour = np.full(X.shape, rng.uniform(0.04, 0.16), np.float32)
    sky = np.full(len(X), 0.7, np.float32)
    return Part("lashes", X, model.whole.triangles["lashes"], colour, sky, opacity=float(rng.uniform(0.2, 0.6)))
