"""A generative prior for albedo: from random numbers to a skin that could exist (book: *A prior for faces*).

Restoring a photo means inventing what it does not show. What may be invented is said by a *prior*: a network that turns
a code z ~ N(0, I) into a canonical albedo, and that has learnt from many of them. Here it has two parts,

    a(z) = mean + Σ_k z_k s_k u_k  +  G(z)

the principal components u_k of the albedos with their standard deviations s_k, and a convolutional generator G for what
is not linear in the code, hair lines above all. Alone, either is worse: components blur every edge that moves from
face to face, and a generator that must make everything spends its training on the colour of skin. In each of its
convolutions the code decides how much of every channel passes (Karras et al. 2020, as scales before a normalisation).

G can also be *modulated*: half of the channels at a resolution are scaled and shifted by maps from outside (Wang et al.
2021, GFP-GAN). So a network that sees the damaged photo steers the prior (`facenb.restore.albedo_restorer`).

The prior knows the skin of the morphable model that it was trained on, or of whatever pictures it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

LOWEST = 4  # side of the smallest map
CORRECTION = 0.2  # factor of G's output
START = 0.1  # standard deviation of its last weights

Modulation = Mapping[int, tuple[Tensor, Tensor]]  # side → scale and shift, (B, half of the channels, side, side)


@dataclass(frozen=True)
class PriorOptions:
    """How a prior is built.

    Attributes:
        size: side of the albedo, pixels, a power of two.
        codes: numbers in a code.
        style: numbers that convolutions are told about a code.
        width: channels at the full size; each halving of the side doubles them, up to four times as many.
    """

    size: int = 64
    codes: int = 64
    style: int = 96
    width: int = 24

    def channels(self, side: int) -> int:
        """Channels of the maps with this side."""
        return self.width * min(self.size // side, 4)

    @property
    def sides(self) -> list[int]:
        """4, 8, …, size."""
        return [side for side in (LOWEST * 2**n for n in range(20)) if side <= self.size]


class AlbedoPrior(nn.Module):
    """a(z). The linear part is set by `fit`, the generator is trained."""

    kind = "albedo-prior"

    def __init__(self, options: PriorOptions = PriorOptions(), seed: int = 0):
        super().__init__()
        self.options = options
        S, first = options.size, options.channels(LOWEST)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.principal = nn.Linear(options.codes, 3 * S * S).requires_grad_(False)  # s_k u_k, and the mean
            self.style = nn.Sequential(
                nn.Linear(options.codes, options.style),
                nn.LeakyReLU(0.2),
                nn.Linear(options.style, options.style),
                nn.LeakyReLU(0.2),
            )
            self.start = nn.Parameter(torch.randn(1, first, LOWEST, LOWEST))
            self.blocks = nn.ModuleList()
            channels = first
            for side in options.sides:
                self.blocks.append(_Block(channels, options.channels(side), side, options.style))
                channels = options.channels(side)
            self.to_colour = nn.Conv2d(channels, 3, 1)
            nn.init.normal_(self.to_colour.weight, std=START)  # from 0 it would take hundreds of steps to leave
            nn.init.zeros_(self.to_colour.bias)

    def forward(self, z: Float[Tensor, "B K"], modulation: Modulation | None = None) -> Float[Tensor, "B 3 S S"]:
        """The albedo of each code, about in [0, 1]."""
        S, w = self.options.size, self.style(z)
        x = self.start.expand(len(z), -1, -1, -1)
        for side, block in zip(self.options.sides, self.blocks, strict=True):
            x = block(x, w)
            if modulation and side in modulation:
                x = modulated(x, *modulation[side])
        return self.principal(z).view(-1, 3, S, S) + CORRECTION * self.to_colour(x)

    @torch.no_grad()
    def fit(self, albedos: Float[Tensor, "N 3 S S"]) -> None:
        """Mean and principal components of these albedos become the linear part.

        Raises ValueError for albedos of another size, or for not more of them than the code has numbers.
        """
        S, K = self.options.size, self.options.codes
        if albedos.shape[1:] != (3, S, S):
            raise ValueError(f"albedos of shape {tuple(albedos.shape[1:])}, this prior draws (3, {S}, {S})")
        if len(albedos) <= K:
            raise ValueError(f"{len(albedos)} albedos for {K} components; at least {K + 1} are needed")
        x = albedos.flatten(1).double()
        mean = x.mean(0)
        x = x - mean
        variance, vectors = torch.linalg.eigh(x @ x.T / len(x))  # N × N, smaller than pixels × pixels
        variance, vectors = variance.flip(0)[:K], vectors.flip(1)[:, :K]
        directions = x.T @ vectors / len(x) ** 0.5  # 3S² K: s_k u_k
        directions = directions * directions.sum(0).sign()  # an eigenvector's sign means nothing: brighter is positive
        self.principal.weight.copy_(directions)
        self.principal.bias.copy_(mean)

    def encode(self, albedo: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K"]:
        """The code whose linear part is nearest to an albedo, in standard deviations."""
        W = self.principal.weight  # 3S² K
        return (albedo.flatten(1) - self.principal.bias) @ W / W.square().sum(0)

    def linear(self, z: Float[Tensor, "B K"]) -> Float[Tensor, "B 3 S S"]:
        """The albedo by principal components alone."""
        return self.principal(z).view(len(z), 3, self.options.size, self.options.size)


def modulated(
    x: Float[Tensor, "B C s s"], scale: Float[Tensor, "B half s s"], shift: Float[Tensor, "B half s s"]
) -> Float[Tensor, "B C s s"]:
    """The last half of the channels scaled and shifted; the others carry on what the prior wanted."""
    free = x.shape[1] - scale.shape[1]
    return torch.cat([x[:, :free], x[:, free:] * (1 + scale) + shift], 1)


class _Block(nn.Module):
    """Two convolutions at one resolution, and what is always there: a learnt map that no code changes."""

    def __init__(self, channels: int, outputs: int, side: int, style: int):
        super().__init__()
        self.side = side
        self.first, self.second = _Convolution(channels, outputs, style), _Convolution(outputs, outputs, style)
        self.place = nn.Parameter(0.1 * torch.randn(1, outputs, side, side))

    def forward(self, x: Tensor, w: Float[Tensor, "B style"]) -> Tensor:
        if x.shape[-1] != self.side:
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.second(self.first(x, w) + self.place, w)


class _Convolution(nn.Module):
    """Channels scaled by the style, a 3 × 3 convolution, and each pixel's channels brought to length one."""

    def __init__(self, channels: int, outputs: int, style: int):
        super().__init__()
        self.scale = nn.Linear(style, channels)
        self.convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        nn.init.normal_(self.scale.weight, std=0.1)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, w: Float[Tensor, "B style"]) -> Tensor:
        x = self.convolution(x * self.scale(w)[:, :, None, None])
        return leaky_relu(x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt(), 0.2)
