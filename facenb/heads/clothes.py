"""Shirts, jackets, collars and scarves (book: *It learns*).

A garment is the body's own skin, smoothed and pushed outwards, cut at a neckline. Collars and scarves are sheets of the
cage. Colours are those of wardrobes: a lot of black, white, grey and blue, some of everything.

Units mm; colours sRGB.
"""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.cage_sheet import angles_and_heights, sheet
from facenb.heads.head_model import HeadModel
from facenb.heads.mesh_tools import ramp
from facenb.heads.parts import Part
from facenb.heads.patterns import pattern

EDGE = 12.0  # mm over which alpha rises: the spacing of vertices, else edges become stairs
TOP = -70.0  # mm, highest point of any garment
NECKLINES = {  # chance; height (mm) of the edge in front, at the sides and behind; half width (degrees) of the front
    "crew": (0.36, (-142, -112, -106), 45),
    "scoop": (0.12, (-200, -140, -112), 50),
    "vee": (0.16, (-235, -116, -108), 26),
    "high": (0.10, (-98, -92, -92), 60),
    "shirt": (0.20, (-165, -114, -104), 14),
    "bare": (0.06, (-250, -215, -190), 60),
}


def random_cloth(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """A colour (sRGB) to wear."""
    kind = rng.random()
    if kind < 0.28:  # white, grey, black
        c = np.repeat(rng.beta(0.6, 0.6), 3) * 0.9 + 0.04 + rng.normal(0, 0.015, 3)
    elif kind < 0.5:  # dark blue to jeans
        c = np.array(colorsys.hsv_to_rgb(rng.normal(0.61, 0.03) % 1, rng.uniform(0.3, 0.85), rng.uniform(0.12, 0.7)))
    else:
        c = np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.4, 1.4), rng.uniform(0.1, 0.95)))
    return np.clip(c, 0.02, 0.97).astype(np.float32)


def random_clothes(
    model: HeadModel,
    body: Float[np.ndarray, "B 3"],
    normals: Float[np.ndarray, "B 3"],
    moved: Float[np.ndarray, "G 3"],
    rng: np.random.Generator,
) -> tuple[list[Part], str]:
    """Garments for a body (mm) with unit normals, and what they are called."""
    chances = np.array([c for c, *_ in NECKLINES.values()])
    name = str(rng.choice(list(NECKLINES), p=chances / chances.sum()))
    _, heights, half_width = NECKLINES[name]
    heights = np.array(heights) + rng.normal(0, [12, 6, 5])
    cloth = _cloth(model, rng)
    parts = [_garment(model, body, normals, rng.uniform(4, 7), heights, half_width, cloth, rng)]
    if name == "shirt" or rng.random() < 0.08:
        parts.append(_collar(model, moved, cloth, rng))
    if rng.random() < 0.22:
        deep = np.array([rng.uniform(-330, -190), -114, -100]) + rng.normal(0, [20, 5, 4])
        parts.append(
            _garment(model, body, normals, rng.uniform(10, 16), deep, rng.uniform(14, 40), _cloth(model, rng), rng)
        )
        name += " and jacket"
    return parts, name


def _cloth(model: HeadModel, rng: np.random.Generator):
    """A function from positions on the mean body (n, 3) to colours (n, 3): plain, striped or chequered."""
    first, second = random_cloth(rng), random_cloth(rng)
    kind, period, duty = rng.random(), rng.uniform(25, 70), rng.uniform(0.3, 0.7)
    blotches = rng.standard_normal((4, 3)) / 35, rng.uniform(0, 6, 4)

    def colour(X: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        share = np.zeros(len(X))
        if kind < 0.16:
            share = ramp(np.abs((X[:, 1] / period) % 1 - 0.5) - duty / 2, 0.25)
        elif kind < 0.22:
            share = 0.5 * ramp(np.abs((X[:, 1] / period) % 1 - 0.5) - duty / 2, 0.25)
            share += 0.5 * ramp(np.abs((X[:, 0] / period) % 1 - 0.5) - duty / 2, 0.25)
        elif kind < 0.34:
            share = ramp(np.sin(X @ blotches[0].T + blotches[1]).sum(1), 1.0)
        return (first + share[:, None] * (second - first)).astype(np.float32)

    return colour


def _garment(
    model: HeadModel,
    body: Float[np.ndarray, "B 3"],
    normals: Float[np.ndarray, "B 3"],
    thick: float,
    heights: Float[np.ndarray, " 3"],
    half_width: float,
    cloth,
    rng: np.random.Generator,
) -> Part:
    keep, triangles, azimuth = model.garment
    rest = model.whole.mean[model.whole.part["body"]][keep]
    edge = _around(azimuth, heights, half_width).astype(np.float32)
    alpha = np.clip(0.5 + (edge - rest[:, 1]) / EDGE, 0, 1).astype(np.float32)
    wave, phase = rng.standard_normal((5, 3), np.float32) / 28, rng.uniform(0, 6, 5).astype(np.float32)
    folds = np.sin(wave @ rest.T + phase[:, None]).sum(0)
    away = np.clip((edge - rest[:, 1]) / 60, 0, 1)
    X = body[keep] + (thick + away * (5 + 2.2 * folds))[:, None] * normals[keep]
    sky = model.body_sky[keep] * (1 - 0.25 * ramp(-folds - 1, 2))
    return Part(
        "clothes",
        X.astype(np.float32),
        triangles,
        (cloth(rest) * (1 + 0.05 * folds[:, None]).clip(0.7, 1.2)).clip(0, 1).astype(np.float32),
        sky.astype(np.float32),
        specular=float(rng.uniform(0, 0.03)),
        gloss=8.0,
        alpha=alpha,
        texture_noise=float(rng.uniform(0.01, 0.1)),
    )  # fmt: skip


def _around(azimuth: Float[np.ndarray, " n"], heights: Float[np.ndarray, " 3"], half_width: float) -> np.ndarray:
    """Height of a neckline at azimuths in degrees: front, sides, back."""
    front, side, back = heights
    return np.interp(np.abs(azimuth), [0, half_width, 90, 180], [front, 0.35 * front + 0.65 * side, side, back])


def _collar(model: HeadModel, moved: Float[np.ndarray, "G 3"], cloth, rng: np.random.Generator) -> Part:
    """A turned-down or standing collar: a flared band around the neck, open in front."""
    azimuth, y = angles_and_heights(model.cage)
    top = _around(azimuth, np.array([-125, -92, -82]) + rng.normal(0, 6), 30)
    low = top - rng.uniform(28, 45)
    gap = rng.uniform(4, 22) + np.clip(top - y, 0, 60) * rng.uniform(0.1, 0.5)
    inside = np.minimum(top - y, y - low) / EDGE
    alpha = np.clip(0.5 + np.minimum(inside, (np.abs(azimuth) - gap) / 4), 0, 1)
    thick = 3 + np.clip(top - y, 0, 40) * rng.uniform(0.2, 0.5)
    colour = cloth(model.cage.tight).reshape(*y.shape, 3)
    return sheet("collar", model.cage, moved, alpha, thick + 2, colour, 0.85, texture_noise=0.03)


def scarf(model: HeadModel, moved: Float[np.ndarray, "G 3"], rng: np.random.Generator) -> Part:
    """A scarf around the neck, sometimes up to the mouth; the cage's rows there are few, so folds are broad."""
    azimuth, y = angles_and_heights(model.cage)
    front = rng.uniform(-110, -62) if rng.random() < 0.8 else rng.uniform(-62, -25)
    lumps, waves = pattern("lumps", rng), pattern("waves", rng)
    top = _around(azimuth, np.array([front, rng.uniform(-85, -40), -60]), 60) + 4 * lumps
    low = top - rng.uniform(50, 110) + 6 * waves
    alpha = np.clip(0.5 + np.minimum(top - y, y - low) / EDGE, 0, 1)
    middle = 1 - np.abs((y - (top + low) / 2) / ((top - low) / 2)).clip(0, 1)
    thick = 5 + rng.uniform(8, 24) * np.sqrt(middle) + 3 * waves * middle
    first, second = random_cloth(rng), random_cloth(rng)
    share = ramp(np.sin((y + 5 * waves) / rng.uniform(3, 10)), 0.6) * (rng.random() < 0.3)
    colour = (first + share[..., None] * (second - first)) * np.exp(0.1 * waves + 0.08 * lumps)[..., None]
    sky = 0.7 + 0.3 * middle
    return sheet("scarf", model.cage, moved, alpha, thick, colour, sky, loose=0.15, texture_noise=0.1)


def garment_mesh(
    rest: Float[np.ndarray, "B 3"], triangles: Int[np.ndarray, "T 3"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "t 3"], Float[np.ndarray, " n"]]:
    """The part of the body that clothes may cover: vertices, triangles among them, azimuth (degrees)."""
    T = triangles[rest[triangles][:, :, 1].max(1) < TOP]
    keep, T = np.unique(T, return_inverse=True)
    azimuth = np.degrees(np.arctan2(rest[keep, 0], rest[keep, 2] + 105))
    return keep, T.reshape(-1, 3).astype(np.int32), azimuth
