"""Which pixels enter the least squares (book: *Two linear problems*).

A linear system over all pixels of all images of a batch would cost too much, and its answer hardly changes when most of
them are left out. Section C of the supplement of Koizumi & Smith 2020 draws 10,000 of the confident ones.

Conventions: pixel coordinates are (x right, y down), integer at pixel centres, (0, 0) the centre of the top-left pixel.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample


def sample_pixels(
    confidence: Float[Tensor, "B H W"], n: int, generator: torch.Generator, threshold: float = 1e-3
) -> Int[Tensor, "B S"]:
    """Flat indices (row · W + column) of n different pixels per image, drawn by the rule of section C.

    At random among the pixels whose confidence exceeds `threshold` times the image's maximum; where fewer than n
    qualify, all of them and a random choice of the others. An image with fewer than n pixels gives all it has: S =
    min(n, H·W).

    Args:
        confidence: per-pixel confidence w ≥ 0.
        generator: source of the randomness, on the device of `confidence`.

    Raises ValueError if n < 1 or a confidence is not finite.
    """
    if n < 1:
        raise ValueError(f"cannot sample {n} pixels: ask for at least one")
    if not torch.isfinite(confidence).all():
        raise ValueError("confidence has NaN or infinite entries: look at the network that predicted it")
    w = confidence.detach().flatten(1)  # B H·W
    qualifies = w > threshold * w.amax(dim=1, keepdim=True)
    lot = torch.rand(w.shape, generator=generator, device=w.device)  # in [0, 1)
    lot = torch.where(qualifies, lot, lot - 1)  # whoever qualifies goes before whoever does not
    return lot.topk(min(n, w.shape[1]), dim=1).indices


def pixel_coordinates(index: Int[Tensor, "B S"], width: int, dtype: torch.dtype) -> Float[Tensor, "B S 2"]:
    """(x, y) in pixels of the flat indices of an image `width` pixels wide."""
    return torch.stack([index % width, index // width], dim=-1).to(dtype)


def gather_pixels(image: Float[Tensor, "B C H W"], index: Int[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
    """The values of an image (or of a map that a network predicted) at flat indices; differentiable in the image."""
    flat = image.flatten(2).transpose(1, 2)  # B H·W C
    return flat.gather(1, index[..., None].expand(-1, -1, image.shape[1]))


def sample_between(image: Float[Tensor, "B C H W"], x: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K C"]:
    """The values of an image between its pixels, bilinear; outside, those of its rim."""
    size = x.new_tensor([image.shape[-1], image.shape[-2]])
    grid = ((2 * x + 1) / size - 1)[:, :, None]
    return grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[..., 0].mT
