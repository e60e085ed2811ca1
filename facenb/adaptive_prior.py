"""Prior weights that adjust themselves, section G of the supplement (book: *Learning from residuals*).

How strongly should coefficient i be held near zero? Just so strongly that over many faces its mean square is one, which
is what the model says of real people. Each prior weight is therefore a controller's output: it grows by at most 1 % a
step while E[α_i²] > 1, and shrinks as slowly while E[α_i²] < 1:

    w_ij = clamp(k_ij E[w_i]_j, w_min, w_max),    k_ij = clamp(E[α_i²]_j, 0.99, 1.01)        (18)

E[·] are exponential averages in which the newest value has the weight δ = 0.05. (The scan has the two weights
the other way round; the loop then settles too, sooner and more jerkily. The chapter simulates both.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

UPDATE = 0.05  # δ
LARGEST_CHANGE = 0.01  # of a weight in a step
LIMITS = (1e-4, 1e4)  # w_min, w_max
START = 0.1  # E[α²]₀ and E[w]₀


@dataclass(frozen=True)
class AdaptivePrior:
    """Weight w_i of each squared coefficient, and the two running averages it follows from."""

    weight: Float[Tensor, " N"]
    mean_weight: Float[Tensor, " N"]
    mean_square: Float[Tensor, " N"]

    @staticmethod
    def start(n: int, weight: float = START) -> AdaptivePrior:
        """n weights as they begin."""
        w = torch.full((n,), weight)
        return AdaptivePrior(w, w, torch.full((n,), START))

    def after(self, square: Float[Tensor, " N"], update: float = UPDATE) -> AdaptivePrior:
        """The prior after a step whose coefficients had this mean square over the batch, equation (18)."""
        square = square.detach().to(self.weight)
        mean_square = torch.lerp(self.mean_square, square, update)
        k = mean_square.clamp(1 - LARGEST_CHANGE, 1 + LARGEST_CHANGE)
        weight = (k * self.mean_weight).clamp(*LIMITS)
        return replace(
            self, weight=weight, mean_weight=torch.lerp(self.mean_weight, weight, update), mean_square=mean_square
        )
