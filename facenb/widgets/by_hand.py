"""Least squares by hand: points that the reader drags, and the face and the camera that answer."""

from __future__ import annotations

import traitlets

from facenb.widgets.live_figure import LiveFigure
from facenb.widgets.page_figure import Numbers


class LeastSquaresByHand(LiveFigure):
    """A photo of a known face with points on it; the linear geometry problem (35), solved at every touch.

    `identity`, `expression`, `albedo`, `pose` and `camera` are the truth that the photo was drawn from.

    Traits beside those of `LiveFigure`:
        noise: standard deviation of the pixels, px of a photo of 512.
        depth_noise: of the depths, %.
        prior: log₁₀ of the weight of a squared standard deviation of m, mm² for each point.
        points: how many of the 68 landmarks are used.
        inverse_camera, solved: the answer, [P, q] (3 × 4) and m; written by the page.
    """

    figure = "byHand"
    alt = "A photo of a face with points that can be dragged, and beside it the face that least squares find."

    noise = traitlets.Float(1.0)
    depth_noise = traitlets.Float(0.2)
    prior = traitlets.Float(-0.5)
    points = traitlets.Int(20)
    inverse_camera = Numbers([[0.0] * 4] * 3, (3, 4))
    solved = Numbers([], (-1,))
