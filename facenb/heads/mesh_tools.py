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


@numba.njit(cache=True)
def _unit(N):
    out = np.empty_like(N)
    for i in range(N.shape[0]):
        length = np.sqrt(N[i, 0] * N[i, 0] + N[i, 1] * N[i, 1] + N[i, 2] * N[i, 2])
        if length > 1e-12:
            for c in range(3):
                out[i, c] = N[i, c] / length
        else:
            out[i, 0], out[i, 1], out[i, 2] = 0, 1, 0
    return out


def unit(N: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """Vectors of length one; zero vectors point up."""
    return _unit(N)


def normals_of(X: Float[np.ndarray, "V 3"], T: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit vertex normals."""
    return unit(area_normals(np.ascontiguousarray(X), T))


@numba.njit(cache=True)
def carried(
    D: Float[np.ndarray, "V 3"], vertex: Int[np.ndarray, "G k"], weight: Float[np.ndarray, "G k"]
) -> Float[np.ndarray, "G 3"]:
    """Σ_k weight_k D[vertex_k] for each row of `vertex`."""
    out = np.zeros((vertex.shape[0], 3), D.dtype)
    for g in range(vertex.shape[0]):
        for k in range(vertex.shape[1]):
            v, w = vertex[g, k], weight[g, k]
            for c in range(3):
                out[g, c] += w * D[v, c]
    return out


@numba.njit(cache=True)
def _turned(X, share, k, angle, pivot):
    out = np.empty_like(X)
    for i in range(X.shape[0]):
        if share[i] == 0:
            out[i] = X[i]
            continue
        c, s = np.cos(share[i] * angle), np.sin(share[i] * angle)
        x, y, z = X[i, 0] - pivot[0], X[i, 1] - pivot[1], X[i, 2] - pivot[2]
        d = (1 - c) * (k[0] * x + k[1] * y + k[2] * z)
        out[i, 0] = pivot[0] + c * x + s * (k[1] * z - k[2] * y) + d * k[0]
        out[i, 1] = pivot[1] + c * y + s * (k[2] * x - k[0] * z) + d * k[1]
        out[i, 2] = pivot[2] + c * z + s * (k[0] * y - k[1] * x) + d * k[2]
    return out


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
    angle = np.float32(np.linalg.norm(vector))
    return X if angle < 1e-6 else _turned(X, share, vector / angle, angle, pivot)


@numba.njit(cache=True)
def resampled(
    at: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "m 2"], values: Float[np.ndarray, "m c"], radius: float
) -> Float[np.ndarray, "n c"]:
    """Values at scattered points in the plane carried to other places: averages with Gaussian weights of `radius`."""
    out = np.zeros((at.shape[0], values.shape[1]), values.dtype)
    for i in range(at.shape[0]):
        nearest = np.inf
        for j in range(points.shape[0]):
            nearest = min(nearest, (at[i, 0] - points[j, 0]) ** 2 + (at[i, 1] - points[j, 1]) ** 2)
        total = 0.0
        for j in range(points.shape[0]):
            d = (at[i, 0] - points[j, 0]) ** 2 + (at[i, 1] - points[j, 1]) ** 2 - nearest
            if d < 6 * radius * radius:
                w = np.exp(-d / (radius * radius))
                total += w
                for c in range(values.shape[1]):
                    out[i, c] += w * values[j, c]
        out[i] /= total
    return out


def ramp(x: Float[np.ndarray, "*any"], width: float = 1.0) -> Float[np.ndarray, "*any"]:
    """Soft step from 0 to 1 at x = 0 over about `width` to each side."""
    t = np.clip(x / width * 0.5 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
