"""Rendered pictures on disk: a folder of tar files that any tool can read (book: *It learns*).

    dataset.json        what it is: count, size, seed, framing, ... and which version of the renderer made it
    images-00000.tar    000000000.png, 000000001.png, ... `shard_size` of them
    truth-00000.tar     000000000.npz, ... what is known about each: evaluation only, so apart from the pictures

This is the WebDataset layout: `tar xf` opens it, the `webdataset` package and Hugging Face's `datasets` stream it from
a disk or over a network, and a table of offsets gives random access to every picture without unpacking. A few large
files instead of a hundred thousand small ones, and one pass of reading, is what disks and networks like; the standard
library writes it. Pictures are PNG: those that shall look compressed have been through JPEG already, a second one
would stamp all with the same traces, and a PNG reads back on every machine as exactly the pixels that were rendered.

A shard appears whole or not at all, its truth before its pictures; so what is missing can be made later.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facenb.atomic import atomic_path

DESCRIPTION = "dataset.json"


class ShardError(ValueError):
    """A dataset folder that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Description:
    """The contents of dataset.json. `config` is all that decides what the pictures look like."""

    count: int
    shard_size: int
    truth: bool
    config: dict[str, Any]

    @property
    def n_shards(self) -> int:
        return -(-self.count // self.shard_size)

    def members(self, shard: int) -> range:
        """Numbers of the pictures in a shard; the last may hold fewer than the others."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))


@dataclass(frozen=True)
class Truth:
    """Truths of N pictures, stacked; what each means stands at `facenb.snapshots.SnapshotTruth`. Float32.

    In the files uv is float16, which rounds it by at most a twelfth of a texel of 320.
    """

    uv: Float[Tensor, "N H W 2"]
    depth: Float[Tensor, "N H W"]
    mask: Bool[Tensor, "N H W"]
    landmarks68: Float[Tensor, "N 68 2"]
    landmarks5: Float[Tensor, "N 5 2"]
    identity: Float[Tensor, "N Nid"]
    expression: Float[Tensor, "N Nex"]
    albedo: Float[Tensor, "N Nal"]
    K: Float[Tensor, "N 3 3"]
    R: Float[Tensor, "N 3 3"]
    t: Float[Tensor, "N 3"]
    yaw: Float[Tensor, " N"]
    pitch: Float[Tensor, " N"]
    roll: Float[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.yaw)


class ShardIndex:
    """Random access to the pictures of a dataset folder: `index.image_bytes(i)` is the PNG file of picture i."""

    def __init__(self, files: list[Path], places: list[tuple[int, int, int]], description: Description) -> None:
        self.files, self._places, self.description = files, places, description

    def __len__(self) -> int:
        return len(self._places)

    def image_bytes(self, i: int) -> bytes:
        """The encoded picture i, read from the middle of its shard. Raises ShardError if the file has been cut."""
        shard, offset, length = self._places[i]
        path = self.files[shard]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise ShardError(f"{path}: cannot be read ({error.strerror}); render it again") from error
        if len(data) < length:
            raise _damaged(path, "ends early")
        return data


def images_path(folder: Path, shard: int) -> Path:
    return folder / f"images-{shard:05d}.tar"


def truth_path(folder: Path, shard: int) -> Path:
    return folder / f"truth-{shard:05d}.tar"


def start_dataset(folder: str | Path, description: Description) -> list[int]:
    """Make or continue a dataset in `folder` → the shards that are still missing.

    Raises ShardError if the folder holds a dataset of another description, or other files and no description.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    if path.exists():
        _check_same(path, read_description(folder), description)
    else:
        if folder.is_dir() and any(folder.glob("*.tar")):
            raise ShardError(f"{folder}: holds tar files but no {DESCRIPTION}; choose another folder")
        with atomic_path(path) as unfinished:
            unfinished.write_text(json.dumps({"format": "facenb dataset", **vars(description)}, indent=2) + "\n")
    return [
        shard
        for shard in range(description.n_shards)
        if not images_path(folder, shard).exists() or (description.truth and not truth_path(folder, shard).exists())
    ]


def read_description(folder: str | Path) -> Description:
    """What dataset.json says. Raises ShardError if there is none, or one that cannot be understood."""
    path = Path(folder) / DESCRIPTION
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table.pop("format") != "facenb dataset":
            raise KeyError("format")
        return Description(**table)
    except FileNotFoundError as error:
        raise ShardError(
            f"{folder}: no {DESCRIPTION} in it, so no rendered dataset; make one: facenb render or facenb studio"
        ) from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: not the description of a rendered dataset; render it again") from error


def write_shard(path: Path, names: Iterable[str], contents: Iterable[bytes]) -> None:
    """A tar file of these members, whole or not at all. The same members give the same bytes: no dates, no owners."""
    with atomic_path(path) as unfinished, tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in zip(names, contents, strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def member_name(i: int, ending: str) -> str:
    return f"{i:09d}.{ending}"


def read_shard_index(folder: str | Path) -> ShardIndex:
    """Where each picture of a dataset folder lies: reads the tar headers, not the pictures.

    Raises ShardError for a missing, truncated or foreign shard, naming it.
    """
    folder = Path(folder)
    description = read_description(folder)
    files, places = [], []
    for shard in range(description.n_shards):
        path = images_path(folder, shard)
        expected = [member_name(i, "png") for i in description.members(shard)]
        files.append(path)
        places += [(shard, *place) for place in _members(path, expected)]
    return ShardIndex(files, places, description)


def read_truth(folder: str | Path) -> Truth:
    """All truths of a dataset folder, stacked in order. Raises ShardError as `read_shard_index` does."""
    columns = read_columns(folder, Truth.__dataclass_fields__)
    return Truth(
        **{
            name: torch.from_numpy(stacked if stacked.dtype == bool else stacked.astype(np.float32))
            for name, stacked in columns.items()
        }
    )


def read_columns(folder: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays by name from the truths of all pictures, stacked in order. Raises as `read_shard_index` does."""
    folder = Path(folder)
    description = read_description(folder)
    if not description.truth:
        raise ShardError(f"{folder}: was rendered without truth; render it again without --no-truth")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for shard in range(description.n_shards):
        path = truth_path(folder, shard)
        expected = [member_name(i, "npz") for i in description.members(shard)]
        places = _members(path, expected)
        with path.open("rb") as file:
            for name, (offset, length) in zip(expected, places, strict=True):
                file.seek(offset)
                try:
                    with np.load(io.BytesIO(file.read(length))) as arrays:
                        for key, column in columns.items():
                            column.append(arrays[key])
                except (BadZipFile, ValueError, KeyError, OSError) as error:
                    raise _damaged(path, f"{name} is no truth") from error
    return {name: np.stack(column) for name, column in columns.items()}


def _members(path: Path, expected: list[str]) -> list[tuple[int, int]]:
    """(offset, length) of each member of a shard, which must be the expected ones."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
    except FileNotFoundError as error:
        raise ShardError(f"{path}: missing; run the command that made it again, it makes what is missing") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except tarfile.TarError as error:
        raise _damaged(path, "is no whole tar file") from error
    if [member.name for member in members] != expected:
        raise _damaged(path, f"holds {len(members)} files, not the {len(expected)} expected")
    last = members[-1]
    if path.stat().st_size < last.offset_data + last.size:
        raise _damaged(path, "ends early")
    return [(member.offset_data, member.size) for member in members]


def _damaged(path: Path, how: str) -> ShardError:
    return ShardError(f"{path}: {how}; delete it and run the command that made it again")


def _check_same(path: Path, old: Description, new: Description) -> None:
    old_values = {"count": old.count, "shard size": old.shard_size, "truth": old.truth, **old.config}
    new_values = {"count": new.count, "shard size": new.shard_size, "truth": new.truth, **new.config}
    changed = [
        f"{key} {old_values.get(key)}, not {new_values.get(key)}"
        for key in old_values | new_values
        if old_values.get(key) != new_values.get(key)
    ]
    if changed:
        raise ShardError(f"{path}: this folder was rendered with {'; '.join(changed)}; choose another folder")
