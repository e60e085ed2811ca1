"""Figures of a face: its coefficients, light, pose and camera as traits (book: *Live figures*).

Move a slider, and `figure.identity` has changed; assign to `figure.pose`, and the face turns.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from facenb.camera import Camera
from facenb.flatten import Flattening, flatten
from facenb.lighting import lamp
from facenb.morphable_model import MorphableModel
from facenb.open_model import named_expressions, open_model
from facenb.pictures import DARK_MOUTH, Picture, render_face
from facenb.rotation import rotation_from_angles
from facenb.widgets.component_names import component_names
from facenb.widgets.face_file import face_file
from facenb.widgets.page_figure import Numbers, PageFigure

COMPONENTS = (40, 30, 20)  # identity, expression, albedo: what a page carries
EXPRESSIONS = ("smile", "jaw open", "blink", "brows up", "frown", "pucker")
MARGIN, DISTANCE = 0.06, 700.0  # of the first view: free border, and mm
STILL = 400  # px


class LiveFigure(PageFigure):
    """A face that lives in the page and in the notebook. Base class; see the figures in `facenb.widgets`.

    Traits, all of which may be assigned and observed:

        identity, expression, albedo: leading coefficients, standard deviations, any number of them.
        light: 3 × 9 spherical-harmonic coefficients of shading as in `facenb.lighting`, red, green and blue.
        pose: (yaw, pitch, roll) of the head, radians, as in `facenb.rotation`.
        camera: (focal length / picture height, distance in mm of the face's middle, offset of the principal point from
            the picture's middle / picture height, x and y).

    Args:
        model: a morphable model; by default the open one.
        flattening: of that model, if it has been computed already.
        **state: traits, to begin with.

    Raises traitlets.TraitError for a trait of the wrong shape or an unknown one.
    """

    identity = Numbers([], (-1,))
    expression = Numbers([], (-1,))
    albedo = Numbers([], (-1,))
    light = Numbers(None, (3, 9))
    pose = Numbers([0.0, 0.0, 0.0], (3,))
    camera = Numbers(None, (4,))

    def __init__(self, model: MorphableModel | None = None, flattening: Flattening | None = None, **state: Any):
        self._model = model if model is not None else open_model_cached()
        self._flattening = flattening
        state.setdefault("light", default_light())
        state.setdefault("camera", first_camera(self._model))
        super().__init__(**state)

    @property
    def file(self) -> tuple[str, bytes]:
        """Name and content of the model as the browser gets it."""
        if self._flattening is None and self._model is open_model_cached():
            return _open_file()
        return _file_of(self._model, self._flattening or flatten(self._model))

    def state(self) -> dict[str, Any]:
        """All that the page needs besides the face file."""
        return super().state() | {"face": self.file[0]}

    def camera_at(self, width: int, height: int) -> Camera:
        """The figure's camera for a picture of so many pixels, as `facenb`'s own renderer takes it."""
        focal, distance, cx, cy = self.camera
        K = torch.tensor(
            [
                [focal * height, 0, (width - 1) / 2 + cx * height],
                [0, focal * height, (height - 1) / 2 + cy * height],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )
        R = rotation_from_angles(*self.pose, dtype=torch.float64)
        t = torch.tensor([0, 0, distance], dtype=torch.float64) - R @ self._middle()
        return Camera(K, R, t).to(dtype=torch.float32)

    def _middle(self) -> Float[Tensor, " 3"]:
        """What the camera looks at, mm: the middle of the mean face's box."""
        X = self._model.shape_mean.double()
        return (X.amin(0) + X.amax(0)) / 2

    def picture(self, width: int, height: int, antialias: int = 2, background: Any = 1.0) -> Picture:
        """What the figure shows, drawn by `facenb.pictures.render_face`, and its coverage."""
        model = self._model.truncate(*(min(n, k) for n, k in zip(COMPONENTS, _counts(self._model), strict=True)))
        few = {
            name: torch.tensor(getattr(self, name)[:n], dtype=torch.float32)
            for name, n in zip(("identity", "expression", "albedo"), _counts(model), strict=True)
        }
        return render_face(
            model, self.camera_at(width, height), height, width, **few, light=torch.tensor(self.light),
            mouth=DARK_MOUTH, background=background, antialias=antialias,
        )  # fmt: skip

    def _still(self) -> bytes:
        picture, _ = self.picture(STILL, STILL, background=(0.95, 0.945, 0.935))
        file = io.BytesIO()
        array = (255 * picture.permute(1, 2, 0)).round().byte().numpy()
        Image.fromarray(array).save(file, "JPEG", quality=82)
        return file.getvalue()


def default_light() -> list[list[float]]:
    """A warm lamp from the upper left of the picture in a bright room."""
    return lamp((-0.55, 0.5, 1.0), (0.72, 0.69, 0.64), (0.36, 0.38, 0.42)).tolist()


def first_camera(model: MorphableModel) -> list[float]:
    """A square picture that the mean face fills but for a margin."""
    size = (model.shape_mean.amax(0) - model.shape_mean.amin(0))[:2]
    return [(1 - 2 * MARGIN) * DISTANCE / size.max().item(), DISTANCE, 0.0, 0.0]


@cache
def open_model_cached() -> MorphableModel:
    """The open model, always the same object."""
    return open_model()


@cache
def _open_file() -> tuple[str, bytes]:
    model = open_model_cached()
    return _file_of(model, flatten(model), named_expressions())


def _file_of(
    model: MorphableModel, flattening: Flattening, expressions: dict[str, Tensor] | None = None
) -> tuple[str, bytes]:
    n_identity, n_expression, n_albedo = COMPONENTS
    named = {
        name: (expressions or {})[name][:n_expression].tolist() for name in EXPRESSIONS if name in (expressions or {})
    }
    data = face_file(model, flattening, n_identity, n_expression, n_albedo, component_names(model), named)
    return model.name, data


def _counts(model: MorphableModel) -> tuple[int, int, int]:
    return model.n_identity, model.n_expression, model.n_albedo
