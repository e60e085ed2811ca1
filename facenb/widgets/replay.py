"""A training run to scrub through: what the network said of a few photos, step by step, over its curve."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from facenb.widgets.page_figure import PageFigure

SIDE = 128  # px of a picture in the page
QUALITY = 72  # of its compression
POINTS = 240  # of the curve that is drawn


class TrainingReplay(PageFigure):
    """Pictures at F moments of a training run, and a curve with a playhead.

    Traits:
        moment: which moment is shown, 0 … F − 1.
        picture: which of the N photos.

    Args:
        steps: of the F moments.
        photos: what the network saw, in [0, 1].
        panels: pictures in [0, 1] by caption, of each photo at each moment.
        curve: steps and values of what was logged, e.g. the loss; averaged down to a few hundred points.
        label: of the curve.
        names: of the photos, for the reader.

    Raises ValueError where the numbers of photos or moments do not belong together.
    """

    figure = "replay"
    alt = "What a network said of a photo at one moment of its training, and the curve of the loss."

    moment = traitlets.Int(0)
    picture = traitlets.Int(0)

    def __init__(
        self,
        steps: Sequence[int],
        photos: Float[Tensor, "N 3 S S"],
        panels: Mapping[str, Float[Tensor, "F N 3 S S"]],
        curve: Sequence[tuple[float, float]],
        label: str = "loss",
        names: Sequence[str] | None = None,
        **state: Any,
    ):
        names = list(names or (f"photo {i + 1}" for i in range(len(photos))))
        for caption, pictures in panels.items():
            if pictures.shape[:2] != (len(steps), len(photos)):
                raise ValueError(
                    f"panel {caption!r} has {pictures.shape[0]} × {pictures.shape[1]} pictures, "
                    f"expected {len(steps)} moments × {len(photos)} photos"
                )
        if len(names) != len(photos):
            raise ValueError(f"{len(names)} names for {len(photos)} photos")
        self._photos, self._panels = photos, dict(panels)
        self._fixed = {
            "steps": [int(s) for s in steps],
            "names": names,
            "label": label,
            "curve": thinned(curve),
            "photos": [picture_uri(p) for p in photos],
            "panels": {k: [[picture_uri(p) for p in moment] for moment in v] for k, v in panels.items()},
        }
        state.setdefault("moment", len(steps) - 1)
        super().__init__(**state)

    def state(self) -> dict[str, Any]:
        """All that the page needs."""
        return super().state() | self._fixed

    def _still(self) -> bytes:
        return jpeg_strip([self._photos[self.picture], *(v[self.moment, self.picture] for v in self._panels.values())])


def thinned(curve: Sequence[tuple[float, float]], points: int = POINTS) -> list[list[float]]:
    """A curve as at most `points` means of its neighbours, in four digits."""
    parts = np.array_split(np.asarray(curve, dtype=float), min(points, len(curve)))
    return [[round(float(part[:, 0].mean())), float(f"{part[:, 1].mean():.4g}")] for part in parts]


def _pixels(picture: Float[Tensor, "3 S S"]) -> np.ndarray:
    array = (255 * picture.clamp(0, 1).permute(1, 2, 0)).round().byte().cpu().numpy()
    return np.asarray(Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def jpeg_strip(pictures: Sequence[Float[Tensor, "3 S S"]]) -> bytes:
    """Pictures beside each other, as a file."""
    file = io.BytesIO()
    Image.fromarray(np.concatenate([_pixels(p) for p in pictures], 1)).save(file, "JPEG", quality=82)
    return file.getvalue()


def picture_uri(picture: Float[Tensor, "3 S S"]) -> str:
    """A picture as an address that holds it."""
    file = io.BytesIO()
    Image.fromarray(_pixels(picture)).save(file, "WEBP", quality=QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
