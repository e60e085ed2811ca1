"""Photos in which somebody has marked five points: MAFL, AFLW and whoever tests like them (book: *Does it work?*).

The points are, in this order, the eye, the other eye (left to right in the picture, so the subject's right eye first),
the tip of the nose, and the corners of the mouth, left and right in the picture. Pixels x, y; (0, 0) is the centre of
the top-left pixel. A list of them may be

    .txt    name x1 y1 x2 y2 ... x5 y5, with blanks between; lines that do not begin so are titles. This is how CelebA
            and its part MAFL come, list_landmarks_align_celeba.txt beside the folder img_align_celeba
    .csv    the same with commas (or semicolons), for one line a title
    .json   {"name": [[x, y], ...]}, five points each, or all 68 in the Multi-PIE order

Names are relative to the list's folder or to `img_align_celeba` in it.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.metrics import five_points

IMAGE_FOLDERS = ("", "img_align_celeba", "images")
LIST_ENDINGS = (".txt", ".csv", ".json")


class LabelledPhotosError(ValueError):
    """A list of points that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class LabelledPhotos:
    """Paths of photos, and the five points of each (px)."""

    paths: list[Path]
    five: Float[Tensor, "N 5 2"]

    def __len__(self) -> int:
        return len(self.paths)


def read_labelled_photos(path: str | Path, limit: int | None = None) -> LabelledPhotos:
    """The photos of a list, or of the one list in a folder, in its order; `limit` takes the first so many.

    Raises LabelledPhotosError, naming file and line, for lists that cannot be understood and photos that are missing.
    """
    path = Path(path)
    if not path.exists():
        raise LabelledPhotosError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        lists = sorted(p for p in path.iterdir() if p.suffix.lower() in LIST_ENDINGS)
        if len(lists) != 1:
            found = ", ".join(p.name for p in lists[:5]) or "none"
            raise LabelledPhotosError(
                f"{path}: needs one list of points (.txt, .csv or .json), has {found}; give the list itself"
            )
        path = lists[0]
    rows = _read_json(path) if path.suffix.lower() == ".json" else _read_lines(path)
    if not rows:
        raise LabelledPhotosError(f"{path}: not one line holds a name and ten numbers; see facenb evaluate --help")
    rows = rows[:limit]
    return LabelledPhotos([_find(path, name) for name, _ in rows], torch.tensor([five for _, five in rows]))


def _read_lines(path: Path) -> list[tuple[str, list[list[float]]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelledPhotosError(f"{path}: cannot be read as text ({error}); check the path") from error
    if path.suffix.lower() == ".csv":
        table = csv.reader(lines, delimiter=";" if lines and lines[0].count(";") > lines[0].count(",") else ",")
        cells = [[cell.strip() for cell in row] for row in table]
    else:
        cells = [line.split() for line in lines]
    rows = []
    for number, row in enumerate(cells, 1):
        if not row or (not rows and (len(row) != 11 or not _is_number(row[1]))):
            continue  # an empty line, or a title
        if len(row) != 11 or not all(map(_is_number, row[1:])):
            raise LabelledPhotosError(
                f"{path}: line {number} is {' '.join(row)[:40]!r}, not a name and ten finite numbers; mend the line"
            )
        numbers = [float(cell) for cell in row[1:]]
        rows.append((row[0], [numbers[i : i + 2] for i in range(0, 10, 2)]))
    return rows


def _read_json(path: Path) -> list[tuple[str, list[list[float]]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabelledPhotosError(f'{path}: not valid JSON ({error}); write {{"name.jpg": [[x, y], ...]}}') from error
    if not isinstance(content, dict):
        raise LabelledPhotosError(f'{path}: holds a {type(content).__name__}; write {{"name.jpg": [[x, y], ...]}}')
    rows = []
    for name, points in content.items():
        try:
            points = torch.tensor(points, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            points = torch.zeros(0)
        if points.shape not in ((5, 2), (68, 2)) or not points.isfinite().all():
            raise LabelledPhotosError(f"{path}: {name} needs 5 or 68 points [x, y] of finite numbers")
        rows.append((name, (points if len(points) == 5 else five_points(points)).tolist()))
    return rows


def _find(path: Path, name: str) -> Path:
    for folder in IMAGE_FOLDERS:
        candidate = path.parent / folder / name
        if candidate.is_file():
            return candidate
    raise LabelledPhotosError(f"{path}: names {name}, but there is no such photo beside it or in {IMAGE_FOLDERS[1]}")


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e9  # written so that NaN fails, too
    except ValueError:
        return False
