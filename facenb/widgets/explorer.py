"""The face explorer: sliders for who somebody is and what the face does, under the reader's hand."""

from facenb.widgets.live_figure import LiveFigure


class FaceExplorer(LiveFigure):
    """A face with sliders of its leading components in standard deviations, of expressions and of skin.

    Drag it to turn it. In a notebook all sliders, and the pose, are traits of this object: see `LiveFigure`.
    """

    figure = "explorer"
    alt = "A face in three dimensions with sliders that change its shape, its expression and its skin."
