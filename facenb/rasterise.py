"""Which triangle does a pixel see, and where on it? (book: *Cameras*, *From a photo to a face*)

Visibility is kept apart from shading: `rasterise` answers the question once, as `Fragments`; `interpolate` then
carries any vertex attribute (colour, normal, uv) to the pixels.

Conventions: vertices are (x, y) in pixels, integers at pixel *centres*, y down, and the camera depth z (mm, positive in
front of the camera). A triangle is straight in space, not in the picture: with λ the barycentrics in the image plane,

    1/z = Σ λ_i / z_i,    b_i = (λ_i / z_i) z,                                        (perspective-correct barycentrics)

so that Σ b_i z_i = z and Σ b_i X_i is the point of the triangle behind the pixel. A mesh in the plane (the UV square)
has equal depths everywhere; then b = λ.

On a CPU this is a z-buffer in plain loops, compiled by numba and run in one thread: about a millisecond for a face.
On CUDA the same question goes to PyTorch3D (`facenb.rasterise_cuda`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

Cull = Literal["none", "back", "front"]

# A vertex farther out lies all but in the camera's own plane; float64 edge functions would lose their last digits.
FARTHEST_PIXEL = 1e7


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees. Where it sees nothing: triangle −1, barycentric 0, depth ∞."""

    triangle: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]

    @property
    def mask(self) -> Tensor:
        """True where a triangle is seen (B, H, W)."""
        return self.triangle >= 0


def rasterise(
    vertices: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    height: int,
    width: int,
    *,
    near: float = 1e-6,
    cull: Cull = "none",
) -> Fragments:
    """The nearest triangle in each pixel, with perspective-correct barycentrics and depth.

    Args:
        vertices: x px, y px, camera depth mm; float32 or float64.
        triangles: vertex indices, the same for the whole batch.
        near: a triangle with a vertex at depth ≤ near is dropped whole (no clipping: the camera never cuts a face).
        cull: "back" drops triangles that turn their back to the camera, "front" the others, "none" draws both.

    A pixel belongs to a triangle if its centre lies inside. A centre exactly on an edge that two triangles share
    belongs to one of them (the top-left rule), so that closed meshes have neither cracks nor double coverage. Among
    triangles at the same depth the first wins: the answer is deterministic. Triangles with a vertex that is not
    finite, or farther than `FARTHEST_PIXEL` from the origin, are dropped.

    Visibility itself has no derivative. If `vertices` requires a gradient, barycentrics and depth carry it *at fixed
    visibility*: the triangle seen by the pixel moves, the pixel goes on seeing it.

    Raises ValueError for wrong shapes or types, indices out of range, near ≤ 0 or an unknown `cull`.
    """
    _check(vertices, triangles, height, width, near, cull)
    with torch.no_grad():
        if vertices.device.type == "cpu":
            fragments = _rasterise_cpu(vertices, triangles, height, width, near, cull)
        else:
            from facenb.rasterise_cuda import rasterise_pytorch3d

            fragments = rasterise_pytorch3d(vertices, triangles, height, width, near=near, cull=cull)
    if torch.is_grad_enabled() and vertices.requires_grad:
        b, z = differentiable_barycentrics(vertices, triangles, fragments)
        fragments = Fragments(fragments.triangle, b, z)
    return fragments


def interpolate(
    fragments: Fragments, triangles: Int[Tensor, "T 3"], attributes: Float[Tensor, "B V C"] | Float[Tensor, "V C"]
) -> Float[Tensor, "B H W C"]:
    """Vertex attributes carried to the pixels: Σ b_i A_i; 0 where nothing is seen.

    Differentiable in the attributes and in the barycentrics, through which the gradient reaches the vertices (see
    `rasterise`). `attributes` without a batch dimension serve all images.
    """
    B, H, W = fragments.triangle.shape
    attributes = attributes.expand(B, *attributes.shape[-2:])
    V, C = attributes.shape[-2:]
    b = fragments.barycentric.to(attributes.dtype)
    if b.device.type == "cpu" and not (torch.is_grad_enabled() and (b.requires_grad or attributes.requires_grad)):
        values = b.new_empty(B, H, W, C)
        A, T = attributes.detach().contiguous().numpy(), triangles.contiguous().numpy()
        _interpolate(fragments.triangle.numpy(), b.detach().numpy(), T, A, values.numpy())
        return values
    seen, corner = _seen(fragments, triangles, V)  # N, N 3
    b = b.reshape(-1, 3).index_select(0, seen)  # N 3
    values = embedding_bag(corner, attributes.reshape(B * V, C), per_sample_weights=b, mode="sum")  # N C
    return values.new_zeros(B * H * W, C).index_copy(0, seen, values).reshape(B, H, W, C)


def differentiable_barycentrics(
    vertices: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"], fragments: Fragments
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Barycentrics and depth of the pixels in the triangles they see, as differentiable functions of the vertices.

    With the pixel p as the origin, λ_i is the signed area that p spans with the edge opposite to corner i.
    """
    B, H, W = fragments.triangle.shape
    seen, corner = _seen(fragments, triangles, vertices.shape[1])  # N, N 3
    X = vertices.reshape(-1, 3)[corner]  # N 3 3
    p = torch.stack([seen % W, seen // W % H], -1)  # N 2
    (x0, x1, x2), (y0, y1, y2) = ((X[..., i] - p[:, i, None]).unbind(-1) for i in (0, 1))  # N
    area = torch.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0], -1)  # N 3
    weight = area / area.sum(-1, keepdim=True) / X[..., 2]  # λ_i / z_i, N 3
    z = 1 / weight.sum(-1)  # N
    b = X.new_zeros(B * H * W, 3).index_copy(0, seen, weight * z[:, None]).reshape(B, H, W, 3)
    return b, X.new_full((B * H * W,), math.inf).index_copy(0, seen, z).reshape(B, H, W)


def _seen(fragments: Fragments, triangles: Tensor, n_vertices: int) -> tuple[Int[Tensor, " N"], Int[Tensor, "N 3"]]:
    """Flat indices of the pixels that see something, and of the three vertices (of all B · V) that each sees."""
    seen = (fragments.triangle.reshape(-1) >= 0).nonzero()[:, 0]  # N
    corner = triangles.index_select(0, fragments.triangle.reshape(-1).index_select(0, seen))  # N 3
    if fragments.triangle.shape[0] > 1:
        corner = corner + n_vertices * (seen // fragments.triangle[0].numel())[:, None]
    return seen, corner


def _check(vertices: Tensor, triangles: Tensor, height: int, width: int, near: float, cull: str) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices must be (B, V, 3): x px, y px, depth; got {tuple(vertices.shape)}")
    if vertices.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"vertices must be float32 or float64, got {vertices.dtype}: pixels need more digits than that"
        )
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise ValueError(f"triangles must be (T, 3), got {tuple(triangles.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"an image needs at least one pixel, got {height} × {width}")
    if not near > 0:
        raise ValueError(f"near must be positive, got {near}: 1/z is needed of every vertex")
    if cull not in ("none", "back", "front"):
        raise ValueError(f'cull must be "none", "back" or "front", got {cull!r}')
    if len(triangles):
        low, high = (int(bound) for bound in triangles.aminmax())
        if low < 0 or high >= vertices.shape[1]:
            raise ValueError(f"triangle indices run from {low} to {high}, but there are {vertices.shape[1]} vertices")


def _rasterise_cpu(vertices: Tensor, triangles: Tensor, height: int, width: int, near: float, cull: str) -> Fragments:
    B = vertices.shape[0]
    triangle = torch.full((B, height, width), -1, dtype=torch.int64)
    barycentric = vertices.new_zeros(B, height, width, 3)
    depth = vertices.new_full((B, height, width), math.inf)
    X = vertices.detach().contiguous().numpy()
    T = triangles.detach().contiguous().numpy()
    sign = {"none": 0, "back": -1, "front": 1}[cull]  # y points down: a triangle that shows its front has negative area
    for i in range(B):
        _z_buffer(X[i], T, near, sign, triangle[i].numpy(), barycentric[i].numpy(), depth[i].numpy())
    return Fragments(triangle, barycentric, depth)


@numba.njit(cache=True)
def _owns_edge(A: float, B: float) -> bool:
    """Top-left rule for the edge function A x + B y + C ≥ 0: of an edge and its reverse exactly one is owned."""
    return A > 0 or (A == 0 and B > 0)


@numba.njit(cache=True, error_model="numpy")  # every divisor is positive: see the checks
def _z_buffer(X, T, near, sign, triangle, barycentric, depth):
    """Draw the triangles T of the vertices X (V, 3) into the pixel arrays. All arithmetic is in float64.

    E_i(x, y) = A_i x + B_i y + C_i is twice the signed area that the pixel spans with the edge opposite to corner i.
    The same edge seen from the neighbouring triangle has A, B, C negated *bit for bit*, hence E too: a pixel is never
    lost between the two by rounding.
    """
    H, W = triangle.shape
    nearest = np.zeros((H, W))  # 1/z; the larger, the nearer
    for t in range(T.shape[0]):
        i, j, k = T[t, 0], T[t, 1], T[t, 2]
        x0, y0, z0 = np.float64(X[i, 0]), np.float64(X[i, 1]), np.float64(X[i, 2])
        x1, y1, z1 = np.float64(X[j, 0]), np.float64(X[j, 1]), np.float64(X[j, 2])
        x2, y2, z2 = np.float64(X[k, 0]), np.float64(X[k, 1]), np.float64(X[k, 2])
        if not (near < z0 < np.inf and near < z1 < np.inf and near < z2 < np.inf):  # also catches NaN
            continue
        left, right, top, bottom = min(x0, x1, x2), max(x0, x1, x2), min(y0, y1, y2), max(y0, y1, y2)
        if not (
            left > -FARTHEST_PIXEL and right < FARTHEST_PIXEL and top > -FARTHEST_PIXEL and bottom < FARTHEST_PIXEL
        ):
            continue
        first_x, last_x = max(math.ceil(left), 0), min(math.floor(right), W - 1)
        first_y, last_y = max(math.ceil(top), 0), min(math.floor(bottom), H - 1)
        if first_x > last_x or first_y > last_y:
            continue

        A0, B0, C0 = y1 - y2, x2 - x1, x1 * y2 - x2 * y1
        A1, B1, C1 = y2 - y0, x0 - x2, x2 * y0 - x0 * y2
        A2, B2, C2 = y0 - y1, x1 - x0, x0 * y1 - x1 * y0
        area = B2 * A1 - B1 * A2  # twice the signed area, from differences: exact where it counts
        if area == 0.0 or sign * area < 0:
            continue
        if area < 0:
            A0, B0, C0, A1, B1, C1, A2, B2, C2 = -A0, -B0, -C0, -A1, -B1, -C1, -A2, -B2, -C2
        w0, w1, w2 = 1 / z0, 1 / z1, 1 / z2

        for y in range(first_y, last_y + 1):
            row0, row1, row2 = B0 * y + C0, B1 * y + C1, B2 * y + C2
            for x in range(first_x, last_x + 1):
                E0, E1, E2 = A0 * x + row0, A1 * x + row1, A2 * x + row2
                lowest = min(E0, E1, E2)
                if lowest < 0:
                    continue
                if lowest == 0 and (
                    (E0 == 0 and not _owns_edge(A0, B0))
                    or (E1 == 0 and not _owns_edge(A1, B1))
                    or (E2 == 0 and not _owns_edge(A2, B2))
                ):
                    continue
                total = E0 + E1 + E2  # = |area|; using the sum keeps every λ in [0, 1]
                if total <= 0:
                    continue
                b0, b1, b2 = E0 * w0, E1 * w1, E2 * w2
                s = b0 + b1 + b2
                w = s / total  # 1/z
                if w > nearest[y, x]:
                    nearest[y, x] = w
                    triangle[y, x] = t
                    barycentric[y, x, 0] = b0 / s
                    barycentric[y, x, 1] = b1 / s
                    barycentric[y, x, 2] = b2 / s
                    depth[y, x] = 1 / w


@numba.njit(cache=True)
def _interpolate(triangle, barycentric, T, attributes, values):
    """Σ b_i A_i written into `values` (B, H, W, C): what embedding_bag computes, without a list of the pixels."""
    B, H, W, C = values.shape
    for image in range(B):
        for y in range(H):
            for x in range(W):
                t = triangle[image, y, x]
                if t < 0:
                    for c in range(C):
                        values[image, y, x, c] = 0
                    continue
                b0, b1, b2 = barycentric[image, y, x, 0], barycentric[image, y, x, 1], barycentric[image, y, x, 2]
                i, j, k = T[t, 0], T[t, 1], T[t, 2]
                for c in range(C):
                    values[image, y, x, c] = (
                        b0 * attributes[image, i, c] + b1 * attributes[image, j, c] + b2 * attributes[image, k, c]
                    )
