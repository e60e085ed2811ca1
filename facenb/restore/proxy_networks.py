"""The networks of the proxy: small encoders and decoders of 64-pixel photos (book: *Shape from one image by symmetry*).

After Wu et al. 2020, but pictures grow by bilinear doubling and a convolution, because transposed convolutions print
their grid into a depth map, and normals amplify it.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

LOWEST = 4  # side of the smallest map
PER_GROUP = 4  # channels that group norm normalises together


class VectorNetwork(nn.Module):
    """A photo → `outputs` numbers in (−1, 1): halving convolutions, then two layers on what is left."""

    def __init__(self, outputs: int, width: int = 16, size: int = 64):
        super().__init__()
        layers, channels = _halvings(width, size, norm=False)
        last = nn.Conv2d(8 * width, outputs, 1)
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 8 * width, LOWEST), nn.ReLU(), last)
        start_small(last)

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B outputs"]:
        return self.layers(x).flatten(1).tanh()


class MapNetwork(nn.Module):
    """A photo → `outputs` maps: halved to a vector of `latent` numbers, and from there doubled again.

    Without bridges from the way down to the way up: the answer lives in another frame than the photo, and must not lie
    where the photo shows it.
    """

    def __init__(self, outputs: int, width: int = 16, size: int = 64, latent: int | None = None):
        super().__init__()
        latent = 8 * width if latent is None else latent
        down, channels = _halvings(width, size, norm=True)
        up: list[nn.Module] = [nn.Conv2d(channels, latent, LOWEST), nn.ReLU()]
        up += [nn.ConvTranspose2d(latent, 8 * width, LOWEST), nn.ReLU()]
        channels, side = 8 * width, LOWEST
        while side < size:
            fewer = max(min(channels // 2, 4 * width), width)
            up += [*_convolution(channels, fewer), _doubling(), *_convolution(fewer, fewer)]
            channels, side = fewer, 2 * side
        last = nn.Conv2d(channels, outputs, 3, padding=1)
        self.layers = nn.Sequential(*down, *up, last)
        start_small(last)

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B outputs S S"]:
        return self.layers(x)


def start_small(layer: nn.Conv2d, sd: float = 0.01) -> None:
    """Let a layer begin by saying almost nothing."""
    nn.init.normal_(layer.weight, std=sd)
    nn.init.zeros_(layer.bias)


def _halvings(width: int, size: int, norm: bool) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    channels, wider, side = 3, width, size
    while side > LOWEST:
        layers += [nn.Conv2d(channels, wider, 4, stride=2, padding=1)]
        layers += [_norm(wider)] if norm and side > 2 * LOWEST else []
        layers += [nn.LeakyReLU(0.2)]
        channels, wider, side = wider, min(2 * wider, 8 * width), side // 2
    return layers, channels


def _convolution(channels: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, outputs, 3, padding=1), _norm(outputs), nn.LeakyReLU(0.2)]


def _doubling() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(channels // PER_GROUP, 1), channels)
