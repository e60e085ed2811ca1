"""Lists of photos with five points, in every form in which they come, and broken ones."""

import json

import pytest
import torch

from facenb.labelled_photos import LabelledPhotosError, read_labelled_photos

POINTS = {"a.jpg": [[69.0, 109.5], [106, 113], [77, 142], [73, 152], [108, 154]]}
POINTS["b.jpg"] = [[x + 1, y + 2] for x, y in POINTS["a.jpg"]]


def line(name, separator=" "):
    return separator.join([name, *(f"{v:g}" for point in POINTS[name] for v in point)])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    for name in POINTS:
        (tmp_path / "img_align_celeba" / name).touch()
    return tmp_path


CELEBA = (
    "2\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y\n"
)
SIXTY_EIGHT = [[0.0, 0.0]] * 36 + [POINTS["a.jpg"][0]] * 6 + [POINTS["a.jpg"][1]] * 6 + [[0.0, 0.0]] * 20
for index, number in ((30, 2), (48, 3), (54, 4)):
    SIXTY_EIGHT[index] = POINTS["a.jpg"][number]


@pytest.mark.parametrize(
    "name, text",
    [
        ("list_landmarks_align_celeba.txt", CELEBA + line("a.jpg").replace(" ", "    ") + "\n" + line("b.jpg") + "\n"),
        ("points.txt", line("a.jpg") + "\n\n" + line("b.jpg")),
        ("points.csv", "image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n" + line("a.jpg", ", ") + "\n" + line("b.jpg", ",")),
        ("points.csv", "\ufeff" + line("a.jpg", ";") + "\n" + line("b.jpg", ";")),
        ("points.json", json.dumps(POINTS)),
        ("points.json", json.dumps(POINTS | {"a.jpg": SIXTY_EIGHT})),
    ],
)
def test_lists_of_all_forms_say_the_same(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    for given in (folder / name, folder):
        photos = read_labelled_photos(given)
        assert [p.name for p in photos.paths] == ["a.jpg", "b.jpg"]
        torch.testing.assert_close(photos.five, torch.tensor([POINTS["a.jpg"], POINTS["b.jpg"]]))
    assert len(read_labelled_photos(folder, limit=1)) == 1


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("points.txt", line("a.jpg") + "\nb.jpg 1 2 3", "line 2"),
        ("points.txt", line("a.jpg") + "\n" + line("b.jpg").replace("144", "nan"), "line 2"),
        ("points.txt", "nothing here", "not one line"),
        ("points.txt", "", "not one line"),
        ("points.csv", line("a.jpg", ",").replace("a.jpg", "c.jpg"), "no such photo"),
        ("points.json", "{", "not valid JSON"),
        ("points.json", "[1, 2]", "holds a list"),
        ("points.json", '{"a.jpg": [[1, 2]]}', "5 or 68 points"),
        ("points.json", '{"a.jpg": "five"}', "5 or 68 points"),
        ("points.json", '{"a.jpg": [[1, 2], [1, 2], [1, 2], [1, 2], [1, NaN]]}', "5 or 68 points"),
    ],
)
def test_a_broken_list_is_named_with_its_fault(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(LabelledPhotosError, match=message) as error:
        read_labelled_photos(folder / name)
    assert name in str(error.value)


def test_a_folder_needs_exactly_one_list(folder):
    with pytest.raises(LabelledPhotosError, match="has none"):
        read_labelled_photos(folder)
    (folder / "a.txt").write_text(line("a.jpg"))
    (folder / "b.csv").write_text(line("a.jpg", ","))
    with pytest.raises(LabelledPhotosError, match=r"a\.txt, b\.csv"):
        read_labelled_photos(folder)
    with pytest.raises(LabelledPhotosError, match="no such file"):
        read_labelled_photos(folder / "missing")
    (folder / "c.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(LabelledPhotosError, match="as text"):
        read_labelled_photos(folder / "c.txt")
