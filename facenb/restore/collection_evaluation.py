"""What several photos of one person are worth: errors by their number, and whether they agree (book: *Many photos of
one person*)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.restore.collection import Collection, CollectionNetwork
from facenb.restore.proxy import Face
from facenb.restore.proxy_evaluation import join_faces


class Agreement(NamedTuple):
    """How much the faces of one person differ from photo to photo: standard deviations over his photos.

    Attributes:
        depth: canonical, units of 1000 mm, mean over pixels and people.
        albedo: canonical, in [0, 1].
    """

    depth: float
    albedo: float


@torch.no_grad()
def collect(network: CollectionNetwork, photos: Float[Tensor, "BN 3 S S"], n: int, batch: int = 16) -> Collection:
    """What the network makes of photos that lie person by person, `n` of each. Raises ValueError if some are left."""
    if len(photos) % n:
        raise ValueError(f"{len(photos)} photos are not {n} of each person")
    parts = [network(part) for part in photos.unflatten(0, (-1, n)).split(batch)]
    return Collection(
        shared=join_faces([part.shared for part in parts]),
        own=join_faces([part.own for part in parts]),
        coarse=torch.cat([part.coarse for part in parts]),
        weight=torch.cat([part.weight for part in parts]),
    )


def agreement(face: Face, n: int, where: Float[Tensor, "S S"]) -> Agreement:
    """Of faces that lie person by person, over the pixels `where` (weights)."""
    depth = face.depth.unflatten(0, (-1, n)).std(1)  # B S S
    albedo = face.albedo.unflatten(0, (-1, n)).std(1).mean(1)
    w = where / where.sum()
    return Agreement(float((depth * w).sum((1, 2)).mean()), float((albedo * w).sum((1, 2)).mean()))
