"""The photographer and the camera: everything between light on a sensor and a picture in a file.

Exposure, white balance, vignetting; blur of focus and motion; the noise of few photons; a tone curve; sharpening; JPEG,
really encoded and decoded. Each is mild most of the time and bad now and then.
"""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter

CURVE = 4096
GREY = 0.26  # linear; 0.55 in display values


def encode(linear: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """Display values of linear light, clipped to [0, 1]: `facenb.colour.to_srgb` by table."""
    at = np.sqrt(np.clip(linear, 0, 1)) * (CURVE - 1)  # the root spends the table's entries on the dark
    return _TABLE[(at + 0.5).astype(np.int32)]


def _table() -> np.ndarray:
    light = np.linspace(0, 1, CURVE) ** 2
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


_TABLE = _table()


def photograph(rng: np.random.Generator, light: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """A random camera's picture of linear light (1 = white paper in the light that the snapshot is lit by)."""
    size = light.shape[0]
    light = light * np.float32(_metered(light) * np.exp(rng.normal(0.1, 0.25)))
    if rng.random() < 0.04:
        light = light * np.float32(rng.uniform(1.4, 2.2))  # overexposed
    light = light * np.exp(rng.normal(0, 0.07, 3)).astype(np.float32)  # white balance missed
    if rng.random() < 0.3:
        light = light * _vignette(rng, size)
    light = _blur(rng, light)
    low_light = rng.random() < 0.1
    light = _noisy(rng, light, photons=np.exp(rng.uniform(5.0, 7.0) if low_light else rng.uniform(7.0, 10.5)))
    picture = encode(light)
    picture = _toned(rng, picture)
    if rng.random() < 0.3:
        soft = gaussian_filter(picture, (0.8, 0.8, 0), truncate=2.5)
        picture = picture + np.float32(rng.uniform(0.2, 1.0)) * (picture - soft)
    if rng.random() < 0.05:
        grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
        picture = np.repeat(grey[..., None], 3, -1) * (1 if rng.random() < 0.7 else np.array([1.05, 0.98, 0.85]))
    picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return _compressed(rng, picture)


def _metered(light: np.ndarray) -> float:
    """What a camera multiplies the light by to bring the middle of the picture near a medium grey; not all the way."""
    size = len(light)
    middle = light[size // 5 : -(size // 5), size // 5 : -(size // 5)].mean((0, 1)) @ [0.3, 0.6, 0.1]
    return float((GREY / max(middle, 0.01)) ** 0.7)


def _vignette(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    r2 = (x - rng.normal(0, 0.2)) ** 2 + (y - rng.normal(0, 0.2)) ** 2
    return (1 / (1 + rng.uniform(0.1, 0.9) * r2) ** 2)[..., None].astype(np.float32)


def _blur(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Lens and pixel always blur a little; a missed focus or a moving hand now and then a lot (pixels of a 64 px face
    scale with the picture)."""
    size = light.shape[0]
    sigma = rng.uniform(0.1, 0.4) if rng.random() < 0.7 else rng.uniform(0.4, 0.85)
    sigma *= (size / 64) ** 0.7
    if sigma > 0.25:
        light = gaussian_filter(light, (sigma, sigma, 0), truncate=2.5, mode="nearest")
    if rng.random() < 0.05:
        n = 2 * int(rng.uniform(1, 3) * size / 64) + 1
        light = convolve1d(light, np.full(n, 1 / n, np.float32), axis=int(rng.integers(2)), mode="nearest")
    return light


def _noisy(rng: np.random.Generator, light: np.ndarray, photons: float) -> np.ndarray:
    """Shot noise of `photons` at white and the amplifier's own, partly smeared over pixels as demosaicing does."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = 1.6 * gaussian_filter(noise, (0.6, 0.6, 0), truncate=2)
    sigma = np.sqrt(np.maximum(light, 0) / photons + (1.5 / photons) ** 2, dtype=np.float32)
    return light + sigma * noise


def _toned(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Contrast, brightness of the middle, saturation, a lifted black."""
    if rng.random() < 0.6:
        picture = np.power(picture, np.float32(np.exp(rng.normal(0, 0.15))))
    contrast = np.float32(rng.uniform(0, 0.6) if rng.random() < 0.5 else rng.uniform(-0.25, 0.2))
    picture = picture + contrast * picture * (1 - picture) * (2 * picture - 1)
    if rng.random() < 0.5:
        grey = picture.mean(-1, keepdims=True)
        picture = grey + np.float32(rng.uniform(0.5, 1.35)) * (picture - grey)
    if rng.random() < 0.2:
        low, high = rng.uniform(0, 0.12), rng.uniform(0.88, 1)
        picture = np.float32(low) + np.float32(high - low) * picture
    return picture


def _compressed(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    if rng.random() < 0.25:
        return picture
    quality = int(rng.uniform(35, 75) if rng.random() < 0.2 else rng.uniform(75, 97))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0 if rng.random() < 0.5 else 2)
    return np.asarray(Image.open(file).convert("RGB"))
