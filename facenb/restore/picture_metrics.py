"""How alike are two pictures? Two answers: one for the numbers, one for the eye.

PSNR counts every pixel's error. A blurred face has a good one. GMSD (Xue et al. 2014) compares how steep the pictures
are, which is what eyes look at, and asks how unevenly the likeness is spread:

    s = (2 g h + c) / (g² + h² + c),   GMSD = standard deviation of s over the picture

with g, h the lengths of the two pictures' gradients (Prewitt, luminance). Lower is better, 0 is equal. It needs no
trained network, and on photos judged by people it is as good as measures that do.

Light and albedo can only be told apart up to a factor, so albedos are compared after the best gain of each channel.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d

LUMINANCE = (0.299, 0.587, 0.114)
CONTRAST = 170 / 255**2  # c, for pictures in [0, 1]
SHORTEST = 1e-10  # a gradient's square is at least so much, or its length had no derivative


def psnr(
    picture: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"], where: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio of pictures in [0, 1], dB, over the pixels `where`."""
    return -10 * _mean((picture - truth).square().mean(1), where).log10()


def gmsd(
    picture: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], where: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, " B"]:
    """Gradient magnitude similarity deviation of pictures in [0, 1], over the pixels `where`."""
    g, h = (_steepness(p) for p in (picture, truth))
    s = (2 * g * h + CONTRAST) / (g**2 + h**2 + CONTRAST)  # B H W
    mean = _mean(s, where)
    return _mean((s - mean[:, None, None]) ** 2, where).clamp(min=0).sqrt()


def with_gain(
    picture: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"], where: Bool[Tensor, "B H W"]
) -> Float[Tensor, "B C H W"]:
    """The picture times the number for each channel that brings it nearest to the truth over the pixels `where`."""
    w = where[:, None].to(picture.dtype)
    gain = (picture * truth * w).sum((2, 3)) / (picture.square() * w).sum((2, 3)).clamp(min=1e-6)
    return picture * gain[:, :, None, None]


def _steepness(picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W"]:
    """Length of the gradient of luminance."""
    grey = (picture * picture.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    prewitt = picture.new_tensor([[1.0, 0, -1]] * 3) / 3
    kernels = torch.stack([prewitt, prewitt.T])[:, None]
    padded = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    return (conv2d(padded, kernels).square().sum(1) + SHORTEST).sqrt()


def _mean(values: Float[Tensor, "B H W"], where: Bool[Tensor, "B H W"] | None) -> Float[Tensor, " B"]:
    if where is None:
        return values.mean((1, 2))
    return torch.where(where, values, 0).sum((1, 2)) / where.sum((1, 2))
