"""The depth map of a moved grid of points, with its gradient (book: *Depth, light and a pinhole*).

A depth map is a mesh: its pixels are vertices, and each square of four is cut into two triangles. Moved, the mesh is
drawn by the project's own rasteriser. Which triangle a pixel sees has no derivative, but the depth at which its ray
meets that triangle has. With the ray r = (x, y, 1), the triangle's normal n and a corner v₀,

    z = n·v₀ / n·r        and, moving corner k of it,        ∂z/∂v_k = b_k n / n·r,

b being the barycentrics of the hit point in space. Where a triangle is seen edge-on n·r vanishes and the gradient
explodes, though such triangles tell least. So the cosine between n and r is kept away from zero.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW
from facenb.rasterise import rasterise

STEEPEST = 0.05  # smallest cosine between a ray and a normal that the gradient believes


def rasterise_depth(
    X: Float[Tensor, "B H W 3"], fov: float = FIELD_OF_VIEW, steepest: float = STEEPEST
) -> tuple[Float[Tensor, "B H W"], Bool[Tensor, "B H W"]]:
    """The depth map that the pinhole camera sees of a grid of points, and where it sees any; depth is 0 elsewhere.

    Args:
        X: camera coordinates, z away from the camera and positive; a depth map's points, moved.
        fov: field of view across the picture's height, radians.

    Differentiable in X at fixed visibility. Raises ValueError for points that are not such a grid.
    """
    if X.ndim != 4 or X.shape[-1] != 3 or min(X.shape[1:3]) < 2:
        raise ValueError(f"a grid of points has shape (B, H, W, 3) with H, W ≥ 2; this one has {tuple(X.shape)}")
    return _DepthRaster.apply(X, fov, steepest)


@cache
def grid_triangles(height: int, width: int) -> Int[Tensor, "T 3"]:
    """Two triangles for each square of neighbouring pixels; all turn their front to the camera of the depth map."""
    first = torch.arange(height * width).reshape(height, width)[:-1, :-1].reshape(-1)
    right, below = first + 1, first + width
    return torch.stack([torch.stack([first, below, right], -1), torch.stack([right, below, below + 1], -1)], 1).reshape(
        -1, 3
    )


class _DepthRaster(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X, fov, steepest):
        B, H, W, _ = X.shape
        K = intrinsics_from_fov(fov, W, H, dtype=X.dtype).to(X.device)
        V = X.reshape(B, -1, 3)
        pixels = V[..., :2] / V[..., 2:] * K[0, 0] + K[:2, 2]  # square pixels, no skew
        triangles = grid_triangles(H, W).to(X.device)
        seen = rasterise(torch.cat([pixels, V[..., 2:]], -1), triangles, H, W)
        ctx.save_for_backward(X, seen.triangle, seen.barycentric)
        ctx.K, ctx.steepest = K, steepest
        mask = seen.mask
        ctx.mark_non_differentiable(mask)
        return torch.where(mask, seen.depth, 0).to(X.dtype), mask

    @staticmethod
    def backward(ctx, gradient, _):
        X, triangle, b = ctx.saved_tensors
        B, H, W, _ = X.shape
        if X.device.type == "cpu":
            result = torch.zeros_like(X)
            f, cx, cy = (float(k) for k in (ctx.K[0, 0], ctx.K[0, 2], ctx.K[1, 2]))
            arrays = (a.contiguous().numpy() for a in (X.reshape(B, -1, 3), gradient, triangle, b))
            _scatter(*arrays, grid_triangles(H, W).numpy(), f, cx, cy, ctx.steepest, result.reshape(B, -1, 3).numpy())
            return result, None, None
        return _scatter_anywhere(X, gradient, triangle, b, ctx.K, ctx.steepest), None, None


def _scatter_anywhere(X, gradient, triangle, b, K, steepest) -> Float[Tensor, "B H W 3"]:
    """The gradient by whole tensors: what `_scatter` does pixel by pixel."""
    B, H, W, _ = X.shape
    image, y, x = (triangle >= 0).nonzero().unbind(-1)  # N each
    corner = grid_triangles(H, W).to(X.device)[triangle[image, y, x]]  # N 3
    v = X.reshape(B, -1, 3)[image[:, None], corner]  # N 3 3
    n = torch.nn.functional.normalize(torch.linalg.cross(v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]), dim=-1, eps=1e-30)
    r = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x, dtype=X.dtype)], -1)  # N 3
    cosine = (n * r).sum(-1)
    cosine = torch.where(cosine < 0, -1.0, 1.0) * cosine.abs().clamp(min=steepest)
    share = (gradient[image, y, x] / cosine)[:, None, None] * b[image, y, x][:, :, None] * n[:, None]  # N 3 3
    place = (image[:, None] * (H * W) + corner).reshape(-1)
    return X.new_zeros(B * H * W, 3).index_add(0, place, share.reshape(-1, 3)).reshape(X.shape)


@numba.njit(cache=True)
def _scatter(X, gradient, triangle, barycentric, T, f, cx, cy, steepest, result):
    B, H, W = triangle.shape
    for image in range(B):
        for y in range(H):
            for x in range(W):
                t = triangle[image, y, x]
                if t < 0 or gradient[image, y, x] == 0:
                    continue
                i, j, k = T[t, 0], T[t, 1], T[t, 2]
                a, p, q = X[image, i], X[image, j], X[image, k]
                ux, uy, uz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
                vx, vy, vz = q[0] - a[0], q[1] - a[1], q[2] - a[2]
                nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
                size = np.sqrt(nx * nx + ny * ny + nz * nz)
                if size < 1e-30:
                    continue
                nx, ny, nz = nx / size, ny / size, nz / size
                cosine = nx * (x - cx) / f + ny * (y - cy) / f + nz
                if abs(cosine) < steepest:
                    cosine = -steepest if cosine < 0 else steepest
                g = gradient[image, y, x] / cosine
                for c, v in enumerate((i, j, k)):
                    share = g * barycentric[image, y, x, c]
                    result[image, v, 0] += share * nx
                    result[image, v, 1] += share * ny
                    result[image, v, 2] += share * nz
