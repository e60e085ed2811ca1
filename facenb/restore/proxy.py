"""The proxy: one photo → depth, albedo, light, view and confidence (book: *Shape from one image by symmetry*).

Wu et al. 2020 take a photo apart with five networks and put it together again with Λ and Π; what comes out must look
like the photo. Alone that says nothing about shape: a flat picture of a face looks like it, too. So the photo must also
come out when canonical depth and albedo are *mirrored*. A mirrored flat picture does not fit a face turned aside or lit
from the side; a mirrored head does.

What is ours, and why, stands in the chapter; each part has a switch in `ProxyOptions`:

* a shared template. Depth is template + residual of this photo, albedo likewise. Without it each photo's face is a new
  puzzle, and most get stuck.
* a convex start. From a plane, hollow and raised faces are equally good, and half of the networks turn inside out.
* gains. Twice the relief with half the turn looks almost the same (the bas-relief ambiguity), and a network crawls
  along that valley. Two numbers, common to all photos, scale all relief and all angles, and can walk it quickly.
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
RIM = 2  # pixels at the picture's border whose depth is fixed
COARSE = 4  # side of the albedo's own difference from the template while faces share their shape
SURE = 0.54  # softplus⁻¹(1): a fresh confidence network says σ = 1


@dataclass(frozen=True)
class ProxyOptions:
    """How the proxy is built.

    Attributes:
        size: side of the photos, pixels, a power of two from 8 on.
        width: channels of the first convolution.
        bump: relief of the start, a half ellipsoid, in units of the tanh's argument; 0 is a plane.
        border: depth of the picture's rim.
        template: learn a template that all photos share.
        gains: learn the two numbers that scale all relief and all angles.
    """

    size: int = 64
    width: int = 16
    bump: float = 0.4
    border: float = 1.06
    template: bool = True
    gains: bool = True


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
    residual: Float[Tensor, "B S S"]


class Proxy(nn.Module):
    """Φ^d, Φ^a, Φ^l, Φ^ω and the confidence network. `forward` takes photos (B, 3, S, S) in [0, 1] to a `Face`."""

    kind = "proxy"

    def __init__(self, options: ProxyOptions = ProxyOptions(), seed: int = 0):
        super().__init__()
        self.options = options
        S, w = options.size, options.width
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.depth = MapNetwork(1, w, S, halved=True)
            self.albedo = MapNetwork(3, w, S)
            self.light = VectorNetwork(4, w, S)
            self.view = VectorNetwork(6, w, S)
            self.confidence = MapNetwork(2, max(w // 2, 8), S, latent=4 * w)
        self.depth_template = nn.Parameter(torch.zeros(1, 1, S // 2, S // 2), requires_grad=options.template)
        self.albedo_template = nn.Parameter(torch.zeros(1, 3, S, S), requires_grad=options.template)
        self.log_gains = nn.Parameter(torch.zeros(2), requires_grad=options.gains)  # relief, angles
        self.register_buffer("bump", ellipsoid(S) * -options.bump, persistent=False)
        rim = torch.ones(S, S, dtype=torch.bool)
        rim[RIM:-RIM, RIM:-RIM] = False
        self.register_buffer("rim", rim, persistent=False)

    def forward(self, photo: Float[Tensor, "B 3 S S"], individual: float = 1.0) -> Face:
        """`individual` in [0, 1] scales this photo's difference from the template, 0 in early training."""
        x, S = 2 * photo - 1, photo.shape[-1]
        relief, turn = (GAIN_RATE * self.log_gains).exp()
        residual = DEPTH_RATE * self.depth(x)[:, 0] * individual
        shared = interpolate(self.depth_template, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
        raw = relief * (residual + TEMPLATE_RATE * shared + self.bump)
        raw = raw - raw.mean((1, 2), keepdim=True)
        depth = torch.where(self.rim, self.options.border, 1 + RELIEF * raw.tanh())
        own = self.albedo(x)  # B 3 S S
        coarse = interpolate(avg_pool2d(own, S // COARSE), size=(S, S), mode="bilinear", align_corners=False)
        albedo = (coarse + individual * (own - coarse) + self.albedo_template).tanh() / 2 + 0.5
        v = self.view(x)
        view = View(turn * TURN * v[:, :3], SHIFT * v[:, 3:] * v.new_tensor([1.0, 1.0, 0.0]))
        spread = softplus(self.confidence(x) + SURE)
        return Face(depth, albedo, read_light(self.light(x)), view, spread, residual)


# Adam moves every number by about its learning rate. A number that is multiplied by a rate before it is used moves by
# that much more or less: the template may run ahead, single photos must not, and gains walk a long valley.
TEMPLATE_RATE, DEPTH_RATE, GAIN_RATE = 3.0, 0.3, 3.0


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
