"""A head as the renderer wants it: all parts in one list of triangles, with a row of material for each part."""

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Int

from facenb.heads import Head
from facenb.snapshots.shading import VERTEX
from facenb.snapshots.visibility import normals

# Parts that lie on the face like skin does: a pixel that sees one of them still sees the face. Of all others (hair,
# rims and lenses of glasses, hands, hats, teeth) the face is behind.
WORN_AS_SKIN = ("face", "beard", "moustache", "stubble", "brow", "lash")
STRANDS = ("hair", "beard", "moustache", "brow", "fur")
CLOSED = ("face", "body")
SKIN = ("face", "body", "neck", "ear", "hand", "skin")


@dataclass(frozen=True)
class Scene:
    """V vertices and n triangles of all parts.

    Attributes:
        V: position (mm), unit normal (both in model coordinates), sRGB albedo, openness to the sky and wetness
            of each vertex.
        opacity: probability with which a vertex covers a sample (see `facenb.snapshots.visibility`).
        part_of: of each triangle.
        shadow_triangles, shadow_part_of: the same surfaces in fewer triangles, which cast nearly the same shadow.
        material: see `facenb.snapshots.shading.expose`.
        as_skin: for each part, 1 if a pixel that sees it counts as a pixel of the face.
        closed: for each part, whether its inside can never be seen.
    """

    V: Float[np.ndarray, "V 11"]
    T: Int[np.ndarray, "n 3"]
    opacity: Float[np.ndarray, " V"]
    part_of: Int[np.ndarray, " n"]
    shadow_triangles: Int[np.ndarray, "s 3"]
    shadow_part_of: Int[np.ndarray, " s"]
    material: Float[np.ndarray, "parts 6"]
    as_skin: Int[np.ndarray, " parts"]
    closed: Bool[np.ndarray, " parts"]


def build_scene(head: Head, wet: Float[np.ndarray, " F"], face_shadow: Int[np.ndarray, "f 3"]) -> Scene:
    """Join the head's parts. `wet` is 1 where the face model's vertices shine like an eye, 0 where like skin;
    `face_shadow` are the triangles that cast its shadow (see `coarse_triangles`).

    What the parts' names mean for strands, skin and the mask is decided here and nowhere else.
    """
    sizes = [len(p.vertices) for p in head.parts]
    counts = [len(p.triangles) for p in head.parts]
    first, start = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([[0], np.cumsum(counts)])
    V = np.empty((first[-1], VERTEX), np.float32)
    T = np.empty((start[-1], 3), np.int32)
    opacity = np.ones(len(V), np.float32)
    material = np.zeros((len(head.parts), 6), np.float32)
    dry = np.zeros(max(sizes), np.float32)
    for i, part in enumerate(head.parts):
        X = _f32(part.vertices)
        if part.normals is None:
            N = np.empty_like(X)
            normals(X, part.triangles, N)
        else:
            N = _f32(part.normals)
        wetness = wet if i == head.face else dry
        _join(X, N, _f32(part.colour), _f32(part.occlusion), wetness, V[first[i] : first[i + 1]])
        np.add(part.triangles, np.int32(first[i]), out=T[start[i] : start[i + 1]])
        if part.alpha is not None:  # present where alpha + U(±0.1) > ½
            opacity[first[i] : first[i + 1]] = np.clip(5 * part.alpha - 2, 0, 1)
        if part.opacity < 1:
            opacity[first[i] : first[i + 1]] *= part.opacity
        strands = part.name.startswith(STRANDS)
        material[i] = (
            part.specular / max(part.opacity, 0.15),  # a highlight lies on top, however clear the glass
            part.gloss,
            part.texture_noise,
            1.6 if strands else 0.9,
            12.0 if strands else 1.0,
            0.18 if part.name.startswith(SKIN) else 0.0,
        )
    part_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    f = head.face
    return Scene(
        V=V,
        T=T,
        opacity=opacity,
        part_of=part_of,
        shadow_triangles=np.concatenate([face_shadow + np.int32(first[f]), T[: start[f]], T[start[f + 1] :]]),
        shadow_part_of=np.concatenate(
            [np.full(len(face_shadow), f, np.int32), part_of[: start[f]], part_of[start[f + 1] :]]
        ),
        material=material,
        as_skin=np.array([p.name.startswith(WORN_AS_SKIN) for p in head.parts], np.int32),
        closed=np.array([p.name in CLOSED for p in head.parts]),
    )


def _f32(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)


@numba.njit(cache=True)
def _join(position, normal, colour, openness, wetness, rows):
    """What is known about the vertices of a part, into `rows` (V, 11) of the scene."""
    for v in range(rows.shape[0]):
        for c in range(3):
            rows[v, c], rows[v, 3 + c], rows[v, 6 + c] = position[v, c], normal[v, c], colour[v, c]
        rows[v, 9], rows[v, 10] = openness[v], wetness[v]


def coarse_triangles(X: Float[np.ndarray, "V 3"], T: Int[np.ndarray, "T 3"], cell: float) -> Int[np.ndarray, "C 3"]:
    """Fewer triangles over the same vertices: those of a cube of side `cell` (mm) are replaced by one of them."""
    _, cube = np.unique(np.floor(X / cell), axis=0, return_inverse=True)
    middle = np.stack([np.bincount(cube, x) for x in X.T], -1) / np.bincount(cube)[:, None]
    order = np.argsort(-np.linalg.norm(X - middle[cube], axis=1))
    chosen = np.empty(len(middle), np.int64)
    chosen[cube[order]] = order  # the last to be written is the nearest to the middle
    T = chosen[cube[T]]
    T = T[(T[:, 0] != T[:, 1]) & (T[:, 1] != T[:, 2]) & (T[:, 2] != T[:, 0])]
    first = T.argmin(1)[:, None]
    return np.unique(np.take_along_axis(T, (first + np.arange(3)) % 3, 1), axis=0).astype(np.int32)
