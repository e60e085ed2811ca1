"""`facenb restore`: albedo, geometry and new views of a degraded photo."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "restore"
SHORT = "albedo, geometry and new views of a degraded photo"

ABOUT = """\
Restore the face in each photo: a square that it fills, as `facenb studio` frames it, of any size
and quality. From other photos the centre square is taken, or the one that --box names. A folder
means all photos in it. For each photo NAME it writes
  NAME.png        before and after: the photo, the face put together again, albedo, depth, new views
  NAME.glb        the restored mesh with its albedo
  NAME_maps.npz   depth, albedo and texture from the front, angles and shift of the view, the lamp

The network that is shipped has learnt from faces of the open model under one lamp, spoilt as
`facenb train-restorer` spoils them. Real photos are another world: train on yours for those.
"""

EXAMPLES = """\
examples:
  facenb restore small.jpg --out restored
  facenb restore album --out restored --weights mine/weights.safetensors
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb restore`."""

    photos: Annotated[tuple[Path, ...], Option("photos, or folders of photos", "PHOTO", positional=True)]
    out: Annotated[Path, Option("folder for the results; older ones are replaced", "DIR")]
    box: Annotated[tuple[float, ...] | None, Option("the face's square, in pixels of the photo", "LEFT TOP SIDE")] = (
        None
    )
    weights: Annotated[
        Path | None, Option("the network, as `facenb train-restorer` writes it (default: the one shipped)", "FILE")
    ] = None


def run(config: Config) -> None:
    with loading():
        from facenb.image_sets import photos_in
        from facenb.restore.restore_command import restore_photos

    restore_photos(photos_in(config.photos, config.out), config.out, config.weights, config.box, say=print)
