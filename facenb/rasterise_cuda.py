"""The same question as `facenb.rasterise`, answered by PyTorch3D: on CUDA at speed, on a CPU as an independent witness.

PyTorch3D has its own picture plane. Its x points *left* and its y *up*; the shorter side of the image spans [−1, 1],
the longer one more, in proportion; a pixel's centre is half a pixel inside. With s the shorter side in pixels,

    x_ndc = (W − 1 − 2 x) / s,    y_ndc = (H − 1 − 2 y) / s.

What differs from our own z-buffer: everything is float32, a pixel centre exactly on an edge is nobody's, and
triangles of less than about 10⁻⁸ s² px² are dropped.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.rasterise import FARTHEST_PIXEL, Cull, Fragments


def to_ndc(vertices: Float[Tensor, "*batch V 3"], height: int, width: int) -> Float[Tensor, "*batch V 3"]:
    """Vertices (x px, y px, depth) in PyTorch3D's normalised device coordinates; the depth stays as it is."""
    x, y, z = vertices.unbind(-1)
    s = min(height, width)
    return torch.stack([(width - 1 - 2 * x) / s, (height - 1 - 2 * y) / s, z], -1)


def rasterise_pytorch3d(
    vertices: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    height: int,
    width: int,
    *,
    near: float = 1e-6,
    cull: Cull = "none",
) -> Fragments:
    """What `facenb.rasterise.rasterise` returns, on any device; the barycentrics in the type of `vertices`."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # takes seconds to import: only where needed
    from pytorch3d.structures import Meshes

    B, T = vertices.shape[0], triangles.shape[0]
    keep = _drawable(vertices, triangles, near, cull)  # B T
    kept = [k.nonzero()[:, 0] for k in keep]
    meshes = Meshes(
        list(torch.nan_to_num(to_ndc(vertices, height, width), posinf=0, neginf=0).float()),
        [triangles.index_select(0, k) for k in kept],
    )
    face, z, b, _ = rasterize_meshes(
        meshes, (height, width), blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
    )
    face, z, b = face[..., 0], z[..., 0], b[..., 0, :]  # B H W, B H W, B H W 3
    mask = face >= 0
    original = torch.cat(kept) if T else triangles.new_zeros(0)  # PyTorch3D numbers the faces of the batch in a row
    triangle = torch.full_like(face, -1)
    triangle[mask] = original[face[mask]]
    return Fragments(
        triangle.reshape(B, height, width),
        torch.where(mask[..., None], b, 0).to(vertices.dtype),
        torch.where(mask, z, math.inf).to(vertices.dtype),
    )


def _drawable(vertices: Tensor, triangles: Tensor, near: float, cull: Cull) -> Tensor:
    """Which triangles may be drawn: all corners finite, near enough to the image, beyond `near`, not culled."""
    corner = vertices[:, triangles]  # B T 3 3
    x, y, z = corner.unbind(-1)  # B T 3
    keep = (z > near) & (z < math.inf) & (x.abs() < FARTHEST_PIXEL) & (y.abs() < FARTHEST_PIXEL)
    keep = keep.all(-1)
    if cull != "none":
        area = (x[..., 1] - x[..., 0]) * (y[..., 2] - y[..., 0]) - (x[..., 2] - x[..., 0]) * (y[..., 1] - y[..., 0])
        keep &= area < 0 if cull == "back" else area > 0  # y points down
    return keep  # B T
