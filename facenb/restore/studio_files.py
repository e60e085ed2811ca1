"""Studio faces on disk, in the layout of `facenb.shards`: what `facenb studio` does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import cache, partial
from pathlib import Path

import torch

from facenb.image_sets import open_images
from facenb.open_model import open_model
from facenb.render_command import Encoded, encode_arrays, encode_image, write_pictures
from facenb.restore.studio import Studio, StudioFaces, open_studio, studio_faces
from facenb.restore.studio_people import person_photo
from facenb.shards import Description, ShardError, read_columns, read_description

GENERATOR = "studio 1"  # to be counted up when pictures of the same seed change


def write_studio(
    out: Path,
    count: int,
    size: int = 64,
    seed: int = 1,
    shard_size: int = 1000,
    truth: bool = True,
    workers: int | None = None,
    progress: bool = True,
    photos: int = 1,
) -> int:
    """Faces 0 … count − 1 of `seed` into the folder `out` → how many were made now; the rest was there.

    With several `photos`, so many pictures one after the other show the same person.

    Raises ShardError for a folder that holds something else, OSError for a full disk, KeyboardInterrupt after Ctrl-C.
    """
    description = Description(count, shard_size, truth, {"size": size, "seed": seed, "generator": GENERATOR})
    if photos > 1:
        description.config["photos"] = photos
    encoded = partial(_encoded, seed=seed, size=size, truth=truth, photos=photos)
    return write_pictures(out, description, encoded, workers, progress)


def read_studio(folder: str | Path) -> StudioFaces:
    """All faces of such a folder with their truth.

    Raises ShardError for a folder of other pictures, or one that is not whole or without truth.
    """
    config = read_description(folder).config
    if config.get("generator") != GENERATOR:
        raise ShardError(f"{folder}: not pictures of the studio; make some: facenb studio --out DIR --count N")
    names = [f.name for f in fields(StudioFaces) if f.name != "image"]
    columns = {name: torch.from_numpy(column) for name, column in read_columns(folder, names).items()}
    images = open_images(folder)
    return StudioFaces(image=torch.stack([images[i] for i in range(len(images))]), **columns)


def _encoded(indices: Iterable[int], seed: int, size: int, truth: bool, photos: int) -> list[Encoded]:
    result = []
    for i in indices:
        one = person_photo(_studio(), seed, i // photos, i % photos, size) if photos > 1 else None
        face = vars(one or studio_faces(_studio(), seed, [i], size))
        picture = encode_image(face["image"][0].permute(1, 2, 0).contiguous().numpy())
        known = {name: value[0].numpy() for name, value in face.items() if name != "image"}
        result.append((picture, encode_arrays(known) if truth else None))
    return result


@cache
def _studio() -> Studio:
    return open_studio(open_model())
