"""Lips that meet, and a mouth that does not fold (book: *Morphable models*).

MakeHuman's neutral mouth stands open by half a millimetre; a neutral face should close it. The lips touch not at the
painted seam between skin and mouth bag but several rings of quads further out: at the throat, the narrowest loop.
There the mesh is crowded, above all at the corners, and triangles that small turn over in many faces. So the lips are
first relaxed: smoothed at the corners and spread along the throat. Both are averages, hence linear, and become part
of S.

Where the throat's vertices move, the skin around follows like a soap film: the displacement solves Laplace's equation
on the mesh between where it is given and where it is zero. Soap films, too, are linear in what is given.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import splu

from facenb.open_model.subdivision import quad_links, shared_loop

LIP_RINGS = 8  # rings of fine quads from the seam forwards, among which the throat is
CORNER_SIZE, CORNER_ROUNDS = 3.0, 20  # mm around the corners of the mouth, and rounds of smoothing there
EVENNESS = 0.5  # 0 leaves the spacing of vertices along the lips as it is, 1 makes it even
REACH = 12.0  # mm from the throat beyond which nothing follows


class Lips:
    """Closes mouths and keeps them from folding; both are linear maps."""

    def __init__(
        self,
        X: Float[np.ndarray, "V 3"],
        links: sp.csr_array,
        contact: Int[np.ndarray, " C"],
        inner: Int[np.ndarray, " I"],
    ):
        """X (mm): a face with parted lips; `contact`: the throat; `inner`: all vertices behind it."""
        self.contact, self.inner = contact, inner
        free = _around(X, contact, inner)
        self.near = np.flatnonzero(free)
        self.film = soap_film(links, contact, free)  # near × contact
        self.inner_film = soap_film(links, contact, np.isin(np.arange(len(X)), inner))  # inner × contact
        self.to_middle = (across(X[contact]) - np.eye(len(contact))) / 2

    def close(self, X: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N V 3"]:
        """Faces whose lips meet halfway."""
        d = np.einsum("ij,njc->nic", self.to_middle.astype(X.dtype), X[:, self.contact])
        X = X.copy()
        X[:, self.contact] += d
        X[:, self.near] += np.einsum("ij,njc->nic", self.film.astype(X.dtype), d)
        return X

    def carry(self, D: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N V 3"]:
        """Displacements in which the hidden side of the lips goes where the throat goes.

        Targets treat that side carelessly; nobody sees it, but it folds.
        """
        D = D.copy()
        D[:, self.inner] = np.einsum("ij,njc->nic", self.inner_film.astype(D.dtype), D[:, self.contact])
        return D


def throat(
    skin: Int[np.ndarray, "Q 4"], bag: Int[np.ndarray, "P 4"], X: Float[np.ndarray, "V 3"]
) -> tuple[Int[np.ndarray, " C"], Int[np.ndarray, "R 4"]]:
    """The loop where the lips touch, and the quads outside it.

    The painter's seam between skin and mouth bag lies behind the lips. The skin is peeled from there, ring by ring; the
    lips touch at the ring whose halves are closest.
    """
    loops, outside = [shared_loop(skin, bag)], [skin]
    for _ in range(LIP_RINGS):
        touches = np.isin(outside[-1], loops[-1]).any(1)
        loops.append(shared_loop(outside[-1][~touches], outside[-1][touches]))
        outside.append(outside[-1][~touches])
    opening = [np.linalg.norm(X[loop] - across(X[loop]) @ X[loop], axis=1).mean() for loop in loops]
    k = int(np.argmin(opening))
    return loops[k], outside[k]


def relax_lips(
    S: sp.csr_array,
    quads: Int[np.ndarray, "Q 4"],
    contact: Int[np.ndarray, " C"],
    inner: Int[np.ndarray, " I"],
    X: Float[np.ndarray, "V 3"],
) -> sp.csr_array:
    """S with the skin smoothed around the corners of the mouth and the throat's vertices spread along the lips."""
    n = len(X)
    links = quad_links(quads, n)
    P = X[contact]
    corners = P[[P[:, 0].argmax(), P[:, 0].argmin()]]
    distance = np.linalg.norm(X[:, None] - corners, axis=-1).min(1)
    strength = np.exp(-((distance / CORNER_SIZE) ** 2))
    strength[strength < 1e-3] = 0
    neighbours = sp.diags_array(1 / links.sum(1)) @ links
    smooth = sp.csr_array(sp.identity(n) + sp.diags_array(strength) @ (neighbours - sp.identity(n)))
    for _ in range(CORNER_ROUNDS):
        S, X = smooth @ S, smooth @ X

    free = _around(X, contact, inner)
    move = _spread(X[contact]) - np.eye(len(contact))
    follow = np.zeros((n, len(contact)))
    follow[contact] = move
    follow[free] = soap_film(links, contact, free) @ move
    return sp.csr_array(S + sp.csr_array(follow) @ S[contact])


def soap_film(
    links: sp.csr_array, given: Int[np.ndarray, " K"], free: Bool[np.ndarray, " V"]
) -> Float[np.ndarray, "F K"]:
    """Matrix from values at `given` to the harmonic values at the free vertices; all others are held at zero."""
    L = (sp.diags_array(links.sum(1)) - links).tocsc()
    return -splu(L[free][:, free]).solve(L[free][:, given].toarray())


def _around(
    X: Float[np.ndarray, "V 3"], contact: Int[np.ndarray, " C"], inner: Int[np.ndarray, " I"]
) -> Bool[np.ndarray, " V"]:
    """Vertices that follow the throat: those near it and all behind it, but not itself."""
    free = np.linalg.norm(X[:, None] - X[contact], axis=-1).min(1) < REACH
    free[inner] = True
    free[contact] = False
    return free


def _spread(P: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K K"]:
    """Matrix that slides each vertex of the throat along its own lip towards even spacing. Rows sum to one."""
    W = np.zeros((len(P), len(P)))
    for half in lip_halves(P):
        share = share_of_way(P[half])
        target = (1 - EVENNESS) * share + EVENNESS * np.linspace(0, 1, len(share))
        W[half] = interpolation(target, share, half, len(P))
    return W


def across(P: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K K"]:
    """Matrix from the vertices of a loop around the mouth to the points across it, each at the same share of the way.

    The way goes from the left to the right corner, once along the upper and once along the lower lip. Rows sum to one.
    """
    K = len(P)
    W = np.zeros((K, K))
    upper, lower = lip_halves(P)
    for own, other in ((upper, lower), (lower, upper)):
        W[own] = interpolation(share_of_way(P[own]), share_of_way(P[other]), other, K)
    return W


def lip_halves(P: Float[np.ndarray, "K 3"]) -> tuple[Int[np.ndarray, " A"], Int[np.ndarray, " B"]]:
    """The upper and the lower way from the left to the right corner of a loop around the mouth, corners included."""
    left, right = P[:, 0].argmax(), P[:, 0].argmin()
    order = np.roll(np.arange(len(P)), -left)
    turn = int(np.flatnonzero(order == right)[0])
    ways = order[: turn + 1], np.r_[order[turn:], left][::-1]
    return ways if P[ways[0], 1].mean() > P[ways[1], 1].mean() else ways[::-1]


def share_of_way(P: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Length along a polygon up to each vertex, from 0 to 1."""
    length = np.r_[0, np.linalg.norm(np.diff(P, axis=0), axis=1).cumsum()]
    return length / length[-1]


def interpolation(
    t: Float[np.ndarray, " m"], knots: Float[np.ndarray, " n"], columns: Int[np.ndarray, " n"], n_columns: int
) -> Float[np.ndarray, "m n_columns"]:
    """Matrix that interpolates linearly at t between values at increasing `knots`, which stand in `columns`."""
    W = np.zeros((len(t), n_columns))
    W[:, columns] = np.stack([np.interp(t, knots, e) for e in np.eye(len(knots))], -1)
    return W
