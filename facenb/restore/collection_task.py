"""Training LAP, as a task of `facenb.trainer` (book: *Many photos of one person*).

All photos of a person must come out of the one face that they share, and more exactly out of each photo's own. The
shared skin of photo i is made from the *other* photos: else a network learns that each photo explains itself best, and
hands its pixels through, shadows included.

    shared     mean ‖Π(Λ(a_c, d, l_i), ω_i) − I_i‖₁ where the view sees the face, half of it for the mirrored face, and
               twice the same of differences of neighbours
    own        the same of a_i, d_i, without the mirror
    residual   mean ‖a_i − a_c‖₁ + mean ((d_i − d_c) / relief)²: what photos share shall be said together
    smooth     second differences of both displacements

As in `facenb.restore.restorer_task`, Λ looks at the coarse depth: shape learns from where things are. Light and view
are the proxy's; no truth is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.augment import mirrored_at_random
from facenb.image_sets import ImageSet, ImageSetError
from facenb.restore.collection import Collection, CollectionNetwork
from facenb.restore.perceptual import edge_loss
from facenb.restore.proxy import RELIEF, Face, mirrored, reconstruct
from facenb.restore.proxy_task import roughness
from facenb.restore.restorer_task import masked_error
from facenb.task import StepResult


@dataclass(frozen=True)
class CollectionLoss:
    """Weights of the loss: see above."""

    mirror: float = 0.5
    edges: float = 2.0
    skin: float = 1.0
    depth: float = 1.0
    smooth: float = 0.5


class CollectionTask:
    """Strips of photos, one person each → the loss above."""

    name = "collection"

    def __init__(self, network: CollectionNetwork, loss: CollectionLoss = CollectionLoss()):
        self.network, self.weights = network, loss
        network.requires_grad_(True)
        network.proxy.requires_grad_(False)
        self.about: dict[str, Any] = {"network": network.kind, "width": network.options.width, **vars(loss)}

    def step(self, images: Float[Tensor, "B 3 S NS"], generator: torch.Generator) -> StepResult:
        photos = apart(mirrored_at_random(images, generator))
        made = self.network(photos, held_out=True)
        parts = collection_loss(made, photos.flatten(0, 1), self.weights)
        numbers = {name: part.item() for name, part in parts.items()}
        return StepResult(sum(parts.values()), numbers, {"one": images.new_ones(())})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Nothing to keep."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""

    def pictures(self, images: Float[Tensor, "B 3 S NS"]) -> dict[str, Float[Tensor, "3 H W"]]:
        made = self.network(apart(images[:2]))
        shared, own = (reconstruct(face).image for face in (made.shared, made.own))
        rows = {"photos": images[:2], "shared": shared, "own": own, "skin": made.shared.albedo}
        return {name: torch.cat(list(row.clamp(0, 1)), dim=-1) for name, row in rows.items()}


def collection_loss(made: Collection, photos: Float[Tensor, "BN 3 S S"], w: CollectionLoss) -> dict[str, Tensor]:
    """The parts of the loss, weighted."""

    def error(face: Face) -> Tensor:
        picture = reconstruct(face, made.coarse)
        off = masked_error(picture.image - photos, picture.mask)
        return off + w.edges * edge_loss(picture.image, photos, picture.mask, levels=1)

    flipped = reconstruct(mirrored(made.shared), made.coarse.flip(2))
    S = made.coarse.shape[-1]
    away, own = ((a - b) / RELIEF for a, b in ((made.shared.depth, made.coarse), (made.own.depth, made.shared.depth)))
    return {
        "shared": error(made.shared),
        "mirror": w.mirror * masked_error(flipped.image - photos, flipped.mask),
        "own": error(made.own),
        "skin": w.skin * (made.own.albedo - made.shared.albedo).abs().mean(),
        "depth": w.depth * (0.05 * away.square().mean() + own.square().mean()),
        "smooth": w.smooth * (roughness(away, S) + roughness(own, S)),
    }


def strips(images: ImageSet, photos: int, in_a_row: int = 0) -> ImageSet:
    """People: strips of so many photos side by side.

    Photos that lie in folders of their own belong together folder by folder; with `in_a_row`, so many one after the
    other. People with fewer photos are left out, of more the first ones are taken. Raises ImageSetError if nobody is
    left, and for photos of which nothing says whom they show.
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(images.names):
        folder, _, _ = name.rpartition("/")
        if not folder and not in_a_row:
            raise ImageSetError(f"{name}: nothing says whom it shows; give a folder for each person")
        groups.setdefault(folder or f"{i // in_a_row:06d}", []).append(i)
    people = {name: members[:photos] for name, members in groups.items() if len(members) >= photos}
    if not people:
        raise ImageSetError(f"nobody has {photos} photos: give a folder for each person, or fewer --photos")
    members = list(people.values())

    def read(i: int) -> Tensor:
        return torch.cat([images[k] for k in members[i]], -1)

    return ImageSet(list(people), read, unit="people")


def apart(images: Float[Tensor, "B 3 S NS"]) -> Float[Tensor, "B N 3 S S"]:
    """Strips → their photos."""
    B, C, S, W = images.shape
    return images.reshape(B, C, S, W // S, S).permute(0, 3, 1, 2, 4).contiguous()
