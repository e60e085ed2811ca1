"""Lips that meet, and a mouth that does not fold (book: *Morphable models*).

MakeHuman's neutral mouth stands open by a few millimetres, for the teeth; a neutral face should close it. And targets treat the hidden
side of the lips carelessly, which folds the mesh at the corners of the mouth. Both repairs move the loop where the lips
touch and let the skin around follow like a soap film: the displacement solves Laplace's equation on the mesh between
where it is given and where it is zero. Soap films are linear in what is given: both repairs are matrices.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import spsolve

from facenb.open_model.topology import Topology

REACH = 12.0  # mm from the contact loop beyond which closing the lips moves nothing


class Lips:
    """Both repairs for one mesh; `X` is its neutral template (V, 3), mm, with parted lips."""

    def __init__(self, topology: Topology, X: Float[np.ndarray, "V 3"]):
        self.contact, self.inner = topology.contact, topology.inner_lips
        links = _links(topology.triangles, topology.n_vertices)
        distance = np.linalg.norm(X[:, None] - X[self.contact], axis=-1).min(1)
        free = distance < REACH
        free[self.inner] = True
        free[self.contact] = False
        self.near = np.flatnonzero(free)
        self.film = _soap_film(links, self.contact, free)  # near × contact
        self.inner_film = _soap_film(links, self.contact, np.isin(np.arange(len(X)), self.inner))  # inner × contact
        self.closing = _meet_halfway(X[self.contact]) - np.eye(len(self.contact))

    def close(self, X: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N V 3"]:
        """Faces with their lips brought together halfway; linear in X."""
        d = np.einsum("ij,njc->nic", self.closing.astype(X.dtype), X[:, self.contact])
        X = X.copy()
        X[:, self.contact] += d
        X[:, self.near] += np.einsum("ij,njc->nic", self.film.astype(X.dtype), d)
        return X

    def carry(self, D: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N V 3"]:
        """Displacements in which the hidden side of the lips goes where the contact loop goes; linear in D."""
        D = D.copy()
        D[:, self.inner] = np.einsum("ij,njc->nic", self.inner_film.astype(D.dtype), D[:, self.contact])
        return D


def _links(triangles: Int[np.ndarray, "T 3"], n: int) -> sp.csr_array:
    """0/1 matrix: which vertices share an edge."""
    a, b = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).T
    links = sp.csr_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (n, n))
    links.data[:] = 1
    return links


def _soap_film(
    links: sp.csr_array, given: Int[np.ndarray, " K"], free: Bool[np.ndarray, " V"]
) -> Float[np.ndarray, "F K"]:
    """Matrix from values at `given` to the harmonic values at the free vertices; all others are held at zero."""
    L = (sp.diags_array(links.sum(1)) - links).tocsc()
    return -spsolve(L[free][:, free], L[free][:, given].toarray())


def _meet_halfway(P: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K K"]:
    """Matrix that averages each vertex of the contact loop with the point across the mouth at the same |x|.

    Upper and lower lip have different numbers of vertices; the point across lies between two of them. Rows sum to one.
    """
    K = len(P)
    M = np.zeros((K, K))
    corners = [P[:, 0].argmax(), P[:, 0].argmin()]
    order = np.roll(np.arange(K), -corners[0])  # the loop starts at the left corner …
    turn = int(np.flatnonzero(order == corners[1])[0])  # … and comes back after the right one
    first, second = order[: turn + 1], np.r_[order[turn:], order[0]][::-1]  # both from left to right corner
    for own, other in ((first, second), (second, first)):
        x_own, x_other = -P[own, 0], -P[other, 0]
        at = np.searchsorted(x_other, x_own, side="right").clip(1, len(other) - 1)
        t = np.clip((x_own - x_other[at - 1]) / (x_other[at] - x_other[at - 1]), 0, 1)
        for k, i, s in zip(own, at, t, strict=True):
            M[k] = 0
            M[k, k] += 0.5
            M[k, other[i - 1]] += 0.5 * (1 - s)
            M[k, other[i]] += 0.5 * s
    for corner in corners:
        M[corner] = np.eye(K)[corner]
    return M
