"""Files of 68 points, in every accepted form, and what is said of all others."""

import json

import pytest
import torch

from facenb.landmark_file import LandmarkFileError, read_landmarks

POINTS = [[100 + 3.0 * i, 50 + i % 7] for i in range(68)]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "points.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        POINTS,
        {"landmarks68": POINTS, "image": "a.jpg"},
        {"a.jpg": POINTS, "b.jpg": POINTS[::-1]},
        {"a.jpg": {"landmarks68": POINTS}},
    ],
)
def test_every_accepted_form_gives_the_points(write, content):
    points = read_landmarks(write(content), "a.jpg", 640, 480)
    assert points.dtype == torch.float64
    assert points.tolist() == POINTS


def test_points_may_lie_a_little_outside_where_the_picture_cuts_the_face_off(write):
    points = [[-30.0, 20.0], *POINTS[1:]]
    assert read_landmarks(write(points), "a.jpg", 640, 480)[0].tolist() == [-30, 20]


def with_point(point):
    return [*POINTS[:5], point, *POINTS[6:]]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "not valid JSON"),
        ("68 points", "not valid JSON"),
        (POINTS[:-1], "67 entries"),
        ([], "0 entries"),
        (3, "no list"),
        ({"b.jpg": POINTS}, 'neither "landmarks68" nor points for a.jpg'),
        ({"a.jpg": POINTS[:3]}, "3 entries for a.jpg"),
        (with_point([1]), "point 5 is"),
        (with_point([1, 2, 3]), "point 5 is"),
        (with_point("1, 2"), "point 5 is"),
        (with_point([1, None]), "point 5 is"),
        (with_point([True, 2]), "point 5 is"),
        (with_point([1, float("nan")]), "point 5 is not finite"),
        (with_point([float("inf"), 2]), "point 5 is not finite"),
        (with_point([10**400, 2]), "point 5"),
        (with_point([2000, 2]), r"point 5 at \(2000, 2\) is far outside a.jpg \(640 × 480\)"),
        (with_point([2, -900]), "far outside"),
        ([[x / 640, y / 480] for x, y in POINTS], "in pixels, not in shares"),
    ],
)
def test_bad_points_get_one_line_that_names_the_file(write, content, message):
    path = write(content)
    with pytest.raises(LandmarkFileError, match=message) as error:
        read_landmarks(path, "a.jpg", 640, 480)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_for_several_photos_must_name_them(write):
    """Or every photo would be fitted to the points of one."""
    assert read_landmarks(write({"a.jpg": POINTS}), "a.jpg", 640, 480, by_name=True).tolist() == POINTS
    for content in (POINTS, {"landmarks68": POINTS}, {"b.jpg": POINTS}):
        with pytest.raises(LandmarkFileError, match=r"no points for a\.jpg inside; list each photo's"):
            read_landmarks(write(content), "a.jpg", 640, 480, by_name=True)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(LandmarkFileError, match="no such file"):
        read_landmarks(tmp_path / "nowhere.json", "a.jpg", 640, 480)
    with pytest.raises(LandmarkFileError, match="not a file; give 68 points"):
        read_landmarks(tmp_path, "a.jpg", 640, 480)
