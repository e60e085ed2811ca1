"""Head, neck and chest as a function of the face model's coefficients (book: *It learns*).

The open model knows a person by 199 numbers and an expression by 100. What surrounds the face should belong to the same
person, so it is *predicted* from the same numbers. MakeHuman's targets move the whole figure: we draw random people and
random expressions as the open model's builder does, look up their coefficients, and regress everything else on them,

    context = mean + B_id · identity + B_ex · expression        (ridge regression, per coordinate).

Along the cut the prediction misses the face by a little. The miss is known there exactly, so it is spread over the
neighbourhood like a soap film that fades out, and the seam closes to the last bit.

Units mm, x to the subject's left, y up, z forward; origin that of the open model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facenb.heads.anatomy import Anatomy, bone_weights, build_anatomy, read_groups, triangle_links
from facenb.morphable_model import MorphableModel
from facenb.open_model.expression import read_actions, sample_expressions
from facenb.open_model.identity import align, average_adult, read_targets, sample_people
from facenb.open_model.lips import Lips
from facenb.open_model.makehuman import read_base_mesh
from facenb.open_model.topology import build_topology

SEED = 3
N_PEOPLE, N_EXPRESSIONS = 500, 700  # and as many mirror images of people
N_IDENTITY = 60  # leading identity components that the context follows
RIDGE = 0.02  # relative to the number of samples
ARMS_DOWN = np.radians(33)
STIFF = 15.0  # mm from the cut over which the body goes with the face when the head turns
SEAM_REACH = 25.0  # mm over which a mismatch at the cut fades out
COLOUR_REACH = 32.0  # mm over which the colours of the cut give way to the person's general tone
Progress = Callable[[str], None]


@dataclass(frozen=True)
class WholeHead:
    """Context of the face mask; all arrays float32 or int32.

    Attributes:
        mean: context vertices, mm, of the mean person without expression.
        basis: mm per standard deviation; the first N_IDENTITY rows are identity, the others expression.
        part: slice of the context of "body", "upper teeth", "lower teeth", "tongue", "lashes".
        triangles: of each part.
        rim: vertices of the body that are the vertices `face_rim` of the face.
        spread: body values as averages of rim values: harmonic, rows sum to one.
        seam: how strongly a mismatch at the rim moves a body vertex, 1 at the rim.
        tint: how strongly the colours at the rim tint a body vertex, 1 at the rim.
        turn: 0 where the body turns with the head, 1 where it stays with the chest.
        ears: 1 on the ears.
        who: (man, age) of a person as 0.5 + who · identity; regressed, man in [0, 1], age on MakeHuman's scale.
    """

    mean: Float[np.ndarray, "C 3"]
    basis: Float[np.ndarray, "K C 3"]
    part: dict[str, slice]
    triangles: dict[str, Int[np.ndarray, "T 3"]]
    rim: Int[np.ndarray, " O"]
    face_rim: Int[np.ndarray, " O"]
    spread: Float[np.ndarray, "B O"]
    seam: Float[np.ndarray, " B"]
    tint: Float[np.ndarray, " B"]
    turn: Float[np.ndarray, " B"]
    ears: Float[np.ndarray, " B"]
    who: Float[np.ndarray, "2 Nid"]

    def vertices(
        self,
        identity: Float[np.ndarray, "N Nid"],
        expression: Float[np.ndarray, "N Nex"],
        face: Float[np.ndarray, "N V 3"],
    ) -> Float[np.ndarray, "N C 3"]:
        """Context vertices (mm) of N heads whose faces have the vertices `face`."""
        m = np.concatenate([identity[:, :N_IDENTITY], expression], 1).astype(np.float32)
        X = self.mean + (m @ self.basis.reshape(len(self.basis), -1)).reshape(len(m), -1, 3)
        miss = face[:, self.face_rim] - X[:, self.rim]  # N O 3
        near = np.flatnonzero(self.seam > 1e-3)
        columns = miss.transpose(1, 0, 2).reshape(miss.shape[1], -1)  # O 3N
        moved = ((self.seam[near, None] * self.spread[near]) @ columns).reshape(len(near), len(m), 3)
        X[:, near] += moved.transpose(1, 0, 2)  # the body comes first
        X[:, self.rim] = face[:, self.face_rim]
        return X


def build_whole_head(model: MorphableModel, progress: Progress = lambda step: None) -> WholeHead:
    """Everything from the wheel's files and one seed; about 20 s."""
    progress("anatomy")
    base = read_base_mesh()
    adult = average_adult(base.vertices)
    topology = build_topology(base, adult)
    anatomy = build_anatomy(base, adult, topology)
    rows = np.concatenate([topology.rows, anatomy.rows])
    on_face = np.concatenate([topology.on_face, np.zeros(len(anatomy.rows), bool)])
    n_face = len(topology.rows)
    parted = topology.refine(adult[None, topology.rows])[0]
    lips = Lips(parted, topology.links, topology.contact, topology.inner_lips)
    face_mean = model.shape_mean.numpy().astype(np.float64)
    lower = _ArmsDown(adult, anatomy.rows)

    progress("people")
    rng = np.random.default_rng(SEED)
    people = sample_people(base.vertices[rows], read_targets(rows), on_face, N_PEOPLE, rng)
    raw = lips.close(topology.refine(people[:, :n_face]))
    face = align(raw, topology.mirror, face_mean, rounds=1)
    context = _carry_along(raw, face, lower(people[:, n_face:]))
    identity = _coefficients(face - face_mean, model.identity_basis.numpy())
    C = _context(anatomy, context, face)
    progress("regression on identity")
    template = _context(anatomy, lower(adult[None, anatomy.rows]), parted[None])[0]
    mirror = _mirror(template, anatomy.part)
    symmetric = _is_symmetric(model.identity_basis.numpy(), topology.mirror)
    mean, B_id = _regress(C, identity[:, :N_IDENTITY], mirror, symmetric[:N_IDENTITY])

    who = _who(identity)

    progress("expressions")
    neutral = adult[rows].astype(np.float32)
    actions = read_actions(rows)
    heights = adult[np.concatenate(base.eyeballs), 1].mean(), parted[topology.contact, 1].mean()
    moves = sample_expressions(actions, neutral, *heights, N_EXPRESSIONS, rng)
    moves = np.concatenate([moves, actions.displacement])
    still = topology.refine(neutral[None, :n_face])
    face_moves = lips.carry(topology.refine(neutral[:n_face] + moves[:, :n_face]) - still)
    expression = _coefficients(face_moves, model.expression_basis.numpy())
    progress("regression on expression")
    M = _context(anatomy, lower.turn(moves[:, n_face:]), face_moves)
    symmetric = _is_symmetric(model.expression_basis.numpy(), topology.mirror)
    _, B_ex = _regress(M, expression, mirror, symmetric, centred=False)

    progress("seam")
    body = anatomy.part["body"]
    spread, distance = _spread(anatomy, mean[body])
    return WholeHead(
        mean=mean.astype(np.float32),
        basis=np.concatenate([B_id, B_ex]).astype(np.float32),
        part=anatomy.part,
        triangles={name: T.astype(np.int32) for name, T in anatomy.triangles.items()},
        rim=anatomy.rim.astype(np.int32),
        face_rim=anatomy.face_rim.astype(np.int32),
        spread=spread.astype(np.float32),
        seam=np.exp(-((distance / SEAM_REACH) ** 2)).astype(np.float32),
        tint=np.exp(-((distance / COLOUR_REACH) ** 2)).astype(np.float32),
        turn=(anatomy.turn * (1 - np.exp(-((distance / STIFF) ** 2)))).astype(np.float32),
        ears=anatomy.ears.astype(np.float32),
        who=who.astype(np.float32),
    )


def _who(identity: Float[np.ndarray, "N Nid"]) -> Float[np.ndarray, "2 Nid"]:
    """Regression of gender and age on the identity coefficients.

    `sample_people` draws these two first of all (see `facenb.open_model.identity`), so the same seed tells them again.
    """
    rng = np.random.default_rng(SEED)
    traits = np.stack([rng.beta(0.6, 0.6, N_PEOPLE), rng.beta(1.2, 2.2, N_PEOPLE)])
    m = identity - identity.mean(0)
    gram = m.T @ m + 0.1 * N_PEOPLE * np.eye(m.shape[1])
    return np.linalg.solve(gram, m.T @ (traits - traits.mean(1, keepdims=True)).T).T


class _ArmsDown:
    """MakeHuman's figure holds its arms out; people in photographs let them hang. A fixed turn about each shoulder."""

    def __init__(self, adult: Float[np.ndarray, "B 3"], rows: Int[np.ndarray, " R"]):
        groups, bones = read_groups(), bone_weights()
        self.parts = []
        for side, sign in (("L", -1.0), ("R", 1.0)):
            weight = np.zeros(len(adult))
            for bone in ("upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist"):
                pairs = bones[f"{bone}.{side}"]
                np.add.at(weight, pairs[:, 0].astype(int), pairs[:, 1])
            pivot = adult[np.unique(groups[f"joint-{side.lower()}-shoulder"])].mean(0)
            c, s = np.cos(ARMS_DOWN), sign * np.sin(ARMS_DOWN)
            self.parts.append((weight[rows].clip(0, 1)[:, None], pivot, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])))

    def turn(self, D: Float[np.ndarray, "N R 3"]) -> Float[np.ndarray, "N R 3"]:
        """Displacements."""
        for weight, _, R in self.parts:
            D = D + weight * (D @ (R.T - np.eye(3)))
        return D.astype(np.float32)

    def __call__(self, X: Float[np.ndarray, "N R 3"]) -> Float[np.ndarray, "N R 3"]:
        """Positions."""
        for weight, pivot, R in self.parts:
            X = X + weight * ((X - pivot) @ (R.T - np.eye(3)))
        return X.astype(np.float32)


def _carry_along(
    raw: Float[np.ndarray, "N V 3"], aligned: Float[np.ndarray, "N V 3"], X: Float[np.ndarray, "N R 3"]
) -> Float[np.ndarray, "N R 3"]:
    """X moved as rigidly as each face was when it was aligned."""
    a, b = raw.mean(1, keepdims=True), aligned.mean(1, keepdims=True)
    U, _, Vt = np.linalg.svd(np.einsum("nvi,nvj->nij", raw - a, aligned - b).astype(np.float64))
    return (X - a) @ (U @ Vt).astype(X.dtype) + b


def _context(
    anatomy: Anatomy, X: Float[np.ndarray, "N R 3"], face: Float[np.ndarray, "N V 3"]
) -> Float[np.ndarray, "N C 3"]:
    values = np.concatenate([X, face[:, anatomy.face_rim]], 1).astype(np.float32)  # N R+O 3
    N, R, _ = values.shape
    columns = values.transpose(1, 0, 2).reshape(R, 3 * N)
    return (anatomy.S.astype(np.float32) @ columns).reshape(-1, N, 3).transpose(1, 0, 2)


def _coefficients(moves: Float[np.ndarray, "N V 3"], basis: Float[np.ndarray, "V 3 K"]) -> Float[np.ndarray, "N K"]:
    B = basis.reshape(-1, basis.shape[-1])
    return moves.reshape(len(moves), -1) @ B / (B**2).sum(0)


def _is_symmetric(basis: Float[np.ndarray, "V 3 K"], mirror: Int[np.ndarray, " V"]) -> np.ndarray:
    """Which components equal their mirror image; the others are its negative."""
    return (basis * (basis[mirror] * np.array([-1, 1, 1], np.float32)[:, None])).sum((0, 1)) > 0


def _mirror(X: Float[np.ndarray, "C 3"], part: dict[str, slice]) -> Int[np.ndarray, " C"]:
    """Context vertex on the other side for each context vertex of a symmetric head."""
    mirror = np.zeros(len(X), np.int64)
    for where in part.values():
        mirror[where] = where.start + cKDTree(X[where]).query(X[where] * [-1, 1, 1])[1]
    return mirror


def _regress(
    Y: Float[np.ndarray, "N C 3"],
    m: Float[np.ndarray, "N K"],
    mirror: Int[np.ndarray, " C"],
    symmetric: np.ndarray,
    centred: bool = True,
) -> tuple[Float[np.ndarray, "C 3"], Float[np.ndarray, "K C 3"]]:
    """Ridge regression of the samples and their mirror images on the coefficients."""
    flip = np.array([-1.0, 1.0, 1.0], np.float32)
    other = np.where(symmetric, m, -m)
    A = np.concatenate([m, other])
    mean = (Y.mean(0) + (Y[:, mirror] * flip).mean(0)) / 2 if centred else np.zeros(Y.shape[1:])
    gram = A.T @ A + RIDGE * len(A) * np.eye(m.shape[1])
    if centred:  # the coefficients of our people need not have zero mean
        a = A.mean(0)
        gram = gram - len(A) * np.outer(a, a)
    else:
        a = np.zeros(m.shape[1])
    right = np.tensordot(m - a, Y - mean, (0, 0)) + np.tensordot(other - a, Y[:, mirror] * flip - mean, (0, 0))
    B = np.linalg.solve(gram, right.reshape(len(gram), -1)).reshape(right.shape)
    return mean - np.tensordot(a, B, (0, 0)), B


def _spread(anatomy: Anatomy, X: Float[np.ndarray, "B 3"]) -> tuple[Float[np.ndarray, "B O"], Float[np.ndarray, " B"]]:
    """Harmonic averages of the rim for every body vertex, and its distance from the rim (mm)."""
    n, rim = len(X), anatomy.rim
    links = triangle_links(anatomy.triangles["body"], n)
    free = np.ones(n, bool)
    free[rim] = False
    L = (sp.diags_array(links.sum(1)) - links).tocsc()
    W = np.zeros((n, len(rim)))
    W[rim] = np.eye(len(rim))
    W[free] = -splu(L[free][:, free]).solve(L[free][:, rim].toarray())
    return W, cKDTree(X[rim]).query(X)[0]
