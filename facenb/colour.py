"""Display values and light: the sRGB curve, both ways (book: *Light on a face*).

A photo stores display values, bent so that the eye sees even steps. Light adds and multiplies in *linear* values. These
two functions translate; both are differentiable and keep their input's shape, device and type.

Conventions: 1 is white in both spaces. Nothing is clamped: below 0 the straight foot of the curve simply goes on, above
1 the power does, so that least-squares solutions that leave [0, 1] still come back.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_FOOT = 0.04045  # display value below which the curve is a straight line
_SLOPE = 12.92
_OFFSET = 0.055
_GAMMA = 2.4


def to_linear(srgb: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Linear light of display values: the exact piecewise curve, not the 2.2 power that resembles it.

    Source: IEC 61966-2-1.
    """
    curve = (
        (srgb.clamp(min=_FOOT) + _OFFSET) / (1 + _OFFSET)
    ) ** _GAMMA  # clamped: an unused NaN gradient still spreads
    return torch.where(srgb <= _FOOT, srgb / _SLOPE, curve)


def to_srgb(linear: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Display values of linear light, the inverse of `to_linear`.

    Source: IEC 61966-2-1.
    """
    foot = _FOOT / _SLOPE
    curve = (1 + _OFFSET) * linear.clamp(min=foot) ** (1 / _GAMMA) - _OFFSET
    return torch.where(linear <= foot, linear * _SLOPE, curve)
