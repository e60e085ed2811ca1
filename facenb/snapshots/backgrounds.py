"""What stands behind the head: photographs, and pictures made of noise (display values, (size, size, 3) float32).

The photographs are those that scikit-image ships as files. None shows a person: the two that do, `astronaut` and
`camera`, and the coins with their portraits are for testing, never for training.
"""

from functools import cache

import numba
import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

Background = Float[np.ndarray, "size size 3"]
PHOTOS = (
    "brick", "cell", "chelsea", "clock", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry",
    "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
LARGEST_PHOTO = 1024  # pixels of the shorter side


@cache
def photos() -> tuple[tuple[np.ndarray, ...], ...]:
    """The photographs as float32 (H, W, 3), each at full size, half, a quarter, ... down to about 64 pixels."""
    import skimage.data

    left, right, _ = skimage.data.stereo_motorcycle()
    return tuple(_pyramid(photo) for photo in (*(getattr(skimage.data, name)() for name in PHOTOS), left, right))


def _pyramid(photo: np.ndarray) -> tuple[np.ndarray, ...]:
    photo = np.atleast_3d(photo)[..., :3].astype(np.float32) / 255
    if photo.shape[-1] == 1:
        photo = photo.repeat(3, -1)
    levels = [photo]
    while min(photo.shape[:2]) >= 128:
        h, w = (n // 2 for n in photo.shape[:2])
        photo = photo[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean((1, 3))
        levels.append(photo)
    return tuple(level for level in levels if min(level.shape[:2]) <= LARGEST_PHOTO)


def random_background(rng: np.random.Generator, size: int, skin: Float[np.ndarray, " 3"]) -> Background:
    """A random background; `skin` is the head's mean colour, which walls and wood like to resemble."""
    kinds = (_photo, _gradient, _noise, _bokeh, _stripes, _bricks, _wood, _foliage, _room)
    weights = np.array([0.28, 0.12, 0.14, 0.1, 0.05, 0.05, 0.05, 0.09, 0.12])
    picture = kinds[rng.choice(len(kinds), p=weights / weights.sum())](rng, size, skin)
    blur = np.exp(rng.uniform(np.log(0.002), np.log(0.06))) * size
    if rng.random() < 0.7:
        picture = _blurred(picture, blur)
    return np.clip(picture, 0, 1).astype(np.float32)


def _colour(rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    """Mostly dull, sometimes vivid, now and then skin."""
    kind = rng.random()
    if kind < 0.2:
        return skin * rng.uniform(0.5, 1.3) + rng.normal(0, 0.04, 3)
    grey = rng.beta(1.2, 1.2)
    return np.clip(grey + rng.normal(0, 0.05 if kind < 0.6 else 0.25, 3), 0, 1)


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(picture, (sigma, sigma, 0), mode="nearest", truncate=2.5)


def _field(rng: np.random.Generator, size: int, n: int, channels: int = 1) -> np.ndarray:
    """Smooth noise of about n × n blobs, unit variance before interpolation."""
    n = min(n, size)
    values = rng.standard_normal((n + 3, n + 3, channels)).astype(np.float32)
    grid = np.linspace(1, n + 1, size)
    i = grid.astype(int)
    f = (grid - i).astype(np.float32)
    f = f * f * (3 - 2 * f)
    rows = values[i] * (1 - f)[:, None, None] + values[i + 1] * f[:, None, None]
    return rows[:, i] * (1 - f)[None, :, None] + rows[:, i + 1] * f[None, :, None]


def _photo(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    """A square cut out of a photograph, anywhere, mirrored or not, in another brightness and tint."""
    levels = photos()[rng.integers(len(photos()))]
    share = rng.uniform(0.3, 1)
    photo = min(levels, key=lambda level: abs(np.log(share * min(level.shape[:2]) / (1.2 * size))))
    side = share * min(photo.shape[:2])
    y, x = (rng.random() * (n - side) for n in photo.shape[:2])
    steps = (np.arange(size) + 0.5) * side / size
    cut = photo[(y + steps).astype(int)][:, (x + steps).astype(int)]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    return (cut * rng.uniform(0.5, 1.2) + rng.uniform(-0.1, 0.15)) * (1 + rng.normal(0, 0.08, 3))


def _gradient(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    a, b = _colour(rng, skin), _colour(rng, skin)
    if rng.random() < 0.6:
        b = a * rng.uniform(0.5, 1.5)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    t = x * np.cos(angle) + y * np.sin(angle) + 0.5 if rng.random() < 0.5 else 1.6 * np.hypot(x, y + rng.normal(0, 0.2))
    return a + t[..., None] * (b - a) + 0.02 * _field(rng, size, 4)


def _noise(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    picture = np.broadcast_to(_colour(rng, skin), (size, size, 3))
    n, fall, colourful = rng.integers(2, 6), rng.uniform(0.3, 0.9), rng.uniform(0, 0.4)
    amplitude = rng.uniform(0.05, 0.3)
    while n < size:
        grey = _field(rng, size, n)
        picture = picture + amplitude * (grey + colourful * _field(rng, size, n, 3))
        n, amplitude = n * 2, amplitude * fall
    return picture


def _bokeh(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    """Lights out of focus: discs that add."""
    picture = _f32(_gradient(rng, size, skin) * rng.uniform(0.2, 0.8))
    for _ in range(rng.integers(5, 25)):
        colour = rng.uniform(0.1, 0.7) * np.clip(_colour(rng, skin) + 0.2, 0, 1)
        r = rng.uniform(0.02, 0.12)
        _paint(picture, True, *rng.random(2), r, r, 0.0, _f32(colour), True)
    return picture


def _stripes(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    wave = np.sin(2 * np.pi * rng.uniform(2, 14) * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
    t = np.clip(wave * rng.uniform(1, 6) / 2 + 0.5, 0, 1)[..., None]
    a, b = _colour(rng, skin), _colour(rng, skin)
    return a + t * (b - a) + 0.03 * _field(rng, size, 6)


def _bricks(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    h = rng.uniform(0.05, 0.15)
    w = h * rng.uniform(1.5, 3.5)
    row = np.floor((y + rng.random()) / h)
    column = np.floor(x / w + 0.5 * (row % 2))
    brick = (row * 17 + column * 31).astype(int) % 64
    joint = (((y + 0.3) % h) < 0.12 * h) | (((x / w + 0.5 * (row % 2)) % 1) < 0.05)
    tones = 1 + rng.normal(0, 0.1, (64, 1))
    picture = _colour(rng, skin) * tones[brick] + 0.04 * _field(rng, size, size // 2)
    return np.where(joint[..., None], _colour(rng, skin), picture)


def _wood(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    if rng.random() < 0.5:
        x, y = y, x
    rings = x * rng.uniform(6, 20) + 0.4 * _field(rng, size, 4)[..., 0] + 0.3 * y
    board = np.floor(x * rng.integers(1, 6)).astype(int)
    tone = 1 + 0.12 * np.sin(2 * np.pi * rings) + rng.normal(0, 0.1, 8)[board]
    base = np.array([0.62, 0.42, 0.27]) * rng.uniform(0.4, 1.3) if rng.random() < 0.7 else skin * rng.uniform(0.7, 1.1)
    return base * tone[..., None]


def _foliage(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    green = np.array([0.3, 0.42, 0.16]) * rng.uniform(0.4, 1.4) * (1 + rng.normal(0, 0.15, 3))
    leaves = _field(rng, size, rng.integers(8, 24)) + 0.7 * _field(rng, size, rng.integers(20, 48))
    light = np.clip(leaves, -1, 2) * rng.uniform(0.15, 0.35) + 0.3 * _field(rng, size, 3)
    sky = np.array([0.75, 0.85, 0.95])
    gap = np.clip((leaves + _field(rng, size, 3) - rng.uniform(1.0, 3.5)) * 2, 0, 1)
    return green * (1 + light) + gap * (sky - green)


def _room(rng: np.random.Generator, size: int, skin: np.ndarray) -> np.ndarray:
    """Walls, shelves, windows, people out of focus: overlapping boxes and ovals with edges."""
    picture = _f32(_gradient(rng, size, skin))
    lean = rng.normal(0, 0.08)
    for _ in range(rng.integers(2, 14)):
        (x, y), w, h = rng.random(2), rng.uniform(0.015, 0.2), rng.uniform(0.015, 0.3)
        _paint(picture, False, x, y, w, h, lean, _f32(_colour(rng, skin)), False)
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            _person(rng, picture, skin)
    return picture + 0.03 * _field(rng, size, 5)


def _person(rng: np.random.Generator, picture: np.ndarray, skin: np.ndarray) -> None:
    """An oval of skin under hair over shoulders, without features: somebody else in the room."""
    r = rng.uniform(0.05, 0.18)
    x, y = rng.random(), rng.uniform(0.1, 0.6)
    hair, shirt, tone = rng.uniform(0.05, 0.4) * np.array([1, 0.8, 0.6]), _colour(rng, skin), rng.uniform(0.5, 1.2)
    for dy, w, h, colour in ((2.6, 2.2, 1.6, shirt), (-0.15, 1.05, 1.3, hair), (0.1, 0.8, 1.1, skin * tone)):
        _paint(picture, True, x, y + dy * r, w * r, h * r, 0.0, _f32(colour), False)


@numba.njit(cache=True)
def _paint(picture, oval, x0, y0, w, h, lean, colour, add):
    """An oval or a leaning box of half width w and half height h (shares of the picture), with a soft edge."""
    size = picture.shape[0]
    for row in range(size):
        for column in range(size):
            x, y = column / size, row / size
            x, y = x + lean * y - x0, y - lean * x - y0
            inside = (1 - np.sqrt((x / w) ** 2 + (y / h) ** 2)) * min(w, h) if oval else min(w - abs(x), h - abs(y))
            t = min(max(inside * size + 0.5, 0), 1)
            if t > 0:
                for c in range(3):
                    picture[row, column, c] += t * (colour[c] if add else colour[c] - picture[row, column, c])


def _f32(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)
