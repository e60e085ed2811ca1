"""Small mesh routines in NumPy and numba, for heads that are drawn by the thousand (book: *It learns*).

Units mm; triangles counterclockwise seen from outside.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float, Int


@numba.njit(cache=True)
def area_normals(X: Float[np.ndarray, "V 3"], T: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, "V 3"]:
    """Sum of the normals of the triangles around each vertex, each as long as twice the triangle's area."""
    N = np.zeros_like(X)
    for t in range(T.shape[0]):
        i, j, k = T[t, 0], T[t, 1], T[t, 2]
        ux, uy, uz = X[j, 0] - X[i, 0], X[j, 1] - X[i, 1], X[j, 2] - X[i, 2]
        vx, vy, vz = X[k, 0] - X[i, 0], X[k, 1] - X[i, 1], X[k, 2] - X[i, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (i, j, k):
            N[v, 0] += nx
            N[v, 1] += ny
            N[v, 2] += nz
    return N


def unit(N: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 3"]:
    """Vectors of length one; zero vectors point up."""
    length = np.sqrt((N**2).sum(-1, keepdims=True))
    return np.where(length > 1e-12, N / np.maximum(length, 1e-12), np.array([0, 1, 0], N.dtype))


def normals_of(X: Float[np.ndarray, "V 3"], T: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit vertex normals."""
    return unit(area_normals(np.ascontiguousarray(X), T))


def turned(
    X: Float[np.ndarray, "V 3"],
    share: Float[np.ndarray, " V"],
    angles: tuple[float, float, float],
    pivot: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, "V 3"]:
    """X turned about `pivot` (mm) by `share` of the angles (yaw about y, pitch about x, roll about z; radians).

    Each vertex turns about the one axis of the whole rotation by its share of the angle, so necks twist evenly.
    """
    vector = np.array([angles[1], angles[0], angles[2]], np.float32)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-6:
        return X
    k = vector / angle
    a = (share * angle)[:, None].astype(np.float32)
    D = X - pivot.astype(np.float32)
    c, s = np.cos(a), np.sin(a)
    return pivot.astype(np.float32) + c * D + s * np.cross(k, D) + (1 - c) * (D @ k)[:, None] * k


def ramp(x: Float[np.ndarray, "*any"], width: float = 1.0) -> Float[np.ndarray, "*any"]:
    """Soft step from 0 to 1 at x = 0 over about `width` to each side."""
    t = np.clip(x / width * 0.5 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
