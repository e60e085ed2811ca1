"""Catmull–Clark subdivision as a sparse matrix (book: *Morphable models*).

MakeHuman's head is coarse on purpose: it is meant to be subdivided. Catmull–Clark puts a new vertex into each quad
and onto each edge and moves the old ones, always to fixed weighted averages of their neighbours (Catmull & Clark
1978). So the finer vertices are a matrix times the coarse ones, X_fine = S X, and the same S refines every face with
the same quads.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int


def catmull_clark(quads: Int[np.ndarray, "Q 4"], n_vertices: int) -> tuple[sp.csr_array, Int[np.ndarray, "4Q 4"]]:
    """One step: the matrix S (n_vertices + edges + Q, n_vertices) and the finer quads.

    Rows of S: the moved old vertices, then edge points, then quad points. Quads 4q … 4q + 3 are the children of quad
    q, child k sits in its corner k. Along a boundary the rule is that of a cubic B-spline curve, so the rim depends
    on the rim only.
    """
    Q, V = len(quads), n_vertices
    edges, edge_of_side, count = quad_edges(quads)  # E 2; Q 4; E
    E = len(edges)
    rim = count == 1

    quad_point = _incidence(np.repeat(np.arange(Q), 4), quads.ravel(), (Q, V)) / 4
    midpoint = _incidence(np.repeat(np.arange(E), 2), edges.ravel(), (E, V)) / 2
    edge_quads = _incidence(edge_of_side.ravel(), np.repeat(np.arange(Q), 4), (E, Q))
    edge_point = _scale(np.where(rim, 1.0, 0.5)) @ midpoint + _scale(np.where(rim, 0.0, 0.25)) @ (
        edge_quads @ quad_point
    )

    # an old vertex inside the surface: (quad points + 2 edge midpoints + (n − 3) itself) / n, averages over its n
    # neighbours
    at_vertex = _incidence(quads.ravel(), np.repeat(np.arange(Q), 4), (V, Q))
    n = np.maximum(at_vertex.sum(1), 1)
    ends = _incidence(edges.ravel(), np.repeat(np.arange(E), 2), (V, E))
    n_edges = np.maximum(ends.sum(1), 1)
    inside = _scale(1 / n) @ (_scale(1 / n) @ at_vertex @ quad_point + _scale(2 / n_edges) @ ends @ midpoint)
    inside = inside + _scale((n - 3) / n)
    # on the rim: half itself, a quarter from the midpoint of each of the two rim edges
    on_rim = (
        sp.identity(V) / 2 + _incidence(edges[rim].ravel(), np.repeat(np.flatnonzero(rim), 2), (V, E)) @ midpoint / 4
    )
    is_rim = np.zeros(V)
    is_rim[edges[rim]] = 1
    is_inside = np.zeros(V)
    is_inside[quads] = 1
    is_inside *= 1 - is_rim
    moved = _scale(is_inside) @ inside + _scale(is_rim) @ on_rim + _scale(1 - is_inside - is_rim)

    on_edge, on_quad = V + edge_of_side, np.repeat(V + E + np.arange(Q)[:, None], 4, axis=1)  # Q 4
    children = np.stack([quads, on_edge, on_quad, np.roll(on_edge, 1, axis=1)], axis=-1)  # Q 4 4
    return sp.csr_array(sp.vstack([moved, edge_point, quad_point])), children.reshape(-1, 4)


def quad_edges(
    quads: Int[np.ndarray, "Q 4"],
) -> tuple[Int[np.ndarray, "E 2"], Int[np.ndarray, "Q 4"], Int[np.ndarray, " E"]]:
    """Edges (smaller vertex first), the edge of each quad side, and how many quads share each edge."""
    sides = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, edge_of_side, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return edges, edge_of_side.reshape(-1, 4), count


def quad_links(quads: Int[np.ndarray, "Q 4"], n_vertices: int) -> sp.csr_array:
    """Symmetric 0/1 matrix (V, V): which vertices share an edge."""
    a, b = quad_edges(quads)[0].T
    return _incidence(np.r_[a, b], np.r_[b, a], (n_vertices, n_vertices))


def quad_loops(quads: Int[np.ndarray, "Q 4"]) -> list[Int[np.ndarray, " L"]]:
    """Closed boundary curves, the surface on the left, most vertices first."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    forward, backward = (set(map(tuple, s.tolist())) for s in (sides, sides[:, ::-1]))
    follow = dict(forward - backward)
    loops = []
    while follow:
        loop = [min(follow)]
        while (b := follow.pop(loop[-1])) != loop[0]:
            loop.append(b)
        loops.append(np.array(loop))
    return sorted(loops, key=lambda loop: (-len(loop), int(loop[0])))


def shared_loop(quads: Int[np.ndarray, "Q 4"], others: Int[np.ndarray, "P 4"]) -> Int[np.ndarray, " L"]:
    """The boundary loop of `quads` along which they meet `others`."""
    (loop,) = (loop for loop in quad_loops(quads) if np.isin(loop, others).all())
    return loop


def _incidence(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """Matrix with a one for every (row, column) pair."""
    return sp.csr_array((np.ones(len(row)), (row, column)), shape)


def _scale(factor: np.ndarray) -> sp.dia_array:
    return sp.diags_array(factor)
