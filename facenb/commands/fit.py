"""`facenb fit`: camera, face and light of a photo, from 68 points marked in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "fit"
SHORT = "camera, face and light of a photo, from 68 points"

ABOUT = """\
Find the camera, the face and the light of each photo, from 68 points marked in it.

For each photo NAME it writes
  NAME.json   image, width, height, model, camera {K, R, t}, identity, expression, albedo,
              lighting, landmarks68, residuals
  NAME.glb    the coloured mesh
  NAME.png    the photo, and the fitted face laid over it

The points are 68 pairs [x, y] in the Multi-PIE order, from the subject's right jaw. Pixels of
the upright photo: x right, y down, (0, 0) at the centre of the top-left pixel. The file holds
the list, or {"landmarks68": list}, or one of these for each photo under its file name.
"""

EXAMPLES = """\
examples:
  facenb fit portrait.jpg --landmarks portrait.points.json --out results
  facenb fit a.jpg b.jpg --landmarks points.json --out results
  facenb fit a.jpg --landmarks a.json --out results --model model2017-1_face12_nomouth.h5
  facenb fit --config fit.toml          # photos = ["a.jpg"], landmarks = "a.json", ...
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb fit`."""

    photos: Annotated[tuple[Path, ...], Option("photos, one face each", "PHOTO", positional=True)]
    landmarks: Annotated[
        tuple[Path, ...],
        Option("JSON file with the 68 points: one for each photo, in order, or one that names them", "POINTS.json"),
    ]
    out: Annotated[Path, Option("folder for the results; older ones are replaced", "DIR")]
    model: Annotated[
        str,
        Option(
            '"open", or the path of a Basel Face Model (.h5), an ICT-FaceKit folder or a saved model',
            "open|PATH",
        ),
    ] = "open"
    max_side: Annotated[
        int, Option("fit on the photo shrunk to this many pixels; results count in its own", "PIXELS", at_least=32)
    ] = 1024


def run(config: Config) -> None:
    with loading():
        from facenb.fit_command import fit_photos

    fit_photos(config.photos, config.landmarks, config.out, config.model, config.max_side, say=print)
