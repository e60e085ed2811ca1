"""A cage around the head, on which hair, hats and scarves are made (book: *It learns*).

Hair hides the head like a sheet that hangs from the crown. The cage is that sheet before it is cut: a grid of columns
(azimuth around a vertical axis through the skull, column 0 in front) and rows (from the crown down over the skull, then
on down along neck and chest). Each point follows one point of the head's surface, so the cage depends linearly on the
same coefficients as the head:

    cage point = Σ b_i (head vertex i) + offset.

There are two of them: the tight cage lies on skull, face and neck, the loose one falls straight down from wherever the
head is widest. Styles lie in between.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from facenb.rasterise import rasterise

N_COLUMNS = 128
N_CAP, N_HANG = 22, 30  # rows over the skull, and below
MIDDLE = np.array([0.0, 22.0, -72.0])  # of the skull, mm
LOWEST = -330.0  # mm, end of the longest hair
FARTHEST = 112.0  # mm from the axis: shoulders are wider, but hair does not stand on them
TIGHT, LOOSE = 0.55, 0.0  # mm inwards per mm down that hair may follow a neck
PIXELS = 512


@dataclass(frozen=True)
class Cage:
    """Points of the cage on the mean head, row-major (row, column), and what they follow.

    Attributes:
        tight, loose: mm, on the mean head.
        vertex, weight: three head vertices (face first, then body) and their weights for each point.
        normal: unit, outwards, of the tight cage.
        azimuth: of each column, radians; 0 in front, growing to the subject's left.
        turn: 0 where the cage turns with the head, 1 where it stays with the chest.
        triangles: of the grid; closed around the axis.
        below: nearest cage point over each head vertex (face first, then body): whose hair, if any, grows there.
    """

    tight: Float[np.ndarray, "G 3"]
    loose: Float[np.ndarray, "G 3"]
    vertex: Int[np.ndarray, "G 3"]
    weight: Float[np.ndarray, "G 3"]
    normal: Float[np.ndarray, "G 3"]
    azimuth: Float[np.ndarray, " U"]
    turn: Float[np.ndarray, " G"]
    triangles: Int[np.ndarray, "T 3"]
    below: Int[np.ndarray, " V"]


def build_cage(X: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"], turn: Float[np.ndarray, " V"]) -> Cage:
    """The cage of a mean head without ears: mm, face and body in one mesh; `turn` as in `WholeHead`."""
    azimuth = 2 * np.pi * np.arange(N_COLUMNS) / N_COLUMNS
    polar = np.pi / 2 * (0.02 + np.arange(N_CAP)) / (N_CAP - 0.98)
    height = MIDDLE[1] - (MIDDLE[1] - LOWEST) * (np.arange(N_HANG) + 1) / N_HANG
    Y = X - MIDDLE
    a = np.arctan2(Y[:, 0], Y[:, 2])
    radius = np.linalg.norm(Y, axis=1)
    theta = np.arctan2(np.hypot(Y[:, 0], Y[:, 2]), Y[:, 1])
    cap_r, cap_v, cap_w = _outermost(a, theta, radius, triangles, azimuth, polar)
    hang_r, hang_v, hang_w = _outermost(a, -X[:, 1], np.hypot(Y[:, 0], Y[:, 2]), triangles, azimuth, -height)

    s, c = np.sin(polar)[:, None], np.cos(polar)[:, None]
    out = np.concatenate([cap_r * s, hang_r])  # distance from the axis, rows × columns
    y = np.concatenate([MIDDLE[1] + cap_r * c, np.repeat(height[:, None], N_COLUMNS, 1)])
    vertex, weight = np.concatenate([cap_v, hang_v]), np.concatenate([cap_w, hang_w])
    out = np.minimum(out, FARTHEST)

    tight, vertex, weight = _hang(out, y, vertex, weight, TIGHT)
    loose, _, _ = _hang(out, y, vertex, weight, LOOSE)
    tight, loose = (_round(r) for r in (tight, loose))

    def points(r: np.ndarray) -> np.ndarray:
        x, z = r * np.sin(azimuth), r * np.cos(azimuth)
        return np.stack([x + MIDDLE[0], y, z + MIDDLE[2]], -1)

    P = points(tight)
    normal = np.cross(np.gradient(P, axis=0), np.roll(P, -1, 1) - np.roll(P, 1, 1))
    normal = _round_vectors(normal / np.linalg.norm(normal, axis=-1, keepdims=True))
    return Cage(
        tight=P.reshape(-1, 3).astype(np.float32),
        loose=points(loose).reshape(-1, 3).astype(np.float32),
        vertex=vertex.reshape(-1, 3).astype(np.int32),
        weight=weight.reshape(-1, 3).astype(np.float32),
        normal=normal.reshape(-1, 3).astype(np.float32),
        azimuth=azimuth.astype(np.float32),
        turn=_round((turn[vertex] * weight).sum(-1), 12).ravel().astype(np.float32),
        triangles=grid_triangles(N_CAP + N_HANG, N_COLUMNS),
        below=cKDTree(P.reshape(-1, 3)).query(X)[1].astype(np.int32),
    )


def grid_triangles(rows: int, columns: int, closed: bool = True) -> Int[np.ndarray, "T 3"]:
    """Triangles of a grid whose rows run downwards and whose columns run to the left of somebody who faces us."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([a, c, d, a, d, b], -1).reshape(-1, 3).astype(np.int32)


def _outermost(
    a: np.ndarray, t: np.ndarray, r: np.ndarray, triangles: np.ndarray, azimuth: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest r at each (row t, azimuth), with the vertices and weights that give it; NaN rows are filled from above.

    The head is drawn as a map with azimuth to the right and t downwards, seen from outside: the rasteriser keeps the
    nearest point, here the outermost.
    """
    corner = a[triangles]
    wraps = (corner.max(1) - corner.min(1)) > np.pi
    scale_x, scale_y = PIXELS / (2 * np.pi), PIXELS / (rows[-1] - rows[0])
    copies = []
    for shift in (-1, 0, 1):
        turned = corner + 2 * np.pi * shift
        turned = np.where(wraps[:, None] & (corner < 0), turned + 2 * np.pi, turned)
        pixel_y = (t[triangles] - rows[0]) * scale_y
        copies.append(np.stack([turned * scale_x, pixel_y, 2000.0 - r[triangles]], -1))
    soup = np.concatenate(copies).reshape(1, -1, 3)
    T = np.arange(soup.shape[1]).reshape(-1, 3)
    seen = rasterise(torch.from_numpy(soup), torch.from_numpy(T), PIXELS + 1, PIXELS)
    y = np.clip(np.round((rows - rows[0]) * scale_y).astype(int), 0, PIXELS)
    x = np.round(azimuth * scale_x).astype(int) % PIXELS
    index = seen.triangle[0].numpy()[np.ix_(y, x)]
    weight = seen.barycentric[0].numpy()[np.ix_(y, x)]
    radius = 2000.0 - seen.depth[0].numpy()[np.ix_(y, x)]
    vertex = triangles[index % len(triangles)]
    for k in range(len(rows)):  # holes (a nostril, the crown itself): as the row before, or the next
        hole = index[k] < 0
        if hole.any():
            other = k - 1 if k else k + 1
            radius[k, hole], vertex[k, hole], weight[k, hole] = (
                radius[other, hole],
                vertex[other, hole],
                weight[other, hole],
            )
            index[k, hole] = 0
    return radius, vertex, weight


def _hang(
    out: np.ndarray, y: np.ndarray, vertex: np.ndarray, weight: np.ndarray, inwards: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance from the axis where hair may swing inwards by at most `inwards` per mm; it follows what holds it off."""
    out, vertex, weight = out.copy(), vertex.copy(), weight.copy()
    for k in range(N_CAP, len(out)):
        least = out[k - 1] - inwards * np.abs(y[k - 1] - y[k])
        held = least > out[k]
        out[k] = np.where(held, least, out[k])
        vertex[k, held], weight[k, held] = vertex[k - 1, held], weight[k - 1, held]
    return out, vertex, weight


def _round(r: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Smoothed along the grid: hair bridges hollows."""
    for _ in range(rounds):
        r = (2 * r + np.roll(r, 1, 1) + np.roll(r, -1, 1)) / 4
        r = np.concatenate([r[:1], (2 * r[1:-1] + r[:-2] + r[2:]) / 4, r[-1:]])
    return r


def _round_vectors(n: np.ndarray) -> np.ndarray:
    n[0] = [0, 1, 0]
    n = np.stack([_round(n[..., k], 8) for k in range(3)], -1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)
