"""Rasterisation Π: the canonical face as the photo's camera sees it (book: *Depth, light and a pinhole*).

    canonical depth d  →  points  →  moved by the view ω  →  rasterised depth z of the view             (`view_depth`)
    z  →  points  →  moved back by ω⁻¹  →  where each pixel of the view lies in the canonical picture   (`lookup`)
    texture t, sampled there  →  the reconstructed photo                                               (`sample`)

The texture is warped *backwards*, so that every pixel of the view gets exactly one colour and gradients flow to the
texture, to the depth and to the view. Source: Zhang et al. 2022, supplement, equation (2); Wu et al. 2020.

A pixel of coordinate x covers [x − ½, x + ½]; a picture of W pixels ends at −½ and W − ½. PyTorch's sampler calls those
ends −1 and 1 with `align_corners=False`, and the centres of the outermost pixels with True. The public code of the
method computed positions by the second convention, and since PyTorch 1.3 has sampled by the first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW, depth_to_points
from facenb.restore.depth_raster import rasterise_depth
from facenb.restore.view import Viewpoint, from_view, to_view

FAR = 1.2  # depth of what the view sees no face at


class Rendering(NamedTuple):
    """The canonical face in a view.

    Attributes:
        image: the texture, warped; whatever lies at the texture's border where nothing is seen.
        depth: camera depth of each pixel of the view, `FAR` where nothing is seen.
        mask: where something is seen.
        lookup: pixel (x, y) of the canonical picture that each pixel of the view shows.
    """

    image: Float[Tensor, "B C H W"]
    depth: Float[Tensor, "B H W"]
    mask: Bool[Tensor, "B H W"]
    lookup: Float[Tensor, "B H W 2"]


def render_view(
    depth: Float[Tensor, "B H W"], texture: Float[Tensor, "B C H W"], view: Viewpoint, fov: float = FIELD_OF_VIEW
) -> Rendering:
    """Π: canonical depth and texture in a view. Differentiable in all three, at fixed visibility.

    Raises ValueError where the sizes do not belong together, or for a depth map that is not positive.
    """
    if texture.ndim != 4 or (texture.shape[0], *texture.shape[2:]) != tuple(depth.shape):
        raise ValueError(f"texture {tuple(texture.shape)} does not match depth {tuple(depth.shape)}: (B, C, H, W)")
    z, mask = view_depth(depth, view, fov)
    place = lookup(z, view, fov)
    return Rendering(sample(texture, place), z, mask, place)


def view_depth(
    depth: Float[Tensor, "B H W"], view: Viewpoint, fov: float = FIELD_OF_VIEW
) -> tuple[Float[Tensor, "B H W"], Bool[Tensor, "B H W"]]:
    """The depth map of the moved face, `FAR` where the view sees none of it, and where it sees some."""
    z, mask = rasterise_depth(to_view(depth_to_points(depth, fov), view), fov)
    return torch.where(mask, z, FAR), mask


def lookup(z: Float[Tensor, "B H W"], view: Viewpoint, fov: float = FIELD_OF_VIEW) -> Float[Tensor, "B H W 2"]:
    """Where the points at depth z of the view lie in the canonical picture, pixels."""
    X = from_view(depth_to_points(z, fov), view)
    K = intrinsics_from_fov(fov, z.shape[2], z.shape[1], dtype=z.dtype).to(z.device)
    return X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]


def sample(picture: Float[Tensor, "B C H W"], pixels: Float[Tensor, "B h w 2"]) -> Float[Tensor, "B C h w"]:
    """A picture between its pixels, bilinearly; beyond the border, what is at the border."""
    size = pixels.new_tensor([picture.shape[3], picture.shape[2]])
    grid = (2 * pixels + 1) / size - 1
    return grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def unwrap(
    photo: Float[Tensor, "B C H W"],
    depth: Float[Tensor, "B h w"],
    view: Viewpoint,
    fov: float = FIELD_OF_VIEW,
    tolerance: float = 0.004,
) -> tuple[Float[Tensor, "B C h w"], Bool[Tensor, "B h w"]]:
    """The way back: what the photo shows at each pixel of the canonical picture, and where the photo sees that at all.

    A point is seen if it lies at most `tolerance` behind the depth map of the view. Differentiable in photo, depth and
    view, at fixed visibility.
    """
    z, _ = view_depth(depth, view, fov)
    X = to_view(depth_to_points(depth, fov), view)  # B h w 3
    K = intrinsics_from_fov(fov, photo.shape[3], photo.shape[2], dtype=X.dtype).to(X.device)
    pixels = X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]
    nearest = sample(z[:, None], pixels.detach())[:, 0]
    inside = ((pixels >= -0.5) & (pixels <= pixels.new_tensor([photo.shape[3], photo.shape[2]]) - 0.5)).all(-1)
    return sample(photo, pixels), inside & (X[..., 2] <= nearest + tolerance)
