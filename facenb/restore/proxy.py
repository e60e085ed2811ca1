"""The proxy: one photo → depth, albedo, light, view and confidence (book: *Shape from one image by symmetry*).

Wu et al. 2020 take a photo apart with five networks and put it together again with Λ and Π; what comes out must look
like the photo. Alone that says nothing about shape: a flat picture of a face looks like it, too. So the photo must also
come out when canonical depth and albedo are *mirrored*. A mirrored flat picture does not fit a face turned aside or lit
from the side; a mirrored head does.

What is ours, and why, stands in the chapter; each part has a switch in `ProxyOptions`:

* a shared template. Depth is template + residual of this photo, albedo likewise. Without it each photo's face is a new
  puzzle, and most get stuck.
* a convex start. From a plane, hollow and raised faces are equally good, and half of the networks turn inside out.
* a balance. Twice the relief with half the turn looks almost the same (the bas-relief ambiguity): the loss is a narrow
  valley, along which a network crawls. One number β, common to all photos, walks it: relief × e^−β, yaw and pitch × e^β.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, softplus

from facenb.depth_light import DepthLight, light_depth
from facenb.restore.proxy_networks import MapNetwork, VectorNetwork
from facenb.restore.view import View
from facenb.restore.warp import Rendering, render_view

RELIEF = 0.1  # canonical depth lies in 1 ± RELIEF
TURN, SHIFT = radians(60), 0.1  # largest angle (radians) and shift that the view network can say
RIM = 32  # the outermost 1/RIM of the picture has a fixed depth
TONE = 4  # side of the albedo's own difference from the template while faces share their shape
SURE = 0.54  # softplus⁻¹(1): a fresh confidence network says σ = 1


@dataclass(frozen=True)
class ProxyOptions:
    """How the proxy is built.

    Attributes:
        size: side of the photos, pixels, a power of two from 8 on.
        coarse: side at which depth, light, view and confidence are seen and said; only albedo needs every pixel.
        width: channels of the first convolution.
        bump: relief of the start, a half ellipsoid, in units of the tanh's argument; 0 is a plane.
        border: depth of the picture's rim.
        template: learn a template that all photos share.
        balance: learn the number β that trades relief for turn.
    """

    size: int = 64
    coarse: int = 32
    width: int = 16
    bump: float = 0.4
    border: float = 1.06
    template: bool = True
    balance: bool = True


class Face(NamedTuple):
    """What the proxy says about a batch of photos.

    Attributes:
        depth: canonical, in 1 ± 0.1.
        albedo: canonical, in [0, 1].
        light, view: see their types.
        spread: σ of the Laplacian error of each pixel, for the photo and for its mirrored reconstruction.
        residual: how this photo's raw depth differs from the template.
    """

    depth: Float[Tensor, "B S S"]
    albedo: Float[Tensor, "B 3 S S"]
    light: DepthLight
    view: View
    spread: Float[Tensor, "B 2 S S"]
    residual: Float[Tensor, "B C C"]


class Proxy(nn.Module):
    """Φ^d, Φ^a, Φ^l, Φ^ω and the confidence network. `forward` takes photos (B, 3, S, S) in [0, 1] to a `Face`."""

    kind = "proxy"

    def __init__(self, options: ProxyOptions = ProxyOptions(), seed: int = 0):
        super().__init__()
        self.options = options
        S, C, w = options.size, options.coarse, options.width
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.depth = MapNetwork(1, w, C)
            self.albedo = MapNetwork(3, w, S)
            self.light = VectorNetwork(4, w, C)
            self.view = VectorNetwork(6, w, C)
            self.confidence = MapNetwork(2, max(w // 2, 8), C, latent=4 * w)
        self.depth_template = nn.Parameter(torch.zeros(1, 1, C, C), requires_grad=options.template)
        self.albedo_template = nn.Parameter(torch.zeros(1, 3, S, S), requires_grad=options.template)
        self.balance = nn.Parameter(torch.zeros(()), requires_grad=options.balance)
        self.register_buffer("bump", ellipsoid(S) * -options.bump, persistent=False)
        width = max(S // RIM, 1)
        rim = torch.ones(S, S, dtype=torch.bool)
        rim[width:-width, width:-width] = False
        self.register_buffer("rim", rim, persistent=False)

    def forward(self, photo: Float[Tensor, "B 3 S S"], individual: float = 1.0) -> Face:
        """`individual` in [0, 1] scales this photo's difference from the template, 0 in early training."""
        x, S = 2 * photo - 1, photo.shape[-1]
        small = avg_pool2d(x, S // self.options.coarse)
        turn = (BALANCE_RATE * self.balance).exp()
        residual = DEPTH_RATE * self.depth(small) * individual  # B 1 C C
        raw = (_enlarged(residual + TEMPLATE_RATE * self.depth_template, S)[:, 0] + self.bump) / turn
        raw = raw - raw.mean((1, 2), keepdim=True)
        depth = torch.where(self.rim, self.options.border, 1 + RELIEF * raw.tanh())
        own = self.albedo(x)  # B 3 S S
        tone = _enlarged(avg_pool2d(own, S // TONE), S)
        albedo = (tone + individual * (own - tone) + self.albedo_template).tanh() / 2 + 0.5
        v = self.view(small)
        view = View(
            TURN * v[:, :3] * torch.stack([turn, turn, torch.ones_like(turn)]),
            SHIFT * v[:, 3:] * v.new_tensor([1.0, 1.0, 0.0]),
        )
        spread = softplus(_enlarged(self.confidence(small), S) + SURE)
        return Face(depth, albedo, read_light(self.light(small)), view, spread, residual[:, 0])


# Adam moves every number by about its learning rate. A number that is multiplied by a rate before it is used moves by
# that much more or less: the template may run ahead, single photos must not, and the balance has a long way to go.
TEMPLATE_RATE, DEPTH_RATE, BALANCE_RATE = 3.0, 0.3, 3.0


def _enlarged(maps: Float[Tensor, "B C s s"], size: int) -> Float[Tensor, "B C size size"]:
    return interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def read_light(numbers: Float[Tensor, "B 4"]) -> DepthLight:
    """Four numbers in (−1, 1) as a lamp: ambient and diffuse in (0, 1), direction (x, y, 1)."""
    return DepthLight(numbers[:, 0] / 2 + 0.5, numbers[:, 1] / 2 + 0.5, numbers[:, 2:])


def mirrored(face: Face) -> Face:
    """The same light and view on the mirrored canonical face."""
    return face._replace(depth=face.depth.flip(2), albedo=face.albedo.flip(3))


def reconstruct(face: Face) -> Rendering:
    """Λ, then Π: the photo that the face should have given."""
    return render_view(face.depth, light_depth(face.depth, face.albedo, face.light).texture, face.view)


def ellipsoid(size: int) -> Float[Tensor, "size size"]:
    """Height of half an ellipsoid over the picture, in [0, 1]; narrower than the picture and taller."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    return (1 - (x / 0.85) ** 2 - (y / 1.1) ** 2).clamp(min=0).sqrt()
