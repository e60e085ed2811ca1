"""What happens to a photo before it reaches us: out of focus, far away, in the dark, and compressed.

The usual model of blind face restoration (Wang et al. 2021, GFP-GAN, their equation 1), in this order:

    I_d = JPEG_q( (I ∗ k_σ) ↓_r + n_δ ) ↑_r

a Gaussian blur k of σ pixels, r × r pixels to one, noise of standard deviation δ, JPEG of quality q, and a bicubic
enlargement to the old size, for networks want one size. Photo number i of a seed is spoilt by (seed, i) alone, so a
test set is the same on every machine, and training can spoil the same photo anew in every step.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor


@dataclass(frozen=True)
class Degradation:
    """Ranges that each photo's spoiling is drawn from, uniformly.

    Attributes:
        blur: standard deviation of the blur, pixels of the photo.
        factors: by which photos are reduced; each must divide their side.
        noise: standard deviation of the noise, of 255, in the reduced photo.
        quality: of the JPEG, 1 to 95.
    """

    blur: tuple[float, float] = (0.5, 1.5)
    factors: tuple[int, ...] = (4,)
    noise: tuple[float, float] = (1.0, 8.0)
    quality: tuple[int, int] = (40, 90)

    def __post_init__(self) -> None:
        for name in ("blur", "noise", "quality"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} {low} … {high}: give the smaller one first, from 0 on")
        if not 1 <= self.quality[0] <= self.quality[1] <= 95:
            raise ValueError(f"quality {self.quality[0]} … {self.quality[1]}: JPEG knows 1 to 95")
        if not self.factors or min(self.factors) < 1:
            raise ValueError(f"factors {self.factors}: give one or more whole numbers from 1 on")


@dataclass(frozen=True)
class Spoiling:
    """What one photo goes through; see `Degradation` for the units."""

    blur: float
    factor: int
    noise: float
    quality: int


def draw_spoiling(degradation: Degradation, rng: np.random.Generator) -> Spoiling:
    """One photo's fate."""
    return Spoiling(
        blur=rng.uniform(*degradation.blur),
        factor=int(rng.choice(degradation.factors)),
        noise=rng.uniform(*degradation.noise),
        quality=int(rng.integers(degradation.quality[0], degradation.quality[1], endpoint=True)),
    )


def spoil(
    photo: UInt8[np.ndarray, "S S 3"], spoiling: Spoiling, rng: np.random.Generator
) -> UInt8[np.ndarray, "S S 3"]:
    """I_d of one photo; `rng` draws the noise. Raises ValueError if the factor does not divide the side."""
    S, r = len(photo), spoiling.factor
    if S % r:
        raise ValueError(f"a photo of {S} pixels cannot be reduced {r} times; give a factor that divides its side")
    blurred = gaussian_filter(photo.astype(np.float32), (spoiling.blur, spoiling.blur, 0), mode="nearest")
    small = blurred.reshape(S // r, r, S // r, r, 3).mean((1, 3))
    small = small + rng.normal(0, spoiling.noise, small.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(small + 0.5, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=spoiling.quality)
    return np.asarray(Image.open(file).convert("RGB").resize((S, S), Image.Resampling.BICUBIC))


def degrade(
    photos: UInt8[Tensor, "N 3 S S"],
    seed: int | Sequence[int],
    degradation: Degradation = Degradation(),
    first: int = 0,
) -> UInt8[Tensor, "N 3 S S"]:
    """Spoilt copies of photos number `first`, `first` + 1, … of a seed, on the CPU."""
    spoilt = []
    seeds = [seed] if isinstance(seed, int) else list(seed)
    for i, photo in enumerate(photos.cpu().permute(0, 2, 3, 1).numpy(), start=first):
        rng = np.random.default_rng([*seeds, i])
        spoilt.append(spoil(photo, draw_spoiling(degradation, rng), rng))
    return torch.from_numpy(np.stack(spoilt)).permute(0, 3, 1, 2).contiguous()
