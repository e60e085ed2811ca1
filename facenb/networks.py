"""The networks that point: one photo in, five numbers for every pixel out (book: *A network that points*).

Section N of the supplement of Koizumi & Smith 2020 gives a U-Net as two rows of channel counts:

    down   in   3   64  128  256  512        up   in  1024  512  256  128  64
           out  64  128  256  512  512            out  256  128   64   64   5

Read it so: the first column of "down" works at the image's own size, each further one after halving it; that makes four
halvings. Each of the first four columns of "up" doubles the size and then sees, side by side, what came from below and
what the way down had made at this size: 1024 = 512 + 512, 512 = 256 + 256, 256 = 128 + 128, 128 = 64 + 64. A column is
two 3×3 convolutions, in → out → out, each followed by batch norm and ReLU. The last one, 64 → 5, is the answer.

The document says no more. Inferred: halving is max pooling and doubling bilinear (the counts leave no room for learnt
ones), convolutions pad with zeros to keep the size, have no bias where batch norm would take it away again, and the
last column is a single 1×1 convolution with a bias, because an answer behind a ReLU could not be negative.

The five outputs o are not named either. Here they are u, v, depth and two logits:

    (u, v) = ½ + ½ (o₁, o₂)     depth = exp(0.3 tanh o₃)     confidence = softmax(o₄, o₅)₁ = σ(o₄ − o₅)

uv is linear, so that its gradient never dies, and may leave [0, 1] (samplers clamp). Depth is in an arbitrary unit,
positive, and within a factor e^0.3 = 1.35 of 1: nobody's nose is nearer than that, compared with his ears.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

OUTPUTS = 5
DEPTH_RANGE = 0.3  # |log depth| stays below
MULTIPLE = 16  # four halvings

# name: (channels after the first level, convolutions per level)
_UNETS = {"narrow": (32, 2), "regular": (64, 2), "wide": (128, 2), "deep": (64, 4)}
_HEADS = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
KINDS = (*_UNETS, *_HEADS)


@dataclass
class Maps:
    """What a network says about each pixel.

    Attributes:
        uv: where on the flattened face the pixel lies; meant for [0, 1], not clamped.
        depth: along the optical axis, positive, arbitrary unit.
        logit: log-odds that the pixel shows the face.
    """

    uv: Float[Tensor, "B 2 H W"]
    depth: Float[Tensor, "B H W"]
    logit: Float[Tensor, "B H W"]

    @property
    def confidence(self) -> Float[Tensor, "B H W"]:
        """w in (0, 1): the softmax of the two logits (face, background) is the sigmoid of their difference."""
        return torch.sigmoid(self.logit)


def read_outputs(o: Float[Tensor, "B 5 H W"]) -> Maps:
    """The five outputs as maps, in float32 at least: half precision is too coarse for the least squares that follow."""
    o = o.to(torch.promote_types(o.dtype, torch.float32))
    return Maps(
        uv=0.5 + 0.5 * o[:, :2],
        depth=torch.exp(DEPTH_RANGE * torch.tanh(o[:, 2])),
        logit=o[:, 3] - o[:, 4],
    )


class UNet(nn.Module):
    """The U-Net of section N with `width` channels at full size (64 in the table) and `convolutions` per level.

    `forward` takes images in [0, 1] whose sides are multiples of 16 and returns `Maps` of the same size.
    """

    def __init__(self, width: int = 64, convolutions: int = 2):
        super().__init__()
        w = width
        down = [(3, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
        up = [(16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w)]
        self.down = nn.ModuleList(_level(i, o, convolutions) for i, o in down)
        self.up = nn.ModuleList(_level(i, o, convolutions) for i, o in up)
        self.answer = nn.Conv2d(w, OUTPUTS, kernel_size=1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Maps:
        check_size(image)
        x = self.down[0](image)
        passed = [x]  # what each size hands over to the way up
        for level in self.down[1:]:
            x = level(max_pool2d(x, 2))
            passed.append(x)
        passed.pop()  # the smallest is not handed over: it is where the way up starts
        for level in self.up:
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = level(torch.cat([passed.pop(), x], dim=1))
        return read_outputs(self.answer(x))


def build_network(kind: str = "narrow", seed: int = 0) -> nn.Module:
    """A fresh network by name; its `forward` maps images (B, 3, H, W) in [0, 1] to `Maps`.

    "regular" is the table above; "narrow" has half of every channel count but input and output, "wide" double, "deep"
    four convolutions per level. The others are segmentation networks of torchvision, see `segmentation_heads`.
    PyTorch's usual random start, the same for the same `seed`; the global random state stays as it was.

    Raises ValueError for an unknown name.
    """
    if kind not in KINDS:
        raise ValueError(f"no network is called {kind!r}; there are {', '.join(KINDS)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if kind in _UNETS:
            net = UNet(*_UNETS[kind])
        else:
            from facenb.segmentation_heads import SegmentationNetwork  # torchvision takes a second to import

            net = SegmentationNetwork(kind)
    net.kind = kind
    return net


def n_parameters(net: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def check_size(image: Tensor) -> None:
    """Raise ValueError unless `image` is (B, 3, H, W) with H and W multiples of 16."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"a network takes images (B, 3, H, W), got {tuple(image.shape)}")
    height, width = image.shape[2:]
    if height % MULTIPLE or width % MULTIPLE or not height * width:
        raise ValueError(
            f"an image of {height} × {width} pixels: the network halves it four times, resize it to multiples of 16"
        )


def _level(channels_in: int, channels_out: int, convolutions: int) -> nn.Sequential:
    """`convolutions` times 3×3 convolution, batch norm, ReLU."""
    layers: list[nn.Module] = []
    for i in range(convolutions):
        c = channels_in if i == 0 else channels_out
        layers.append(nn.Conv2d(c, channels_out, 3, padding=1, bias=False))  # batch norm would remove a bias
        layers += [nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
