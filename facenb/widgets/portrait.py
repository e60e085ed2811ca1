"""The portrait: a photo beside the face that was found in it, turned and lit by the reader."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import torch
import traitlets
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from facenb.fit_result import PortraitFit
from facenb.morphable_model import MorphableModel
from facenb.relight import relit_picture, skinned_face
from facenb.rotation import angles_from_rotation
from facenb.uv_model import UVModel
from facenb.widgets.face_file import mesh_file
from facenb.widgets.live_figure import LiveFigure

PHOTO, SKIN = 400, 512  # px of the photo's side and of the texture's, as they travel


class Portrait(LiveFigure):
    """A reconstructed face in its own skin beside its photo.

    Args:
        photo: display values in [0, 1].
        fit: of `facenb fit`, `portrait_fit.fit_portrait` or `reconstruct_command.photo_fit` in that photo.
        model, tables: what it was fitted with, and `uv_model(model)`.
        hair: keep what the photo shows in front of the face, see `relight.skinned_face`.
        photo_alt: what the photo shows, for those who do not see it.
        **state: `pose`, `light` and `camera` to begin with; by default the pose is the photo's.
    """

    figure = "portrait"
    alt = "A photo, and beside it the face that was found in it, in three dimensions and in another light."

    photo = traitlets.Unicode()
    skin = traitlets.Unicode()
    photo_alt = traitlets.Unicode("the photo")

    def __init__(
        self,
        photo: Float[Tensor, "3 H W"],
        fit: PortraitFit,
        model: MorphableModel,
        tables: UVModel,
        *,
        hair: bool = True,
        photo_alt: str = "the photo",
        **state: Any,
    ):
        self._face = skinned_face(photo, fit, model, tables, hair=hair, resolution=SKIN)
        yaw, pitch, roll = (float(x) for x in angles_from_rotation(fit.camera.R))
        state.setdefault("pose", (yaw, pitch, roll))
        size = (self._face.vertices.amax(0) - self._face.vertices.amin(0))[:2].max().item()
        state.setdefault("camera", (0.82 * 900.0 / size, 900.0, 0.0, 0.0))
        pictures = {"photo": _jpeg(_around(photo, fit), PHOTO), "skin": _jpeg(self._face.texture, SKIN)}
        super().__init__(model, tables.flattening, photo_alt=photo_alt, **pictures, **state)

    @property
    def file(self) -> tuple[str, bytes]:
        f = self._face
        data = mesh_file("portrait", f.vertices, f.normals, f.uv, f.triangles)
        return f"portrait {hashlib.sha256(data).hexdigest()[:12]}", data

    def picture(self, width: int, height: int, antialias: int = 2, background: Any = 1.0):
        light = torch.tensor(self.light)
        camera = self.camera_at(width, height)
        return relit_picture(self._face, camera, height, width, light, background=background, antialias=antialias)

    def _middle(self) -> Float[Tensor, " 3"]:
        X = self._face.vertices.double()
        return (X.amin(0) + X.amax(0)) / 2


def _around(photo: Float[Tensor, "3 H W"], fit: PortraitFit) -> Float[Tensor, "3 S S"]:
    """The square around the face, as far as the photo reaches."""
    low, high = fit.landmarks68.amin(0), fit.landmarks68.amax(0)
    H, W = photo.shape[1:]
    side = int(min(2.0 * (high - low).max().item(), H, W))
    x, y = ((low + high) / 2 - side / 2).round().int().tolist()
    x, y = min(max(x, 0), W - side), min(max(y - side // 12, 0), H - side)
    return photo[:, y : y + side, x : x + side]


def _jpeg(picture: Float[Tensor, "3 H W"], size: int, quality: int = 85) -> str:
    """As a data address, shrunk to `size` if larger."""
    array = (255 * picture.clamp(0, 1).permute(1, 2, 0)).round().byte().cpu().numpy()
    image = Image.fromarray(array)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
