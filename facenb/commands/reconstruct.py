"""`facenb reconstruct`: camera, face and light of a photo, with nothing marked in it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import ConfigError, Option
from facenb.interrupts import loading

NAME = "reconstruct"
SHORT = "camera, face and light of a photo, found by the trained network"
NO_FACE = 3  # exit code

ABOUT = """\
Find the face in each photo, and its camera, shape and light. No points, no detector: the trained
network says for each pixel where on the face it lies, and least squares do the rest.

A folder means all photos in it, those in folders within included. For each photo NAME it writes
  NAME.json         image, width, height, model, camera {K, R, t}, identity, expression, albedo,
                    lighting, landmarks68, landmarks68_direct, residuals; in pixels of the photo
  NAME.glb          the coloured mesh
  NAME.png          the photo, and the face laid over it
  NAME_panels.png   input, reconstruction, geometry, correspondence, confidence and depth
  NAME_maps.npz     uv, depth and confidence of the crop that the network saw, and crop_to_photo,
                    the 2 × 3 matrix from its pixels (x, y, 1) to those of the photo

One face for each photo, the most convincing one. A photo without a face is named, the others are
done, and the exit code is 3.

With --same-person all photos show one person: they are refined together, and every JSON holds the
same identity and the same albedo; camera, expression and light stay each photo's own.
"""

EXAMPLES = """\
examples:
  facenb reconstruct portrait.jpg --out results
  facenb reconstruct *.jpg --out results --refine 8
  facenb reconstruct photos/of/anna --out results --refine 8 --same-person
  facenb reconstruct group.jpg --out results --box 410 120 90 110
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb reconstruct`."""

    photos: Annotated[tuple[Path, ...], Option("photos, or folders of photos", "PHOTO", positional=True)]
    out: Annotated[Path, Option("folder for the results; older ones are replaced", "DIR")]
    refine: Annotated[
        int, Option("improve the answer by this many steps on the photo itself", "STEPS", at_least=0, at_most=1000)
    ] = 0
    same_person: Annotated[
        bool, Option("all photos show one person: refine them together, with one identity and one albedo")
    ] = False
    known_focal: Annotated[
        float | None, Option("focal length, if known, in pixels of the photo", "PIXELS", at_least=1)
    ] = None
    box: Annotated[
        tuple[float, ...] | None,
        Option("where the face is, in pixels of the photo: do not search", "LEFT TOP WIDTH HEIGHT"),
    ] = None
    weights: Annotated[
        Path | None, Option("the network, as `facenb train` writes it (default: the one shipped)", "FILE")
    ] = None
    max_side: Annotated[
        int, Option("work on the photo shrunk to this many pixels; results count in its own", "PIXELS", at_least=32)
    ] = 1024


def run(config: Config) -> int:
    if config.same_person and not config.refine:
        raise ConfigError("--same-person is a way to refine; say how many steps, as in --refine 8 --same-person")
    if config.same_person and config.known_focal:
        raise ConfigError("--same-person and --known-focal do not go together; refine the photos one by one")
    with loading():
        from facenb.image_sets import photos_in
        from facenb.reconstruct_command import reconstruct_photos

    photos = photos_in(config.photos, config.out)
    written = reconstruct_photos(
        photos,
        config.out,
        config.weights,
        config.box,
        config.known_focal,
        config.refine,
        config.max_side,
        say=print,
        complain=lambda line: print(f"facenb: {line}", file=sys.stderr),
        same_person=config.same_person,
    )
    return 0 if len(written) == len(photos) else NO_FACE
