"""Building and keeping what surrounds the open model (book: *It learns*).

The regression, the cage, the share of sky and the maps of the face take about half a minute to make. They are kept as
one safetensors file in the cache beside the open model, under a name that changes with the recipe; the file is written
whole or not at all, and a damaged one is built again.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from facenb.ambient_occlusion import sky_share
from facenb.atomic import atomic_path
from facenb.heads.cage import Cage, build_cage
from facenb.heads.face_areas import FaceAreas, build_face_areas
from facenb.heads.hand_model import HandModel, build_hand_model
from facenb.heads.whole_head import WholeHead, build_whole_head
from facenb.morphable_model import MorphableModel
from facenb.open_model.build import cache_dir, recipe_hash

RECIPE = ("anatomy", "cage", "face_areas", "hand_model", "../ambient_occlusion", "surroundings", "whole_head")
N_STEPS = 9


def surroundings(model: MorphableModel, rebuild: bool = False, progress: bool = True) -> dict:
    """The keyword arguments of `HeadModel` that are not the open model's own, from the cache if possible."""
    path = surroundings_path()
    if not rebuild:
        try:
            arrays = load_file(path)
            return {
                "whole": _unpack(WholeHead, arrays, "whole"),
                "cage": _unpack(Cage, arrays, "cage"),
                "areas": _unpack(FaceAreas, arrays, "areas"),
                "hand": _unpack(HandModel, arrays, "hand"),
                "face_sky": arrays["face_sky"],
                "body_sky": arrays["body_sky"],
            }
        except (FileNotFoundError, SafetensorError, KeyError):
            pass
    parts = _build(model, progress)
    with atomic_path(path) as unfinished:
        save_file(_pack(parts), unfinished)
    return parts


def _build(model: MorphableModel, progress: bool) -> dict:
    with tqdm(total=N_STEPS, desc="building the head around the face", disable=not progress) as bar:

        def begins(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update(bar.n < N_STEPS)

        whole = build_whole_head(model, begins)
        body = whole.part["body"]
        V = model.n_vertices
        X = np.concatenate([model.shape_mean.numpy(), whole.mean[body]])
        T = whole.triangles["body"]
        begins("cage")
        face_triangles = model.triangles.numpy()
        without_ears = T[whole.ears[T].max(1) < 0.2]
        cage = build_cage(X, np.concatenate([face_triangles, V + without_ears]), np.r_[np.zeros(V), whole.turn])
        begins("sky")
        sky = sky_share(X, np.concatenate([face_triangles, V + T])).astype(np.float32)
        begins("areas and hands")
        areas, hand = build_face_areas(model), build_hand_model()
    return {
        "whole": whole, "cage": cage, "areas": areas, "hand": hand, "face_sky": sky[:V], "body_sky": sky[V:]
    }  # fmt: skip


def surroundings_path() -> Path:
    """Where the built arrays are kept; the name changes with the builder's code and with the open model."""
    digest = hashlib.sha256(recipe_hash().encode())
    for name in RECIPE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return cache_dir() / f"heads-{digest.hexdigest()[:12]}.safetensors"


def _pack(value: object, name: str = "") -> dict[str, np.ndarray]:
    """Nested dataclasses and dictionaries of arrays and slices as one flat dictionary of arrays."""
    if isinstance(value, slice):
        return {name: np.array([value.start, value.stop])}
    if is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, dict):
        packed = {}
        for key, inner in value.items():
            packed |= _pack(inner, f"{name}/{key}" if name else key)
        return packed
    return {name: np.ascontiguousarray(value)}


def _unpack(kind: type, arrays: dict[str, np.ndarray], name: str):
    """The inverse of `_pack` for one dataclass."""
    values = {}
    for f in fields(kind):
        key = f"{name}/{f.name}"
        if key in arrays:
            values[f.name] = arrays[key]
            continue
        inner = {k.removeprefix(key + "/"): v for k, v in arrays.items() if k.startswith(key + "/")}
        if not inner:
            raise KeyError(key)
        values[f.name] = {k: slice(*map(int, v)) for k, v in inner.items()} if "slice" in str(f.type) else inner
    return kind(**values)
