"""Lift the dark pixels before dividing by them (book: *Two linear problems*).

The photometric problem multiplies each pixel by a reciprocal of its light. A pixel near zero then says almost nothing,
and says it loudly. Section E of the supplement of Koizumi & Smith 2020 passes the picture through a softplus first and
its inverse when a picture is shown again.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def softplus_clamp(i: Float[Tensor, "*shape"], xi: float = 4.0) -> Float[Tensor, "*shape"]:
    """i' = log(1 + exp(ξ i)) / ξ: almost i where i is bright, never below 0, and log(2)/ξ at black.

    Args:
        i: colours in [0, 1]; any real number is accepted.
        xi: sharpness ξ of the clamp; the paper uses 4.

    Raises ValueError if ξ is not positive.
    """
    _check_sharpness(xi)
    return torch.logaddexp(xi * i, torch.zeros_like(i)) / xi


def softplus_unclamp(clamped: Float[Tensor, "*shape"], xi: float = 4.0) -> Float[Tensor, "*shape"]:
    """The inverse of `softplus_clamp`: i = log(exp(ξ i') − 1) / ξ, for showing a reconstructed picture.

    Values ≤ 0 are outside the range of the clamp and have no inverse; they are read as the smallest positive number,
    which gives a large negative colour: black after clipping to [0, 1].

    Raises ValueError if ξ is not positive.
    """
    _check_sharpness(xi)
    clamped = clamped.clamp_min(torch.finfo(clamped.dtype).tiny)
    return clamped + torch.log(-torch.expm1(-xi * clamped)) / xi


def _check_sharpness(xi: float) -> None:
    if not xi > 0:
        raise ValueError(f"the sharpness xi of the softplus clamp must be positive, got {xi}")
