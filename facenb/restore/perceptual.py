"""Likeness beyond single pixels, two terms for the proxy's training (book: *Shape from one image by symmetry*).

A pixel's difference says nothing about structure: a face that is shifted by half a pixel costs as much as noise.

* `edge_loss` compares differences of neighbours at several sizes. It needs nothing.
* `VGGLoss` compares what a network sees that was trained to recognise things (Wu et al. 2020 use it, with σ as in the
  Laplacian term). Its weights are not ours to ship; whoever has torchvision's file of VGG16 names it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torchvision.models import vgg16

from facenb.weights import WeightsError

LEVELS = 3  # sizes at which edges are compared, each half of the one before
SEEN = 16  # layers of VGG16 up to relu3_3
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours that VGG16 was trained with
SMALLEST = 32  # pixels; smaller maps hold no features


def edge_loss(
    image: Float[Tensor, "B 3 S S"], photo: Float[Tensor, "B 3 S S"], seen: Bool[Tensor, "B S S"], levels: int = LEVELS
) -> Float[Tensor, ""]:
    """Mean ``|∇Î − ∇I|`` over neighbours that are both seen, at `levels` sizes; each size counts alike."""
    off, w = image - photo, seen[:, None].to(image.dtype)
    total = image.new_zeros(())
    for level in range(levels):
        for axis in (-1, -2):
            both = w.narrow(axis, 1, w.shape[axis] - 1) * w.narrow(axis, 0, w.shape[axis] - 1)
            total = total + (off.diff(dim=axis).abs() * both).sum() / (3 * both.sum()).clamp(min=1)
        if level + 1 < levels:
            off, w = avg_pool2d(off, 2), (avg_pool2d(w, 2) == 1).to(w.dtype)
    return total / (2 * levels)


class VGGLoss(nn.Module):
    """Mean ½ ‖f(Î) − f(I)‖² / σ² + ln σ over the places of VGG16's relu3_3, σ the spread there."""

    def __init__(self, file: str | Path):
        """Raises WeightsError naming the file unless it holds VGG16's weights as torchvision saves them."""
        super().__init__()
        network = vgg16()
        try:
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            raise WeightsError(f"{file}: no such file; give torchvision's vgg16-….pth") from None
        except Exception as error:  # pickle, zip and PyTorch each have errors of their own
            raise WeightsError(f"{file}: not VGG16's weights as torchvision saves them ({_short(error)})") from None
        self.layers = network.features[:SEEN].eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("colour_spread", torch.tensor(SPREAD)[:, None, None])

    def forward(
        self,
        image: Float[Tensor, "B 3 S S"],
        photo: Float[Tensor, "B 3 S S"],
        spread: Float[Tensor, "B S S"],
        seen: Bool[Tensor, "B S S"],
    ) -> Float[Tensor, ""]:
        ours, theirs = self.features(image), self.features(photo).detach()
        size = ours.shape[-2:]
        σ = interpolate(spread[:, None], size=size, mode="area") + 1e-3
        w = interpolate(seen[:, None].to(image.dtype), size=size, mode="area")
        each = (ours - theirs).square().mean(1, keepdim=True) / (2 * σ**2) + σ.log()
        return (each * w).sum() / w.sum().clamp(min=1)

    def features(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 256 s s"]:
        """What VGG16 sees of pictures in [0, 1]; small ones are enlarged, it is used to larger."""
        if image.shape[-1] < SMALLEST:
            image = interpolate(image, size=(SMALLEST, SMALLEST), mode="bilinear", align_corners=False)
        return self.layers((image - self.mean) / self.colour_spread)


def _short(error: Exception) -> str:
    return str(error).split("\n")[0][:80]
