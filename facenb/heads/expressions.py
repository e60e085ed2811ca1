"""What faces do in snapshots (book: *It learns*).

People who are photographed mostly smile, or do nothing in particular; now and then they talk, squint or blink. A random
expression is one of these moods at a random strength, plus a little of everything.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float

from facenb.open_model import named_expressions

RESIDUAL_SD = (0.08, 0.33)  # of the natural variation that is always added
MOODS = {  # chance, then actions with their ranges of strength
    "neutral": (0.24, {}),
    "closed smile": (0.18, {"smile": (0.35, 1.1)}),
    "smile": (
        0.30,
        {
            "smile": (0.6, 1.45),
            "jawOpen": (0.03, 0.22),
            "mouthUpperUpLeft": (0.1, 0.6),
            "mouthUpperUpRight": (0.1, 0.6),
            "mouthLowerDownLeft": (0.0, 0.35),
            "mouthLowerDownRight": (0.0, 0.35),
        },
    ),
    "laugh": (
        0.07,
        {"smile": (0.8, 1.4), "jawOpen": (0.2, 0.6), "eyeSquintLeft": (0.1, 0.8), "eyeSquintRight": (0.1, 0.8)},
    ),
    "talk": (0.10, {"jawOpen": (0.1, 0.5), "mouthFunnel": (0.0, 0.5), "mouthPucker": (0.0, 0.4)}),
    "surprise": (0.03, {"surprise": (0.3, 1.0)}),
    "stern": (0.06, {"frown": (0.2, 0.8), "mouthPressLeft": (0.0, 0.6), "mouthPressRight": (0.0, 0.6)}),
    "pucker": (0.02, {"pucker": (0.3, 1.0)}),
}
EYES = {"blink": (0.05, (0.4, 1.0)), "squint": (0.25, (0.1, 0.8)), "wide": (0.06, (0.2, 0.8))}


@functools.cache
def _named() -> dict[str, Float[np.ndarray, " Nex"]]:
    named = {name: c.numpy() for name, c in named_expressions().items()}
    for eyes, action in (("squint", "eyeSquint"), ("wide", "eyeWide"), ("brows down", "browDown")):
        named[eyes] = named[f"{action}Left"] + named[f"{action}Right"]
    return named


def random_expression(rng: np.random.Generator, n: int) -> Float[np.ndarray, " n"]:
    """Expression coefficients of the open model."""
    named = _named()
    c = rng.uniform(*RESIDUAL_SD) * rng.standard_normal(n)
    chances = np.array([chance for chance, _ in MOODS.values()])
    _, actions = MOODS[str(rng.choice(list(MOODS), p=chances / chances.sum()))]
    strength = rng.uniform(0, 1)  # shared: a broad smile is broad in all its parts
    for name, (low, high) in actions.items():
        t = np.clip(0.75 * strength + 0.25 * rng.uniform() + 0.08 * rng.standard_normal(), 0, 1)
        c += (low + t * (high - low)) * named[name]
    for name, (chance, (low, high)) in EYES.items():
        if rng.random() < chance:
            c += rng.uniform(low, high) * named[name]
    if rng.random() < 0.2:
        c += rng.uniform(-0.3, 0.9) * named["brows up"]
    return c.astype(np.float32)
