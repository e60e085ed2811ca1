"""Training images, whatever they lie in (book: *Pretraining from an average face*).

A set is a folder of photos, as deep as it likes, or a folder that `facenb render` wrote. Nothing but pictures is read
from it: no labels, and no truth even where a renderer has written some.

The network wants squares. From a photo that is not one the *centre square* is taken, because nothing is known about it;
portraits usually survive that. One layout is known: CelebA's aligned faces (Liu et al. 2015), 178 × 218 pixels, eyes,
nose and mouth all but in the same places; from these the square is cut that frames the face as our rendered training
images do, 100 mm at the face being 40 % of the side.

Pictures are bytes, (3, H, W), sRGB display values 0–255. A file that cannot be read is skipped and listed, never fatal:
among a hundred thousand photos a few always are broken.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.photo import PhotoError, photo_size, read_photo
from facenb.shards import ShardError, read_shard_index

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
SMALLEST = 16  # pixels; less shows no face
CACHE_BYTES = 2**30  # resized pictures kept in memory: 38,000 of 96 × 96

CELEBA_FOLDER = "img_align_celeba"
CELEBA_WIDTH, CELEBA_HEIGHT = 178, 218
# Average place (x, y) in CelebA's aligned photos of the eye at the left of the picture, the other one, nose, corners of
# the mouth: px. The frame's side is 100 mm / 0.40 at the scale of the open model's mean face laid onto these points.
CELEBA_LANDMARKS5 = ((69.0, 111.0), (108.0, 111.0), (88.0, 135.0), (73.0, 152.0), (105.0, 152.0))
CELEBA_SIDE = 161

_NO_PHOTOS = f"no file ends in {', '.join(PHOTO_ENDINGS)}"
_TAIL = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}  # how a whole file ends


Frame = Literal["aligned", "celeba"]


class ImageSetError(ValueError):
    """A folder that holds no images that can be used; the message names it and says what to do."""


@dataclass
class ImageSet:
    """Pictures by number, in an order that depends on their names only.

    `images[i]` is UInt8 (3, H, W), of `size` × `size` where the set was opened with a size. A file that turns out to be
    broken when it is decoded is added to `broken`, and the next readable one stands in for it.

    Attributes:
        names: one for each picture, relative to the folder.
        broken: "name: reason" of each file that was skipped.
        frame: how faces are framed, where that is known: "aligned" (rendered as roughly aligned pictures) or "celeba";
            `mean_pose.average_landmarks5` knows where eyes, nose and mouth then are on average.
        unit: what one of them is called when they are counted, in the plural.
    """

    names: list[str]
    read: Callable[[int], UInt8[Tensor, "3 H W"]]
    size: int | None = None
    broken: list[str] = field(default_factory=list)
    frame: Frame | None = None
    unit: str = "images"
    _cache: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _cached_bytes: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> UInt8[Tensor, "3 H W"]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        for i in range(index % len(self), index % len(self) + len(self)):
            picture = self._get(i % len(self))
            if picture is not None:
                return picture
        raise ImageSetError(f"not one of {len(self)} images can be read any more, {self.names[0]} for instance")

    def _get(self, i: int) -> Tensor | None:
        if i not in self._cache:
            try:
                picture = self.read(i)
                picture = picture if self.size is None else resized(picture, self.size)
            except PhotoError as error:
                self.broken.append(f"{self.names[i]}: {_reason(error)}")
                picture = None
            n_bytes = 0 if picture is None else picture.numel()
            if self._cached_bytes + n_bytes > CACHE_BYTES:
                return picture
            self._cached_bytes += n_bytes
            self._cache[i] = picture
        return self._cache[i]


def open_images(path: str | Path, size: int | None = None) -> ImageSet:
    """The images in a folder, nested ones included, or in one that `facenb render` wrote; a single photo is a set, too.

    Args:
        size: side in pixels to which every picture is resized (averaging where it shrinks). Resized pictures stay in
            memory, up to a gigabyte, so that later passes decode nothing.

    Each photo's header and end are looked at now, pixels only when they are asked for.
    Raises ImageSetError if there is nothing to read; it says how many files were broken, and the first one's reason;
    ShardError for a rendered set that is not whole.
    """
    path = Path(path)
    if size is not None and size < 1:
        raise ValueError(f"size is {size}, expected at least one pixel")
    if not path.exists():
        raise ImageSetError(f"{path}: no such folder; check the path")
    if path.is_dir() and (path / "dataset.json").is_file():
        return _rendered(path, size)
    files = photo_files(path) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    names, sizes, broken = [], [], []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            width, height = photo_size(file)
            if min(width, height) < SMALLEST:
                raise PhotoError(f"{file}: {width} × {height} pixels are too few to show a face")
            if not _has_its_end(file):
                read_photo(file)  # decides: some cameras append data of their own
        except PhotoError as error:
            broken.append(f"{name}: {_reason(error)}")
            continue
        names.append(name)
        sizes.append((width, height))
    if not names:
        why = f"all {len(broken)} are broken, {broken[0]}" if broken else _NO_PHOTOS
        raise ImageSetError(f"{path}: no photos to read ({why}); give a folder of photos, or a rendered one")
    celeba = [
        CELEBA_FOLDER in (root / name).parts and size_ == (CELEBA_WIDTH, CELEBA_HEIGHT)
        for name, size_ in zip(names, sizes, strict=True)
    ]

    def read(i: int) -> Tensor:
        photo = (255 * read_photo(root / names[i])).round().to(torch.uint8)
        return celeba_square(photo) if celeba[i] else centre_square(photo)

    return ImageSet(names, read, size, broken, "celeba" if all(celeba) else None)


def photo_files(folder: Path) -> list[Path]:
    """The photos in a folder, nested ones included, by the endings of their names and sorted."""
    return sorted(p for p in folder.rglob("*") if _is_photo(p))


def photos_in(paths: Sequence[Path], results: Path) -> tuple[Path, ...]:
    """The photos that are meant by photos and folders: a folder means all in it, but for those in the folder `results`.

    Raises ImageSetError for a folder without photos, or one that is `results` itself.
    """
    photos, out = [], results.resolve()
    for path in paths:
        if not path.is_dir():
            photos.append(path)
            continue
        if path.resolve() == out:
            raise ImageSetError(f"{path}: results would lie among the photos; write them to another folder")
        inside = [file for file in photo_files(path) if out not in file.resolve().parents]
        if not inside:
            raise ImageSetError(f"{path}: no photos to read ({_NO_PHOTOS}); give photos or a folder of them")
        photos += inside
    return tuple(photos)


def centre_square(picture: Tensor) -> Tensor:
    """The largest square in the middle of a picture (…, H, W)."""
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[..., top : top + side, left : left + side]


def celeba_square(picture: Tensor) -> Tensor:
    """The square of one of CelebA's aligned photos in which 100 mm at the face are 40 % of the side."""
    left, top = _celeba_corner()
    return picture[..., top : top + CELEBA_SIDE, left : left + CELEBA_SIDE]


def celeba_landmarks5() -> Float[Tensor, "5 2"]:
    """The average five points in sides of `celeba_square`; pixel (x, y) lies at ((x + ½) / side, (y + ½) / side)."""
    corner = torch.tensor(_celeba_corner(), dtype=torch.float32)
    return (torch.tensor(CELEBA_LANDMARKS5) - corner + 0.5) / CELEBA_SIDE


def resized(picture: UInt8[Tensor, "3 H W"], size: int) -> UInt8[Tensor, "3 s s"]:
    """A square picture at another size; smaller ones are averages, so that nothing flickers."""
    if picture.shape[-2:] == (size, size):
        return picture.contiguous()
    values = interpolate(picture[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    return values.round().clamp(0, 255).to(torch.uint8)


def _rendered(folder: Path, size: int | None) -> ImageSet:
    """The pictures of a folder of shards."""
    index = read_shard_index(folder)
    if not len(index):
        raise ImageSetError(f"{folder}: a rendered set of no pictures; render some: facenb render")

    def read(i: int) -> Tensor:
        try:
            with Image.open(io.BytesIO(index.image_bytes(i))) as image:
                pixels = np.array(image.convert("RGB"))
        except (ShardError, OSError, SyntaxError, ValueError, zlib.error) as error:
            raise PhotoError(f"{folder}: {error}") from error
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    frame = "aligned" if index.description.config.get("framing") == "aligned" else None
    return ImageSet([f"{i:09d}" for i in range(len(index))], read, size, frame=frame)


def _celeba_corner() -> tuple[int, int]:
    """(left, top) of the square, whose middle is that of the five points."""
    middle = (sum(axis) / 5 for axis in zip(*CELEBA_LANDMARKS5, strict=True))
    left, top = (round(m - (CELEBA_SIDE - 1) / 2) for m in middle)
    return left, top


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in PHOTO_ENDINGS and not file.name.startswith(".") and file.is_file()


def _has_its_end(file: Path) -> bool:
    """Whether the file ends as its format does, the cheap sign that it was not cut short."""
    with file.open("rb") as stream:
        head = stream.read(12)
        length = stream.seek(0, 2)
        stream.seek(max(0, length - 16))
        tail = stream.read()
    if head[:4] == b"RIFF":  # WebP says how long it is
        return length >= int.from_bytes(head[4:8], "little") + 8
    ending = _TAIL.get(file.suffix.lower())
    return ending is not None and tail.endswith(ending)


def _reason(error: Exception) -> str:
    """A PhotoError's words without the path in front."""
    return str(error).split(": ", 1)[-1]
