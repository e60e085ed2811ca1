"""GRN, the geometry restoration network: wrinkles for a smooth face (book: *Restoring albedo and geometry*).

The proxy's depth is nearly the same for all faces, because so many photos agree on nothing finer. From the restored
texture and that depth GRN says a small displacement towards the viewer, which shading then has to confirm.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from facenb.restore.proxy import RELIEF
from facenb.restore.proxy_networks import start_small

LARGEST = 0.02  # displacement, units of the distance to the face: 20 mm
EDGE = 1.025  # depth at which the face ends; what lies behind it stays where it is


class GeometryRestorer(nn.Module):
    """GRN: a small U-Net. A fresh one says almost nothing."""

    def __init__(self, width: int = 16, channels: int = 3):
        """`channels` of what it looks at beside the depth."""
        super().__init__()
        w = width
        self.one = nn.Conv2d(channels + 1, w, 3, padding=1)
        self.two = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.three = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(4 * w, 4 * w, 3, padding=1)
        self.up_two = nn.Conv2d(6 * w, 2 * w, 3, padding=1)
        self.up_one = nn.Conv2d(3 * w, w, 3, padding=1)
        self.last = nn.Conv2d(w, 1, 3, padding=1)
        start_small(self.last, 1e-3)

    def forward(self, texture: Float[Tensor, "B C S S"], depth: Float[Tensor, "B S S"]) -> Float[Tensor, "B S S"]:
        """The displacement that is to be added to the depth, within ±0.02, and 0 behind the face."""
        relief = (depth - depth.mean((1, 2), keepdim=True)) / RELIEF
        one = leaky_relu(self.one(torch.cat([2 * texture - 1, relief[:, None]], 1)), 0.2)
        two = leaky_relu(self.two(one), 0.2)
        deep = leaky_relu(self.middle(leaky_relu(self.three(two), 0.2)), 0.2)
        two = leaky_relu(self.up_two(torch.cat([_doubled(deep), two], 1)), 0.2)
        one = leaky_relu(self.up_one(torch.cat([_doubled(two), one], 1)), 0.2)
        return LARGEST * self.last(one)[:, 0].tanh() * (depth < EDGE)


def _doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
