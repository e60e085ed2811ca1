"""What `facenb fit` does: photos and points in; camera, face, light, mesh and picture out.

For each photo NAME it writes NAME.png (the overlay beside the photo), NAME.glb (the coloured mesh) and, last,
NAME.json, so that where the JSON is, all is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.camera import resize
from facenb.config import ConfigError
from facenb.export_command import write_mesh
from facenb.fit_result import FitFile, PortraitFit, write_fit
from facenb.landmark_file import read_landmarks
from facenb.model_source import OPEN, load_model
from facenb.morphable_model import MorphableModel
from facenb.photo import photo_size, read_photo, write_photo
from facenb.pictures import overlay, render_face
from facenb.portrait_fit import fit_portrait
from facenb.result_files import demand_free_names, make_folder

ENDINGS = (".png", ".glb", ".json")  # in the order of writing


@dataclass(frozen=True)
class _Job:
    photo: Path
    width: int
    height: int
    landmarks: Float[Tensor, "68 2"]  # px of the photo as it is on disk, upright


def fit_photos(
    photos: tuple[Path, ...],
    landmarks: tuple[Path, ...],
    out: Path,
    model: str,
    max_side: int,
    say: Callable[[str], None],
) -> list[Path]:
    """Fit every photo and write its three files to the folder `out`; returns the JSON files.

    `landmarks` is one file for each photo, in order, or one that names the photos. All points are checked before the
    first photo is fitted, and the photos as far as their headers tell. `say` gets a line for each photo done.

    Raises ValueError (of the module that noticed) naming the file and the remedy.
    """
    jobs = _jobs(photos, landmarks, out)
    face_model = load_model(model)
    if face_model.landmarks68.shape != (68,):
        raise ConfigError(
            f"{model}: has no 68 landmark vertices; put them beside it in {Path(model).stem}.landmarks68.json"
        )
    make_folder(out)
    source = model if model == OPEN else str(Path(model).expanduser().resolve())
    return [_fit_one(job, face_model, source, out, max_side, say) for job in jobs]


def _jobs(photos: tuple[Path, ...], landmarks: tuple[Path, ...], out: Path) -> list[_Job]:
    if len(landmarks) not in (1, len(photos)):
        raise ConfigError(
            f"{len(photos)} photos but {len(landmarks)} landmark files; give one for each, or one that names the photos"
        )
    shared = len(landmarks) < len(photos)
    demand_free_names(photos, out, ENDINGS, landmarks)
    jobs = []
    for photo, points in zip(photos, landmarks * len(photos) if shared else landmarks, strict=True):
        width, height = photo_size(photo)
        jobs.append(_Job(photo, width, height, read_landmarks(points, photo.name, width, height, by_name=shared)))
    return jobs


def _fit_one(
    job: _Job, model: MorphableModel, source: str, out: Path, max_side: int, say: Callable[[str], None]
) -> Path:
    photo = read_photo(job.photo, max_side=max_side)  # 3 H W
    small, full = (photo.shape[2], photo.shape[1]), (job.width, job.height)
    scale = torch.tensor(small, dtype=torch.float64) / torch.tensor(full, dtype=torch.float64)
    points = (job.landmarks + 0.5) * scale - 0.5  # borders coincide, not pixel centres
    try:
        fit = fit_portrait(photo, points.to(photo.dtype), model)
    except ValueError as error:
        raise ValueError(f"{job.photo}: {error}") from error

    name = job.photo.stem
    result = out / f"{name}.json"
    result.unlink(missing_ok=True)  # an older one must not stand beside a newer mesh if this is stopped halfway
    write_photo(side_by_side(photo, fit, model), out / f"{name}.png")
    write_mesh(out / f"{name}.glb", model, fit.identity, fit.expression, fit.albedo)
    enlarge = 1 / float(scale.mean())
    in_full = replace(
        fit,
        camera=resize(fit.camera, small, full),
        landmarks68=(fit.landmarks68 + 0.5) / scale.to(fit.landmarks68) - 0.5,
        residuals={k: v * enlarge if k.endswith("_px") else v for k, v in fit.residuals.items()},
    )
    write_fit(FitFile(job.photo.name, job.width, job.height, source, in_full), result)
    residuals = ", ".join(f"{key} {value:.3g}" for key, value in in_full.residuals.items())
    say(f"{job.photo} -> {result}, .glb, .png ({residuals})")
    return result


def side_by_side(
    photo: Float[Tensor, "3 H W"],
    fit: PortraitFit,
    model: MorphableModel,
    cover: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, "3 H 2W"]:
    """The photo, and beside it the fitted face over the photo, lit as fitted.

    `cover` in [0, 1] says where the photo shows the face: what is in front of it, hair or a hand, stays in front.
    """
    _, H, W = photo.shape
    picture, _ = render_face(
        model,
        fit.camera,
        H,
        W,
        identity=fit.identity,
        expression=fit.expression,
        albedo=fit.albedo,
        light=fit.lighting,
        inverse=True,
        background=photo,
        antialias=2,
    )
    picture = picture.to(photo) if cover is None else overlay(photo, picture, cover)
    return torch.cat([photo, picture], dim=2)
