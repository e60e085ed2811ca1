"""Light under the reader's hand: a lamp to drag, nine numbers, and the light that divides instead of multiplying."""

from __future__ import annotations

from math import cos, radians, sin
from typing import Any

from facenb.lighting import lamp
from facenb.widgets.live_figure import LiveFigure


class LightFigure(LiveFigure):
    """A sphere and a face in the same light, the face again as its inverse light shows it, and where that errs.

    The inverse light is `lighting.inverse_light(light, sphere_points(400))`. Begins with the lamp of its own sliders.
    """

    figure = "light"
    alt = (
        "A sphere and a face in the light of a lamp that can be moved, and the error of the inverse light on the face."
    )

    def __init__(self, *args: Any, **state: Any):
        state.setdefault("light", lamp_light())
        super().__init__(*args, **state)


def lamp_light(
    side: float = -20.0, height: float = 25.0, strength: float = 0.75, room: float = 0.35, warmth: float = 0.1
) -> list[list[float]]:
    """3 × 9 coefficients of a lamp in a room: what the sliders of the figures make (`js/lamp_controls.js`).

    Args:
        side, height: where the lamp stands, degrees; side > 0 is the right of the picture of a frontal face.
        strength, room: of the lamp and of the light from everywhere, in shading.
        warmth: −1 a cold lamp, 1 a camp fire.
    """
    a, e = radians(side), radians(height)
    colour = tuple(strength * c for c in (1 + 0.3 * warmth, 1.0, 1 - 0.45 * warmth))
    return lamp((sin(a) * cos(e), sin(e), cos(a) * cos(e)), colour, (room, room, 1.06 * room)).tolist()
