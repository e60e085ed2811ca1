"""Two surfaces of one face, laid on each other: what is left is the error of shape (book: *Does geometry survive a
change of view?*).

A depth map from one photo cannot know how far away the face was, nor therefore how large: so errors are measured after
the best *similarity* x ↦ s R x + t (Umeyama 1991), or with s = 1 after the best rigid motion. Corresponding points come
from iterated closest points (Besl and McKay 1992), of which in every round the worst tenth is left out (trimmed ICP,
Chetverikov et al. 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from trimesh.triangles import closest_point

TRIM = 0.9  # share of the pairs that count
ROUNDS, LEAST_ROUNDS = 200, 30
STILL = 1e-4  # relative change of the error at which the iteration has converged


@dataclass(frozen=True)
class Similarity:
    """x ↦ s R x + t."""

    scale: float
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]

    def __call__(self, X: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
        return self.scale * X @ self.R.T + self.t

    def inverse(self, X: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
        return (X - self.t) @ self.R / self.scale


def fit_similarity(X: Float[np.ndarray, "N 3"], Y: Float[np.ndarray, "N 3"], scale: bool = True) -> Similarity:
    """The similarity with the least Σ ‖s R x + t − y‖²; without `scale` s = 1. Raises ValueError below three pairs."""
    if len(X) < 3:
        raise ValueError(f"{len(X)} pairs of points do not determine a similarity; at least three are needed")
    x, y = X.mean(0), Y.mean(0)
    U, σ, Vh = np.linalg.svd((Y - y).T @ (X - x))
    proper = np.array([1.0, 1.0, np.linalg.det(U @ Vh)])  # a face must not be mirrored onto another
    R = U * proper @ Vh
    s = float((σ * proper).sum() / ((X - x) ** 2).sum()) if scale else 1.0
    return Similarity(s, R, y - s * R @ x)


class Surface:
    """A triangle mesh that can be asked for its closest point."""

    def __init__(self, vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"]):
        self.vertices, self.triangles = np.asarray(vertices, float), np.asarray(triangles)
        self._corners = self.vertices[self.triangles]  # T 3 3
        self._tree = cKDTree(self.vertices)
        order = np.argsort(self.triangles.ravel(), kind="stable")
        self._around = order // 3  # triangles, those of vertex 0 first
        self._start = np.searchsorted(self.triangles.ravel()[order], np.arange(len(self.vertices) + 1))

    def closest(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """The closest point on the triangles round the closest vertex.

        On a mesh whose triangles are far from needles that is the closest point of the mesh.
        """
        vertex = self._tree.query(points)[1]
        first, n = self._start[vertex], self._start[vertex + 1] - self._start[vertex]
        best, found = np.full(len(points), np.inf), self.vertices[vertex].copy()
        for k in range(int(n.max(initial=0))):
            rows = np.flatnonzero(n > k)
            candidate = closest_point(self._corners[self._around[first[rows] + k]], points[rows])
            distance = ((candidate - points[rows]) ** 2).sum(1)
            nearer = distance < best[rows]
            best[rows[nearer]], found[rows[nearer]] = distance[nearer], candidate[nearer]
        return found

    def distances(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
        return np.linalg.norm(self.closest(points) - points, axis=1)


def align(surface: Surface, points: Float[np.ndarray, "N 3"], start: Similarity, scale: bool = True) -> Similarity:
    """The similarity that lays a surface on points, by trimmed ICP from `start`.

    At least 30 rounds, then until the error changes by less than one part in ten thousand; at most 200.
    """
    best, before = start, np.inf
    for round_ in range(ROUNDS):
        own = surface.closest(best.inverse(points))
        distance = np.linalg.norm(best(own) - points, axis=1)
        kept = distance <= np.quantile(distance, TRIM)
        error = float(distance[kept].mean())
        if round_ >= LEAST_ROUNDS and abs(before - error) <= STILL * error:
            break
        before = error
        best = fit_similarity(own[kept], points[kept], scale)
    return best
