"""The proxy: one photo → depth, albedo, light, view and confidence (book: *Shape from one image by symmetry*).

Wu et al. 2020 take a photo apart with five networks and put it together again with Λ and Π; what comes out must look
like the photo. Alone that says nothing about shape: a flat picture of a face looks like it, too. So the photo must also
come out when canonical depth and albedo are *mirrored*. A mirrored flat picture does not fit a face turned aside or lit
from the side; a mirrored head does.

What is ours, and why, stands in the chapter; each part has a switch in `ProxyOptions`, or in the task:

* a shared template. Depth is template + residual of this photo, albedo likewise. Each photo is a vote on one face.
* a convex start. From a plane, hollow and raised faces are equally good, and a training is slow to choose.
* two sizes. Depth and light are seen and said in small; only albedo and view have networks that see every pixel. Early
  in training faces are drawn in small, too, with a quarter of the pixels.
* both ways. View and light of a photo are the means of what its networks say of it and of its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, softplus

from facenb.depth_light import DepthLight, light_depth
from facenb.restore.proxy_networks import MapNetwork, VectorNetwork
from facenb.restore.view import Viewpoint
from facenb.restore.warp import Rendering, render_view

RELIEF = 0.1  # canonical depth lies in 1 ± RELIEF
TURN, SHIFT = radians(60), 0.1  # largest angle (radians) and shift that the view network can say
RIM = 32  # the outermost 1/RIM of the picture at the left and the right has a fixed depth
TONE = 4  # side of the albedo's own difference from the template while faces share their shape
SURE = 0.54  # softplus⁻¹(1): a fresh confidence network says σ = 1

# What becomes of the view's and of the light's numbers when a photo is mirrored: yaw, roll and x change sign.
MIRRORED_VIEW, MIRRORED_LIGHT = (-1.0, 1.0, -1.0, -1.0, 1.0, 1.0), (1.0, 1.0, -1.0, 1.0)

# Adam moves every number by about its learning rate. A number that is multiplied by a rate before it is used moves by
# that much more or less: the template may run ahead, single photos must not.
TEMPLATE_RATE, DEPTH_RATE = 3.0, 0.3


@dataclass(frozen=True)
class ProxyOptions:
    """How the proxy is built.

    Attributes:
        size: side of the photos, pixels, a power of two.
        coarse: side at which all but the albedo's detail and the view is seen and said, a power of two from 8 on.
        width: channels of the first convolution.
        bump: relief of the start, a half ellipsoid, in units of the tanh's argument; 0 is a plane.
        border: depth of the picture's left and right rim.
        template: learn a template that all photos share.
    """

    size: int = 64
    coarse: int = 32
    width: int = 16
    bump: float = 0.4
    border: float = 1.06
    template: bool = True


class Face(NamedTuple):
    """What the proxy says about a batch of photos.

    Attributes:
        depth: canonical, in 1 ± 0.1.
        albedo: canonical, in [0, 1].
        light, view: see their types.
        spread: σ of the Laplacian error of each pixel, for the photo and for its mirrored reconstruction.
        residual: how this photo's raw depth differs from the template.
        shared: canonical depth of the template alone.
    """

    depth: Float[Tensor, "B S S"]
    albedo: Float[Tensor, "B 3 S S"]
    light: DepthLight
    view: Viewpoint
    spread: Float[Tensor, "B 2 S S"]
    residual: Float[Tensor, "B C C"]
    shared: Float[Tensor, "B S S"]


class Proxy(nn.Module):
    """Φ^d, Φ^a, Φ^l, Φ^ω and the confidence network.

    `forward` takes photos in [0, 1] of `options.size` to a `Face` of the same size, or of `options.coarse`.
    """

    kind = "proxy"

    def __init__(self, options: ProxyOptions = ProxyOptions(), seed: int = 0):
        super().__init__()
        self.options = options
        S, C, w = options.size, options.coarse, options.width
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.depth = MapNetwork(1, w, C)
            self.albedo = MapNetwork(3, w, C)
            self.detail = MapNetwork(3, w, S)
            self.light = VectorNetwork(4, w, C)
            self.view = VectorNetwork(6, w, S)
            self.confidence = MapNetwork(2, max(w // 2, 8), C, latent=4 * w)
        self.depth_template = nn.Parameter(torch.zeros(1, 1, C, C), requires_grad=options.template)
        self.albedo_template = nn.Parameter(torch.zeros(1, 3, S, S), requires_grad=options.template)

    def forward(self, photo: Float[Tensor, "B 3 S S"], individual: float = 1.0, small: bool = False) -> Face:
        """`individual` in [0, 1] scales this photo's difference from the template, 0 in early training.

        With `small` the face has the side `options.coarse`, without the albedo's detail, and view and light are said
        of the photo alone: until the networks know left from right, a mean over both ways is hardly ever turned.
        Raises ValueError for photos of another size.
        """
        options = self.options
        if photo.shape[-2:] != (options.size, options.size):
            sizes = f"{options.size} × {options.size} pixels"
            raise ValueError(
                f"photos of {photo.shape[-2]} × {photo.shape[-1]} pixels; this network was built for {sizes}"
            )
        S = options.coarse if small else options.size
        x = 2 * photo - 1
        seen = avg_pool2d(x, options.size // options.coarse)
        residual = DEPTH_RATE * self.depth(seen) * individual  # B 1 C C
        depth, shared = (self._depth(raw, S) for raw in (residual, torch.zeros_like(residual)))
        own = self.albedo(seen)  # B 3 C C
        tone = _enlarged(avg_pool2d(own, options.coarse // TONE), options.coarse)
        own = _enlarged(tone + individual * (own - tone), S)
        if not small:
            own = own + individual * self.detail(x)
        template = avg_pool2d(self.albedo_template, options.size // S)
        albedo = (own + template).tanh() / 2 + 0.5
        v, light = self.view(x), self.light(seen)
        if not small:
            v = (v + v.new_tensor(MIRRORED_VIEW) * self.view(x.flip(3))) / 2
            light = (light + light.new_tensor(MIRRORED_LIGHT) * self.light(seen.flip(3))) / 2
        view = Viewpoint(TURN * v[:, :3], SHIFT * v[:, 3:] * v.new_tensor([1.0, 1.0, 0.0]))
        spread = softplus(_enlarged(self.confidence(seen), S) + SURE)
        return Face(depth, albedo, read_light(light), view, spread, residual[:, 0], shared)

    def _depth(self, residual: Float[Tensor, "B 1 C C"], S: int) -> Float[Tensor, "B S S"]:
        """Canonical depth of template + residual: around 1 on average, and fixed at the rim."""
        raw = _enlarged(residual + TEMPLATE_RATE * self.depth_template, S, "bicubic")[:, 0]
        raw = raw - self.options.bump * ellipsoid(S).to(raw)
        raw = raw - raw.mean((1, 2), keepdim=True)
        return torch.where(_rim(S).to(raw.device), self.options.border, 1 + RELIEF * raw.tanh())


def read_light(numbers: Float[Tensor, "B 4"]) -> DepthLight:
    """Four numbers in (−1, 1) as a lamp: ambient and diffuse in (0, 1), direction (x, y, 1)."""
    return DepthLight(numbers[:, 0] / 2 + 0.5, numbers[:, 1] / 2 + 0.5, numbers[:, 2:])


def part_of(face: Face, which: Int[Tensor, " n"] | list[int]) -> Face:
    """What is said about some photos of the batch, in the order of their numbers `which`."""
    light, view = DepthLight(*(p[which] for p in face.light)), Viewpoint(*(p[which] for p in face.view))
    maps = {name: value[which] for name, value in face._asdict().items() if isinstance(value, Tensor)}
    return Face(light=light, view=view, **maps)


def mirrored(face: Face) -> Face:
    """The same light and view on the mirrored canonical face."""
    return face._replace(depth=face.depth.flip(2), albedo=face.albedo.flip(3), shared=face.shared.flip(2))


def reconstruct(face: Face, lit: Float[Tensor, "B S S"] | None = None) -> Rendering:
    """Λ, then Π: the photo that the face should have given. Λ may look at another depth, `lit`."""
    depth = face.depth if lit is None else lit
    return render_view(face.depth, light_depth(depth, face.albedo, face.light).texture, face.view)


def ellipsoid(size: int) -> Float[Tensor, "size size"]:
    """Height of half an ellipsoid over the picture, in [0, 1]; narrower than the picture and taller."""
    y, x = torch.meshgrid(*[(2 * torch.arange(size) + 1) / size - 1] * 2, indexing="ij")  # pixel centres in (−1, 1)
    return (1 - (x / 0.85) ** 2 - (y / 1.1) ** 2).clamp(min=0).sqrt()


def _rim(size: int) -> Bool[Tensor, "size size"]:
    """At the sides only: foreheads and chins may be cut by the picture, and then have no rim there."""
    width = max(size // RIM, 1)
    rim = torch.ones(size, size, dtype=torch.bool)
    rim[:, width:-width] = False
    return rim


def _enlarged(maps: Float[Tensor, "B C s s"], size: int, mode: str = "bilinear") -> Float[Tensor, "B C size size"]:
    """Bicubic where normals are taken of it: they would show the creases of a bilinear surface.

    That is Keys' cubic with a = −½, which torch only uses with `antialias`, and which leaves a slope a slope. Without,
    a is −¾, and a slope becomes a flight of stairs, its steps in turn a fifth too steep and a fifth too shallow.
    """
    if maps.shape[-1] == size:
        return maps
    antialias = mode == "bicubic"
    return interpolate(maps, size=(size, size), mode=mode, align_corners=False, antialias=antialias)
