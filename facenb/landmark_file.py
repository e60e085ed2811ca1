"""Reading the 68 points that somebody has marked in a photo (book: *From a photograph to a face*).

The order is that of Multi-PIE: 17 on the jaw from the subject's right ear to the left, 10 brows, 9 nose, 12 eyes, 20
lips. Pixels of the upright photo: x right, y down, (0, 0) at the centre of the top-left pixel.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.fit_result import read_json

_EXPECTED = "68 points [x, y] in pixels"


class LandmarkFileError(ValueError):
    """A file of points that cannot be used; the message names it and says what to do."""


def read_landmarks(
    path: str | Path, photo: str, width: int, height: int, by_name: bool = False
) -> Float[Tensor, "68 2"]:
    """The points of the photo with file name `photo`, `width` × `height` px, float64.

    The JSON file holds a list of 68 [x, y], alone or under "landmarks68", or an object that gives either for each of
    several photos by file name; with `by_name` only the latter will do, so that no face gets another one's points. A
    point may lie a little outside, where the picture cuts the face off.

    Raises LandmarkFileError if there are not 68 finite points for this photo, or if they cannot belong to it.
    """
    path = Path(path)
    content = read_json(path, LandmarkFileError, _EXPECTED)
    if isinstance(content, dict) and photo in content:
        content = content[photo]
    elif by_name:
        raise LandmarkFileError(f"{path}: no points for {photo} inside; list each photo's points under its file name")
    if isinstance(content, dict):
        if "landmarks68" not in content:
            raise LandmarkFileError(f'{path}: neither "landmarks68" nor points for {photo} inside; give {_EXPECTED}')
        content = content["landmarks68"]
    if not isinstance(content, list) or len(content) != 68:
        found = f"{len(content)} entries" if isinstance(content, list) else "no list"
        raise LandmarkFileError(f"{path}: {found} for {photo}; give {_EXPECTED}")
    for i, point in enumerate(content):
        if not isinstance(point, list) or len(point) != 2 or any(type(c) not in (int, float) for c in point):
            raise LandmarkFileError(f"{path}: point {i} is {str(point)[:40]}, not [x, y]; give {_EXPECTED}")
        if not all(-1e9 < c < 1e9 for c in point):  # written so that NaN fails, too
            raise LandmarkFileError(f"{path}: point {i} is not finite; give {_EXPECTED}")
    points = torch.tensor(content, dtype=torch.float64)
    margin = 0.25 * max(width, height)
    outside = ((points < -0.5 - margin) | (points > points.new_tensor([width, height]) - 0.5 + margin)).any(-1)
    if outside.any():
        i = int(outside.nonzero()[0])
        x, y = points[i].tolist()
        raise LandmarkFileError(
            f"{path}: point {i} at ({x:g}, {y:g}) is far outside {photo} ({width} × {height}); are these its points?"
        )
    if float((points.amax(0) - points.amin(0)).max()) < 8:
        raise LandmarkFileError(f"{path}: all points within 8 pixels; they count in pixels, not in shares of the photo")
    return points
