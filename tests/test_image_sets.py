"""Folders as people have them: nested, mixed, broken in places."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from facenb.image_sets import (
    CELEBA_HEIGHT,
    CELEBA_LANDMARKS5,
    CELEBA_SIDE,
    CELEBA_WIDTH,
    ImageSetError,
    celeba_landmarks5,
    celeba_square,
    centre_square,
    open_images,
    photos_in,
)
from facenb.mean_pose import ALIGNED_SCALE, similarity_onto
from facenb.metrics import five_points
from facenb.open_model import open_model
from facenb.shards import Description, ShardError, images_path, member_name, start_dataset, write_shard


def picture(width=40, height=30, colour=(200, 100, 50)):
    return Image.new("RGB", (width, height), colour)


@pytest.fixture
def folder(tmp_path):
    """Seven photos in three folders; their red value says which they are."""
    (tmp_path / "b" / "deep").mkdir(parents=True)
    picture(colour=(10, 0, 0)).save(tmp_path / "a.PNG")
    picture(colour=(20, 0, 0)).save(tmp_path / "b" / "one.jpg", quality=95)
    picture(colour=(30, 0, 0)).save(tmp_path / "b" / "two.webp", lossless=True)
    picture(colour=(40, 0, 0)).save(tmp_path / "b" / "deep" / "three.jpeg", quality=95)
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / ".hidden.png").write_bytes(b"nothing")
    return tmp_path


def reds(images):
    return [round(float(images[i][0].float().mean()), -1) for i in range(len(images))]


def test_nested_folders_of_mixed_formats_in_the_order_of_their_names(folder):
    images = open_images(folder)
    assert images.names == ["a.PNG", "b/deep/three.jpeg", "b/one.jpg", "b/two.webp"]
    assert reds(images) == [10, 40, 20, 30] and images.broken == [] and images.frame is None


def test_pictures_are_bytes_and_square(folder):
    images = open_images(folder)
    assert images[0].dtype == torch.uint8 and images[0].shape == (3, 30, 30)
    assert open_images(folder, size=16)[1].shape == (3, 16, 16)
    assert torch.equal(images[-1], images[3])
    with pytest.raises(IndexError):
        images[4]


def test_one_photo_is_a_set(folder):
    assert len(open_images(folder / "a.PNG")) == 1


def test_photos_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera lay on its side
    image = picture(32, 16)
    image.paste((255, 255, 255), (0, 0, 16, 16))  # the left half, which comes to the top
    image.save(tmp_path / "a.png", exif=exif)
    upright = open_images(tmp_path)[0]
    assert upright.shape == (3, 16, 16)
    assert (upright[:, :7] == 255).all() and (upright[2, 9:] == 50).all()


def test_grey_transparent_and_deep_photos_become_rgb(tmp_path):
    Image.new("L", (20, 20), 128).save(tmp_path / "a_grey.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "b_clear.png")
    Image.fromarray(np.full((20, 20), 32768, np.uint16)).save(tmp_path / "c_deep.png")
    Image.new("P", (20, 20), 3).save(tmp_path / "d_palette.png")
    images = open_images(tmp_path)
    assert [tuple(images[i].shape) for i in range(4)] == [(3, 20, 20)] * 4
    assert [int(images[i][0, 0, 0]) for i in range(3)] == [128, 255, 128]


def test_the_centre_square_of_wide_and_tall_pictures():
    wide = torch.arange(10).expand(1, 4, 10)
    assert torch.equal(centre_square(wide)[0, 0], torch.tensor([3, 4, 5, 6]))
    assert torch.equal(centre_square(wide.mT)[0, :, 0], torch.tensor([3, 4, 5, 6]))


def broken_files(folder):
    (folder / "empty.jpg").touch()
    (folder / "html.jpg").write_text("<html>404</html>")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole, "JPEG")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:-600])
    picture(8, 8).save(folder / "tiny.png")


def test_broken_files_are_skipped_and_listed_with_their_reasons(folder):
    broken_files(folder)
    images = open_images(folder)
    assert len(images) == 4
    assert [b.split(": ")[0] for b in images.broken] == ["cut.jpg", "empty.jpg", "html.jpg", "tiny.png"]
    assert "truncated" in images.broken[0] and "empty" in images.broken[1]
    assert "not a picture" in images.broken[2] and "too few" in images.broken[3]


def test_a_photo_with_bytes_behind_its_end_is_read(folder):
    """Some cameras append data of their own."""
    path = folder / "b" / "one.jpg"
    path.write_bytes(path.read_bytes() + b"maker's notes")
    assert len(open_images(folder)) == 4 and open_images(folder).broken == []


def test_a_photo_that_breaks_later_is_replaced_by_the_next_one(folder):
    images = open_images(folder)
    (folder / "b" / "deep" / "three.jpeg").write_bytes(b"gone")
    assert round(float(images[1][0].float().mean()), -1) == 20
    assert images.broken[0].startswith("b/deep/three.jpeg: ")


def test_resized_pictures_are_decoded_once(folder):
    images = open_images(folder, size=16)
    first = [images[i] for i in range(4)]
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.unlink()
    assert all(torch.equal(images[i], first[i]) for i in range(4))


def test_shrinking_averages(tmp_path):
    """Stripes one pixel wide become grey, not stripes of another width."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    small = open_images(tmp_path, size=16)[0].float()
    assert (small[..., 1:-1] - 127.5).abs().max() < 8


def test_folders_without_photos_say_so(tmp_path):
    with pytest.raises(ImageSetError, match="no such folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ImageSetError, match=r"no photos to read.*\.jpg.*give a folder of photos"):
        open_images(tmp_path)
    broken_files(tmp_path)
    with pytest.raises(ImageSetError, match=r"all 4 are broken, cut\.jpg"):
        open_images(tmp_path)
    with pytest.raises(ValueError, match="one pixel"):
        open_images(tmp_path, size=0)


def test_folders_stand_for_their_photos_without_the_results_among_them(folder):
    one, out = folder / "a.PNG", folder / "b" / "deep"
    assert photos_in([one, folder / "b"], out) == (one, folder / "b" / "one.jpg", folder / "b" / "two.webp")
    assert len(photos_in([folder], folder / "elsewhere")) == 4
    with pytest.raises(ImageSetError, match="another folder"):
        photos_in([out], out)
    (folder / "empty").mkdir()
    with pytest.raises(ImageSetError, match="no photos to read"):
        photos_in([folder / "empty"], out)


def test_if_every_photo_vanishes_the_error_is_clear(folder):
    images = open_images(folder)
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(ImageSetError, match="not one of 4 images"):
        images[0]


def test_celeba_is_recognised_and_its_faces_framed(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    image = picture(CELEBA_WIDTH, CELEBA_HEIGHT, (0, 0, 0))
    for x, y in CELEBA_LANDMARKS5:
        image.paste((255, 255, 255), (round(x), round(y), round(x) + 1, round(y) + 1))
    image.save(tmp_path / "img_align_celeba" / "000001.png")
    (tmp_path / "list_landmarks_align_celeba.txt").write_text("1\n")
    for path in (tmp_path, tmp_path / "img_align_celeba"):
        images = open_images(path)
        assert images.frame == "celeba" and images[0].shape == (3, CELEBA_SIDE, CELEBA_SIDE)
        white = images[0][0].nonzero().flip(-1)  # (x, y) of the five pixels
        expected = (celeba_landmarks5() * CELEBA_SIDE - 0.5).round()
        assert sorted(white.tolist()) == sorted(expected.long().tolist())


def test_a_photo_of_another_size_among_celebas_is_cut_in_the_middle(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    picture(CELEBA_WIDTH, CELEBA_HEIGHT).save(tmp_path / "img_align_celeba" / "1.png")
    picture(50, 60).save(tmp_path / "img_align_celeba" / "2.png")
    images = open_images(tmp_path)
    assert images[1].shape == (3, 50, 50) and images.frame is None


def test_celebas_square_has_a_hundred_millimetres_on_40_percent():
    """Scale of the open model's mean face laid onto CelebA's five points, in pixels per mm."""
    model = open_model()
    five = five_points(model.shape_mean[model.landmarks68])[:, :2] * torch.tensor([1.0, -1.0])
    A, _ = similarity_onto(five, torch.tensor(CELEBA_LANDMARKS5))
    assert 100 * torch.linalg.det(A).sqrt() / CELEBA_SIDE == pytest.approx(ALIGNED_SCALE, abs=0.001)
    assert torch.linalg.vector_norm(celeba_landmarks5().mean(0) - 0.5) < 0.005
    assert celeba_square(torch.zeros(3, CELEBA_HEIGHT, CELEBA_WIDTH)).shape == (3, CELEBA_SIDE, CELEBA_SIDE)


@pytest.fixture
def rendered(tmp_path):
    """Five pictures in two shards; their red value is 10 i."""
    description = Description(count=5, shard_size=3, truth=False, config={"framing": "aligned", "size": 20})
    start_dataset(tmp_path, description)
    for shard in range(description.n_shards):
        pngs = []
        for i in description.members(shard):
            stream = io.BytesIO()
            picture(20, 20, (10 * i, 0, 0)).save(stream, "PNG")
            pngs.append(stream.getvalue())
        write_shard(images_path(tmp_path, shard), [member_name(i, "png") for i in description.members(shard)], pngs)
    return tmp_path


def test_rendered_pictures_are_read_from_their_shards(rendered):
    images = open_images(rendered)
    assert len(images) == 5 and images.frame == "aligned" and reds(images) == [0, 10, 20, 30, 40]
    assert open_images(rendered, size=16)[4].shape == (3, 16, 16)


def test_rendered_pictures_in_the_wild_have_no_known_frame(rendered):
    path = rendered / "dataset.json"
    table = json.loads(path.read_text())
    table["config"]["framing"] = "wild"
    path.write_text(json.dumps(table))
    assert open_images(rendered).frame is None


def test_a_shard_that_is_missing_or_cut_is_named(rendered):
    images_path(rendered, 1).rename(rendered / "elsewhere.tar")
    with pytest.raises(ShardError, match=r"images-00001\.tar: missing"):
        open_images(rendered)


def test_a_rendered_picture_that_does_not_decode_is_skipped_and_listed(rendered):
    names = [member_name(i, "png") for i in (3, 4)]
    stream = io.BytesIO()
    picture(20, 20, (40, 0, 0)).save(stream, "PNG")
    write_shard(images_path(rendered, 1), names, [b"no picture", stream.getvalue()])
    images = open_images(rendered)
    assert reds(images)[3:] == [40, 40]
    assert images.broken[0].startswith("000000003: ")
