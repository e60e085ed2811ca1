"""Datasets on disk: what is written comes back, what is missing is made, what is broken is named."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from facenb.render_command import encode_image, encode_truth
from facenb.shards import (
    Description,
    ShardError,
    images_path,
    member_name,
    read_description,
    read_shard_index,
    read_truth,
    start_dataset,
    truth_path,
    write_shard,
)
from facenb.snapshots import SnapshotTruth

SIDE = 5


def some_image(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def some_truth(i: int) -> SnapshotTruth:
    rng = np.random.default_rng(i)
    return SnapshotTruth(
        uv=rng.random((SIDE, SIDE, 2), np.float32),
        depth=rng.uniform(300, 2000, (SIDE, SIDE)).astype(np.float32),
        mask=rng.random((SIDE, SIDE)) < 0.5,
        landmarks68=rng.uniform(0, SIDE, (68, 2)),
        landmarks5=rng.uniform(0, SIDE, (5, 2)),
        identity=rng.standard_normal(4).astype(np.float32),
        expression=rng.standard_normal(3).astype(np.float32),
        albedo=rng.standard_normal(2).astype(np.float32),
        K=rng.random((3, 3)),
        R=rng.random((3, 3)),
        t=rng.random(3),
        yaw=float(i),
        pitch=-float(i),
        roll=0.5,
    )


DESCRIPTION = Description(7, 3, True, {"size": SIDE, "framing": "wild", "seed": 1, "generator": 1})


@pytest.fixture
def folder(tmp_path):
    """Seven pictures in shards of three."""
    for shard in start_dataset(tmp_path, DESCRIPTION):
        write_one(tmp_path, shard)
    return tmp_path


def write_one(folder, shard):
    members = DESCRIPTION.members(shard)
    write_shard(
        truth_path(folder, shard),
        [member_name(i, "npz") for i in members],
        [encode_truth(some_truth(i)) for i in members],
    )
    write_shard(
        images_path(folder, shard),
        [member_name(i, "png") for i in members],
        [encode_image(some_image(i)) for i in members],
    )


def test_every_picture_comes_back_by_its_number(folder):
    index = read_shard_index(folder)
    assert len(index) == 7
    for i in (6, 0, 3, 2):
        image = np.asarray(Image.open(io.BytesIO(index.image_bytes(i))))
        np.testing.assert_array_equal(image, some_image(i))


def test_truths_come_back_stacked_in_order(folder):
    truth = read_truth(folder)
    assert len(truth) == 7
    assert truth.uv.shape == (7, SIDE, SIDE, 2) and truth.uv.dtype == torch.float32
    assert truth.mask.dtype == torch.bool
    assert truth.yaw.tolist() == [0, 1, 2, 3, 4, 5, 6]
    for i in (0, 6):
        expected = some_truth(i)
        torch.testing.assert_close(truth.landmarks68[i], torch.from_numpy(expected.landmarks68).float())
        assert (truth.uv[i] - torch.from_numpy(expected.uv)).abs().max() <= 2**-12  # half of float16's last place
        np.testing.assert_array_equal(truth.depth[i], expected.depth)
        np.testing.assert_array_equal(truth.mask[i], expected.mask)


def test_a_shard_is_a_plain_tar_in_webdatasets_layout(folder):
    """WebDataset groups by the name before the first dot: pictures and truths of the same number find each other."""
    with tarfile.open(images_path(folder, 1)) as images, tarfile.open(truth_path(folder, 1)) as truths:
        assert images.getnames() == ["000000003.png", "000000004.png", "000000005.png"]
        assert [name.split(".")[0] for name in truths.getnames()] == [n.split(".")[0] for n in images.getnames()]


def test_the_same_contents_give_the_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("again")
    start_dataset(other, DESCRIPTION)
    write_one(other, 0)
    for path in (images_path, truth_path):
        assert path(other, 0).read_bytes() == path(folder, 0).read_bytes()


def test_only_missing_shards_are_made_again(folder):
    assert start_dataset(folder, DESCRIPTION) == []
    images_path(folder, 1).unlink()
    truth_path(folder, 2).unlink()
    assert start_dataset(folder, DESCRIPTION) == [1, 2]


@pytest.mark.parametrize(
    "change, told",
    [
        ({"count": 8}, "count 7, not 8"),
        ({"shard_size": 4}, "shard size 3, not 4"),
        ({"truth": False}, "truth True, not False"),
        ({"config": DESCRIPTION.config | {"seed": 2}}, "seed 1, not 2"),
        ({"config": DESCRIPTION.config | {"generator": 2}}, "generator 1, not 2"),
    ],
)
def test_a_folder_of_another_configuration_is_refused_and_left_alone(folder, change, told):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ShardError, match=told) as error:
        start_dataset(folder, Description(**(vars(DESCRIPTION) | change)))
    assert "\n" not in str(error.value) and "choose another folder" in str(error.value)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_with_somebody_elses_tar_files_is_refused(tmp_path):
    (tmp_path / "holiday.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"no dataset\.json"):
        start_dataset(tmp_path, DESCRIPTION)


def test_a_failing_writer_leaves_no_shard(tmp_path):
    def contents():
        yield b"first"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(tmp_path / "images-00000.tar", ["a", "b"], contents())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 100, 700, 1600])
def test_a_truncated_shard_is_named_with_the_remedy(folder, keep):
    path = images_path(folder, 1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ShardError, match=r"images-00001\.tar: .*; delete it and run the command that made it again"):
        read_shard_index(folder)


def test_a_shard_cut_after_it_was_indexed_is_named(folder):
    index = read_shard_index(folder)
    path = images_path(folder, 2)
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(ShardError, match=r"images-00002\.tar: ends early"):
        index.image_bytes(6)
    path.unlink()
    with pytest.raises(ShardError, match=r"images-00002\.tar: cannot be read"):
        index.image_bytes(6)


def test_a_missing_shard_is_named_with_the_remedy(folder):
    images_path(folder, 0).unlink()
    with pytest.raises(ShardError, match=r"images-00000\.tar: missing; run the command that made it again"):
        read_shard_index(folder)


def test_a_shard_of_other_files_is_refused(folder):
    write_shard(images_path(folder, 0), ["cat.png"], [b"meow"])
    with pytest.raises(ShardError, match="holds 1 files, not the 3 expected"):
        read_shard_index(folder)


def test_damaged_truth_is_named(folder):
    path = truth_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[512:2500] = bytes(1988)  # inside the first member
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"truth-00001\.tar: 000000003\.npz is no truth; delete it"):
        read_truth(folder)


def test_a_dataset_without_truth_says_so(tmp_path):
    start_dataset(tmp_path, Description(7, 3, False, {}))
    with pytest.raises(ShardError, match="rendered without truth"):
        read_truth(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "facenb dataset"}', json.dumps({"format": "other"})])
def test_a_broken_description_is_an_error_of_one_line(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ShardError, match=r"dataset\.json: not the description") as error:
        read_description(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_dataset_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ShardError, match=r"no dataset\.json in it"):
        read_shard_index(tmp_path / "nowhere")
