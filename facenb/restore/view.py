"""From the canonical face to the photo's: six numbers that turn and shift it (book: *Depth, light and a pinhole*).

The canonical face stands upright before a pinhole camera, at depth 1, and looks straight at it. The *view* ω moves it
to where the photo shows it. It turns about the point e = (0, 0, 1) in the middle of the head, not about the camera:

    X_view = R (X − e) + e + t

X are camera coordinates (x right, y down, z away), in units of the distance to the face. Angles are those of
`facenb.rotation`, so yaw > 0 turns the face to the subject's left, and the nose moves to the right of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.rotation import FRONTAL, rotation_from_angles

MIDDLE = (0.0, 0.0, 1.0)  # e, what the face turns about


class Viewpoint(NamedTuple):
    """The viewpoint ω of each picture of a batch.

    Attributes:
        angles: yaw, pitch, roll, radians.
        shift: t, in units of the distance to the face.
    """

    angles: Float[Tensor, "B 3"]
    shift: Float[Tensor, "B 3"]

    @property
    def rotation(self) -> Float[Tensor, "B 3 3"]:
        """R, camera coordinates to camera coordinates; the identity for a frontal face."""
        from_model = rotation_from_angles(*self.angles.unbind(-1))  # model → camera
        return from_model * from_model.new_tensor(FRONTAL)  # camera → model → camera


def frontal_view(batch: int, like: Tensor | None = None) -> Viewpoint:
    """The view that moves nothing."""
    zero = torch.zeros(batch, 3) if like is None else like.new_zeros(batch, 3)
    return Viewpoint(zero, zero)


def to_view(X: Float[Tensor, "B H W 3"], view: Viewpoint) -> Float[Tensor, "B H W 3"]:
    """Canonical points, moved into the view."""
    e = X.new_tensor(MIDDLE)
    return torch.einsum("bij,bhwj->bhwi", view.rotation, X - e) + (e + view.shift)[:, None, None]


def from_view(X: Float[Tensor, "B H W 3"], view: Viewpoint) -> Float[Tensor, "B H W 3"]:
    """Points in the view, moved back: the inverse of `to_view`."""
    e = X.new_tensor(MIDDLE)
    return torch.einsum("bji,bhwj->bhwi", view.rotation, X - (e + view.shift)[:, None, None]) + e
