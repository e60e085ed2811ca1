"""Glasses and sunglasses (book: *It learns*).

Two rims in front of the eyes, a bridge, two temples that end on the ears, and lenses that hide more
or less of the eyes.
All sizes follow the face that wears them.

Units mm; colours sRGB.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from facenb.heads.head_model import HeadModel
from facenb.heads.parts import Part
from facenb.heads.tubes import joined, tube

POINTS = 26  # around a lens


def glasses(
    model: HeadModel, face: Float[np.ndarray, "V 3"], body: Float[np.ndarray, "B 3"], rng: np.random.Generator
) -> tuple[list[Part], str]:
    """Random glasses for a face and body (mm), and what they are."""
    sun = rng.random() < 0.27
    u = rng.uniform
    eyes = face[model.areas.eye_vertices]
    left, right = eyes[eyes[:, 0] > 0].mean(0), eyes[eyes[:, 0] < 0].mean(0)
    apart = left[0] - right[0]
    half_wide = u(0.32, 0.43) * apart * (1.05 if sun else 1.0)
    half_high = half_wide * (u(0.5, 0.95) if not sun else u(0.65, 0.95))
    power = u(2.0, 4.5)  # 2: round, more: rectangular
    drop = u(0, 0.5)  # how much narrower the lens is below
    angle = 2 * np.pi * np.arange(POINTS) / POINTS
    c, s = np.cos(angle), np.sin(angle)
    x = half_wide * np.sign(c) * np.abs(c) ** (2 / power) * (1 - 0.25 * drop * (s < 0) * np.abs(s))
    y = half_high * np.sign(s) * np.abs(s) ** (2 / power) + u(-4, 1)
    down = -(u(0, 1) ** 3) * 16  # some wear them low on the nose
    tilt, wrap = u(0.05, 0.2), u(0.001, 0.004)
    landmarks = face[model.landmarks]
    ahead = max(left[2], right[2]) + u(9, 15) - 0.3 * down
    ahead = max(ahead, landmarks[[19, 24], 2].max() + 2.5)  # brows

    def place(side: float, centre: np.ndarray) -> np.ndarray:
        P = np.stack([side * x + centre[0] + side * 0.03 * apart, y + (left[1] + right[1]) / 2 + down, 0 * x], -1)
        P[:, 2] = ahead + tilt * (y + 5) - wrap * (np.abs(P[:, 0]) - 0.2 * apart).clip(0) ** 2
        return P

    lenses = [place(1.0, left), place(-1.0, right)]
    kind = rng.choice(["full", "half", "rimless"], p=[0.75, 0.13, 0.12])
    thick = (u(0.8, 1.3), u(0.5, 1.0)) if rng.random() < 0.45 else (u(1.2, 2.4), u(1.2, 2.6))
    meshes = []
    for P in lenses:
        if kind == "full":
            meshes.append(tube(P, thick, closed=True))
        elif kind == "half":
            upper = np.flatnonzero(s > -0.15)
            meshes.append(tube(P[upper[np.argsort(-x[upper])]], thick))
    inner = [P[np.abs(P[:, 0]).argmin()] for P in lenses]
    middle = (inner[0] + inner[1]) / 2 + [0, u(1, 5), 1.0]
    up = u(0, 4)
    top = [i + np.array([0, up, 0]) for i in inner]
    meshes.append(tube(np.stack([top[0], 0.4 * top[0] + 0.6 * middle, 0.4 * top[1] + 0.6 * middle, top[1]]), thick))
    for sign, P, ear in zip((1, -1), lenses, model.ear_tops, strict=True):
        outer = P[(sign * P[:, 0]).argmax()] + [0, u(0, 6), 0]
        end = body[ear] + [-3 * sign, -2, -4]
        hinge = np.array([max(abs(outer[0]), abs(end[0]) - 6) * sign, outer[1], outer[2] - 5])
        half_way = (hinge + end) / 2 + [sign * 2.5, 0, 0]
        meshes.append(tube(np.stack([outer, hinge, half_way, end]), (max(thick[0], 1.2), 0.8), up=(0, 1, 0)))
    X, T = joined(meshes)
    shade = u(0.02, 0.12) if rng.random() < 0.6 else u(0.1, 0.8)
    tint = np.clip(shade * np.array([1, u(0.5, 1), u(0.3, 1)]), 0, 1) if rng.random() < 0.6 else np.full(3, shade)
    frame = Part(
        "glasses", X, T, np.repeat(tint[None], len(X), 0).astype(np.float32), np.full(len(X), 0.9, np.float32),
        specular=u(0.2, 0.6), gloss=u(20, 60),
    )  # fmt: skip
    n = POINTS
    i, bulge = np.arange(n), np.array([0, 0, 1.0])
    fan = np.stack([np.full(n, n), i, (i + 1) % n], -1)
    L = np.concatenate([np.concatenate([P, P.mean(0, keepdims=True) + bulge]) for P in lenses]).astype(np.float32)
    fan = np.concatenate([fan, n + 1 + fan[:, ::-1]]).astype(np.int32)
    if sun:
        dark = np.array([u(0.02, 0.2), u(0.02, 0.15), u(0.02, 0.15)])
        opacity = u(0.7, 1.0)
    else:
        dark, opacity = np.full(3, u(0.3, 0.9)), u(0.03, 0.16) + 0.25 * (rng.random() < 0.1)
    lens = Part(
        "lenses", L, fan, np.repeat(dark[None], len(L), 0).astype(np.float32), np.ones(len(L), np.float32),
        specular=u(0.3, 0.9), gloss=u(30, 150), opacity=opacity,
    )  # fmt: skip
    return [frame, lens], "sunglasses" if sun else f"{kind} glasses"


def ear_tops(model: HeadModel) -> tuple[int, int]:
    """Body vertex on top of the root of the (left, right) ear."""
    whole = model.whole
    X = whole.mean[whole.part["body"]]
    ear = whole.ears > 0.6
    tops = []
    for sign in (1, -1):
        score = X[:, 1] - 2.0 * np.abs(sign * X[:, 0] - 72) - 0.2 * np.abs(X[:, 2] + 80)
        tops.append(int(np.where(ear & (sign * X[:, 0] > 0), score, -1e9).argmax()))
    return tops[0], tops[1]
