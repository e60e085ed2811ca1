"""What every reader of model files needs: one error, and checks that hold for any source (book: *Morphable models*).

A model comes from a file that somebody downloaded, cut short, or confused with another. Each reader says so in one line
that names the file and the remedy, before anything wrong or absurdly large gets into memory.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from facenb.morphable_model import MorphableModel

MAX_BYTES = 2 * 2**30  # the largest public face model is a fraction of this; anything above is a mistake
MAX_VERTICES = 2_000_000


class ModelFileError(ValueError):
    """A model file or folder that cannot be used; the message names it and says what to do."""


def readable_file(path: str | Path) -> Path:
    """`path` as a Path, after the checks that every reader of model files needs: a file, there, of a sane size."""
    path = Path(path)
    if not path.exists():
        raise ModelFileError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise ModelFileError(f"{path}: not a file; give the path of the model file itself")
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(f"{path}: empty file; download or save it again")
    if size > MAX_BYTES:
        raise ModelFileError(f"{path}: {size / 2**30:.1f} GiB, more than any face model; check that it is one")
    return path


def checked(model: MorphableModel, path: str | Path) -> MorphableModel:
    """The same model, once its parts are known to fit together.

    Raises ModelFileError naming the first part that does not: shapes, numbers that are not finite, indices beyond the
    vertices.
    """
    V = model.shape_mean.shape[0]
    if not 3 <= V <= MAX_VERTICES:
        raise ModelFileError(f"{path}: {V} vertices is no face model (3 to {MAX_VERTICES:,}); check the file")
    shapes: dict[str, tuple[int | None, ...]] = {
        "shape_mean": (V, 3),
        "identity_basis": (V, 3, None),
        "expression_basis": (V, 3, None),
        "albedo_mean": (V, 3),
        "albedo_basis": (V, 3, None),
        "triangles": (None, 3),
    }
    for name, shape in shapes.items():
        _check_shape(getattr(model, name), shape, name, path)
    for name, weight in model.regions.items():
        _check_shape(weight, (V,), f"region {name}", path)
    if model.landmarks68.shape not in ((68,), (0,)):
        raise ModelFileError(f"{path}: {tuple(model.landmarks68.shape)} landmarks; expected 68 vertex indices or none")
    for name in (f.name for f in fields(model)):
        value = getattr(model, name)
        if isinstance(value, Tensor) and value.is_floating_point() and not all_finite(value):
            raise ModelFileError(
                f"{path}: {name} holds NaN or infinite numbers; the file is damaged, download it again"
            )
    for name in ("triangles", "landmarks68"):
        index = getattr(model, name)
        if index.numel() and (index.min() < 0 or index.max() >= V):
            raise ModelFileError(
                f"{path}: {name} points beyond the {V} vertices; the file is damaged, download it again"
            )
    if not len(model.triangles):
        raise ModelFileError(f"{path}: no triangles; the file is not a mesh model or is damaged, download it again")
    return model


def all_finite(x: Tensor) -> bool:
    """Whether no number is NaN or infinite; by their sum, which either would spoil, in one pass without a copy."""
    return bool(x.sum(dtype=torch.float64).isfinite())


def facing_outwards(model: MorphableModel) -> MorphableModel:
    """The same model, all triangles turned over if they run clockwise seen from outside, as some files have them.

    Told by the volume that the triangles enclose with the centre of the mean shape: it is positive if they face
    outwards, also for a mask that is open at the back.
    """
    X = model.shape_mean - model.shape_mean.mean(0)  # V 3
    a, b, c = X[model.triangles].unbind(1)  # each T 3
    volume = (a * b.cross(c, dim=-1)).sum() / 6
    return model if volume >= 0 else replace(model, triangles=model.triangles.flip(1))


def landmarks_beside(path: Path) -> Int[Tensor, "68"]:
    """The 68 Multi-PIE vertices from a file beside the model `NAME.h5`: `NAME.landmarks68.json` or `.txt`; else empty.

    The JSON holds a list of 68 vertex indices, alone or under "landmarks68"; the text file holds 68 numbers, with #
    before comments. They start at 0 with the subject's right jaw.
    """
    for ending in ("json", "txt"):
        beside = path.with_name(f"{path.stem}.landmarks68.{ending}")
        if beside.is_file():
            return _read_landmarks(readable_file(beside))
    return torch.zeros(0, dtype=torch.int64)


def _read_landmarks(path: Path) -> Int[Tensor, "68"]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            values = json.loads(text)
            values = values["landmarks68"] if isinstance(values, dict) else values
        else:
            values = [int(word) for line in text.splitlines() for word in line.split("#")[0].replace(",", " ").split()]
        if not isinstance(values, list) or len(values) != 68 or any(type(v) is not int or v < 0 for v in values):
            raise ValueError
    except (ValueError, KeyError) as error:
        raise ModelFileError(
            f"{path}: expected 68 vertex indices, whole numbers from 0; correct or remove it"
        ) from error
    return torch.tensor(values, dtype=torch.int64)


def _check_shape(tensor: Tensor, shape: tuple[int | None, ...], name: str, path: str | Path) -> None:
    if tensor.ndim != len(shape) or any(s is not None and s != t for s, t in zip(shape, tensor.shape, strict=True)):
        wanted = "×".join("any" if s is None else str(s) for s in shape)
        found = "×".join(map(str, tensor.shape)) or "a number"
        raise ModelFileError(f"{path}: {name} is {found}, expected {wanted}; the file is damaged, download it again")
