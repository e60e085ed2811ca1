"""ARN, the albedo restoration network: a blurred albedo, and a prior that knows skin (book: *Restoring albedo and
geometry*).

The proxy's albedo of a degraded photo is a guess through a bottleneck. ARN looks at it beside the photo itself, brought
back to the canonical frame (`facenb.restore.warp.unwrap`), and at the photo's mirror image, because half of the face
may not be seen. What it says, it says through the prior:

    encoder  →  Δz, maps at each side s, a trust m  →  a = a_o + m ⊙ (prior(E(a_o) + Δz; scale_s, shift_s) − a_o)

The prior is frozen, its code and half of its channels are steered (Wang et al. 2021). A fresh ARN steers nothing and
trusts the prior by half: what it then adds is what the prior makes of the proxy's albedo.

The proxy has found its own idea of where "the front" is, of colours, and of what it does not know. `calibrate` learns
that from its albedos of some photos: pictures are moved into the prior's frame and back by one map for all faces, a
stretch in width and height and a vertical move, `register`; and the code, which should have mean 0 and variance 1,
loses its mean μ_k, while what varies more than it should is taken for noise and shrunk (Wiener's filter):

    z_k = (E(a_o)_k − μ_k) / max(1, σ_k²)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, leaky_relu

from facenb.restore.albedo_prior import AlbedoPrior, Modulation
from facenb.restore.proxy_networks import start_small

STEERED_FROM = 8  # side of the smallest maps that are modulated
BELIEF = 0.6  # part that `believed` takes from the prior
GUIDES = 11  # channels of what the encoder sees
SCALES = [0.8 + 0.02 * n for n in range(21)]  # tried by `register`
MOVES = [-0.2 + 0.02 * n for n in range(21)]


class AlbedoRestorer(nn.Module):
    """ARN. `prior` is used as it is; who wants it frozen keeps its parameters from the optimiser."""

    def __init__(self, prior: AlbedoPrior, width: int = 24):
        super().__init__()
        self.prior = prior
        options = prior.options
        sides = options.sides[::-1]  # from the full size down
        self.first = nn.Conv2d(GUIDES, width, 3, padding=1)
        self.down, self.steer = nn.ModuleList(), nn.ModuleDict()
        channels = width
        for side in sides:
            if side != options.size:
                wider = min(2 * channels, 4 * width)
                self.down.append(nn.Conv2d(channels, wider, 4, stride=2, padding=1))
                channels = wider
            if side >= STEERED_FROM:
                half = options.channels(side) - options.channels(side) // 2
                self.steer[str(side)] = nn.Conv2d(channels, 2 * half, 1)
                start_small(self.steer[str(side)], 1e-3)
        self.code = nn.Conv2d(channels, options.codes, sides[-1])
        start_small(self.code, 1e-3)
        self.trust = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(self.trust.bias)
        self.register_buffer("frame", torch.eye(2, 3))  # prior's picture coordinates → proxy's
        self.register_buffer("code_mean", torch.zeros(options.codes))
        self.register_buffer("code_variance", torch.ones(options.codes))

    def forward(
        self,
        albedo: Float[Tensor, "B 3 S S"],
        texture: Float[Tensor, "B 3 S S"],
        seen: Bool[Tensor, "B S S"],
    ) -> Float[Tensor, "B 3 S S"]:
        """The restored albedo from the proxy's, what the photo shows there, and where it does; about in [0, 1]."""
        drawn, trust = self.opinion(albedo, texture, seen)
        return albedo + trust * (drawn - albedo)

    def opinion(
        self,
        albedo: Float[Tensor, "B 3 S S"],
        texture: Float[Tensor, "B 3 S S"],
        seen: Bool[Tensor, "B S S"],
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
        """What the steered prior draws, and how far to trust it, in [0, 1]."""
        evidence = torch.cat([albedo, guides(albedo, texture, seen)], 1).detach()  # no path for gradients
        there = _moved(evidence, self.frame)
        x = leaky_relu(self.first(there[:, 3:]), 0.2)
        trust = self.trust(x).sigmoid()
        modulation: Modulation = {}
        stages = iter(self.down)
        for side in self.prior.options.sides[::-1]:
            if x.shape[-1] != side:
                x = leaky_relu(next(stages)(x), 0.2)
            if side >= STEERED_FROM:
                modulation[side] = tuple(self.steer[str(side)](x).chunk(2, 1))
        z = self.encode(there[:, :3]) + self.code(x).flatten(1)
        back = _moved(torch.cat([self.prior(z, modulation), trust], 1), _inverse(self.frame))
        return back[:, :3], back[:, 3:].clamp(0, 1)

    def encode(self, albedo: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K"]:
        """The calibrated code of an albedo in the prior's frame."""
        return (self.prior.encode(albedo) - self.code_mean) / self.code_variance.clamp(min=1)

    @torch.no_grad()
    def calibrate(self, albedos: Float[Tensor, "N 3 S S"]) -> None:
        """Learn the proxy's frame, and the moments of its codes, from its albedos of photos."""
        S = self.prior.options.size
        mean = self.prior.linear(torch.zeros(1, self.prior.options.codes))[0]
        self.frame.copy_(register(albedos.mean(0), mean.view(3, S, S)))
        codes = self.prior.encode(_moved(albedos, self.frame))
        self.code_mean.copy_(codes.mean(0))
        self.code_variance.copy_(codes.var(0))

    @torch.no_grad()
    def believed(self, albedo: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """A proxy's albedo, and what the prior makes of it, mixed by `BELIEF`: a target to learn."""
        drawn = self.prior(self.encode(_moved(albedo, self.frame)))
        return albedo + BELIEF * (_moved(drawn, _inverse(self.frame)) - albedo)


def guides(albedo: Tensor, texture: Tensor, seen: Bool[Tensor, "B S S"]) -> Float[Tensor, "B 11 S S"]:
    """What the encoder looks at, in about [−1, 1]: the albedo, and the photo's texture with its mirror image."""
    there = seen[:, None].to(texture.dtype)
    own = torch.cat([(2 * texture - 1) * there, there], 1)
    return torch.cat([2 * albedo - 1, own, own.flip(-1)], 1)


def register(mean: Float[Tensor, "3 S S"], prior_mean: Float[Tensor, "3 S S"]) -> Float[Tensor, "2 3"]:
    """The stretch in width and height, and the vertical move, that bring a proxy's mean albedo onto a prior's.

    The best of a grid, by the correlation of the two pictures' details; for `AlbedoRestorer.frame`.
    """
    S = mean.shape[-1]
    window = torch.zeros(S, S)
    window[S // 5 : -S // 8, S // 5 : -S // 5] = 1
    target = _detail(prior_mean.mean(0)) * window
    best, found = -1.0, torch.eye(2, 3)
    for wide in SCALES[::2]:
        for tall in SCALES:
            frames = torch.tensor([[[wide, 0, 0], [0, tall, move]] for move in MOVES])
            there = _detail(_moved(mean.mean(0).expand(len(frames), 1, S, S), frames)[:, 0]) * window
            score = (there * target).sum((1, 2)) / (there.norm(dim=(1, 2)) * target.norm()).clamp(min=1e-9)
            if score.max() > best:
                best, found = float(score.max()), frames[int(score.argmax())]
    return found


def _detail(picture: Float[Tensor, "*n S S"]) -> Float[Tensor, "*n S S"]:
    """A picture without its coarse brightness."""
    flat = picture.reshape(-1, 1, *picture.shape[-2:])
    n = flat.shape[-1] // 8
    soft = nn.functional.avg_pool2d(nn.functional.pad(flat, (n,) * 4, mode="replicate"), 2 * n + 1, 1)
    return (flat - soft).reshape(picture.shape)


def _moved(pictures: Float[Tensor, "B C S S"], frame: Float[Tensor, "*B 2 3"]) -> Float[Tensor, "B C S S"]:
    """Pictures seen through `frame`: places of the result → places of the pictures, whose sides are [−1, 1]."""
    grid = affine_grid(frame.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False)
    return grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _inverse(frame: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    A = torch.linalg.inv(frame[:, :2])
    return torch.cat([A, -A @ frame[:, 2:]], 1)
