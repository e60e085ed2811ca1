"""Section D of the supplement again: how well does one spherical harmonic follow the reciprocal of another?

(Book: *Light on a face*.) The supplement draws four random lights, "constant lighting with intensity 0.9" plus random
coefficients of σ = 0.2, the same for all channels, fits inverse lights at 100,000 random points of the sphere, and
prints the errors of the intensity. We draw as many lights as we like: the printed numbers become four samples of a
distribution.

How we read the text: the intensity 0.9 is a *value of the shading*, so the constant coefficient is 0.9 √(4π); the noise
is added to all nine coefficients of the orthonormal basis. (With 0.9 as the constant *coefficient* the shading averages
0.25, most lights turn negative somewhere, and errors as small as the printed ones are rare.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.lighting import SH_CONSTANTS, Weight, inverse_light, shade

PRINTED_MAX = (0.049, 0.109, 0.123, 0.272)  # Fig. 11 of the supplement, four samples
PRINTED_RMS = (0.019, 0.043, 0.029, 0.058)


class IntensityError(NamedTuple):
    """Largest and root-mean-square difference between 1 / (F g) and F l over the directions, one per light."""

    maximum: Float[Tensor, " N"]
    rms: Float[Tensor, " N"]


def random_lights(
    n: int, generator: torch.Generator, mean: float = 0.9, sigma: float = 0.2, dtype: torch.dtype | None = None
) -> Float[Tensor, "n 1 9"]:
    """n random lights of one channel: shading `mean` everywhere plus noise of `sigma` on each coefficient."""
    light = sigma * torch.randn(n, 1, 9, generator=generator, dtype=torch.float64, device=generator.device)
    light[..., 0] += mean / SH_CONSTANTS[0]
    return light.to(dtype or torch.get_default_dtype())


def inverse_light_errors(
    lights: Float[Tensor, "N 1 9"], directions: Float[Tensor, "S 3"], weight: Weight = "plain", chunk: int = 50
) -> IntensityError:
    """Errors of the intensity between each light and its fitted inverse, `chunk` lights at a time to bound the memory.

    Raises ValueError if a light is negative in one of the directions.
    """
    maxima, rms = [], []
    for some in lights.split(chunk):
        error = 1 / shade(inverse_light(some, directions, weight), directions) - shade(some, directions)  # chunk 1 S
        maxima.append(error.abs().amax(-1)[:, 0])
        rms.append(error.square().mean(-1).sqrt()[:, 0])
    return IntensityError(torch.cat(maxima), torch.cat(rms))
