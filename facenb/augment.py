"""Random views of the same picture (book: *Pretraining from an average face*).

Photos of a training set are roughly aligned: upright, centred, of one size. A network that saw only these would learn
the frame and not the face. So every picture is turned, scaled and shifted at random before the network sees it, in
training as in testing (sections F and P of the supplement of Koizumi & Smith 2020), and what then lies outside is
filled from another picture.

A 2D similarity is θ (2, 3). It takes a pixel of the *new* picture to the place in the *old* one where its value is
found, because a warp asks for every new pixel where to look:

    (x, y)_old = θ (x, y, 1)_new

Pixels: x right, y down, integers at pixel centres, (0, 0) the centre of the top-left one. Angles in radians, positive
turns the picture clockwise. Colours are display values in [0, 1].
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

ROTATION = math.radians(30)  # |angle| at most
ZOOM = 0.25  # |log of the face's size|, about CROP
SHIFT = 0.1  # in sides of the crop, along each axis
CROP = 80 / 96  # side of the crop at zoom 1, in sides of the aligned picture: 40 % per 100 mm become 48 %


def similarity(
    angle: Float[Tensor, " n"],
    side: Float[Tensor, " n"],
    shift: Float[Tensor, "n 2"],
    source: int,
    size: int,
) -> Float[Tensor, "n 2 3"]:
    """θ of a square crop: `side` pixels of a source × source picture become size × size.

    The content, turned clockwise by `angle` about the source's middle, is then moved by `shift` (in sides of the crop).
    """
    scale = side / size  # old pixels per new pixel
    c, s = scale * angle.cos(), scale * angle.sin()
    A = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)  # n 2 2, turns back
    new_middle = (size - 1) / 2 + size * shift  # n 2, where the source's middle goes
    t = (source - 1) / 2 - (A @ new_middle[..., None])[..., 0]  # n 2
    return torch.cat([A, t[..., None]], -1)


def random_similarity(
    n: int,
    generator: torch.Generator,
    source: int,
    size: int,
    rotation: float = ROTATION,
    zoom: float = ZOOM,
    shift: float = SHIFT,
    crop: float = CROP,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n 2 3"]:
    """n random θ from roughly aligned source × source pictures to size × size ones, on the generator's device.

    Angle uniform in ±`rotation`; side of the crop `crop` · source · exp(uniform in ±`zoom`); shift uniform in ±`shift`.
    """
    lot = torch.rand(n, 4, generator=generator, device=generator.device, dtype=dtype) * 2 - 1
    angle, log_side, moved = lot[:, 0] * rotation, lot[:, 1] * zoom, lot[:, 2:] * shift
    return similarity(angle, crop * source * log_side.exp(), moved, source, size)


def invert(theta: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 2 3"]:
    """The θ that leads back."""
    A, t = theta[..., :2], theta[..., 2:]
    back = torch.linalg.inv(A)
    return torch.cat([back, -back @ t], -1)


def move_points(theta: Float[Tensor, "n 2 3"], points: Float[Tensor, "n k 2"]) -> Float[Tensor, "n k 2"]:
    """Where points of the old picture (pixels) lie in the new one."""
    back = invert(theta)
    return points @ back[..., :2].mT + back[..., None, :, 2]


def warp(
    image: Float[Tensor, "n C H W"],
    theta: Float[Tensor, "n 2 3"],
    size: int | tuple[int, int],
    fill: Float[Tensor, "#n C h w"] | float = 0.0,
    samples: int = 1,
) -> Float[Tensor, "n C h w"]:
    """The picture moved by θ: bilinear samples, and outside it `fill`, a number or a picture of the new size.

    Works for photos, and for maps of uv or confidence alike: a turned picture shows the same points of the face
    elsewhere. Outside begins half a pixel beyond the outermost pixel centres, the edge of the picture.

    Args:
        size: side of the new picture, or (height, width).
        samples: per new pixel and axis, averaged, so that a picture that shrinks does not flicker; take about as many
            as old pixels lie side by side in a new one.

    Differentiable in the image and in a picture that fills.
    Raises ValueError if θ does not go with the images, or a filling picture not with the new size.
    """
    h, w = (size, size) if isinstance(size, int) else size
    n, _, H, W = image.shape
    if theta.shape != (n, 2, 3):
        raise ValueError(f"{n} images need θ of shape ({n}, 2, 3), got {tuple(theta.shape)}")
    if isinstance(fill, Tensor) and fill.shape[-2:] != (h, w):
        raise ValueError(f"a new picture of {h} × {w} cannot be filled from one of {fill.shape[-2]} × {fill.shape[-1]}")
    theta = theta.to(image)
    k = samples
    ys, xs = ((torch.arange(s * k, dtype=image.dtype, device=image.device) + 0.5) / k - 0.5 for s in (h, w))
    new = torch.stack([xs.expand(h * k, -1), ys[:, None].expand(-1, w * k)], -1)  # hk wk 2
    old = torch.einsum("nij,hwj->nhwi", theta[..., :2], new) + theta[:, None, None, :, 2]  # n hk wk 2
    sides = old.new_tensor([W, H])
    normalised = (2 * old + 1) / sides - 1  # the edges of the picture at ±1
    values = grid_sample(image, normalised, mode="bilinear", padding_mode="border", align_corners=False)
    inside = (normalised.abs() <= 1).all(-1)[:, None]  # n 1 hk wk
    if isinstance(fill, Tensor):
        fill = fill.to(image).repeat_interleave(k, -2).repeat_interleave(k, -1)
    values = torch.where(inside, values, fill)
    return values.unflatten(-1, (w, k)).unflatten(-3, (h, k)).mean((-3, -1)) if k > 1 else values


def backgrounds(images: Float[Tensor, "n C S S"], size: int, generator: torch.Generator) -> Float[Tensor, "n C s s"]:
    """A picture to fill with for each image: a corner of another one of the batch, enlarged.

    In an aligned picture the face is in the middle and a corner, a quarter of the side, shows what is behind it: no
    label is needed to know so. Another image's corner, because its own would betray how it was moved.
    """
    n, _, S, _ = images.shape
    side = max(1, S // 4)
    device = generator.device
    other = (torch.arange(n, device=device) + torch.randint(1, max(n, 2), (1,), generator=generator, device=device)) % n
    right, bottom = torch.randint(0, 2, (2, n), generator=generator, device=device).tolist()
    corners = []
    for i, r, b in zip(other.tolist(), right, bottom, strict=True):
        y, x = (S - side) * b, (S - side) * r
        corners.append(images[i, :, y : y + side, x : x + side])
    return interpolate(torch.stack(corners), size=(size, size), mode="bilinear", align_corners=False)


def faceless(
    images: Float[Tensor, "n C S S"], count: int, size: int, generator: torch.Generator
) -> Float[Tensor, "count C s s"]:
    """Pictures without a face, patched together from the corners of others: 1, 2 × 2 or 3 × 3 of them each."""
    n, _, S, _ = images.shape
    side, device = max(1, S // 4), generator.device
    pictures = []
    for k in torch.randint(1, 4, (count,), generator=generator, device=device).tolist():
        which = torch.randint(0, n, (k, k), generator=generator, device=device)
        corner = torch.randint(0, 2, (2, k, k), generator=generator, device=device) * (S - side)
        rows = [
            torch.cat([images[i, :, y : y + side, x : x + side] for i, y, x in zip(*row, strict=True)], 2)
            for row in zip(which.tolist(), *corner.tolist(), strict=True)
        ]
        whole = torch.cat(rows, 1)[None]
        pictures.append(interpolate(whole, size=(size, size), mode="bilinear", align_corners=False))
    return torch.cat(pictures)


def jitter(
    images: Float[Tensor, "n 3 H W"],
    generator: torch.Generator,
    gain: float = 0.2,
    gamma: float = 0.2,
    colour: float = 0.1,
    grey: float = 0.1,
    noise: float = 0.02,
) -> Float[Tensor, "n 3 H W"]:
    """The same pictures under another camera: exposure, tone curve, white balance, no colour at all, noise.

    For pretraining and other training that copies an answer; not for photometric losses, which would take it for light
    and skin.

    Args:
        gain, gamma, colour: standard deviations of the logarithm of exposure, exponent, and each channel's factor.
        grey: share of pictures that lose their colour.
        noise: largest standard deviation of normal noise; each picture has its own, uniform from 0.
    """
    n, device = len(images), generator.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=images.dtype)

    factor = (gain * normal(n, 1, 1, 1) + colour * normal(n, 3, 1, 1)).exp()
    exponent = (gamma * normal(n, 1, 1, 1)).exp()
    colourless = torch.rand(n, 1, 1, 1, generator=generator, device=device) < grey
    sigma = noise * torch.rand(n, 1, 1, 1, generator=generator, device=device, dtype=images.dtype)
    grain = sigma * normal(*images.shape)
    out = (images.clamp(0, 1) ** exponent.to(images.device)) * factor.to(images.device)
    luma = (out * out.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)  # ITU-R BT.601
    out = torch.where(colourless.to(images.device), luma, out) + grain.to(images.device)
    return out.clamp(0, 1)


def mirrored_at_random(images: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    """Half of the images, by lot, as a mirror shows them: other people, with the same right to be faces."""
    lot = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device).to(images.device) < 0.5
    return torch.where(lot, images.flip(-1), images)
