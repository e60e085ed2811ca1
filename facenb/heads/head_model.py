"""Everything that random heads are made from, built once and then kept (book: *It learns*).

`head_model()` joins the open model with its surroundings (`whole_head`), the cage for hair (`cage`), how much sky each
vertex sees (`occlusion`) and the maps of the face that beards and masks need. The first call takes about half a
minute; the result is kept in the cache beside the open model, under a name that changes with the recipe.

Units mm, x to the subject's left, y up, z forward; colours sRGB in [0, 1].
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.heads.cage import Cage, build_cage
from facenb.heads.face_areas import FaceAreas, build_face_areas
from facenb.heads.hand_model import HandModel, build_hand_model
from facenb.heads.occlusion import sky_share
from facenb.heads.whole_head import N_IDENTITY, WholeHead, build_whole_head
from facenb.morphable_model import MorphableModel
from facenb.open_model import build, open_model

RECIPE = ("anatomy", "cage", "face_areas", "hand_model", "head_model", "mesh_tools", "occlusion", "whole_head")
N_STEPS = 9


@dataclass(frozen=True)
class HeadModel:
    """The open model and its surroundings as NumPy arrays, float32 and int32.

    Attributes:
        face_mean, face_basis: mm; a row of the basis per identity, then per expression component.
        albedo_mean, albedo_basis: sRGB, likewise.
        n_identity: how many rows are identity.
        face_triangles, landmarks: of the face.
        face_sky, body_sky: share of the sky that vertices of the mean head see.
    """

    face_mean: Float[np.ndarray, "V 3"]
    face_basis: Float[np.ndarray, "K V3"]
    albedo_mean: Float[np.ndarray, "V 3"]
    albedo_basis: Float[np.ndarray, "A V3"]
    n_identity: int
    face_triangles: Int[np.ndarray, "T 3"]
    landmarks: Int[np.ndarray, " 68"]
    whole: WholeHead
    cage: Cage
    areas: FaceAreas
    hand: HandModel
    face_sky: Float[np.ndarray, " V"]
    body_sky: Float[np.ndarray, " B"]

    @functools.cached_property
    def mean_surface(self) -> Float[np.ndarray, "S 3"]:
        """Vertices (mm) of the mean face and then of the mean body."""
        return np.concatenate([self.face_mean, self.whole.mean[self.whole.part["body"]]])

    @functools.cached_property
    def garment(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What clothes are cut from, see `clothes.garment_mesh`."""
        from facenb.heads.clothes import garment_mesh

        return garment_mesh(self.whole.mean[self.whole.part["body"]], self.whole.triangles["body"])

    @property
    def n_expression(self) -> int:
        return len(self.face_basis) - self.n_identity

    @property
    def n_albedo(self) -> int:
        return len(self.albedo_basis)

    def shapes(
        self, identity: Float[np.ndarray, "N Nid"], expression: Float[np.ndarray, "N Nex"]
    ) -> tuple[Float[np.ndarray, "N V 3"], Float[np.ndarray, "N C 3"]]:
        """Vertices (mm) of N faces and of their surroundings. Cheapest for a dozen heads at a time."""
        m = np.concatenate([identity, expression], 1).astype(np.float32)
        face = self.face_mean + (m @ self.face_basis).reshape(len(m), -1, 3)
        return face, self.whole.vertices(identity, expression, face)

    def colours(self, albedo: Float[np.ndarray, "N Nal"]) -> Float[np.ndarray, "N V 3"]:
        """Albedo of N faces, sRGB, clipped to [0, 1]."""
        flat = albedo.astype(np.float32) @ self.albedo_basis
        return np.clip(self.albedo_mean + flat.reshape(len(albedo), -1, 3), 0, 1)


@functools.cache
def head_model(progress: bool = True) -> HeadModel:
    """The head model of the open model, from the cache if possible. A damaged file is built again."""
    model = open_model(progress=progress)
    path = _path()
    try:
        arrays = load_file(path)
        parts = {
            "whole": _unpack(WholeHead, arrays, "whole"),
            "cage": _unpack(Cage, arrays, "cage"),
            "areas": _unpack(FaceAreas, arrays, "areas"),
            "hand": _unpack(HandModel, arrays, "hand"),
            "face_sky": arrays["face_sky"],
            "body_sky": arrays["body_sky"],
        }
    except (FileNotFoundError, SafetensorError, KeyError):
        parts = _build(model, progress)
        with atomic_path(path) as unfinished:
            save_file(_pack(parts), unfinished)
    return _assemble(model, parts)


def _assemble(model: MorphableModel, parts: dict) -> HeadModel:
    def rows(basis) -> np.ndarray:  # V 3 K → K 3V, contiguous, so that a batch of heads is one matrix product
        return np.ascontiguousarray(basis.numpy().reshape(-1, basis.shape[-1]).T)

    return HeadModel(
        face_mean=model.shape_mean.numpy(),
        face_basis=rows(model.shape_basis),
        albedo_mean=model.albedo_mean.numpy(),
        albedo_basis=rows(model.albedo_basis),
        n_identity=model.n_identity,
        face_triangles=model.triangles.numpy().astype(np.int32),
        landmarks=model.landmarks68.numpy().astype(np.int32),
        **parts,
    )


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


def _path() -> Path:
    digest = hashlib.sha256(build.recipe_hash().encode())
    for name in RECIPE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return build.cache_dir() / f"heads-{digest.hexdigest()[:12]}.safetensors"


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


__all__ = ["N_IDENTITY", "HeadModel", "head_model"]
