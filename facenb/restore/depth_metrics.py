"""How good is a depth map? Two errors of the line of work, and one number that shows a hollow face.

    SIDE = √( mean δ² − (mean δ)² ),   δ = log z − log z*          scale-invariant depth error, printed × 100
    MAD  = mean angle between n and n*                             mean angle deviation of normals, degrees

Both are taken where prediction and truth see the face, without the outermost pixel of either mask, whose depth is half
background. SIDE forgives a wrong distance: a factor common to all depths cancels in the logarithm. MAD forgives it too.
Sources: Eigen et al. 2014 (SIDE), Wu et al. 2020 (MAD, and the use of both).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from facenb.depth_light import FIELD_OF_VIEW, depth_normals


def without_rim(mask: Bool[Tensor, "B H W"]) -> Bool[Tensor, "B H W"]:
    """The mask without its outermost pixels: those whose 3 × 3 neighbourhood is not all mask."""
    return max_pool2d((~mask)[:, None].float(), 3, 1, 1)[:, 0] == 0


def side(z: Float[Tensor, "B H W"], truth: Float[Tensor, "B H W"], where: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Scale-invariant depth error × 100 of each picture, over the pixels `where`; NaN where there are none.

    Raises ValueError if a depth there is not positive.
    """
    if not ((z > 0) & (truth > 0) | ~where).all():
        raise ValueError("depth must be positive wherever it is compared")
    w = where.to(z.dtype)
    n = w.sum((1, 2))  # B
    δ = torch.where(where, torch.where(where, z, 1).log() - torch.where(where, truth, 1).log(), 0)
    mean = δ.sum((1, 2)) / n
    return 100 * (((δ - mean[:, None, None]) ** 2 * w).sum((1, 2)) / n).sqrt()


def mad(
    z: Float[Tensor, "B H W"],
    truth: Float[Tensor, "B H W"],
    where: Bool[Tensor, "B H W"],
    fov: float = FIELD_OF_VIEW,
) -> Float[Tensor, " B"]:
    """Mean angle between the normals of two depth maps, degrees, over the pixels `where`; NaN where there are none."""
    chord = (depth_normals(z, fov) - depth_normals(truth, fov)).norm(dim=-1) / 2
    angle = torch.rad2deg(2 * torch.asin(chord.clamp(max=1)))
    return torch.where(where, angle, 0).sum((1, 2)) / where.sum((1, 2))


def relief_correlation(
    z: Float[Tensor, "B H W"], truth: Float[Tensor, "B H W"], where: Bool[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Correlation of two depth maps over the pixels `where`, in [−1, 1]. Negative: the face is hollow."""
    w = where.to(z.dtype)
    n = w.sum((1, 2), keepdim=True)
    a, b = ((d - (d * w).sum((1, 2), keepdim=True) / n) * w for d in (z, truth))
    return (a * b).sum((1, 2)) / ((a**2).sum((1, 2)) * (b**2).sum((1, 2))).sqrt()
