"""Every kind of picture that a camera or a download folder holds."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms

from facenb import photo as photo_module
from facenb.colour import to_linear
from facenb.photo import PhotoError, photo_size, read_photo, to_uint8, write_photo


@pytest.fixture
def rgb():
    """A picture without symmetry: 7 wide, 5 high, every pixel different."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def as_tensor(rgb):
    return torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)


def test_rgb_comes_back_exactly(rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.dtype == torch.float32
    assert photo.is_contiguous()
    assert torch.equal(photo, as_tensor(rgb))
    torch.testing.assert_close(read_photo(tmp_path / "a.png", "linear"), to_linear(as_tensor(rgb)))


def test_grey_is_repeated_in_all_channels(rgb, tmp_path):
    Image.fromarray(rgb[..., 0]).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert torch.equal(photo, as_tensor(rgb)[:1].expand(3, -1, -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_parts_lie_over_white(mode, tmp_path):
    pixel = {"RGBA": (200, 100, 0, 128), "LA": (100, 128), "PA": (0, 128)}[mode]
    image = Image.new(mode, (1, 1), pixel)
    if mode == "PA":
        image.putpalette([200, 100, 0] * 256)
    image.save(tmp_path / "a.tif" if mode == "PA" else tmp_path / "a.png")
    colour = {"RGBA": (200, 100, 0), "LA": (100, 100, 100), "PA": (200, 100, 0)}[mode]
    expected = torch.tensor(colour) / 255 * (128 / 255) + (1 - 128 / 255)
    photo = read_photo(next(tmp_path.iterdir()))
    torch.testing.assert_close(photo.flatten(), expected, atol=1.1 / 255, rtol=0)


def test_a_fully_transparent_photo_is_white(tmp_path):
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_photo(tmp_path / "a.png") == 1).all()


def test_palettes_with_and_without_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=1)
    a, b = to_uint8(read_photo(tmp_path / "a.png")), to_uint8(read_photo(tmp_path / "b.png"))
    assert a.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert b.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    "mode, ending", [("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "jpg"), ("1", "png"), ("LAB", "tif")]
)
def test_other_colour_models_become_rgb(mode, ending, tmp_path):
    grey = Image.new("RGB", (16, 16), "white")
    grey = grey.convert(mode) if mode != "LAB" else Image.new("LAB", (16, 16), (255, 128, 128))
    grey.save(tmp_path / f"a.{ending}")
    photo = read_photo(tmp_path / f"a.{ending}")
    assert photo.shape == (3, 16, 16)
    torch.testing.assert_close(photo, torch.ones(3, 16, 16), atol=0.02, rtol=0)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_depth(ending, tmp_path):
    values = np.array([[0, 1, 255, 256], [32768, 65280, 65534, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    torch.testing.assert_close(read_photo(tmp_path / f"a.{ending}"), expected.expand(3, -1, -1))


def write_png(path, width, height, depth, colour_type, rows):
    """A PNG by hand: Pillow writes no 16-bit colour."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\x00" + row for row in rows)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))


def test_sixteen_bit_colour_is_read_to_eight_bits(tmp_path):
    values = np.array([[[0, 32768, 65535], [255, 4660, 60000]]], dtype=">u2")
    write_png(tmp_path / "a.png", 2, 1, 16, 2, [values.tobytes()])
    expected = torch.from_numpy(values.astype(np.float32) / 65535).permute(2, 0, 1)
    torch.testing.assert_close(read_photo(tmp_path / "a.png"), expected, atol=1 / 255, rtol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotations_are_undone(orientation, rgb, tmp_path):
    """The stored rows are what EXIF says the camera did to the upright picture; reading must give it back."""
    stored = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, 1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_photo(tmp_path / "a.png"), as_tensor(rgb))
    assert photo_size(tmp_path / "a.png") == (7, 5)


def test_one_pixel_is_a_photo(tmp_path):
    Image.new("RGB", (1, 1), (255, 128, 0)).save(tmp_path / "a.png")
    assert to_uint8(read_photo(tmp_path / "a.png", max_side=1)).tolist() == [[[255, 128, 0]]]


def test_shrinking_averages_over_areas(tmp_path):
    checker = np.kron([[0, 200], [100, 50]], np.ones((4, 4))).astype(np.uint8)
    checker[::2] += 20  # detail that plain subsampling would alias
    Image.fromarray(checker).save(tmp_path / "a.png")
    small = read_photo(tmp_path / "a.png", max_side=2)
    assert to_uint8(small)[..., 0].tolist() == [[10, 210], [110, 60]]


@pytest.mark.parametrize(
    "size, max_side, expected", [((40, 20), 10, (10, 5)), ((3, 900), 30, (1, 30)), ((8, 8), 9, (8, 8))]
)
def test_shrinking_keeps_the_proportions_and_never_enlarges(tmp_path, size, max_side, expected):
    Image.new("RGB", size).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png", max_side=max_side)
    assert (photo.shape[2], photo.shape[1]) == expected


def test_sixteen_bit_grey_shrinks_too(tmp_path):
    Image.fromarray(np.array([[0, 65535], [65535, 0]], dtype=np.uint16)).save(tmp_path / "a.png")
    torch.testing.assert_close(read_photo(tmp_path / "a.png", max_side=1), torch.full((3, 1, 1), 0.5))


def test_embedded_colour_profiles_are_honoured(rgb, tmp_path):
    """A profile whose red and blue primaries have changed places must change the channels back."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"!XYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"!XYZ", b"bXYZ", 1)
    image = Image.fromarray(rgb)
    image.save(tmp_path / "plain.png", icc_profile=profile)
    image.save(tmp_path / "swapped.png", icc_profile=swapped)
    image.save(tmp_path / "broken.png", icc_profile=b"not a profile")
    torch.testing.assert_close(read_photo(tmp_path / "plain.png"), as_tensor(rgb), atol=1.1 / 255, rtol=0)
    torch.testing.assert_close(read_photo(tmp_path / "swapped.png"), as_tensor(rgb).flip(0), atol=2.1 / 255, rtol=0)
    assert torch.equal(read_photo(tmp_path / "broken.png"), as_tensor(rgb))


def test_an_animation_shows_its_first_picture(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert to_uint8(read_photo(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def test_webp_is_read(rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.webp", lossless=True)
    assert torch.equal(read_photo(tmp_path / "a.webp"), as_tensor(rgb))


def huge(path):
    write_png(path, 60_000, 60_000, 8, 2, [b""])


def large(path):
    write_png(path, 12_000, 12_000, 8, 2, [b""])


def save(values):
    return lambda path: Image.fromarray(values).save(path, format="TIFF")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.unlink(), "no such file; check"),
        (lambda p: (p.unlink(), p.mkdir()), "not a file; give the path of one photo"),
        (lambda p: p.write_bytes(b""), "empty file; copy"),
        (lambda p: p.write_bytes(b"%PDF-1.4 not an image"), "not a picture that can be read"),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "broken or truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:20]), "not a picture|broken or truncated"),
        (huge, "more than 120,000,000 pixels; scale it down"),
        (large, "12000 × 12000 is more than 120,000,000 pixels"),
        (save(np.array([[0.5, np.nan]], np.float32)), "without NaN"),
        (save(np.array([[0.5, np.inf]], np.float32)), "0.5 to inf"),
        (save(np.array([[0.0, 200.0]], np.float32)), "from 0 to 200; scale them to 0–1"),
        (save(np.array([[-0.5, 0.5]], np.float32)), "from -0.5"),
        (save(np.array([[0, 10**6]], np.int32)), "scale them to 0–1"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(rgb, tmp_path, spoil, message):
    path = tmp_path / "a.png"
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(path)
    spoil(path)
    with pytest.raises(PhotoError, match=message) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_truncated_jpeg_is_refused_and_not_half_grey(rgb, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(PhotoError, match="broken or truncated"):
        read_photo(path)


def test_damaged_pictures_of_every_format_end_in_our_error(rgb, tmp_path):
    """Bytes flipped anywhere: a picture comes out or one line, never a decoder's own complaint."""
    g = np.random.default_rng(0)
    refused = 0
    for ending in ("png", "jpg", "tif", "gif", "webp", "bmp"):
        path = tmp_path / f"a.{ending}"
        Image.fromarray(np.tile(rgb, (4, 4, 1))).save(path)
        whole = path.read_bytes()
        for _ in range(40):
            damaged = bytearray(whole)
            for place in g.integers(len(whole) if g.random() < 0.5 else min(60, len(whole)), size=3):
                damaged[place] = g.integers(256)
            path.write_bytes(damaged)
            for read in (read_photo, photo_size):
                try:
                    read(path)
                except PhotoError as error:
                    assert str(error).startswith(f"{path}: ")
                    refused += 1
    assert refused > 50  # else the damage is too mild to test anything


def test_floating_point_grey_in_range_is_read(tmp_path):
    values = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert torch.equal(read_photo(tmp_path / "a.tif"), torch.from_numpy(values).expand(3, -1, -1))


def test_a_header_that_lies_about_the_size_is_caught_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_module, "MAX_PIXELS", 10)
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PhotoError, match="4 × 3 is more than 10 pixels"):
        read_photo(tmp_path / "a.png")


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="colour space 'HSV'"):
        read_photo(tmp_path / "a.png", colour_space="HSV")
    with pytest.raises(ValueError, match="max_side is 0"):
        read_photo(tmp_path / "a.png", max_side=0)


def test_written_pictures_come_back(rgb, tmp_path):
    write_photo(as_tensor(rgb), tmp_path / "new" / "a.png")
    assert torch.equal(read_photo(tmp_path / "new" / "a.png"), as_tensor(rgb))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_bytes_are_rounded_and_clamped():
    values = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 9.0]).expand(3, 1, -1)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_nan_and_unknown_endings_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        write_photo(torch.full((3, 2, 2), torch.nan), tmp_path / "a.png")
    with pytest.raises(PhotoError, match=r"use \.png or \.jpg"):
        write_photo(torch.zeros(3, 2, 2), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())
