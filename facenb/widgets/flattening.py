"""A face and its square under the reader's hand: morph one into the other, change the weights, point at either."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import numpy as np
import traitlets

from facenb.flatten import flatten
from facenb.morphable_model import MorphableModel
from facenb.widgets.face_file import layout
from facenb.widgets.live_figure import LiveFigure, open_model_cached

BOOSTED = "stretch, eyes and lips boosted"
REGIONS = ("eyes", "nose", "lips")


class FlatteningFigure(LiveFigure):
    """The face in space and the square that it is laid out on.

    Traits beside those of `LiveFigure`:
        weights: "uniform", "mean-value", "stretch" or "stretch, eyes and lips boosted", which is the one of the tables.
        morph: 0 shows the left face in space, 1 on the square.
        texels: along a side of the table that is counted.
    """

    figure = "flattening"
    alt = "A face with a chessboard on it, and beside it the square on which the same face is laid out."

    weights = traitlets.Enum(["uniform", "mean-value", "stretch", BOOSTED], BOOSTED)
    morph = traitlets.Float(0.0, min=0.0, max=1.0)
    texels = traitlets.Int(320, min=16, max=1024)

    def state(self) -> dict[str, Any]:
        """All that the page needs besides the face file: four layouts and the regions' weights, as whole numbers."""
        model = self._model
        own = _open_tables() if model is open_model_cached() else _tables(model)
        return super().state() | own


@cache
def _open_tables() -> dict[str, dict[str, str]]:
    return _tables(open_model_cached())


def _tables(model: MorphableModel) -> dict[str, dict[str, str]]:
    flattenings = {
        "uniform": flatten(model, "uniform"),
        "mean-value": flatten(model, "mean-value"),
        "stretch": flatten(model, "stretch", boost=0.0),
        BOOSTED: flatten(model),
    }
    layouts = {name: _packed(layout(model, flat), np.uint16) for name, flat in flattenings.items()}
    weights = {name: model.regions[name].cpu().numpy() for name in REGIONS if name in model.regions}
    return {"layouts": layouts, "regions": {name: _packed(weight, np.uint8) for name, weight in weights.items()}}


def _packed(values: np.ndarray, kind: type) -> str:
    """Numbers in [0, 1] as base64 of whole numbers, little-endian."""
    most = np.iinfo(kind).max
    whole = np.round(values.astype(np.float64) * most).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(whole.tobytes()).decode()
