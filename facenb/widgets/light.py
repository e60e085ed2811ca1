"""Light under the reader's hand: a lamp to drag, nine numbers, and the light that divides instead of multiplying."""

from facenb.widgets.live_figure import LiveFigure


class LightFigure(LiveFigure):
    """A sphere and a face in the same light, the face again as its inverse light shows it, and where that errs.

    The inverse light is `lighting.inverse_light(light, sphere_points(400))`.
    """

    figure = "light"
    alt = (
        "A sphere and a face in the light of a lamp that can be moved, and the error of the inverse light on the face."
    )
