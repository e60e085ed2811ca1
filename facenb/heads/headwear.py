"""Caps, beanies, hats, hoods, headbands and headscarves (book: *It learns*).

Each is a sheet of the cage, cut along a line around the head; caps and hats have a brim besides. What a hat does to the
hair below it is the business of `people`.

Units mm; angles in degrees from the front.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from facenb.heads.cage import MIDDLE, Cage
from facenb.heads.cage_sheet import angles_and_heights, ear_room, sheet
from facenb.heads.clothes import EDGE, random_cloth
from facenb.heads.mesh_tools import ramp
from facenb.heads.parts import Part
from facenb.heads.patterns import pattern

KINDS = {"beanie": 0.24, "cap": 0.27, "hat": 0.11, "headband": 0.10, "headscarf": 0.18, "hood": 0.10}
OVERLAP = 5.0  # mm that a brim begins above the edge of its crown
WOMEN_WEAR = ("headscarf",)  # nine times in ten
COVERS_HAIR = ("headscarf",)
FLATTENS_HAIR = ("beanie", "cap", "hat", "hood", "headband")


def random_headwear(man: float, rng: np.random.Generator) -> str:
    """One of KINDS, for a man (1) or a woman (0)."""
    chances = np.array([c * (1 - 0.9 * man if kind in WOMEN_WEAR else 1.0) for kind, c in KINDS.items()])
    return str(rng.choice(list(KINDS), p=chances / chances.sum()))


def headwear(kind: str, cage: Cage, moved: Float[np.ndarray, "G 3"], rng: np.random.Generator) -> list[Part]:
    """The parts of one piece of headwear for a head that moved its cage by `moved` (mm)."""
    makers = {"beanie": _beanie, "cap": _cap, "hat": _hat, "headband": _band, "headscarf": _scarf, "hood": _hood}
    return makers[kind](cage, moved, rng)


def _line(
    azimuth: Float[np.ndarray, " U"], front: float, side: float, back: float, tilt: float = 0.0
) -> Float[np.ndarray, " U"]:
    """Height of a rim at each azimuth; `tilt` raises the left and lowers the right side."""
    height = np.interp(np.abs(azimuth), [0, 90, 180], [front, side, back])
    return height + tilt * np.sin(np.radians(azimuth))


def _cloth(
    rng: np.random.Generator, shape: tuple[int, int], strength: float, kind: str = "lumps"
) -> Float[np.ndarray, "R U 3"]:
    return random_cloth(rng) * np.exp(strength * pattern(kind, rng))[..., None] * np.ones((*shape, 1))


def _beanie(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(cage)
    edge = _line(azimuth, rng.uniform(52, 92), rng.uniform(5, 50), rng.uniform(-35, 15), rng.normal(0, 4))
    above = y - edge
    cuff = (ramp(above, 2) * ramp(rng.uniform(25, 45) - above, 3)) * (rng.random() < 0.7)
    thick = 8 + 3 * cuff + rng.uniform(0, 22) * ramp(y - 95, 40) + pattern("lumps", rng)
    thick = thick + 8 * ear_room(azimuth, y)
    colour = _cloth(rng, y.shape, 0.05)
    colour = np.where(rng.random() < 0.3, colour * (1 - cuff[..., None]) + cuff[..., None] * random_cloth(rng), colour)
    ribs = 1 + 0.08 * np.sin(np.arange(y.shape[1]) * np.pi * 0.5)
    alpha = np.clip(0.5 + above / EDGE, 0, 1)
    return [sheet("beanie", cage, moved, alpha, thick, colour * ribs[None, :, None], 1.0, texture_noise=0.12)]


def _cap(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(cage)
    front = rng.uniform(62, 88)
    backwards = rng.random() < 0.15
    edge = _line(azimuth, front, rng.uniform(35, 55), rng.uniform(5, 30), rng.normal(0, 3))
    above = y - edge
    thick = 8 + rng.uniform(3, 16) * ramp(above - 15, 30) * (0.6 + 0.4 * np.cos(np.radians(azimuth)))
    colour = _cloth(rng, y.shape, 0.03)
    if rng.random() < 0.3:  # front panel, or an emblem
        panel = ramp(rng.uniform(15, 45) - np.abs(azimuth), 4) * ramp(above - rng.uniform(0, 15), 5)
        colour = colour + panel[..., None] * (random_cloth(rng) - colour)
    crown = sheet("cap", cage, moved, np.clip(0.5 + above / EDGE, 0, 1), thick, colour, 1.0, texture_noise=0.05)
    tint = colour[5, 0] if rng.random() < 0.7 else random_cloth(rng)
    heading = 180.0 if backwards else rng.normal(0, 6)
    brim = _brim(crown, cage, heading, 62.0, rng.uniform(55, 80), rng.uniform(0.0, 0.3), rng.uniform(4, 14), edge, tint)
    return [crown, brim]


def _hat(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(cage)
    edge = _line(azimuth, rng.uniform(62, 85), rng.uniform(48, 65), rng.uniform(30, 50), rng.normal(0, 4))
    above = y - edge
    thick = 9 + rng.uniform(5, 30) * ramp(y - 100, 30)
    colour = _cloth(rng, y.shape, 0.04)
    ribbon = (ramp(above, 2) * ramp(25 - above, 3)) * (rng.random() < 0.6)
    colour = colour + ribbon[..., None] * (random_cloth(rng) - colour)
    crown = sheet("hat", cage, moved, np.clip(0.5 + above / EDGE, 0, 1), thick, colour, 1.0, texture_noise=0.06)
    width = rng.uniform(35, 95)
    brim = _brim(crown, cage, 0.0, 180.0, width, rng.uniform(-0.1, 0.45), rng.uniform(-5, 12), edge, colour[2, 0])
    return [crown, brim]


def _brim(
    crown: Part,
    cage: Cage,
    heading: float,
    half_width: float,
    reach: float,
    droop: float,
    bow: float,
    edge: Float[np.ndarray, " U"],
    colour: Float[np.ndarray, " 3"],
) -> Part:
    """A flat sheet that sets out from the rim of a crown: `reach` mm, falling by `droop` a mm, bent down by `bow` mm.

    `heading` and `half_width` in degrees: a visor, or a full turn.
    """
    azimuth, y = angles_and_heights(cage)
    U, full = len(azimuth), half_width >= 180
    off = (azimuth - heading + 180) % 360 - 180
    order = np.arange(U) if full else np.argsort(off)[np.abs(np.sort(off)) < half_width]
    X = crown.vertices.reshape(*y.shape, 3)
    start = _at_height(X[:, order], y[:, order], edge[order] + OVERLAP)  # n 3
    t = off[order] / half_width
    out = start - np.array([MIDDLE[0], 0, MIDDLE[2]])
    out[:, 1] = 0
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    ahead = np.array([np.sin(np.radians(heading)), 0, np.cos(np.radians(heading))])
    direction = out if full else ahead + 0.35 * out
    length = np.full(len(order), reach) if full else reach * np.sqrt(np.clip(1 - t**4, 0, 1))
    steps = np.linspace(0, 1, 5)[:, None]
    rings = start[None] + (steps * length)[..., None] * direction[None]
    fall = steps * length * droop + steps * bow * (t**2 if not full else np.cos(np.radians(2 * off[order])))
    rings[..., 1] -= fall + 1
    n = len(order)
    i, j = np.meshgrid(np.arange(4), np.arange(n if full else n - 1), indexing="ij")
    a, b = i * n + j, i * n + (j + 1) % n
    T = np.stack([a, a + n, b + n, a, b + n, b], -1).reshape(-1, 3).astype(np.int32)
    tint = np.repeat(np.asarray(colour, np.float32)[None], 5 * n, 0)
    return Part("brim", rings.reshape(-1, 3).astype(np.float32), T, tint, np.full(5 * n, 0.9, np.float32), 0.02, 10.0)


def _at_height(X: np.ndarray, y: np.ndarray, height: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """The point of each column of X (rows, n, 3) whose height on the mean head (rows, n) is `height`."""
    k = np.clip((y > height).sum(0), 1, len(y) - 1)  # first row below it
    n = np.arange(len(k))
    t = ((y[k - 1, n] - height) / (y[k - 1, n] - y[k, n]))[:, None].clip(0, 1)
    return (1 - t) * X[k - 1, n] + t * X[k, n]


def _band(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(cage)
    low = _line(azimuth, rng.uniform(58, 100), rng.uniform(30, 60), rng.uniform(-20, 20), rng.normal(0, 4))
    height = rng.uniform(12, 55)
    alpha = np.clip(0.5 + np.minimum(y - low, low + height - y) / EDGE, 0, 1)
    return [sheet("headband", cage, moved, alpha, 10 + 0 * y, _cloth(rng, y.shape, 0.08), 1.0, texture_noise=0.06)]


def _opening(
    azimuth: np.ndarray, y: np.ndarray, top: float, bottom: float, half_width: float
) -> Float[np.ndarray, "R U"]:
    """Signed measure of the oval in which a face shows: above 1 outside, below 1 inside."""
    middle, half = (top + bottom) / 2, (top - bottom) / 2
    return (np.abs(azimuth / half_width) ** 2.4 + np.abs((y - middle) / half) ** 2.4) ** (1 / 2.4)


def _scarf(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    """A headscarf around face and neck."""
    azimuth, y = angles_and_heights(cage)
    folds, waves = pattern("strands", rng), pattern("waves", rng)
    oval = _opening(azimuth, y, rng.uniform(68, 102), rng.uniform(-102, -84), rng.uniform(48, 64))
    oval = oval + 0.012 * waves
    alpha = np.clip(0.5 + 8 * (oval - 1), 0, 1)
    thick = 8 + 2.2 * waves + 1.2 * folds + rng.uniform(0, 16) * ramp(-np.cos(np.radians(azimuth)), 1) * ramp(y, 60)
    thick = thick + rng.uniform(8, 18) * ramp(-y - 80, 40) + 13 * ear_room(azimuth, y)
    colour = _cloth(rng, y.shape, 0.1, "waves")
    if rng.random() < 0.3:
        print_ = ramp(pattern("curls", rng) - 0.5, 0.5)
        colour = colour + print_[..., None] * (random_cloth(rng) - colour)
    colour = colour * np.exp(0.08 * folds)[..., None]
    loose = rng.uniform(0.0, 0.5)
    return [sheet("headscarf", cage, moved, alpha, thick, colour, 0.95, loose=loose, texture_noise=0.04)]


def _hood(cage: Cage, moved: np.ndarray, rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(cage)
    waves = pattern("waves", rng)
    oval = _opening(azimuth, y, rng.uniform(85, 112), rng.uniform(-160, -110), rng.uniform(58, 78))
    alpha = np.clip(0.5 + 8 * (oval - 1), 0, 1)
    thick = rng.uniform(12, 26) + 3 * waves + 10 * ramp(y - 80, 40) + 6 * ear_room(azimuth, y)
    colour = _cloth(rng, y.shape, 0.1, "waves")
    return [sheet("hood", cage, moved, alpha, thick, colour, 0.8, loose=rng.uniform(0.3, 0.8), texture_noise=0.05)]
