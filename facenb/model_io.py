"""Saving and loading a morphable model in our own format, safetensors (book: *Morphable models*).

safetensors holds named arrays behind a small JSON header and cannot run code when opened, as a pickle could. Bases are
stored in half precision: a step of float16 is at most 1/2048 of a value, and a basis vector moves a vertex by a few
millimetres, so the error stays in the micrometres. Means stay float32. Units and axes: see `MorphableModel`.
"""

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from facenb.atomic import atomic_path
from facenb.morphable_model import MorphableModel

FORMAT = "facenb morphable model"
VERSION = 1
MAX_BYTES = 4 * 2**30  # the largest public face model is a fraction of this; anything above is a mistake
MAX_VERTICES = 2_000_000
_HEADER = "facenb"
_REGION = "region."
_MEANS = ("shape_mean", "albedo_mean")
_BASES = ("identity_basis", "expression_basis", "albedo_basis")
_INDICES = ("triangles", "landmarks68")


class ModelFileError(ValueError):
    """A model file or folder that cannot be used; the message names it and says what to do."""


def save_model(model: MorphableModel, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write `model` as safetensors, bases and regions as `dtype`, means as float32; whole or not at all.

    Raises ModelFileError if a basis does not fit into `dtype` (float16 ends at 65,504).
    """
    tensors = {name: getattr(model, name).to(torch.float32) for name in _MEANS}
    tensors |= {name: getattr(model, name).to(dtype) for name in _BASES}
    tensors |= {name: getattr(model, name).to(torch.int32) for name in _INDICES}
    tensors |= {_REGION + name: weight.to(dtype) for name, weight in model.regions.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelFileError(
                f"{path}: {name} has values that {tensor.dtype} cannot hold; save with dtype=torch.float32"
            )
    header = {"format": FORMAT, "version": VERSION, "name": model.name, "colour_space": model.colour_space}
    metadata = {_HEADER: json.dumps(header)}  # one entry: safetensors writes several in random order
    with atomic_path(path) as unfinished:
        # clone, not only contiguous: safetensors refuses tensors that share memory
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, unfinished, metadata)


def load_saved(path: str | Path) -> MorphableModel:
    """Read a model that `save_model` wrote; float32.

    Raises ModelFileError, naming the file and the remedy, for anything that is not such a file, whole and consistent.
    """
    path = readable_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = _read_header(file.metadata())
            if header.get("format") != FORMAT:
                raise ModelFileError(
                    f"{path}: safetensors, but not a face model; facenb.model_io.save_model writes those"
                )
            if header.get("version") != VERSION:
                raise ModelFileError(
                    f"{path}: format version {header.get('version')}, this facenb reads {VERSION}; update facenb"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
    except SafetensorError as error:
        raise ModelFileError(f"{path}: broken safetensors file ({error}); save or download it again") from error
    missing = [name for name in (*_MEANS, *_BASES, *_INDICES) if name not in tensors]
    if missing:
        raise ModelFileError(f"{path}: {', '.join(missing)} missing; save the model again with facenb")
    floats = {name: tensors[name].to(torch.float32) for name in (*_MEANS, *_BASES)}
    indices = {name: tensors[name].to(torch.int64) for name in _INDICES}
    regions = {
        name.removeprefix(_REGION): t.to(torch.float32)
        for name, t in sorted(tensors.items())
        if name.startswith(_REGION)
    }
    colour_space, name = header.get("colour_space"), header.get("name", path.stem)
    if colour_space not in ("sRGB", "linear"):
        raise ModelFileError(
            f'{path}: colour space {colour_space!r}, expected "sRGB" or "linear"; save the model again'
        )
    return checked(MorphableModel(**floats, **indices, regions=regions, colour_space=colour_space, name=name), path)


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
        if isinstance(value, Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelFileError(
                f"{path}: {name} holds NaN or infinite numbers; the file is damaged, download it again"
            )
    for name in _INDICES:
        index = getattr(model, name)
        if index.numel() and (index.min() < 0 or index.max() >= V):
            raise ModelFileError(
                f"{path}: {name} points beyond the {V} vertices; the file is damaged, download it again"
            )
    if not len(model.triangles):
        raise ModelFileError(f"{path}: no triangles; the file is not a mesh model or is damaged, download it again")
    return model


def _read_header(metadata: dict[str, str] | None) -> dict:
    """Our own entry of the file's metadata; empty where somebody else wrote the file."""
    try:
        header = json.loads((metadata or {}).get(_HEADER, "{}"))
    except json.JSONDecodeError:
        return {}
    return header if isinstance(header, dict) else {}


def _check_shape(tensor: Tensor, shape: tuple[int | None, ...], name: str, path: str | Path) -> None:
    if tensor.ndim != len(shape) or any(s is not None and s != t for s, t in zip(shape, tensor.shape, strict=True)):
        wanted = "×".join("any" if s is None else str(s) for s in shape)
        found = "×".join(map(str, tensor.shape)) or "a number"
        raise ModelFileError(f"{path}: {name} is {found}, expected {wanted}; the file is damaged, download it again")
