"""Faces that are depth maps, to be turned, lit and flattened: what the second system makes of photos."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from facenb.restore.proxy import Face, reconstruct
from facenb.widgets.page_figure import Numbers, PageFigure
from facenb.widgets.replay import jpeg_strip, picture_uri

NEAREST, FARTHEST = 0.9, 1.1  # depths that the file can hold


class DepthFaces(PageFigure):
    """Photos, and the faces that were made of them, by one network or by several.

    Traits:
        face: which photo, 0 … N − 1.
        version: which of the networks.
        pose: yaw, pitch, roll, radians.
        shift: of the head to the right and down, in distances to the face.
        light: ambient, diffuse, and x, y of the lamp's direction (x, y, 1).
        relief: by which depth is multiplied; 0 is flat.

    Args:
        photos: in [0, 1].
        made: by name, what a network said of all of them.
        names: of the photos, for the reader.

    Raises ValueError where the numbers of photos do not belong together, or for a depth outside [0.9, 1.1].
    """

    figure = "depthFaces"
    alt = "A photo of a face, and what a network made of it: its skin without light, and the face put together again."

    face = traitlets.Int(0)
    version = traitlets.Int(0)
    pose = Numbers([0.0, 0.0, 0.0], (3,))
    shift = Numbers([0.0, 0.0], (2,))
    light = Numbers([0.5, 0.5, 0.0, 0.0], (4,))
    relief = traitlets.Float(1.0)

    def __init__(
        self,
        photos: Float[Tensor, "N 3 S S"],
        made: Mapping[str, Face],
        names: Sequence[str] | None = None,
        **state: Any,
    ):
        names = list(names or (f"photo {i + 1}" for i in range(len(photos))))
        for version, faces in made.items():
            if len(faces.depth) != len(photos):
                raise ValueError(f"{version!r} made {len(faces.depth)} faces of {len(photos)} photos")
            if faces.depth.min() < NEAREST or faces.depth.max() > FARTHEST:
                raise ValueError(f"depths of {version!r} leave [{NEAREST}, {FARTHEST}]")
        if len(names) != len(photos):
            raise ValueError(f"{len(names)} names for {len(photos)} photos")
        self._photos, self._made = photos, dict(made)
        every = [[_numbers(faces, i) for i in range(len(photos))] for faces in made.values()]
        self._fixed = {
            "size": photos.shape[-1],
            "names": names,
            "versions": list(made),
            "photos": [picture_uri(p) for p in photos],
            "depths": [[_depth_text(d) for d in faces.depth] for faces in made.values()],
            "albedos": [[_albedo_text(a) for a in faces.albedo] for faces in made.values()],
            "views": [[view for view, _ in row] for row in every],
            "lights": [[light for _, light in row] for row in every],
        }
        view, light = every[state.get("version", 0)][state.get("face", 0)]
        super().__init__(**{"pose": view[:3], "shift": view[3:], "light": light} | state)

    def state(self) -> dict[str, Any]:
        """All that the page needs."""
        return super().state() | self._fixed

    def _still(self) -> bytes:
        faces = list(self._made.values())[self.version]
        picture = reconstruct(faces).image[self.face]
        return jpeg_strip([self._photos[self.face], faces.albedo[self.face], picture])


def _numbers(faces: Face, i: int) -> tuple[list[float], list[float]]:
    """Angles and shift, and the light, in five digits."""
    light = torch.stack([faces.light.ambient[i], faces.light.diffuse[i], *faces.light.xy[i]])
    view = torch.cat([faces.view.angles[i], faces.view.shift[i, :2]])
    return [[round(float(x), 5) for x in part] for part in (view, light)]


def _depth_text(depth: Float[Tensor, "S S"]) -> str:
    coded = 65535 * (depth.detach().cpu().double() - NEAREST) / (FARTHEST - NEAREST)
    return base64.b64encode(coded.round().numpy().astype("<u2").tobytes()).decode()


def _albedo_text(albedo: Float[Tensor, "3 S S"]) -> str:
    pixels = (255 * albedo.detach().cpu().clamp(0, 1)).round().permute(1, 2, 0).numpy().astype(np.uint8)
    return base64.b64encode(pixels.tobytes()).decode()
