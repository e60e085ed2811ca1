"""Saving and loading a morphable model in our own format, safetensors (book: *Morphable models*).

safetensors holds named arrays behind a small JSON header and cannot run code when opened, as a pickle could. Bases are
stored in half precision: a step of float16 is at most 1/2048 of a value, and a basis vector moves a vertex by a few
millimetres, so the error stays in the micrometres. Means stay float32. Units and axes: see `MorphableModel`.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facenb.atomic import atomic_path
from facenb.model_files import ModelFileError, all_finite, checked, landmarks_beside, readable_file
from facenb.morphable_model import MorphableModel

FORMAT = "facenb morphable model"
VERSION = 1
_HEADER = "facenb"
_REGION = "region."
_MEANS = ("shape_mean", "albedo_mean")
_BASES = ("identity_basis", "expression_basis", "albedo_basis")
_INDICES = ("triangles", "landmarks68")


def save_model(model: MorphableModel, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write `model` as safetensors, bases and regions as `dtype`, means as float32; whole or not at all.

    Raises ModelFileError if a basis does not fit into `dtype` (float16 ends at 65,504).
    """
    tensors = {name: getattr(model, name).to(torch.float32) for name in _MEANS}
    tensors |= {name: getattr(model, name).to(dtype) for name in _BASES}
    tensors |= {name: getattr(model, name).to(torch.int32) for name in _INDICES}
    tensors |= {_REGION + name: weight.to(dtype) for name, weight in model.regions.items()}
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise ModelFileError(
                f"{path}: {name} has values that {tensor.dtype} cannot hold; save with dtype=torch.float32"
            )
    header = {"format": FORMAT, "version": VERSION, "name": model.name, "colour_space": model.colour_space}
    metadata = {_HEADER: json.dumps(header)}  # one entry: safetensors writes several in random order
    # clone, not only contiguous: safetensors refuses tensors that share memory
    content = save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, metadata)
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(content)


def load_saved(path: str | Path) -> MorphableModel:
    """Read a model that `save_model` wrote; float32. Landmarks that it lacks may lie beside it (`landmarks_beside`).

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
    if not len(indices["landmarks68"]):
        indices["landmarks68"] = landmarks_beside(path)
    return checked(MorphableModel(**floats, **indices, regions=regions, colour_space=colour_space, name=name), path)


def _read_header(metadata: dict[str, str] | None) -> dict:
    """Our own entry of the file's metadata; empty where somebody else wrote the file."""
    try:
        header = json.loads((metadata or {}).get(_HEADER, "{}"))
    except json.JSONDecodeError:
        return {}
    return header if isinstance(header, dict) else {}
