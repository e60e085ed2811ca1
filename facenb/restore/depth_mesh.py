"""A canonical depth map as a mesh with a texture, for whoever wants to turn it elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.depth_light import depth_to_points
from facenb.restore.depth_raster import grid_triangles
from facenb.restore.studio import UNIT
from facenb.restore.view import MIDDLE
from facenb.rotation import FRONTAL

BEHIND = 0.03  # depth behind the middle, units of the distance to the face, from where on it is background


class DepthMesh(NamedTuple):
    """Vertices in mm in model coordinates (x to the subject's left, y up, z forward); uv with v down."""

    vertices: Float[Tensor, "V 3"]
    triangles: Int[Tensor, "T 3"]
    uv: Float[Tensor, "V 2"]


def depth_mesh(depth: Float[Tensor, "S S"]) -> DepthMesh:
    """The mesh of the face's own pixels: those that lie at most 30 mm behind the middle of the head.

    Raises ValueError if there are none.
    """
    S = depth.shape[-1]
    X = (depth_to_points(depth[None])[0] - depth.new_tensor(MIDDLE)) * UNIT * depth.new_tensor(FRONTAL)
    face = (depth - MIDDLE[2] < BEHIND).flatten()
    triangles = grid_triangles(S, S).to(depth.device)
    triangles = triangles[face[triangles].all(1)]
    if not len(triangles):
        raise ValueError("no pixel of this depth map belongs to a face")
    used, triangles = triangles.unique(return_inverse=True)
    y, x = used // S, used % S
    uv = (torch.stack([x, y], 1).to(depth.dtype) + 0.5) / S
    return DepthMesh(X.reshape(-1, 3)[used], triangles, uv)
