"""`facenb reconstruct`: camera, face and light of a photo, with nothing marked in it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "reconstruct"
SHORT = "camera, face and light of a photo, found by the trained network"
NO_FACE = 3  # exit code

ABOUT = """\
Find the face in each photo, and its camera, shape and light. No points, no detector: the trained
network says for each pixel where on the face it lies, and least squares do the rest.

For each photo NAME it writes
  NAME.json         image, width, height, model, camera {K, R, t}, identity, expression, albedo,
                    lighting, landmarks68, landmarks68_direct, residuals; in pixels of the photo
  NAME.glb          the coloured mesh
  NAME.png          the photo, and the face laid over it
  NAME_panels.png   input, reconstruction, geometry, correspondence, confidence and depth
  NAME_maps.npz     uv, depth and confidence of the crop that the network saw, and crop_to_photo,
                    the 2 × 3 matrix from its pixels (x, y, 1) to those of the photo

One face for each photo, the most convincing one. A photo without a face is named, the others are
done, and the exit code is 3.
"""

EXAMPLES = """\
examples:
  facenb reconstruct portrait.jpg --out results
  facenb reconstruct *.jpg --out results --refine 8
  facenb reconstruct group.jpg --out results --box 410 120 90 110
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb reconstruct`."""

    photos: Annotated[tuple[Path, ...], Option("photos", "PHOTO", positional=True)]
    out: Annotated[Path, Option("folder for the results; older ones are replaced", "DIR")]
    refine: Annotated[
        int, Option("improve the answer by this many steps on the photo itself", "STEPS", at_least=0, at_most=1000)
    ] = 0
    known_focal: Annotated[
        float | None, Option("focal length, if known, in pixels of the photo", "PIXELS", at_least=1)
    ] = None
    box: Annotated[
        tuple[float, ...] | None,
        Option("left, top, width and height of the face, in pixels of the photo: do not search", "NUMBER"),
    ] = None
    weights: Annotated[
        Path | None, Option("the network, as `facenb train` writes it (default: the one shipped)", "FILE")
    ] = None
    max_side: Annotated[
        int, Option("work on the photo shrunk to this many pixels; results count in its own", "PIXELS", at_least=32)
    ] = 1024


def run(config: Config) -> int:
    with loading():
        from facenb.reconstruct_command import reconstruct_photos

    written = reconstruct_photos(
        config.photos,
        config.out,
        config.weights,
        config.box,
        config.known_focal,
        config.refine,
        config.max_side,
        say=print,
        complain=lambda line: print(f"facenb: {line}", file=sys.stderr),
    )
    return 0 if len(written) == len(config.photos) else NO_FACE
