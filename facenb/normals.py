"""Surface normals of a triangle mesh (used by every chapter that lights or draws a face).

Conventions: triangles run counterclockwise seen from outside, so that the right-hand rule gives normals that point
out of the face. Normals live in the space of the vertices: model coordinates in, model coordinates out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize


def triangle_normals(X: Float[Tensor, "*batch V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "*batch T 3"]:
    """Normals of the triangles, *not* normalised: their length is twice the triangle's area (X's unit squared)."""
    i, j, k = triangles.unbind(-1)
    a = X.index_select(-2, i)  # *batch T 3
    return torch.linalg.cross(X.index_select(-2, j) - a, X.index_select(-2, k) - a)


def vertex_normals(X: Float[Tensor, "*batch V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "*batch V 3"]:
    """Unit normals at the vertices: the mean of the triangles that meet there, each weighted by its area.

    Differentiable in X. The area weight costs nothing, because the cross product already carries it, and it keeps
    slivers quiet. A vertex of no triangle, or of degenerate ones only, gets the zero vector (and a zero gradient),
    never NaN.
    """
    N = triangle_normals(X, triangles)  # *batch T 3
    total = torch.zeros_like(X)
    for corner in triangles.unbind(-1):
        total = total.index_add(-2, corner, N)
    return normalize(total, dim=-1)  # *batch V 3
