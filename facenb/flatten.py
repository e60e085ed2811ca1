"""A face on a square: from any face model to a one-to-one map onto [0, 1]² (book: *Flattening a face*).

The rim of the face goes to the rim of the square, holes are closed, and `facenb.tutte` spreads the inside without
turning a triangle over.

Conventions: u to the right = the subject's left, v *down* (forehead at small v), both in [0, 1]; the mirror plane
x = 0 meets the rim at u = ½. Model coordinates in mm. A flattening is made once, in float64 on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.mesh_topology import (
    MeshError,
    boundary_loops,
    check_manifold,
    connected_components,
    edges,
    euler_characteristic,
    loop_length,
    vertex_adjacency,
)
from facenb.morphable_model import MorphableModel
from facenb.tutte import level_areas, mean_value_weights, triangle_areas, tutte_embedding

Weights = Literal["uniform", "mean-value", "stretch"]

# Where a face deserves more texels than its area claims: landmarks whose mean is the centre, radii of a Gaussian in
# x, y, z (mm), gain.
_FEATURES = (
    (slice(36, 42), (20, 14, 25), 1.0),  # right eye
    (slice(42, 48), (20, 14, 25), 1.0),  # left eye
    (slice(48, 68), (30, 18, 30), 0.7),  # mouth
    (slice(30, 31), (20, 24, 25), 0.6),  # nose, about its tip
)
_REGION_GAINS = (("eyes", 1.0), ("lips", 0.7), ("nose", 0.6))


@dataclass(frozen=True)
class Flattening:
    """A triangle mesh of V model vertices and a few auxiliary ones, laid out one-to-one on the unit square.

    Attributes:
        uv: positions, float64; the model's V vertices first, then the auxiliary vertices.
        triangles: counterclockwise seen from outside the face, which is counterclockwise in (u, −v).
        source: the model triangle of which each triangle is (a piece of); −1 for the fans that fill holes.
        outer: the rim of the square, counterclockwise in (u, −v).
        parents: for each auxiliary vertex the model vertices of which it is the mean, in every component.
        n_vertices: V, the number of model vertices.
    """

    uv: Float[Tensor, "W 2"]
    triangles: Int[Tensor, "T 3"]
    source: Int[Tensor, " T"]
    outer: Int[Tensor, " L"]
    parents: tuple[Int[Tensor, " k"], ...]
    n_vertices: int

    def extend(self, values: Float[Tensor, "V ..."]) -> Float[Tensor, "W ..."]:
        """Vertex values of the model with those of the auxiliary vertices appended (section A of the supplement)."""
        return torch.cat([values, *(values[p.to(values.device)].mean(0, keepdim=True) for p in self.parents)])


def flatten(model: MorphableModel, weights: Weights = "stretch", boost: float = 3.0, rounds: int = 10) -> Flattening:
    """Tutte embedding of the model's mean shape into the unit square; always one-to-one, or an error.

    The longest boundary (in mm) becomes the square's rim, by arc length. All other holes (mouth, in foreign models also
    eyes or nostrils) are filled by an auxiliary vertex each, joined to the whole rim of the hole.

    Args:
        weights: "uniform" (Tutte 1963: w = 1), "mean-value" (Floater 2003) or "stretch": mean value weights, then
            `rounds` rounds in the manner of Yoshizawa et al. 2004 that level the texels per mm².
        boost: with "stretch", how much denser than elsewhere texels shall lie at eyes (1 + boost), mouth and nose.
            0 asks for equal density. The places come from `landmarks68`, or from `regions`, or there are none.

    Raises MeshError if the mesh is not one piece of oriented surface with a boundary and without handles.
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}; got {weights!r}")
    if boost < 0 or rounds < 0:
        raise ValueError(f"boost and rounds must not be negative, got {boost} and {rounds}")
    X0 = model.shape_mean.detach().cpu().double()  # V 3
    loops = _boundaries(model.triangles.cpu(), X0)
    outer = loops[0]
    triangles, source, parents = _close(model.triangles.cpu(), outer, loops[1:], model.n_vertices)
    flat = Flattening(X0.new_zeros(model.n_vertices + len(parents), 2), triangles, source, outer, parents, len(X0))
    X = flat.extend(X0).numpy()  # W 3
    rim = square_rim(X[outer.numpy()])
    T = triangles.numpy()
    if weights == "uniform":
        uv = tutte_embedding(vertex_adjacency(triangles), outer.numpy(), rim)
    else:
        uv = tutte_embedding(mean_value_weights(X, T), outer.numpy(), rim)
    if weights == "stretch":
        feature = np.where(source.numpy() < 0, 0, _features(model, flat, X))  # nothing to see across a hole
        target = triangle_areas(X, T) * (1 + boost * feature)
        uv = level_areas(mean_value_weights(X, T), T, outer.numpy(), rim, target, rounds)
    flat = Flattening(torch.from_numpy(uv), triangles, source, outer, parents, len(X0))
    check_bijective(flat)
    return flat


def square_rim(P: Float[np.ndarray, "L 3"]) -> Float[np.ndarray, "L 2"]:
    """Places on the unit square's rim for the closed curve P (mm), by arc length, symmetric about the plane x = 0.

    The curve crosses x = 0 at the forehead, (½, 0), goes down on the left to the crossing under the chin, (½, 1), and
    up again on the right. In each half, the vertices nearest to a quarter and to three quarters of the way become the
    corners, so that the rim fills the whole square.
    """
    L = len(P)
    step = np.linalg.norm(np.roll(P, -1, axis=0) - P, axis=-1)
    s, length = np.concatenate([[0], np.cumsum(step)[:-1]]), step.sum()
    top, bottom = _mirror_crossings(P, s, step)
    s = (s - top) % length
    s[s > length * (1 - 1e-12)] = 0.0  # rounding must not send the top vertex once round
    middle = (bottom - top) % length
    left = s <= middle
    t = np.where(left, s / middle, (length - s) / (length - middle))  # 0 at the forehead, 1 at the chin, on both sides
    tau = np.empty(L)
    for half in (left, ~left):
        inside = np.flatnonzero(half)
        corner = [inside[np.abs(t[inside] - q).argmin()] for q in (0.25, 0.75)] if len(inside) > 1 else [0, 0]
        if corner[0] == corner[1]:
            raise MeshError(
                f"a boundary of {L} vertices is too short for the four corners of a square: refine the mesh"
            )
        # ½ along the top, 1 down the side, ½ along the bottom
        tau[inside] = np.interp(t[inside], [0, t[corner[0]], t[corner[1]], 1], [0, 0.5, 1.5, 2])
    u = np.maximum(0, np.maximum(0.5 - tau, tau - 1.5))
    return np.stack([np.where(left, u, 1 - u), (tau - 0.5).clip(0, 1)], axis=-1)


def signed_areas(flattening: Flattening) -> Float[Tensor, " T"]:
    """Area of each triangle in the square, positive where it keeps its orientation; they sum to 1."""
    a, b, c = flattening.uv[flattening.triangles].unbind(1)  # T 2
    e, f = b - a, c - a
    return (e[:, 1] * f[:, 0] - e[:, 0] * f[:, 1]) / 2  # v points down


def check_bijective(flattening: Flattening) -> None:
    """Raise MeshError with the number of flipped or flat triangles, unless the map is one-to-one.

    A disc whose rim runs once around the square and whose triangles all keep their orientation covers each point once.
    """
    bad = int((signed_areas(flattening) <= 0).sum())
    if bad:
        raise MeshError(
            f"{bad} of {len(flattening.triangles)} triangles lie flipped or flat in the square: the flattening is not "
            "one-to-one; use positive weights, and mend duplicate vertices and triangles in the mesh"
        )


def _boundaries(triangles: Tensor, X: Tensor) -> list[Tensor]:
    """Boundary loops, the longest in mm first, of a mesh that can be flattened; MeshError for any other."""
    check_manifold(triangles)
    if not X.isfinite().all():
        raise MeshError("the mean shape has vertices that are not finite: check the file it came from")
    label = connected_components(triangles, len(X))
    if len(lone := torch.bincount(triangles.reshape(-1), minlength=len(X)).eq(0).nonzero()):
        raise MeshError(f"{len(lone)} vertices, the first {int(lone[0])}, belong to no triangle: remove them")
    if label.any():
        sizes = ", ".join(map(str, sorted(label.bincount().tolist(), reverse=True)[:5]))
        raise MeshError(f"the mesh falls into {int(label.max()) + 1} pieces ({sizes} … vertices): keep the face alone")
    loops = sorted(boundary_loops(triangles), key=lambda loop: -float(loop_length(loop, X)))
    if not loops:
        raise MeshError("the mesh has no boundary to put on the square's rim: cut the face out of the closed surface")
    if handles := 2 - len(loops) - euler_characteristic(triangles):
        raise MeshError(f"the mesh has {handles // 2} handles: a square has none; cut them open")
    return loops


def _close(
    triangles: Tensor, outer: Tensor, holes: list[Tensor], n_vertices: int
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Fill holes by fans and split inner edges between two rim vertices → (triangles, source, parents).

    An inner edge between two vertices of the rim could end up *in* a side of the square and flatten all that it cuts
    off. Splitting it at its midpoint changes neither the surface nor any linear component on it, and gives Tutte's
    theorem the inner vertex that it needs.
    """
    T, source, parents = triangles.tolist(), list(range(len(triangles))), []
    for hole in holes:
        centre = n_vertices + len(parents)
        fan = [[b, a, centre] for a, b in zip(hole.tolist(), hole.roll(-1).tolist(), strict=True)]
        T, source, parents = T + fan, source + [-1] * len(fan), [*parents, hole]
    on_rim = torch.zeros(n_vertices, dtype=torch.bool).index_fill(0, outer, True)
    E = edges(triangles)
    along = torch.stack([outer, outer.roll(-1)], -1).sort(-1).values  # the rim's own edges
    rim_edges = set(map(tuple, along.tolist()))
    for a, b in map(tuple, E[on_rim[E].all(-1)].tolist()):
        if (a, b) in rim_edges:
            continue
        middle = n_vertices + len(parents)
        parents.append(torch.tensor([a, b]))
        for t in [t for t, corners in enumerate(T) if a in corners and b in corners]:
            T.append([middle if p == a else p for p in T[t]])
            source.append(source[t])
            T[t] = [middle if p == b else p for p in T[t]]
    return torch.tensor(T), torch.tensor(source), tuple(parents)


def _mirror_crossings(P: np.ndarray, s: np.ndarray, step: np.ndarray) -> tuple[float, float]:
    """Arc length at which the closed curve crosses x = 0, at the forehead and under the chin.

    Of several crossings those extreme in y − z count: up and back is "top" (also for a head cut off at the neck).
    """
    x, Q = P[:, 0], np.roll(P, -1, axis=0)
    crossing = (x == 0) | (x * Q[:, 0] < 0)
    f = np.where(x == 0, 0.0, x / np.where(x == Q[:, 0], 1, x - Q[:, 0]))[crossing]  # where on the edge
    if len(f) < 2:
        raise MeshError("the boundary does not cross the mirror plane x = 0: move the face's middle to x = 0")
    at = P[crossing] + f[:, None] * (Q - P)[crossing]
    height = at[:, 1] - at[:, 2]
    where = s[crossing] + f * step[crossing]
    return float(where[height.argmax()]), float(where[height.argmin()])


def _features(model: MorphableModel, flat: Flattening, X: np.ndarray) -> np.ndarray:
    """How much of a feature (eyes, mouth, nose) each triangle is, in [0, 1]; symmetric about x = 0."""
    T = flat.triangles.numpy()
    if len(model.landmarks68) == 68:
        marks = X[model.landmarks68.cpu().numpy()]
        centres = np.stack([marks[part].mean(0) for part, _, _ in _FEATURES])
        mirrored = centres[[1, 0, 2, 3]] * [-1, 1, 1]
        q = X[T].mean(axis=1)  # T 3
        return np.max(
            [
                gain * np.exp(-(((q - c) / radii) ** 2).sum(-1))
                for c, (_, radii, gain) in zip((centres + mirrored) / 2, _FEATURES, strict=True)
            ],
            axis=0,
        )
    known = [(name, gain) for name, gain in _REGION_GAINS if name in model.regions]
    at_vertices = [gain * flat.extend(model.regions[name].cpu().double()).numpy() for name, gain in known]
    return np.max([np.zeros(len(X)), *at_vertices], axis=0)[T].mean(axis=1)
