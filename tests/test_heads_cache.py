"""What is built around the face is kept, and built again when it is damaged."""

import numpy as np
import pytest

from facenb.heads import surroundings as module
from facenb.open_model import open_model


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Building replaced by something quick: what is tested is the keeping."""
    model = open_model(progress=False)
    real = module.surroundings(model, progress=False)
    calls = []

    def build(model, progress):
        calls.append(1)
        return real

    monkeypatch.setattr(module, "_build", build)
    monkeypatch.setattr(module, "surroundings_path", lambda: tmp_path / "heads.safetensors")
    return model, real, calls, tmp_path / "heads.safetensors"


def same(a, b):
    packed = module._pack(a), module._pack(b)
    return packed[0].keys() == packed[1].keys() and all(np.array_equal(packed[0][k], packed[1][k]) for k in packed[0])


def test_a_second_call_reads_what_the_first_has_built(built):
    model, real, calls, path = built
    first = module.surroundings(model, progress=False)
    second = module.surroundings(model, progress=False)
    assert len(calls) == 1 and path.is_file()
    assert same(first, real) and same(second, real)


@pytest.mark.parametrize("damage", ["empty", "truncated", "not safetensors"])
def test_a_damaged_file_is_built_again(built, damage):
    model, real, calls, path = built
    module.surroundings(model, progress=False)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "not safetensors": b"x" * 100}[damage])
    again = module.surroundings(model, progress=False)
    assert len(calls) == 2 and same(again, real)


def test_rebuild_builds(built):
    model, _, calls, _ = built
    module.surroundings(model, progress=False)
    module.surroundings(model, rebuild=True, progress=False)
    assert len(calls) == 2


def test_the_name_of_the_file_changes_with_the_recipe(monkeypatch):
    before = module.surroundings_path()
    monkeypatch.setattr(module, "recipe_hash", lambda: "another open model")
    assert module.surroundings_path() != before
