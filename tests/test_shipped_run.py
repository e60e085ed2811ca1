"""What comes with the package about its own training: it is there, whole, and belongs together."""

import numpy as np
import torch

from facenb import record_frames, shipped_run
from facenb.distil_task import DistilTask
from facenb.weights import load_weights, read_about, shipped_weights

LARGEST = 10 * 2**20  # bytes, promised


def test_the_network_is_there_and_small():
    assert shipped_weights().stat().st_size <= LARGEST
    about = read_about(shipped_weights())
    assert about["kind"] == "narrow" and about["task"] == DistilTask.name
    n_shape = about["shape components"]
    assert len(about["learnt"]["usual"]) == n_shape and about["learnt"]["typical"] > 0


def test_curves_and_options_are_those_of_the_shipped_network():
    about = read_about(shipped_weights())
    told = shipped_run.options("train")
    assert told == about["options"]
    curve = shipped_run.curves("train")
    assert curve[-1]["step"] == told["steps"] and curve[-1] == about["end"]
    assert curve[-1]["loss"] < 0.6 * curve[0]["loss"]
    assert shipped_run.curves("pretrain")[-1]["step"] == shipped_run.options("pretrain")["steps"]


def test_no_path_of_the_machine_that_trained_it_is_left():
    for text in (str(shipped_run.options(part)) for part in ("pretrain", "train")):
        assert "/tmp" not in text and "/home" not in text
    assert not str(shipped_run.evaluation()["data"]).startswith("/")


def test_the_evaluation_is_of_five_hundred_images_and_of_this_network():
    result = shipped_run.evaluation()
    assert result["count"] == 500 and result["weights"]["end"] == read_about(shipped_weights())["end"]
    for name in ("fitted", "direct"):
        assert result["results"][name]["median"] < 0.6 * result["baselines"]["oracle_similarity"]["median"]
        assert result["results"][name]["median"] < 0.5 * result["pretrained"][name]["median"]
    assert result["refined"]["fitted"]["median"] < result["results"]["fitted"]["median"]
    assert result["results"]["yaw_correlation"] > 0.97 and 0.9 < result["results"]["yaw_spread_ratio"] < 1.1


def test_frames_begin_with_pretraining_and_end_with_what_is_shipped():
    frames = shipped_run.frames()
    F, N = frames.confidence.shape[:2]
    assert frames.step[0] == 0 and frames.step[-1] == shipped_run.options("train")["steps"]
    assert len(frames.step) == F and len(frames.image) == N and np.all(np.diff(frames.step) > 0)
    image = torch.from_numpy(frames.image).float() / 255
    with torch.inference_mode():
        maps = load_weights(shipped_weights())(image)
    confident = frames.confidence[-1] > 0.5
    assert confident.flatten(1).sum(1).min() > 100
    said = (maps.uv - frames.uv[-1]).norm(dim=1)[confident]
    assert said.quantile(0.99) < 0.01  # half precision, of weights and of maps
    assert np.isnan(frames.five[-2:]).all() and np.isfinite(frames.five[:-2]).all()


def test_the_portraits_are_photos():
    for photo in record_frames.portraits():
        assert photo.shape[0] == 3 and 0 <= photo.min() < 0.2 and 0.8 < photo.max() <= 1


def test_short_runs_are_points_over_steps():
    short = shipped_run.short_runs()
    for group in ("ablations", "sizes"):
        assert len(short[group]) >= 3 and group in short["options"]
        for points in short[group].values():
            steps, mean, median, iou = zip(*points, strict=True)
            assert list(steps) == sorted(set(steps))
            assert all(0 < m <= e < 100 for e, m in zip(mean, median, strict=True)) and all(0 < x < 1 for x in iou)
