"""What a triangle list says about a surface before any coordinate is known (book: *Flattening a face*).

Edges, boundary loops, components, holes. Triangles are counterclockwise seen from outside, int64, counted from 0. Every
triangle a→b→c brings three *half-edges* a→b, b→c, c→a. On an orientable surface each half-edge occurs once; a half-edge
whose opposite does not occur runs along the boundary, with the surface on its left.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor


class MeshError(ValueError):
    """The mesh is not what the operation needs; the message says what to do about it."""


def half_edges(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, "3T 2"]:
    """Directed edges (from, to) of all triangles: first all a→b, then all b→c, then all c→a."""
    return torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def edges(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, "E 2"]:
    """Every undirected edge once, the smaller vertex first, in lexicographic order."""
    low_high, size = half_edges(triangles).sort(dim=-1).values, _size(triangles)
    key = torch.unique(_key(low_high, size))  # one number per edge: ten times faster than unique rows
    return torch.stack([key // size, key % size], -1)


def boundary_edges(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, "L 2"]:
    """Half-edges (from, to) without an opposite: the surface lies on their left."""
    h, size = half_edges(triangles), _size(triangles)
    return h[~torch.isin(_key(h, size), _key(h.flip(-1), size))]


def boundary_loops(triangles: Int[Tensor, "T 3"]) -> list[Int[Tensor, " L"]]:
    """Closed boundary curves as vertex lists, the surface on the left, most vertices first.

    Seen from outside, the outer rim of a face therefore runs counterclockwise and a hole clockwise. Each loop starts at
    its smallest vertex, so the answer does not depend on the order of the triangles.

    Raises MeshError where two loops touch in a vertex, since the curve is then ambiguous.
    """
    rim = boundary_edges(triangles).tolist()
    follow = dict(rim)
    if len(follow) < len(rim):
        starts = [a for a, _ in rim]
        pinched = next(a for a in starts if starts.count(a) > 1)
        raise MeshError(f"the boundary touches itself at vertex {pinched}: give each of its sheets a vertex of its own")
    loops = []
    while follow:
        loop = [min(follow)]
        while (b := follow.pop(loop[-1])) != loop[0]:
            loop.append(b)
        loops.append(torch.tensor(loop, device=triangles.device))
    return sorted(loops, key=lambda loop: (-len(loop), int(loop[0])))


def loop_length(loop: Int[Tensor, " L"], X: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
    """Length of the closed polygon through the vertices of `loop`, in the unit of X."""
    return (X[loop.roll(-1)] - X[loop]).norm(dim=-1).sum()


def vertex_adjacency(triangles: Int[Tensor, "T 3"], n_vertices: int | None = None) -> sp.csr_array:
    """Symmetric 0/1 matrix (V, V): which vertices share an edge."""
    e = edges(triangles).cpu().numpy()
    V = n_vertices if n_vertices is not None else int(e.max()) + 1
    one_way = sp.coo_array((np.ones(len(e)), (e[:, 0], e[:, 1])), shape=(V, V))
    return (one_way + one_way.T).tocsr()


def connected_components(triangles: Int[Tensor, "T 3"], n_vertices: int | None = None) -> Int[Tensor, " V"]:
    """Component number of each vertex, from 0 in the order of their first vertices. A lone vertex is a component."""
    _, label = sp.csgraph.connected_components(vertex_adjacency(triangles, n_vertices), directed=False)
    return torch.from_numpy(label.astype(np.int64)).to(triangles.device)


def euler_characteristic(triangles: Int[Tensor, "T 3"]) -> int:
    """Vertices in use − edges + triangles: 2 for a sphere, 1 for a disc, 0 for a disc with one hole."""
    return len(triangles.unique()) - len(edges(triangles)) + len(triangles)


def check_manifold(triangles: Int[Tensor, "T 3"]) -> None:
    """Raise MeshError unless this is an oriented surface: each half-edge once, one fan of triangles at each vertex."""
    if triangles.numel() == 0:
        raise MeshError("the mesh has no triangles: check the file it came from")
    a, b, c = triangles.T
    twice = (a == b) | (b == c) | (c == a)
    if twice.any():
        raise MeshError(f"triangle {int(twice.nonzero()[0])} uses a vertex twice: remove such triangles")
    size = _size(triangles)
    key, count = torch.unique(_key(half_edges(triangles), size), return_counts=True)
    if (count > 1).any():
        p, q = divmod(int(key[count > 1][0]), size)
        raise MeshError(
            f"{int((count > 1).sum())} edges, the first {p}–{q}, belong to two triangles on the same side: "
            "the mesh is not manifold or not consistently oriented; repair it in a mesh editor"
        )
    pinched = _pinched_vertices(triangles)
    if len(pinched):
        raise MeshError(
            f"vertex {int(pinched[0])} (of {len(pinched)} such) joins two sheets that touch in a point only: "
            "the mesh is not manifold; give each sheet a vertex of its own"
        )


def _size(triangles: Int[Tensor, "T 3"]) -> int:
    return int(triangles.max()) + 1 if triangles.numel() else 1


def _key(pairs: Int[Tensor, "E 2"], size: int) -> Int[Tensor, " E"]:
    """One number for each directed edge; sorted numbers are edges in lexicographic order."""
    return pairs[:, 0] * size + pairs[:, 1]


def _pinched_vertices(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, " n"]:
    """Vertices whose triangles form more than one fan.

    Triangle corners are nodes; two corners at the same vertex are joined when their triangles share an edge there. One
    fan means one connected component of corners, so components beyond one per vertex betray a pinch.
    """
    T = len(triangles)
    tri = triangles.cpu().numpy()
    V = int(tri.max()) + 1
    # the half-edge i→j of triangle t, at position k, leaves corner (t, k) and arrives at corner (t, k+1)
    start, end = tri.T.ravel(), tri[:, [1, 2, 0]].T.ravel()  # 3T, ordered by k
    corner = np.arange(3 * T)
    arrival = (corner + T) % (3 * T)
    key, opposite = start * V + end, end * V + start
    order = np.argsort(key)
    at = np.searchsorted(key[order], opposite).clip(max=3 * T - 1)
    found = order[at]
    inner = key[found] == opposite  # this half-edge has an opposite
    # i→j here and j→i there: the corner at i here is the arrival corner there
    i, j = corner[inner], arrival[found[inner]]
    graph = sp.coo_array((np.ones(len(i)), (i, j)), shape=(3 * T, 3 * T))
    _, fan = sp.csgraph.connected_components(graph, directed=False)
    vertex_of_fan = np.unique(np.stack([fan, start], -1), axis=0)[:, 1]
    return torch.from_numpy(np.flatnonzero(np.bincount(vertex_of_fan, minlength=V) > 1)).to(triangles.device)
