"""The morphable model as a picture: the UV-3DMM and its bilinear sampling (book: *Flattening a face*).

Every component of the model (means, each basis vector of shape and albedo, the normal of the mean) is rasterised over
the flattened face. Then the model is known at *any* point of the face, not at vertices only, and a network's answer
(u, v) selects a_j, B_j, c_j, D_j by interpolation, with a gradient in u and v.

Conventions: (u, v) in [0, 1]², v down; the centre of texel (row r, column c) lies at u = (c + ½)/W, v = (r + ½)/H.
Tables are *texel-major*: a row per texel, index r W + c, with all its numbers side by side, because a sample wants all
channels of four texels and memory is read in rows. Shape in mm, albedo in the model's colour space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from facenb.flatten import Flattening, flatten
from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals
from facenb.rasterise import rasterise

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class UVModel:
    """Texel-major tables of a flattened morphable model with `height` × `width` texels.

    Attributes:
        shape: (H·W, 3(Ns+1)), each row laid out as (3, Ns+1): B in mm per standard deviation and, last, the mean a.
        albedo: (H·W, 3(Nal+1)) likewise: D and, last, c.
        mean: (H·W, 6), a and c once more, never in half precision: ±100 mm in float16 would be rounded to 0.06 mm.
        normal: (H·W, 3), unit normals of the mean shape, model coordinates.
        valid: (H·W,), False where the texel lies in a filled hole (the mouth), where the model says nothing.
        landmarks_uv: the model's 68 landmarks in the square, or (0, 2).
    """

    shape: Float[Tensor, "HW 3*(Ns+1)"]
    albedo: Float[Tensor, "HW 3*(Nal+1)"]
    mean: Float[Tensor, "HW 6"]
    normal: Float[Tensor, "HW 3"]
    valid: Bool[Tensor, " HW"]
    height: int
    width: int
    n_shape: int
    n_albedo: int
    landmarks_uv: Float[Tensor, "68 2"]
    flattening: Flattening

    @property
    def n_bytes(self) -> int:
        """Memory of all tables."""
        return sum(t.numel() * t.element_size() for t in (self.shape, self.albedo, self.mean, self.normal, self.valid))

    def sample(self, table: Float[Tensor, "HW C"], uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch C"]:
        """Bilinear sample of one of this model's tables, see `sample_table`."""
        return sample_table(table, self.height, self.width, uv)

    def sample_shape(
        self, uv: Float[Tensor, "*batch 2"]
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3 Ns"]]:
        """Mean a and basis B (mm) at (u, v), so that the point of the face is a + B m. Views of one sample."""
        mean, basis = _split(self.sample(self.shape, uv))
        return (self.sample(self.mean[:, :3], uv) if self.shape.dtype in HALF else mean), basis

    def sample_albedo(
        self, uv: Float[Tensor, "*batch 2"]
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3 Nal"]]:
        """Mean c and basis D at (u, v), so that the albedo is c + D h, in the model's colour space."""
        mean, basis = _split(self.sample(self.albedo, uv))
        return (self.sample(self.mean[:, 3:], uv) if self.albedo.dtype in HALF else mean), basis

    def sample_normal(self, uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """Normal of the mean shape at (u, v), renormalised, since a mean of unit vectors is shorter than one."""
        return normalize(self.sample(self.normal, uv), dim=-1)

    def of_skin(self, h: Float[Tensor, " Nal"]) -> UVModel:
        """The model of all faces with the albedo c + D h: that is its mean, and no components of albedo are left."""
        D = self.albedo.to(self.mean.dtype).unflatten(-1, (3, -1))[..., :-1]  # HW 3 Nal
        skin = self.mean[:, 3:] + D @ h.to(D)
        mean = torch.cat([self.mean[:, :3], skin], 1)
        return replace(self, albedo=skin.to(self.albedo.dtype), mean=mean, n_albedo=0)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> UVModel:
        """Copy on another device or with `shape` and `albedo` in another type (float16 and bfloat16 halve the memory).

        A half-precision type leaves `mean`, `normal` and `landmarks_uv` in float32.
        """
        full = torch.float32 if dtype in HALF else dtype
        tables = {name: getattr(self, name).to(device=device, dtype=dtype) for name in ("shape", "albedo")}
        small = {name: getattr(self, name).to(device=device, dtype=full) for name in ("mean", "normal", "landmarks_uv")}
        return replace(self, **tables, **small, valid=self.valid.to(device))


def uv_model(
    model: MorphableModel,
    flattening: Flattening | None = None,
    resolution: int = 320,
    dtype: torch.dtype | None = None,
) -> UVModel:
    """Rasterise all components of `model` over the square, `resolution` texels each way (section A of the supplement).

    Args:
        flattening: by default `flatten(model)`.
        dtype: of the two big tables; by default the model's, which is float32 for every source. A full model (299 + 199
            components) has 1,500 numbers per texel: 614 MB in float32 at 320², half that in float16 or bfloat16, a
            quarter of it at 160². Half precision is not the default because it saves memory only: it moves a random
            face by 0.001 mm (float16) or 0.01 mm (bfloat16) RMS, but samples no faster on a CPU.

    The tables are filled in blocks, so that the peak is the result and a few MB. On the model's device.
    """
    flattening = flatten(model) if flattening is None else flattening
    device = model.shape_mean.device
    dtype = model.shape_mean.dtype if dtype is None else dtype
    triangle, b = locate_texels(flattening, resolution, resolution)
    corner = flattening.triangles[triangle].to(device)  # HW 3
    b = b.to(device, model.shape_mean.dtype)

    def spread(values: Tensor, dtype: torch.dtype) -> Tensor:
        """Vertex values (V, 3, n) → table (H·W, 3 n)."""
        values = flattening.extend(values.flatten(1))
        table = values.new_empty(len(corner), values.shape[1], dtype=dtype)
        for rows in torch.arange(len(corner), device=device).split(8192):
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
            table[rows] = embedding_bag(corner[rows], values, per_sample_weights=b[rows], mode="sum")
        return table

    full = torch.float32 if dtype in HALF else dtype
    X, c = model.shape_mean[..., None], model.albedo_mean[..., None]  # V 3 1
    N = vertex_normals(model.shape_mean, model.triangles)[..., None]
    return UVModel(
        shape=spread(torch.cat([model.identity_basis, model.expression_basis, X], -1), dtype),
        albedo=spread(torch.cat([model.albedo_basis, c], -1), dtype),
        mean=spread(torch.cat([X, c], 1), full),
        normal=normalize(spread(N, full), dim=-1),
        valid=(flattening.source[triangle] >= 0).to(device),
        height=resolution,
        width=resolution,
        n_shape=model.n_shape,
        n_albedo=model.n_albedo,
        landmarks_uv=flattening.uv[model.landmarks68.cpu()].to(device, full),
        flattening=flattening,
    )


def bilinear(
    uv: Float[Tensor, "*batch 2"], height: int, width: int
) -> tuple[Int[Tensor, "*batch 4"], Float[Tensor, "*batch 4"]]:
    """The four texels around (u, v), as rows of a table, and their weights; Σ = 1.

    In the order (r, c), (r, c+1), (r+1, c), (r+1, c+1). Outside the outermost
    texel centres the value is clamped: there the derivative across the rim is
    zero. The weights are differentiable in u and v; a coordinate that is not a
    number makes them NaN, the indices stay valid.
    """
    x = (uv[..., 0] * width - 0.5).clamp(0, width - 1)
    y = (uv[..., 1] * height - 0.5).clamp(0, height - 1)
    # clamped after the conversion too: that is undefined for NaN, and at the far
    # rim the last *pair* of texels is meant
    c = x.detach().floor().long().clamp(0, max(width - 2, 0))
    r = y.detach().floor().long().clamp(0, max(height - 2, 0))
    f, g = x - c, y - r
    right, down = min(1, width - 1), min(1, height - 1) * width
    first = r * width + c
    index = [first, first + right, first + down, first + down + right]
    weight = [(1 - f) * (1 - g), f * (1 - g), (1 - f) * g, f * g]
    return torch.stack(index, -1), torch.stack(weight, -1)


def sample_table(
    table: Float[Tensor, "HW C"],
    height: int,
    width: int,
    uv: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch C"]:
    """Bilinear samples of a texel-major table at (u, v).

    Differentiable in u and v, not in the table. Each sample is one weighted sum
    of four rows (`embedding_bag`); nothing of four times its size is made in
    between. Equal to `torch.nn.functional.grid_sample` on the transposed table,
    with `align_corners=False, padding_mode="border"`, and several times faster
    (`make bench`). A table in half precision is summed in its own type and
    returned in float32: it saves memory, not time.

    Raises ValueError if the table has not height · width rows.
    """
    if table.shape[0] != height * width:
        texels = f"{height} × {width} texels"
        raise ValueError(f"a table of {len(table)} rows for {texels}")
    index, weight = bilinear(uv.reshape(-1, 2), height, width)
    if table.dtype in HALF:
        samples = _HalfTable.apply(table, index, weight)
    else:
        w = weight.to(table.dtype)
        samples = embedding_bag(index, table, per_sample_weights=w, mode="sum")
    return samples.reshape(*uv.shape[:-1], table.shape[1])


def locate_texels(flattening: Flattening, height: int, width: int) -> tuple[Int[Tensor, " HW"], Float[Tensor, "HW 3"]]:
    """In which triangle of the flattening each texel centre lies, and its barycentric coordinates there (float64).

    The triangles tile the square; a centre that none claims, through rounding, takes the answer of the nearest texel.
    """
    size = torch.tensor([width, height], dtype=torch.float64)
    pixels = flattening.uv * size - 0.5
    flat = torch.cat([pixels, torch.ones_like(pixels[:, :1])], -1)  # any constant depth
    seen = rasterise(flat[None], flattening.triangles, height, width)
    triangle, b = seen.triangle[0], seen.barycentric[0]
    if not seen.mask.all():
        row, column = distance_transform_edt(~seen.mask[0].numpy(), return_distances=False, return_indices=True)
        triangle, b = triangle[row, column], b[row, column]
    return triangle.reshape(-1), b.reshape(-1, 3)


def texels_per_region(model: MorphableModel, flattening: Flattening, resolution: int = 320) -> dict[str, int]:
    """How many of the square's texels lie in each of the model's regions (weight above ½, filled holes excluded)."""
    triangle, b = locate_texels(flattening, resolution, resolution)
    face = flattening.source[triangle] >= 0
    corner = flattening.triangles[triangle]
    counts = {}
    for name, weight in model.regions.items():
        at_texel = (flattening.extend(weight.cpu().double())[corner] * b).sum(-1)  # HW
        counts[name] = int(((at_texel > 0.5) & face).sum())
    return counts


def texels_per_triangle(flattening: Flattening, resolution: int = 320) -> Int[np.ndarray, " T"]:
    """How many texel centres each triangle of the flattening holds; one with none leaves no trace in the tables."""
    triangle, _ = locate_texels(flattening, resolution, resolution)
    return np.bincount(triangle.numpy(), minlength=len(flattening.triangles))


def _split(sample: Float[Tensor, "*batch C"]) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3 N"]]:
    rows = sample.unflatten(-1, (3, -1))  # *batch 3 N+1
    return rows[..., -1], rows[..., :-1]


class _HalfTable(torch.autograd.Function):
    """embedding_bag of a half-precision table, with the gradient summed in float32: a dot product over a thousand
    channels in float16 may overflow at 65,504 and is rounded at every step."""

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index)
        ctx.weight_dtype = weight.dtype
        return embedding_bag(index, table, per_sample_weights=weight.to(table.dtype), mode="sum").float()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None, Tensor]:
        table, index = ctx.saved_tensors
        block = 256 if table.device.type == "cpu" else 65536  # on a CPU the rows of a block should stay in the cache
        parts = []
        for i, g in zip(index.split(block), gradient.split(block), strict=True):
            rows = table.index_select(0, i.reshape(-1)).to(g.dtype).unflatten(0, (-1, 4))  # n 4 C
            parts.append((rows @ g[..., None])[..., 0])
        return None, None, torch.cat(parts).to(ctx.weight_dtype) if parts else gradient.new_zeros(0, 4)
