"""Photos in and pictures out (book: *From a photograph to a face*).

Inside this package a photo is a tensor (3, H, W), red green blue, in [0, 1], sRGB display values unless said otherwise,
upright as a viewer would show it. Cameras write many things that are not that: pictures turned by an EXIF tag, grey,
transparent, 16 bit, in other colour spaces. `read_photo` brings them all here or says in one line why not.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from facenb.atomic import atomic_path
from facenb.colour import to_linear

MAX_PIXELS = 120_000_000  # decoded: 0.4 GB; a file of a few kB can claim far more
_DEEP = ("I", "I;16", "I;16L", "I;16B", "F")  # Pillow's modes of more than 8 bits, all grey


class PhotoError(ValueError):
    """A photo that cannot be read or written; the message names the file and says what to do."""


def read_photo(
    path: str | Path, colour_space: Literal["sRGB", "linear"] = "sRGB", max_side: int | None = None
) -> Float[Tensor, "3 H W"]:
    """The photo as float32 in [0, 1], upright, transparent parts over white, grey repeated in all three channels.

    `max_side` shrinks a larger photo, averaging over areas, until its longer side has that many pixels; a point (x, y)
    then moves to ((x + ½) s − ½, …) with s = new width / old width. Embedded colour profiles are converted to sRGB.
    Pillow keeps 16 bits of grey but only 8 of 16-bit colour.

    Raises PhotoError, naming the file and the remedy, for all but whole pictures of a sane size in [0, 1].
    """
    if colour_space not in ("sRGB", "linear"):
        raise ValueError(f'colour space {colour_space!r}, expected "sRGB" or "linear"')
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side is {max_side}, expected at least one pixel")
    path = Path(path)
    with _opened(path) as image, _decoding(path):
        image.load()
        image = ImageOps.exif_transpose(image)
        image = _deep_grey(image, path) if image.mode in _DEEP else _rgb(image)
    if max_side is not None and max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = tuple(max(1, round(scale * side)) for side in image.size)
        image = image.resize(size, Image.Resampling.BOX)
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "RGB":
        photo = torch.from_numpy(values / 255).permute(2, 0, 1).contiguous()  # 3 H W
    else:
        photo = torch.from_numpy(values.copy()).expand(3, -1, -1).contiguous()  # 3 H W
    return to_linear(photo) if colour_space == "linear" else photo


def photo_size(path: str | Path) -> tuple[int, int]:
    """(width, height) in pixels of the upright photo, from its header where the format allows.

    Raises PhotoError as `read_photo` does.
    """
    path = Path(path)
    with _opened(path) as image, _decoding(path):  # a PNG's EXIF may stand behind its pixels
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def to_uint8(image: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Display values in [0, 1] as bytes, rounded; values outside are clamped.

    Raises ValueError for NaN, which no byte can show.
    """
    if torch.isnan(image).any():
        raise ValueError("the picture holds NaN")
    return (255 * image.detach().clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def write_photo(image: Float[Tensor, "3 H W"], path: str | Path) -> None:
    """Write display values in [0, 1] to `path`; its ending chooses the format. The file appears whole or not at all.

    Raises PhotoError if no format has that ending.
    """
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise PhotoError(f"{path}: no picture format has this ending; use .png or .jpg")
    with atomic_path(path) as unfinished:
        Image.fromarray(to_uint8(image)).save(unfinished)


def _opened(path: Path) -> Image.Image:
    """The picture with its header read and found sane, nothing decoded yet."""
    if not path.exists():
        raise PhotoError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise PhotoError(f"{path}: not a file; give the path of one photo")
    if path.stat().st_size == 0:
        raise PhotoError(f"{path}: empty file; copy the photo again")
    with _decoding(path):
        image = Image.open(path)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise PhotoError(f"{path}: {width} × {height} is more than {MAX_PIXELS:,} pixels; scale it down first")
    return image


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder stumbles over, as one PhotoError; its warnings of odd tags are not for the reader."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoError:
        raise
    except UnidentifiedImageError as error:
        raise PhotoError(f"{path}: not a picture that can be read; convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{path}: more than {MAX_PIXELS:,} pixels; scale it down first") from error
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error …: every format has its own
        raise PhotoError(f"{path}: broken or truncated picture ({error}); copy or export it again") from error


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB of any of Pillow's 8-bit modes."""
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: viewers ignore it, too
    return image.convert("RGB")


def _deep_grey(image: Image.Image, path: Path) -> Image.Image:
    """Mode "F" in [0, 1] of 16-bit and of floating-point grey."""
    values = np.asarray(image)
    if values.dtype.kind in "iu":
        values = values / np.float32(65535)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # written so that NaN fails, too
        raise PhotoError(f"{path}: values from {low:.3g} to {high:.3g}; scale them to 0–1 (or 16 bits) without NaN")
    return Image.fromarray(values.astype(np.float32))
