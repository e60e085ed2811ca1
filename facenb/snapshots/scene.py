"""A head as the renderer wants it: all parts in one list of triangles, with a row of material for each part."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facenb.heads import Head
from facenb.snapshots.visibility import normals

# Parts that lie on the face like skin does: a pixel that sees one of them still sees the face. Of all others (hair,
# rims and lenses of glasses, hands, hats, teeth) the face is behind.
WORN_AS_SKIN = ("face", "beard", "moustache", "stubble", "brow", "lash")
STRANDS = ("hair", "beard", "moustache", "brow", "fur")
SKIN = ("face", "body", "neck", "ear", "hand", "skin")


@dataclass(frozen=True)
class Scene:
    """V vertices and n triangles of all parts.

    Attributes:
        X, N: positions (mm) and unit normals, model coordinates.
        colour: sRGB albedo.
        opacity: probability with which a vertex covers a sample (see `facenb.snapshots.visibility`).
        part_of: of each triangle.
        material: see `facenb.snapshots.shading`.
        face: first and last + 1 of the face model's vertices, and of its triangles.
        as_skin: for each part, whether a pixel that sees it counts as a pixel of the face.
    """

    X: Float[np.ndarray, "V 3"]
    N: Float[np.ndarray, "V 3"]
    T: Int[np.ndarray, "n 3"]
    colour: Float[np.ndarray, "V 3"]
    occlusion: Float[np.ndarray, " V"]
    opacity: Float[np.ndarray, " V"]
    part_of: Int[np.ndarray, " n"]
    material: Float[np.ndarray, "parts 6"]
    face_vertices: tuple[int, int]
    face_triangles: tuple[int, int]
    as_skin: tuple[bool, ...]


def build_scene(head: Head) -> Scene:
    """Join the head's parts; what their names mean for strands, skin and the mask is decided here and nowhere else."""
    sizes = [len(p.vertices) for p in head.parts]
    counts = [len(p.triangles) for p in head.parts]
    first, start = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([[0], np.cumsum(counts)])
    X = np.concatenate([p.vertices for p in head.parts]).astype(np.float32, copy=False)
    T = np.empty((start[-1], 3), np.int32)
    opacity = np.ones(len(X), np.float32)
    material = np.zeros((len(head.parts), 6), np.float32)
    for i, part in enumerate(head.parts):
        np.add(part.triangles, first[i], out=T[start[i] : start[i + 1]], casting="unsafe")
        if part.alpha is not None:  # present where alpha + U(±¼) > ½
            opacity[first[i] : first[i + 1]] = np.clip(2 * part.alpha - 0.5, 0, 1)
        if part.opacity < 1:
            opacity[first[i] : first[i + 1]] *= part.opacity
        strands = part.name.startswith(STRANDS)
        material[i] = (
            part.specular / max(part.opacity, 0.1),  # a highlight lies on top, however clear the glass
            part.gloss,
            part.texture_noise,
            1.6 if strands else 0.9,
            12.0 if strands else 1.0,
            0.18 if part.name.startswith(SKIN) else 0.0,
        )
    N = np.empty_like(X)
    normals(X, T, N)
    f = head.face
    return Scene(
        X=X,
        N=N,
        T=T,
        colour=np.concatenate([p.colour for p in head.parts]).astype(np.float32, copy=False),
        occlusion=np.concatenate([p.occlusion for p in head.parts]).astype(np.float32, copy=False),
        opacity=opacity,
        part_of=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        material=material,
        face_vertices=(int(first[f]), int(first[f + 1])),
        face_triangles=(int(start[f]), int(start[f + 1])),
        as_skin=tuple(p.name.startswith(WORN_AS_SKIN) for p in head.parts),
    )
