"""Results never meet each other, a photo, or another input; a folder that cannot be is one clear line."""

import pytest

from facenb.config import ConfigError
from facenb.result_files import demand_free_names, make_folder


def test_results_of_two_photos_never_meet(tmp_path):
    demand_free_names([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out", [".png"])
    with pytest.raises(ConfigError, match=r"two photos are called Eve: .* rename one"):
        demand_free_names([tmp_path / "Eve.png", tmp_path / "eve.jpg"], tmp_path / "out", [".png"])


def test_a_result_never_replaces_an_input(tmp_path):
    photo, points = tmp_path / "a.jpg", tmp_path / "a.json"
    demand_free_names([photo], tmp_path, [".png"])
    with pytest.raises(ConfigError, match=r"a.jpg: a result in .* would replace it; choose another --out"):
        demand_free_names([photo], tmp_path / "out" / "..", [".jpg"])
    with pytest.raises(ConfigError, match=r"a.json: a result in"):
        demand_free_names([photo], tmp_path, [".json"], [points])


def test_a_folder_below_a_file_is_refused(tmp_path):
    make_folder(tmp_path / "new" / "below")
    assert (tmp_path / "new" / "below").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: cannot write there .* choose another folder with --out"):
        make_folder(tmp_path / "file")
