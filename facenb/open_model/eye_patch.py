"""The visible part of an eyeball, sewn into the hole between the lids (book: *Morphable models*).

MakeHuman's eyeballs are loose spheres behind an open hole. A face mesh should be one surface, so the hole is closed
by new vertices that lie just behind the eyeball's surface and follow the lids: each is a fixed positive average of
the lid rim, pushed along the ray from the eyeball's centre. Positive averages that solve Laplace's equation
(cotangent weights) cannot fold, however the lids move; a blink squeezes the patch flat.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from matplotlib.path import Path as Polygon
from scipy.sparse.linalg import spsolve
from scipy.spatial import Delaunay

EYE_RADIUS = 14.5  # mm, turns the chart's angles into lengths
BEHIND_LID = 0.7  # mm that the patch lies deeper than the rim of the lids, so that the lids have a thickness
SPACING = 1.0685  # of the patch's vertices, as a multiple of the rim's; makes 156 of them
LID_THICKNESS = 1.0  # mm from the rim over which it sinks


@dataclass(frozen=True)
class EyePatch:
    """How to fill one eye: all positions follow from the lid loop and the centre of the eyeball.

    Attributes:
        loop: vertices of the lid rim.
        weights: each inner vertex as an average of the loop; rows sum to one.
        dip: mm that each inner vertex lies behind the interpolated rim.
        triangles: within [loop, inner vertices], counterclockwise from outside.
        eyeball: rows of the eyeball; its centre is their mean.
    """

    loop: Int[np.ndarray, " L"]
    weights: Float[np.ndarray, "E L"]
    dip: Float[np.ndarray, " E"]
    triangles: Int[np.ndarray, "T 3"]
    eyeball: Int[np.ndarray, " B"]

    def place(self, rim: Float[np.ndarray, "N L 3"], centre: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N E 3"]:
        """Positions (mm) of the inner vertices for N faces."""
        from_centre = rim - centre[:, None]  # N L 3
        radius = np.linalg.norm(from_centre, axis=-1) @ self.weights.T - self.dip  # N E
        direction = self.weights @ from_centre  # N E 3
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        return centre[:, None] + radius[..., None] * direction


def eye_patch(
    X: Float[np.ndarray, "V 3"],
    loop: Int[np.ndarray, " L"],
    eyeball: Int[np.ndarray, " B"],
    centre: Float[np.ndarray, " 3"],
    spacing: float = SPACING,
) -> EyePatch:
    """Pattern of one eye patch on the template X: a hexagonal grid in azimuth and elevation, Delaunay-triangulated.

    `loop` has the surface on its left, so seen from outside it runs clockwise around the eye. `spacing` as SPACING.
    """
    rim = _chart(X[loop], centre)  # L 2
    side = np.linalg.norm(np.roll(rim, -1, axis=0) - rim, axis=1).mean()
    grid = _hexagonal_grid(rim, spacing * side)
    inside = Polygon(rim).contains_points(grid)
    to_rim = np.linalg.norm(grid[:, None] - rim, axis=-1).min(1)
    keep = inside & (to_rim > 0.6 * spacing * side)
    points = np.concatenate([rim, grid[keep]])

    triangles = Delaunay(points).simplices
    triangles = triangles[Polygon(rim).contains_points(points[triangles].mean(1))]
    a, b, c = points[triangles].transpose(1, 0, 2)
    clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
    triangles[clockwise] = triangles[clockwise][:, ::-1]

    weights = _harmonic_weights(points, triangles, len(loop))
    dip = BEHIND_LID * (1 - np.exp(-to_rim[keep] / LID_THICKNESS))
    return EyePatch(loop, weights, dip, triangles.astype(np.int64), eyeball)


def _chart(X: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "n 2"]:
    """Azimuth and elevation seen from the eyeball's centre, in mm on its surface."""
    x, y, z = (X - centre).T
    return EYE_RADIUS * np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1)


def _hexagonal_grid(around: Float[np.ndarray, "n 2"], step: float) -> Float[np.ndarray, "g 2"]:
    (left, low), (right, high) = around.min(0), around.max(0)
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(low, high, step * np.sqrt(3) / 2))
    x[1::2] += step / 2
    return np.stack([x.ravel(), y.ravel()], -1)


def _harmonic_weights(
    points: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "T 3"], n_rim: int
) -> Float[np.ndarray, "E n_rim"]:
    """Value of each inner point as an average of the rim, by the Laplace equation with clipped cotangent weights."""
    n = len(points)
    L = sp.csr_array((n, n))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a, b, opposite = triangles[:, i], triangles[:, j], triangles[:, k]
        u, v = points[a] - points[opposite], points[b] - points[opposite]
        cotangent = np.maximum((u * v).sum(1) / np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]), 1e-3)
        L = L + sp.csr_array((np.r_[cotangent, cotangent], (np.r_[a, b], np.r_[b, a])), (n, n))
    L = (sp.diags_array(L.sum(1)) - L).tocsc()
    return -spsolve(L[n_rim:, n_rim:], L[n_rim:, :n_rim].toarray())
