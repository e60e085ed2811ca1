"""The rest of MakeHuman's figure: which vertices and triangles surround the face mask (book: *It learns*).

The open model is cut out of the head. What the cut leaves (crown, ears, neck), the chest down to the elbows, teeth,
tongue and eyelashes are taken here, as one list of *context* vertices that depends linearly on the base mesh:

    context = S · base rows.

Where skin is smooth, the base mesh is subdivided as for the face, so that both share the vertices along the cut; ears
are fine enough as they are, and cloth hides most of the chest. A coarse quad beside fine ones becomes a fan, so that
the surface has no cracks.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from facenb.open_model.makehuman import BaseMesh, data_folder, painted_mask
from facenb.open_model.subdivision import catmull_clark, quad_edges, shared_loop
from facenb.open_model.topology import MASK_LEVEL, Topology, _drop_pendants, _head_and_pockets

BELOW_FACE = 420.0  # mm of chest below the middle of the face
HALF_WIDTH = 330.0  # mm of arm to each side
FINE_ABOVE = -150.0  # mm from the middle of the face: above, skin is subdivided
EAR_LEVEL = 0.3  # of the painted mask
EXTRAS = {  # part → groups of base.obj
    "upper teeth": ("helper-upper-teeth",),
    "lower teeth": ("helper-lower-teeth",),
    "tongue": ("helper-tongue",),
    "lashes": tuple(f"helper-{side}-eyelashes-{k}" for side in "lr" for k in (1, 2)),
}
SMOOTH_RINGS, SMOOTH_ROUNDS = 5, 12  # around the cut, where the face's own rim was smoothed


@dataclass(frozen=True)
class Anatomy:
    """Context vertices and their triangles.

    Attributes:
        rows: base vertices that the context depends on.
        S: context = S @ [base rows; face rim] (both mm, in the face model's frame).
        part: slice of the context vertices of each part: "body" and those of EXTRAS.
        triangles: of each part, indices within the part.
        rim: body vertices (within the part) that are the face model's vertices `face_rim`.
        ears: painted mask at the body's vertices.
        turn: 0 where the body turns with the head, 1 where it stays with the chest.
    """

    rows: Int[np.ndarray, " R"]
    S: sp.csr_array
    part: dict[str, slice]
    triangles: dict[str, Int[np.ndarray, "T 3"]]
    rim: Int[np.ndarray, " O"]
    face_rim: Int[np.ndarray, " O"]
    ears: Float[np.ndarray, " B"]
    turn: Float[np.ndarray, " B"]


# How far the parts of the neck follow the chest rather than the head; all below follows it wholly
FOLLOWS_CHEST = {"head": 0.0, "neck03": 0.3, "neck02": 0.6, "neck01": 0.85}
STAYS_WITH_HEAD = (
    "jaw",
    "oris",
    "levator",
    "risorius",
    "orbicularis",
    "oculi",
    "temporalis",
    "special",
    "tongue",
    "eye",
)


def build_anatomy(base: BaseMesh, adult: Float[np.ndarray, "B 3"], topology: Topology) -> Anatomy:
    """The context of the face mask of `topology`; `adult` (mm) is the template that decides where parts end."""
    centre = adult[base.quads].mean(1) - topology.refine(adult[None, topology.rows])[0].mean(0)  # Q 3
    head, bag, sockets = _head_and_pockets(base)
    taken = ~(bag | sockets) & (centre[:, 1] > -BELOW_FACE) & (np.abs(centre[:, 0]) < HALF_WIDTH)
    face_quads, face_corners = _face_children(base, head, bag, sockets)
    ears = painted_mask(base, "ears", head)
    fine = taken & (centre[:, 1] > FINE_ABOVE) & ~(ears[base.quads].mean(1) > EAR_LEVEL)

    # subdivide everything, then use coarse quads where that is enough; their corners lie on the fine surface as well
    ids = np.flatnonzero(taken | np.isin(np.arange(len(base.quads)), face_quads // 4))
    body_rows = np.unique(base.quads[ids])
    place = np.full(len(base.vertices), -1)
    place[body_rows] = np.arange(len(body_rows))
    quads = place[base.quads[ids]]
    S, children = catmull_clark(quads, len(body_rows))
    edge_points = len(body_rows) + quad_edges(quads)[1]  # Q 4
    child_id = (4 * ids[:, None] + np.arange(4)).ravel()
    in_face = np.isin(child_id, face_quads)

    partly_face = in_face.reshape(-1, 4).any(1)
    is_fine = fine[ids] | partly_face
    body_children = np.repeat(is_fine & taken[ids], 4) & ~in_face
    refined_edge = np.isin(edge_points, edge_points[is_fine])
    body_triangles = _split(children[body_children])
    coarse = np.flatnonzero(~is_fine)
    body_triangles += _fans(quads[coarse], edge_points[coarse], refined_edge[coarse])
    T = _largest_piece(np.concatenate(body_triangles), S.shape[0])

    # shared vertices: a child of the same quad stands in the same corner in both meshes
    where = np.full(4 * len(base.quads), -1)
    where[face_quads] = np.arange(len(face_quads))
    shared_here = children[in_face].ravel()
    shared_there = face_corners[where[child_id[in_face]]].ravel()
    to_face = np.full(S.shape[0], -1)
    to_face[shared_here] = shared_there

    kept = np.unique(T)
    new = np.full(S.shape[0], -1)
    new[kept] = np.arange(len(kept))
    T, S, to_face = new[T], S[kept], to_face[kept]
    rim = np.flatnonzero(to_face >= 0)
    place_ears = S @ ears[body_rows]
    turn = S @ _follows_chest(len(base.vertices))[body_rows]
    S = sp.hstack([S, sp.csr_array((len(kept), len(rim)))]).tocsr()
    S = _smooth_cut(S, _links([*new[children[body_children]], *new[quads[coarse]]], len(kept)), rim)

    rows, part, triangles = [body_rows], {"body": slice(0, len(kept))}, {"body": T}
    groups = read_groups()
    for name, members in EXTRAS.items():
        group_quads = np.concatenate([groups[g] for g in members])
        group_rows, local = np.unique(group_quads, return_inverse=True)
        local = local.reshape(group_quads.shape)
        start = part[list(part)[-1]].stop
        part[name] = slice(start, start + len(group_rows))
        triangles[name] = np.concatenate([local[:, [0, 1, 2]], local[:, [0, 2, 3]]])
        rows.append(group_rows)
    n_extra = sum(len(r) for r in rows[1:])
    n_body = len(body_rows)
    body_block = sp.hstack([S[:, :n_body], sp.csr_array((len(kept), n_extra)), S[:, n_body:]])
    extra_block = sp.hstack([sp.csr_array((n_extra, n_body)), sp.identity(n_extra), sp.csr_array((n_extra, len(rim)))])
    return Anatomy(
        rows=np.concatenate(rows),
        S=sp.csr_array(sp.vstack([body_block, extra_block])),
        part=part,
        triangles=triangles,
        rim=rim,
        face_rim=to_face[rim],
        ears=np.clip(place_ears, 0, 1),
        turn=np.clip(turn, 0, 1),
    )


def read_groups() -> dict[str, Int[np.ndarray, "Q 4"]]:
    """Quads (vertex indices) of every group of `base.obj`; a name that comes twice is one group."""
    groups, name = {}, ""
    for line in (data_folder() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *words = line.split() or ("",)
        if kind == "g":
            name = words[0]
        elif kind == "f":
            groups.setdefault(name, []).append([int(w.split("/")[0]) - 1 for w in words])
    return {name: np.array(quads) for name, quads in groups.items()}


def bone_weights() -> dict[str, Float[np.ndarray, "n 2"]]:
    """(vertex, weight) pairs of every bone of MakeHuman's default skeleton."""
    text = (data_folder() / "mpfb2/rigs/standard/weights.default.json").read_text()
    return {bone: np.array(pairs).reshape(-1, 2) for bone, pairs in json.loads(text)["weights"].items()}


def _follows_chest(n: int) -> Float[np.ndarray, " n"]:
    """0 where a base vertex turns with the head, 1 where it stays with the chest."""
    total, follows = np.full(n, 1e-9), np.zeros(n)
    for bone, pairs in bone_weights().items():
        share = 0.0 if bone.startswith(STAYS_WITH_HEAD) else FOLLOWS_CHEST.get(bone, 1.0)
        vertex = pairs[:, 0].astype(int)
        np.add.at(total, vertex, pairs[:, 1])
        np.add.at(follows, vertex, share * pairs[:, 1])
    return follows / total


def _face_children(
    base: BaseMesh, head: Bool[np.ndarray, " Q"], bag: Bool[np.ndarray, " Q"], sockets: Bool[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, " F"], Int[np.ndarray, "F 4"]]:
    """The fine quads of the face mask, as 4 · (base quad) + child, and their corners as vertices of the face model.

    Repeats the first two steps of `build_topology`, which forgets where its quads came from.
    """
    used = head | bag | sockets
    rows = np.unique(base.quads[used])
    place = np.full(len(base.vertices), -1)
    place[rows] = np.arange(len(rows))
    quads = place[base.quads[used]]
    lip_line = shared_loop(quads[head[used]], quads[bag[used]])
    stay = head[used] | (bag[used] & np.isin(quads, lip_line).any(1))
    S, children = catmull_clark(quads, len(rows))
    painted = S @ painted_mask(base, "face", head)[rows]
    near_pocket = (S @ np.isin(np.arange(len(rows)), quads[~head[used]])) > 0
    in_face = (painted > MASK_LEVEL) | near_pocket
    chosen = np.repeat(stay, 4) & in_face[children].all(1)
    kept = _drop_pendants(children[chosen])
    is_kept = np.isin(_keys(children), _keys(kept))
    new = np.full(S.shape[0], -1)
    vertices = np.unique(kept)
    new[vertices] = np.arange(len(vertices))
    ids = (4 * np.flatnonzero(used)[:, None] + np.arange(4)).ravel()
    return ids[is_kept], new[children[is_kept]]


def _keys(quads: Int[np.ndarray, "Q 4"]) -> Int[np.ndarray, " Q"]:
    """One number for each quad: its last corner but one is the quad's own middle, or belongs to it alone."""
    return quads[:, 0] * (1 + quads.max()) * 4 + quads[:, 2] * 4


def _split(quads: Int[np.ndarray, "Q 4"]) -> list[Int[np.ndarray, "Q 3"]]:
    return [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]


def _fans(
    quads: Int[np.ndarray, "Q 4"], edge_points: Int[np.ndarray, "Q 4"], refined: Bool[np.ndarray, "Q 4"]
) -> list[Int[np.ndarray, "T 3"]]:
    """Triangles of coarse quads, with the points that finer neighbours put on their edges."""
    plain = ~refined.any(1)
    triangles = _split(quads[plain])
    extra = []
    for corners, points, on in zip(quads[~plain], edge_points[~plain], refined[~plain], strict=True):
        loop = []
        for k in range(4):
            loop += [corners[k]] + ([points[k]] if on[k] else [])
        start = next(k for k in range(len(loop)) if loop[k] == points[np.flatnonzero(on)[0]])
        loop = loop[start:] + loop[:start]  # from an edge point no triangle of the fan is flat
        extra += [[loop[0], loop[i], loop[i + 1]] for i in range(1, len(loop) - 1)]
    return [*triangles, np.array(extra).reshape(-1, 3)]


def _largest_piece(T: Int[np.ndarray, "T 3"], n: int) -> Int[np.ndarray, "U 3"]:
    links = sp.csr_array((np.ones(2 * len(T)), (np.r_[T[:, 0], T[:, 1]], np.r_[T[:, 1], T[:, 2]])), (n, n))
    piece = sp.csgraph.connected_components(links, directed=False)[1]
    return T[piece[T[:, 0]] == np.bincount(piece[T[:, 0]]).argmax()]


def _smooth_cut(S: sp.csr_array, links: sp.csr_array, rim: Int[np.ndarray, " O"]) -> sp.csr_array:
    """S with the rim taken from the face (the last columns) and a few rings outside it smoothed after it."""
    n, O = S.shape[0], len(rim)
    S = S.tolil()
    S[rim] = sp.hstack([sp.csr_array((O, S.shape[1] - O)), sp.identity(O)]).tolil()
    S = S.tocsr()
    is_rim = np.isin(np.arange(n), rim)
    near, strength = is_rim.astype(float), np.zeros(n)
    for k in range(SMOOTH_RINGS):
        grown = ((links @ near + near) > 0).astype(float)
        strength[(grown > 0) & (near == 0)] = 1 - k / SMOOTH_RINGS
        near = grown
    strength[is_rim] = 0
    average = sp.diags_array(1 / np.maximum(links.sum(1), 1)) @ links
    step = sp.identity(n) + sp.diags_array(0.6 * strength) @ (average - sp.identity(n))
    for _ in range(SMOOTH_ROUNDS):
        S = step @ S
    return sp.csr_array(S)


def _links(quads: list[Int[np.ndarray, " 4"]], n: int) -> sp.csr_array:
    """Symmetric 0/1 matrix (n, n): which vertices share a side of a quad. Unlike diagonals, sides are symmetric."""
    quads = np.array(quads)
    quads = quads[(quads >= 0).all(1)]
    a, b = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    links = sp.csr_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (n, n))
    links.data[:] = 1
    return links


def triangle_links(T: Int[np.ndarray, "T 3"], n: int) -> sp.csr_array:
    """Symmetric 0/1 matrix (n, n): which vertices share an edge of a triangle."""
    a, b = np.concatenate([T[:, [0, 1]], T[:, [1, 2]], T[:, [2, 0]]]).T
    links = sp.csr_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (n, n))
    links.data[:] = 1
    return links
