"""What the builder knows about the finished face mesh (book: *Morphable models*).

Units: mm. Axes: x to the subject's left, y up, z forward; the plane x = 0 is the mirror plane. Triangles
counterclockwise seen from outside. Arrays are NumPy float64 and int64: this is offline work, torch enters with the
finished model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int

from facenb.normals import vertex_normals


@dataclass(frozen=True)
class FaceMesh:
    """The mean face with everything that one may want to point at.

    Attributes:
        vertices: the mean, mm, exactly mirror-symmetric: vertices[mirror] == vertices * [-1, 1, 1].
        triangles: exactly mirror-symmetric as a set.
        mirror: vertex on the other side of the face for each vertex (itself on the midline).
        outer: loop of vertices around the cut face.
        mouth: loop of vertices around the hole of the mouth, hidden behind the lips.
        contact: loop of vertices where the lips touch: the visible mouth line.
        lids: loops of vertices along the rim of the (left, right) eyelids.
        eyes: inner vertices of the (left, right) eye patch, the visible part of the eyeball.
        landmarks68: the Multi-PIE landmarks, from the subject's right jaw.
        regions: vertex weights in [0, 1] by name, see `regions.py`.
    """

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    mirror: Int[np.ndarray, " V"]
    outer: Int[np.ndarray, " O"]
    mouth: Int[np.ndarray, " M"]
    contact: Int[np.ndarray, " C"]
    lids: tuple[Int[np.ndarray, " L"], Int[np.ndarray, " L"]]
    eyes: tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]
    landmarks68: Int[np.ndarray, " 68"] | None = None
    regions: dict[str, Float[np.ndarray, " V"]] = field(default_factory=dict)

    @property
    def normals(self) -> Float[np.ndarray, "V 3"]:
        """Unit normals of the mean."""
        return vertex_normals(torch.from_numpy(self.vertices), torch.from_numpy(self.triangles)).numpy()
