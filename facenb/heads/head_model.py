"""Everything that random heads are made from, built once and then kept (book: *It learns*).

`head_model()` joins the open model with its surroundings (`whole_head`), the cage for hair (`cage`), how much sky each
vertex sees (`ambient_occlusion`) and the maps of the face that beards and masks need. The first call takes about half a
minute; the result is kept in the cache beside the open model, under a name that changes with the recipe.

Units mm, x to the subject's left, y up, z forward; colours sRGB in [0, 1].
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.cage import Cage
from facenb.heads.face_areas import FaceAreas
from facenb.heads.hand_model import HandModel
from facenb.heads.surroundings import surroundings
from facenb.heads.whole_head import WholeHead
from facenb.morphable_model import MorphableModel
from facenb.open_model import open_model


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

    @functools.cached_property
    def near_rim(self) -> np.ndarray:
        """Body vertices that the colours along the cut tint."""
        return np.flatnonzero(self.whole.tint > 1e-3)

    @functools.cached_property
    def near_spread(self) -> tuple[np.ndarray, np.ndarray]:
        """`whole.spread` of those, cut to the largest weights: places in the rim and weights, both (n, 10)."""
        W = self.whole.spread[self.near_rim]
        places = np.argsort(-W, axis=1)[:, :10].astype(np.int32)
        weights = np.take_along_axis(W, places, 1)
        return places, weights / weights.sum(1, keepdims=True)

    @functools.cached_property
    def below_chin(self) -> Float[np.ndarray, " B"]:
        """See `beard.below_chin`."""
        from facenb.heads.beard import below_chin

        return below_chin(self)

    @functools.cached_property
    def beard_mesh(self) -> tuple[np.ndarray, np.ndarray]:
        """See `beard.beard_mesh`."""
        from facenb.heads.beard import beard_mesh

        return beard_mesh(self)

    @functools.cached_property
    def ear_tops(self) -> tuple[int, int]:
        """See `glasses.ear_tops`."""
        from facenb.heads.glasses import ear_tops

        return ear_tops(self)

    @functools.cached_property
    def heights(self) -> np.ndarray:
        """Height map of the mean head, see `occluders.height_map`."""
        from facenb.heads.occluders import height_map

        return height_map(self.mean_surface)

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


_KEPT: list[HeadModel] = []  # at most one: it is large, and always the same


def head_model(progress: bool = True) -> HeadModel:
    """The head model of the open model, from the cache if possible; the same object at every call."""
    if not _KEPT:
        model = open_model(progress=progress)
        _KEPT.append(_assemble(model, surroundings(model, progress=progress)))
    return _KEPT[0]


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
