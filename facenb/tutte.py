"""The Tutte embedding: a disc-shaped mesh in the plane, without a fold (book: *Flattening a face*).

The rim is fixed; every inner vertex i becomes a weighted mean of its neighbours,

    Σ_j w_ij (u_j − u_i) = 0,   w_ij > 0,

one sparse linear system for u and v. Positive weights and a convex rim are all that Tutte's theorem asks for: no
triangle turns over. *Which* positive weights decides how much room each part of the face gets.

Conventions: numpy and scipy, float64. `X` are vertex positions in mm, `uv` positions in the plane.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


def tutte_embedding(
    weights: sp.csr_array,
    fixed: Int[np.ndarray, " L"],
    fixed_uv: Float[np.ndarray, "L 2"],
) -> Float[np.ndarray, "W 2"]:
    """Solve Σ_j w_ij (u_j − u_i) = 0; the vertices `fixed` stay at `fixed_uv`.

    `weights` (W, W) are non-negative with the pattern of the mesh's edges; they
    need not be symmetric.
    """
    n = weights.shape[0]
    free = np.setdiff1d(np.arange(n), fixed)
    uv = np.zeros((n, 2))
    uv[fixed] = fixed_uv
    if len(free):
        W = weights.tocsr()[free]
        # an M-matrix, never singular; symmetric pattern, dominant diagonal: no
        # pivoting, and an ordering for that
        L = sp.diags_array(W.sum(axis=1)) - W[:, free]
        lu = sp.linalg.splu(
            L.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        uv[free] = lu.solve(W[:, fixed] @ fixed_uv)
    return uv


def mean_value_weights(
    X: Float[np.ndarray, "W 3"],
    triangles: Int[np.ndarray, "T 3"],
) -> sp.csr_array:
    """w_ij = (tan(α/2) + tan(β/2)) / ‖x_j − x_i‖, angles at i (Floater 2003).

    Each triangle adds its share to the two edges that leave each of its corners.
    Always positive: at needles and folded corners the tangent is clipped to
    [10⁻⁴, 10⁴], and edges shorter than 10⁻⁴ of the median count as that long.
    """
    rows, columns, values = [], [], []
    corners = X[triangles]  # T 3 3
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1)
    shortest = 1e-4 * np.median(lengths)
    for k in range(3):
        i, p, q = np.roll(triangles, -k, axis=1).T
        a, b = X[p] - X[i], X[q] - X[i]
        na, nb = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
        sine, cosine = np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)
        # tan(θ/2) = sin θ / (1 + cos θ)
        half = sine / np.maximum(na * nb + cosine, np.finfo(float).tiny)
        half = half.clip(1e-4, 1e4)
        rows += [i, i]
        columns += [p, q]
        values += [half / np.maximum(length, shortest) for length in (na, nb)]
    index = (np.concatenate(rows), np.concatenate(columns))
    W = sp.coo_array((np.concatenate(values), index), shape=(len(X), len(X)))
    return W.tocsr()  # adds up the shares of an edge


def level_areas(
    W: sp.csr_array,
    T: Int[np.ndarray, "T 3"],
    fixed: Int[np.ndarray, " L"],
    fixed_uv: Float[np.ndarray, "L 2"],
    target: Float[np.ndarray, " T"],
    rounds: int,
) -> Float[np.ndarray, "W 2"]:
    """Bring the areas in the plane nearer to the `target` areas, up to a common factor; the best round wins.

    σ_j = √(target area / area in the plane) of the triangles around vertex j says how much too small they are. Let
    vertex j attract its neighbours less, and they make room: w_ij ← w_ij σ_j^(−½). The weights stay positive, so no
    round can turn a triangle over. The update is that of Yoshizawa et al. 2004, whose σ is the L² stretch; the area
    ratio used here takes an arbitrary target.
    """
    target = np.maximum(target, 1e-6 * target.mean())  # a degenerate triangle still needs a place
    target = target / target.sum()
    star = sp.coo_array((np.ones(T.size), (T.ravel(), np.repeat(np.arange(len(T)), 3))), (W.shape[0], len(T))).tocsr()
    best, best_error = None, np.inf
    for _ in range(rounds + 1):
        uv = tutte_embedding(W, fixed, fixed_uv)
        area = triangle_areas(uv, T)
        area = area / area.sum()
        off = np.log(np.maximum(area, np.finfo(float).tiny) / target)
        error = np.average((off - np.average(off, weights=target)) ** 2, weights=target)
        if error < best_error:
            best, best_error = uv, error
        sigma = np.sqrt((star @ target) / np.maximum(star @ area, np.finfo(float).tiny)).clip(0.2, 5)
        W = W @ sp.diags_array(sigma**-0.5)
    return best


def triangle_areas(X: Float[np.ndarray, "W D"], triangles: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, " T"]:
    """Unsigned area of each triangle, for vertices in space (D = 3) or in the square (D = 2)."""
    a, b, c = X[triangles].transpose(1, 0, 2)
    e, f = b - a, c - a
    doubled = np.linalg.norm(np.cross(e, f), axis=-1) if X.shape[1] == 3 else e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]
    return np.abs(doubled) / 2
