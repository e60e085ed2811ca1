"""What a head is made of, for whoever draws it (book: *It learns*).

A head is a list of parts: the face model's own mesh, and everything around and in front of it. A part is a triangle
mesh with a colour at every vertex and a little about its material; light, shadow and camera are not its business.

Units mm, x to the subject's left, y up, z forward, the origin that of the face model. Colours are albedo in sRGB
display values. NumPy throughout: heads are drawn by the thousand, and nothing here needs a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Part:
    """One mesh with its material.

    Attributes:
        name: "face", "body", "hair", "glasses", ...
        vertices: mm.
        triangles: counterclockwise seen from outside; thin sheets (hair, cloth) are seen from both sides.
        colour: albedo, sRGB in [0, 1].
        occlusion: share of the sky that the vertex sees, 1 in the open.
        specular: strength of the highlight, 0 matt to 1 mirror-like.
        gloss: sharpness of the highlight: the exponent of Blinn and Phong.
        alpha: ragged edges: the part is absent in a pixel where the interpolated alpha, plus noise if wanted, is below
            a half. None: present everywhere.
        texture_noise: standard deviation of the brightness, as a factor, that strands or cloth vary by from pixel to
            pixel, beyond what the vertex colours already hold.
        opacity: of a translucent part, such as the lenses of glasses: colour = opacity · own + (1 − opacity) · behind.
            The highlight comes on top. 1 for all others.
        normals: unit, or None: those of the mesh itself. Face and body have theirs, since their seam must not show.
    """

    name: str
    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    colour: Float[np.ndarray, "V 3"]
    occlusion: Float[np.ndarray, " V"]
    specular: float = 0.0
    gloss: float = 10.0
    alpha: Float[np.ndarray, " V"] | None = None
    texture_noise: float = 0.0
    opacity: float = 1.0
    normals: Float[np.ndarray, "V 3"] | None = None


@dataclass(frozen=True)
class Head:
    """A person as drawn: parts, and the face model's coefficients that shaped them.

    Attributes:
        parts: the face is `parts[face]`; its mesh is the open model's, vertex for vertex. Any other part in front of it
            covers it.
        identity, expression, albedo: coefficients of the open model. The face's colours are those of `albedo`, except
            where paint that no model knows lies on the skin (stubble, make-up, another colour of the eyes).
        traits: what was drawn, by name: "hair", "hat", "glasses", "beard", ... For tests and captions.
    """

    parts: list[Part]
    face: int
    identity: Float[np.ndarray, " Nid"]
    expression: Float[np.ndarray, " Nex"]
    albedo: Float[np.ndarray, " Nal"]
    traits: dict[str, str]
