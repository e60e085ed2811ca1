"""A camera under the reader's hand: focal length against distance, and the numbers K, R, t, P and q."""

from __future__ import annotations

import traitlets

from facenb.widgets.live_figure import LiveFigure


class CameraFigure(LiveFigure):
    """The photo that a camera takes of a face, the camera seen from the side, and its matrices.

    Traits beside those of `LiveFigure`:
        hold: whether the face keeps its size in the picture while the camera moves, by zooming as much as it steps.
    """

    figure = "camera"
    alt = "A face as a camera near to it sees it, and the same camera, its field of view and the face from the side."

    hold = traitlets.Bool(True)
