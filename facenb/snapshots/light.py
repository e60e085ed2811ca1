"""Random light for a snapshot: a sky of nine numbers, and up to two lamps that cast shadows.

The sky is spherical harmonics as in `facenb.lighting`, but of the normal in *viewer* coordinates (x to the right of the
picture, y up, z to the camera): the room stays where it is when the head turns. `Light.turn` is what turns normals. All
numbers are linear shading, 1 = a white sky all around.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facenb.lighting import SH_CONSTANTS

DAYLIGHTS = np.array(  # linear colours, by the sRGB values of the black body: candle, bulb, noon, overcast, blue sky
    [[1.0, 0.42, 0.12], [1.0, 0.66, 0.38], [1.0, 0.95, 0.90], [0.93, 0.97, 1.0], [0.75, 0.87, 1.0]], np.float32
)


@dataclass(frozen=True)
class Light:
    """sky: order as in `facenb.lighting`; directions: unit, towards the lamps; sizes: how soft the shadows, in mm."""

    sky: Float[np.ndarray, "3 9"]
    directions: Float[np.ndarray, "L 3"]
    colours: Float[np.ndarray, "L 3"]
    sizes: Float[np.ndarray, " L"]


def random_light(rng: np.random.Generator) -> Light:
    """A third of the lights are the paper's, spherical harmonics and no more; the others have one lamp or two."""
    kind = rng.random()
    if kind < 0.34:
        return Light(paper_sky(rng), *_no_lamps())
    n = 1 if kind < 0.8 else 2
    colours = np.stack([_lamp_colour(rng) for _ in range(n)])
    strength = np.exp(rng.normal(0.0, 0.45, n))
    if n == 2:
        strength[1] *= rng.uniform(0.2, 0.9)
    strength *= rng.uniform(0.35, 1.0) / strength.sum()  # share of the light that comes from lamps
    directions = np.stack([_direction(rng, frontal=i == 0) for i in range(n)])
    sky = (1 - strength.sum()) * room_sky(rng)
    sizes = np.exp(rng.uniform(np.log(1.0), np.log(12.0), n))
    return Light(sky, _f(directions), _f(colours * (1.25 * strength)[:, None]), _f(sizes))


def paper_sky(rng: np.random.Generator) -> Float[np.ndarray, "3 9"]:
    """Constant 0.9 plus random coefficients, white or coloured (supplement D), clamped from going dark by the shader.

    The document's σ = 0.2 is of display values; in linear light the same picture needs about twice as much.
    """
    sky = np.zeros((3, 9))
    sky[:, 0] = 0.9 / SH_CONSTANTS[0]
    sky += rng.normal(0, rng.choice([0.15, 0.3, 0.45]), 9)
    if rng.random() < 0.4:
        sky += rng.normal(0, rng.uniform(0.03, 0.15), (3, 9))
    return _f(sky)


def room_sky(rng: np.random.Generator) -> Float[np.ndarray, "3 9"]:
    """Light that mostly comes from above, returned from the floor in its colour, with soft unevenness."""
    sky = np.zeros((3, 9))
    up = rng.normal(0.35, 0.2)
    sky[:, 0] = 1 / SH_CONSTANTS[0]
    sky[:, 1] = up / SH_CONSTANTS[1]
    sky[:, 2] = rng.normal(0.1, 0.15) / SH_CONSTANTS[1]
    sky[:, 3] = rng.normal(0, 0.25) / SH_CONSTANTS[1]
    sky[:, 4:] += rng.normal(0, 0.12, 5)
    tint = _lamp_colour(rng)
    sky *= tint[:, None]
    sky[:, 1:4] *= 1 + rng.normal(0, 0.1, (3, 3))
    return _f(sky)


def _no_lamps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.float32)


def _direction(rng: np.random.Generator, frontal: bool) -> np.ndarray:
    """Lamps hang above the eyes more often than below, and the main one seldom behind the head."""
    height = np.clip(rng.normal(0.55, 0.4), -0.6, 1.45)
    side = rng.normal(0, 0.75) if frontal else rng.uniform(-np.pi, np.pi)
    return np.array([np.sin(side) * np.cos(height), np.sin(height), np.cos(side) * np.cos(height)])


def _lamp_colour(rng: np.random.Generator) -> np.ndarray:
    """White balance takes most of a lamp's colour away; what remains is a shade, and now and then a neon sign."""
    if rng.random() < 0.04:
        colour = 0.15 + rng.random(3)
    else:
        at = np.clip(rng.normal(2.2, 0.9), 0, 3.999)
        i = int(at)
        colour = DAYLIGHTS[i] + (at - i) * (DAYLIGHTS[i + 1] - DAYLIGHTS[i])
        colour = colour ** rng.uniform(0.1, 0.7)
    return colour / (colour @ [0.3, 0.6, 0.1])


def _f(x) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)
