"""The face explorer: sliders for who somebody is and what the face does, under the reader's hand."""

from __future__ import annotations

from typing import Any

from facenb.fit_result import FitFile
from facenb.model_source import OPEN, load_model
from facenb.rotation import angles_from_rotation
from facenb.widgets.live_figure import LiveFigure


class FaceExplorer(LiveFigure):
    """A face with sliders of its leading components in standard deviations, of expressions and of skin.

    Drag it to turn it. In a notebook all sliders, and the pose, are traits of this object: see `LiveFigure`.
    """

    figure = "explorer"
    alt = "A face in three dimensions with sliders that change its shape, its expression and its skin."

    @classmethod
    def of_fit(cls, file: FitFile, **state: Any) -> FaceExplorer:
        """The face of a result of `facenb fit` or `facenb reconstruct`, in the pose of its photo.

        Raises as `load_model` does if the model that it was fitted with cannot be read any more.
        """
        fit = file.fit
        pose = [float(x) for x in angles_from_rotation(fit.camera.R)]
        found = {"identity": fit.identity, "expression": fit.expression, "albedo": fit.albedo, "pose": pose}
        return cls(None if file.model == OPEN else load_model(file.model), **found | state)
