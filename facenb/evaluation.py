"""Does it work? A trained network against pictures whose truth is known (book: *Does it work?*).

Two kinds of test sets: pictures that `facenb render` made, with the whole truth, and photos in which five points are
marked (`labelled_photos`). Definitions of all numbers stand in `metrics`; a face that is not found is a failure, and
counts as one. Nothing here is used in training.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facenb.augment import move_points
from facenb.face_finder import TRAINED_SCALE, crop_similarity, cut_out, find_face
from facenb.image_sets import open_images
from facenb.labelled_photos import LabelledPhotos
from facenb.metrics import (
    Summary,
    cumulative_error,
    depth_error,
    five_point_box_error,
    five_point_error,
    five_points,
    inter_ocular,
    mask_iou,
    pose_error,
    seen_point_error,
    seen_points,
    summarise,
    uv_error,
    vertex_error,
)
from facenb.morphable_model import MorphableModel
from facenb.photo import read_photo
from facenb.reconstruction import DEFAULTS, ReconstructionOptions, reconstruct
from facenb.refined_reconstruction import refine_reconstruction, refinement_points
from facenb.shards import Truth, read_truth
from facenb.uv_model import UVModel

BATCH = 20
CURVE = tuple(range(0, 31))  # %, where the cumulative error is written down


@dataclass(frozen=True)
class EvaluationSet:
    """N square pictures with five true points (px); rendered ones with the whole truth, photos perhaps with failures.

    `missed[i]`: no face was found in photo i (with `framing="find"`), so that picture i means nothing.
    """

    images: Float[Tensor, "N 3 S S"]
    five: Float[Tensor, "N 5 2"]
    truth: Truth | None
    missed: Float[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.images)


def rendered_set(folder: str | Path, limit: int | None = None) -> EvaluationSet:
    """The first `limit` pictures of a folder that `facenb render` wrote. Raises ShardError as `read_truth` does."""
    images, truth = open_images(folder), read_truth(folder)
    n = min(len(images), limit or len(images))
    truth = Truth(**{name: getattr(truth, name)[:n] for name in Truth.__dataclass_fields__})
    pictures = torch.stack([images[i] for i in range(n)]).float() / 255
    return EvaluationSet(pictures, truth.landmarks5, truth, torch.zeros(n, dtype=torch.bool))


def photo_set(
    photos: LabelledPhotos,
    model: MorphableModel,
    size: int,
    finder: tuple[nn.Module, UVModel] | None = None,
    progress: Iterable | None = None,
) -> EvaluationSet:
    """Photos cropped to the network's frame: about the five true points, or, with a `finder`, wherever it finds a face.

    About the true points means: centred on them, at the training scale by the best similarity of the mean face, but
    not turned upright, since a photo is as it is. `progress` wraps the paths (a progress bar).
    """
    crops, five, missed = [], [], []
    for path, points in zip(photos.paths if progress is None else progress, photos.five, strict=True):
        photo = read_photo(path)
        theta = _framed(points.float(), model, size)
        found = None
        if finder is not None:
            found = find_face(*finder, photo)
            theta = theta if found is None else found.theta
        crops.append(cut_out(photo, theta[None], size)[0])
        five.append(move_points(theta[None], points.float()[None])[0])
        missed.append(finder is not None and found is None)
    return EvaluationSet(torch.stack(crops), torch.stack(five), None, torch.tensor(missed))


def evaluate(
    net: nn.Module,
    model: MorphableModel,
    tables: UVModel,
    test: EvaluationSet,
    refine: int = 0,
    options: ReconstructionOptions = DEFAULTS,
    progress: Iterable | None = None,
) -> dict[str, object]:
    """All numbers of one network on one set: name → `Summary` as a dict, a number, or a list (the curves).

    `progress` wraps the range of batches (a progress bar).
    """
    columns: dict[str, list[Tensor]] = {}
    rotations: list[tuple[Tensor, Tensor]] = []
    points = refinement_points(model, tables, options) if refine else None
    starts = range(0, len(test), BATCH)
    for i in starts if progress is None else progress:
        part = slice(i, i + BATCH)
        image, five = test.images[part].contiguous(memory_format=torch.channels_last), test.five[part]
        r = reconstruct(net, tables, image, options)
        if points is not None:
            r = refine_reconstruction(r, image, points, tables, refine)
        lost = ~r.found | test.missed[part]
        errors = {
            "fitted": five_point_error(_lost(five_points(r.landmarks68), lost), five),
            "direct": five_point_error(_lost(five_points(r.landmarks68_direct), lost), five),
        }
        if test.truth is not None:
            t = Truth(**{name: getattr(test.truth, name)[part] for name in Truth.__dataclass_fields__})
            face = t.mask.any(-1).any(-1)  # one whose face is wholly hidden has neither uv nor depth
            uv, n = t.uv.movedim(-1, 1), options.n_identity
            X = model.vertices(r.shape[:, :n], r.shape[:, n:])
            true_X = model.vertices(t.identity, t.expression)
            errors |= {
                "fitted_box": five_point_box_error(_lost(five_points(r.landmarks68), lost), t.landmarks68),
                "direct_box": five_point_box_error(_lost(five_points(r.landmarks68_direct), lost), t.landmarks68),
                "fitted_seen": _of_those_seen(r.landmarks68, lost, t, five),
                "direct_seen": _of_those_seen(r.landmarks68_direct, lost, t, five),
                "iou": mask_iou(r.maps.confidence > options.confident, t.mask),
                "uv_texels": uv_error(r.maps.uv[face], uv[face], t.mask[face]),
                "depth_percent": depth_error(r.maps.depth[face], t.depth[face], t.mask[face]),
                "vertex_mm": vertex_error(_lost(X, lost), true_X),
                "vertex_mm_unaligned": vertex_error(_lost(X, lost), true_X, align=False),
            }
            rotations.append((_lost(r.camera.R, lost), t.R))
        for name, values in errors.items():
            columns.setdefault(name, []).append(values)
    results: dict[str, object] = {name: asdict(summarise(torch.cat(values))) for name, values in columns.items()}
    if rotations:
        results |= _pose_results(*(torch.cat(part) for part in zip(*rotations, strict=True)))
    thresholds = torch.tensor(CURVE, dtype=torch.get_default_dtype())
    curve = {name: cumulative_error(torch.cat(columns[name]), thresholds).tolist() for name in ("fitted", "direct")}
    return results | {"curve": {"percent_of_inter_ocular": list(CURVE), **curve}}


def baselines(test: EvaluationSet, model: MorphableModel) -> dict[str, object]:
    """Five-point errors of two answers that need no network: what it must beat, and what shape is worth.

    "mean_landmarks" says the same for every picture, the set's own mean. "oracle_similarity" knows the truth but not
    the face: the mean face's five points, seen from the front, under the best 2D similarity for each picture.
    """
    mean = test.five.mean(0).expand_as(test.five)
    return {
        "mean_landmarks": asdict(summarise(five_point_error(mean, test.five))),
        "oracle_similarity": asdict(summarise(five_point_error(best_similarity(_front(model), test.five), test.five))),
    }


def best_similarity(source: Float[Tensor, "n 2"], target: Float[Tensor, "B n 2"]) -> Float[Tensor, "B n 2"]:
    """The source moved, turned and scaled, never mirrored, so that Σ ‖x − y‖² is least for each target.

    In complex numbers x ↦ a x + b, and ``a = Σ conj(x) y / Σ |x|²`` about the means.
    """
    x, y = torch.view_as_complex(source.contiguous()), torch.view_as_complex(target.contiguous())
    x0, y0 = x.mean(), y.mean(-1, keepdim=True)
    a = ((x - x0).conj() * (y - y0)).sum(-1, keepdim=True) / (x - x0).abs().square().sum()
    return torch.view_as_real(a * (x - x0) + y0)


def machine() -> dict[str, object]:
    """What the numbers were computed on."""
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def table(results: dict[str, object], base: dict[str, object]) -> str:
    """The numbers as lines of text: mean, median and 90th percentile of every error, then those of the whole set."""
    rows = [("", "mean", "median", "90 %", "failures")]
    for name, values in [*((f"baseline {k}", v) for k, v in base.items()), *results.items()]:
        if isinstance(values, dict) and set(values) == set(Summary.__dataclass_fields__):
            numbers = (f"{values[k]:.3g}" for k in ("mean", "median", "percentile90"))
            rows.append((name, *numbers, f"{values['failures']} of {values['count']}"))
    rows += [(name, f"{value:.3f}", "", "", "") for name, value in results.items() if isinstance(value, float)]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _pose_results(R: Tensor, truth: Tensor) -> dict[str, object]:
    p = pose_error(R, truth)
    errors = {f"{name}_degrees": asdict(summarise(getattr(p, name))) for name in ("rotation", "yaw", "pitch", "roll")}
    return errors | {"yaw_correlation": p.yaw_correlation, "yaw_spread_ratio": p.yaw_spread_ratio}


def _of_those_seen(landmarks68: Tensor, lost: Tensor, truth: Truth, five: Tensor) -> Float[Tensor, " n"]:
    """`seen_point_error` of the pictures in which a point is seen at all."""
    seen = seen_points(five, truth.mask)
    some = seen.any(-1)
    return seen_point_error(_lost(five_points(landmarks68), lost)[some], five[some], seen[some])


def _lost(answer: Tensor, lost: Tensor) -> Tensor:
    """NaN, which the metrics count as a failure, where there is no face."""
    return torch.where(lost.reshape(-1, *[1] * (answer.ndim - 1)), torch.nan, answer)


def _front(model: MorphableModel) -> Float[Tensor, "5 2"]:
    """The mean face's five points seen from the front, mm, y down."""
    five = five_points(model.shape_mean[model.landmarks68])
    return five[:, :2] * five.new_tensor([1.0, -1.0])


def _framed(five: Float[Tensor, "5 2"], model: MorphableModel, size: int) -> Float[Tensor, "2 3"]:
    """θ of an upright crop about five points at the training scale."""
    mean = _front(model).to(five)
    fitted = best_similarity(mean, five[None])[0]
    px_per_mm = inter_ocular(fitted) / inter_ocular(mean)
    side = 100 * px_per_mm / TRAINED_SCALE
    return crop_similarity(five.mean(0, keepdim=True), side[None], torch.zeros(1), size)[0]
