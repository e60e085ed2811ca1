"""Least squares that a few bad pixels cannot spoil (book: *Two linear problems*, *From a photograph to a face*).

Squares let one wild pixel outvote a hundred good ones. Iteratively reweighted least squares solves, looks at the
residuals, and solves again with Tukey's weight on each: near one within the noise, exactly zero beyond. The noise is
measured from the residuals themselves, by their median, which half of the pixels may not move.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GAUSSIAN_MAD = 1.4826  # a normal variable's standard deviation over its median absolute deviation
TUKEY = 4.685  # beyond this many standard deviations a residual counts nothing (95 % efficiency on Gaussian noise)

Answer = TypeVar("Answer")


def tukey_weight(distance: Float[Tensor, "*batch"], scale: Float[Tensor, "*#batch"] | float) -> Float[Tensor, "*batch"]:
    """(1 − (distance / 4.685 scale)²)², and 0 beyond: in [0, 1]. `distance` ≥ 0 in the units of `scale` > 0."""
    return (1 - (distance / (TUKEY * scale)).square()).clamp(min=0).square()


def robust_scale(
    distance: Float[Tensor, "B S"], among: Bool[Tensor, "B S"] | None = None, floor: float = 0.0
) -> Float[Tensor, "B 1"]:
    """The noise behind residual lengths: 1.48 times their median over the pixels `among`, per image."""
    if among is not None:
        distance = torch.where(among, distance, torch.nan)
    return (GAUSSIAN_MAD * distance.nanmedian(dim=1, keepdim=True).values).clamp(min=floor)


def reweighted(
    solve: Callable[[Float[Tensor, "B S"]], Answer],
    distance: Callable[[Answer], Float[Tensor, "B S"]],
    weight: Float[Tensor, "B S"],
    rounds: int = 2,
    floor: float = 1e-9,
) -> tuple[Answer, Float[Tensor, "B S"]]:
    """Solve, then `rounds` times again with large residuals discounted; the last answer and the weights behind it.

    Args:
        solve: the answer for given pixel weights.
        distance: length of each pixel's residual under an answer, ≥ 0.
        weight: of the first solution; later ones multiply it by `tukey_weight`.
        floor: smallest noise to believe in, in the units of `distance`; keeps a perfect fit from dividing by zero.

    The weights are constants to autograd: gradients run through the last solution only.
    """
    answer, trust = solve(weight), weight
    for _ in range(rounds):
        with torch.no_grad():
            length = distance(answer)
            trust = weight * tukey_weight(length, robust_scale(length, weight > 0, floor))
        answer = solve(trust)
    return answer, trust
