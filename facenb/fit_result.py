"""What fitting a photo gives, and the JSON file that keeps it (book: *From a photograph to a face*).

Conventions as everywhere: camera K in pixels of the upright photo, R and t (mm) from model to camera coordinates;
coefficients in standard deviations; pixels with (0, 0) at the centre of the top-left one.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.atomic import atomic_path
from facenb.camera import Camera

_KEYS = (
    *("image", "width", "height", "model", "camera", "residuals"),
    *("identity", "expression", "albedo", "lighting", "landmarks68"),
)
_DIGITS = 9  # as many as float32 can tell apart


class FitFileError(ValueError):
    """A fit file that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class PortraitFit:
    """A face as one photo shows it.

    Attributes:
        camera: K, R, t (3×3, 3×3, 3) in pixels of the photo that was fitted.
        identity, expression, albedo: coefficients, in standard deviations.
        lighting: the *inverse* light l of equation (39): photo ⊙ (F l) = albedo, in the model's colour space.
        landmarks68: where the fitted model's landmarks fall in the photo, px.
        residuals: what is left over, by name, each a number with its unit in the name ("landmarks_median_px").
        landmarks68_direct: the landmarks where a network's correspondence map shows them, px; None if there is no map.
    """

    camera: Camera
    identity: Float[Tensor, " Nid"]
    expression: Float[Tensor, " Nex"]
    albedo: Float[Tensor, " Nal"]
    lighting: Float[Tensor, "3 9"]
    landmarks68: Float[Tensor, "68 2"]
    residuals: dict[str, float]
    landmarks68_direct: Float[Tensor, "68 2"] | None = None


@dataclass(frozen=True)
class FitFile:
    """A fit with what it belongs to: the photo's file name and size (px), and the model as `load_model` takes it."""

    image: str
    width: int
    height: int
    model: str
    fit: PortraitFit


def write_fit(file: FitFile, path: str | Path) -> None:
    """Write `file` as JSON, one line a key; the file appears whole or not at all.

    Raises FitFileError if the fit holds NaN or infinite numbers, which JSON cannot.
    """
    fit = file.fit
    content = {
        "image": file.image,
        "width": file.width,
        "height": file.height,
        "model": file.model,
        "camera": {name: _numbers(getattr(fit.camera, name)) for name in "KRt"},
        "identity": _numbers(fit.identity),
        "expression": _numbers(fit.expression),
        "albedo": _numbers(fit.albedo),
        "lighting": _numbers(fit.lighting),
        "landmarks68": _numbers(fit.landmarks68),
        **({} if fit.landmarks68_direct is None else {"landmarks68_direct": _numbers(fit.landmarks68_direct)}),
        "residuals": {name: _numbers(torch.as_tensor(value)) for name, value in fit.residuals.items()},
    }
    try:
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in content.items())
    except ValueError as error:
        raise FitFileError(f"{path}: the fit holds NaN or infinite numbers and is not written") from error
    with atomic_path(path) as unfinished:
        unfinished.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def read_fit(path: str | Path, dtype: torch.dtype = torch.float32) -> FitFile:
    """Read what `write_fit` wrote.

    Raises FitFileError, naming the file and the remedy, for anything else.
    """
    path = Path(path)
    content = read_json(path, FitFileError, "a fit that `facenb fit` wrote")
    if not isinstance(content, dict):
        raise FitFileError(f"{path}: not a fit that `facenb fit` wrote; fit the photo again")

    def tensor(name: str, value: object, *shape: int | None) -> Tensor:
        try:
            x = torch.tensor(value, dtype=dtype)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            x = None
        fits = x is not None and x.ndim == len(shape)
        fits = fits and all(s in (None, t) for s, t in zip(shape, x.shape, strict=True)) and bool(x.isfinite().all())
        if not fits:
            wanted = "×".join("n" if s is None else str(s) for s in shape) or "one of the"
            raise FitFileError(f"{path}: {name} is not {wanted} finite numbers; fit the photo again")
        return x

    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise FitFileError(f"{path}: {', '.join(missing)} missing; fit the photo again")
    image, width, height, model, camera, residuals = (content[key] for key in _KEYS[:6])
    if not (isinstance(camera, dict) and camera.keys() >= set("KRt") and isinstance(residuals, dict)):
        raise FitFileError(
            f"{path}: camera needs K, R and t, and residuals a name for each number; fit the photo again"
        )
    if not (isinstance(image, str) and isinstance(model, str) and type(width) is type(height) is int):
        raise FitFileError(f"{path}: image, model, width or height has the wrong type; fit the photo again")
    direct = content.get("landmarks68_direct")
    fit = PortraitFit(
        camera=Camera(tensor("K", camera["K"], 3, 3), tensor("R", camera["R"], 3, 3), tensor("t", camera["t"], 3)),
        identity=tensor("identity", content["identity"], None),
        expression=tensor("expression", content["expression"], None),
        albedo=tensor("albedo", content["albedo"], None),
        lighting=tensor("lighting", content["lighting"], 3, 9),
        landmarks68=tensor("landmarks68", content["landmarks68"], 68, 2),
        residuals={name: tensor(name, value).item() for name, value in residuals.items()},
        landmarks68_direct=None if direct is None else tensor("landmarks68_direct", direct, 68, 2),
    )
    return FitFile(image, width, height, model, fit)


def read_json(path: Path, error_type: type[ValueError], what: str) -> object:
    """The content of a JSON file, or `error_type` with one line; `what` says what was expected."""
    if not path.exists():
        raise error_type(f"{path}: no such file; check the path")
    if not path.is_file():
        raise error_type(f"{path}: not a file; give {what}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise error_type(f"{path}: not valid JSON ({error}); give {what}") from error


def _numbers(x: Tensor) -> list | float:
    """Nested lists of a tensor, with as many digits as matter."""

    def rounded(value: list | float) -> list | float:
        if isinstance(value, list):
            return [rounded(v) for v in value]
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value

    return rounded(x.detach().cpu().tolist())
