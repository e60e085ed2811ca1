"""Files appear whole or not at all."""

import os
import stat

import pytest

from facenb.atomic import atomic_path


def test_the_new_file_replaces_the_old_one_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert (unfinished.suffix, unfinished.parent.parent) == (".txt", tmp_path)
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("failure", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(failure)), atomic_path(path) as unfinished:
        unfinished.write_text("half of the n")
        raise failure
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_missing_folders_are_made_and_permissions_are_the_usual_ones(tmp_path):
    with atomic_path(tmp_path / "x" / "y" / "a.txt") as unfinished:
        unfinished.write_text("new")
    (tmp_path / "usual.txt").write_text("new")
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("x/y/a.txt", "usual.txt")]
    assert modes[0] == modes[1]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())
