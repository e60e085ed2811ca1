"""Weights come back as they were, and a wrong file is answered with one line that says what to do."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from facenb.networks import build_network
from facenb.weights import FORMAT, SHIPPED, VERSION, WeightsError, load_weights, read_about, save_weights
from facenb.weights import shipped_weights as shipped


@pytest.fixture(scope="module")
def net():
    net = build_network("narrow", seed=5).train()
    net(torch.rand(4, 3, 32, 32))  # moves the batch norm's averages away from 0 and 1
    return net.eval()


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(net, path, about={"iterations": 7, "name": "Zoë"})
    return path


def test_full_precision_comes_back_bit_by_bit(net, tmp_path):
    save_weights(net, tmp_path / "a.safetensors", half=False)
    loaded = load_weights(tmp_path / "a.safetensors")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_half_precision_says_the_same_to_a_tenth_of_a_texel(net, saved):
    """A texel of the 320² map is 1/320 of the square."""
    image = torch.rand(2, 3, 32, 32)
    loaded = load_weights(saved)
    assert (net(image).uv - loaded(image).uv).abs().max() < 0.1 / 320
    assert all(t.dtype == torch.float32 for t in loaded.parameters())


def test_batch_norm_is_never_rounded(net, saved):
    for name, tensor in load_file(saved).items():
        assert tensor.dtype != torch.float16 or tensor.ndim == 4
        if "running" in name:
            assert torch.equal(tensor, net.state_dict()[name])


def test_the_narrow_network_takes_less_than_ten_megabytes(saved):
    assert saved.stat().st_size < 10e6


def test_the_file_says_what_it_holds_and_in_which_mode_it_is_loaded(saved):
    assert read_about(saved) == {"kind": "narrow", "iterations": 7, "name": "Zoë"}
    loaded = load_weights(saved, kind="narrow")
    assert loaded.kind == "narrow" and not loaded.training


def test_the_same_network_makes_the_same_file(net, tmp_path):
    for name in "ab":
        save_weights(net, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_network_of_somebody_else_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="build_network"):
        save_weights(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_diverged_network_is_not_saved_over_a_good_one(value, saved, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(saved.read_bytes())
    bad = load_weights(saved)
    with torch.no_grad():
        bad.answer.weight[0, 0] = value
    with pytest.raises(WeightsError, match=r"answer\.weight.*diverged"):
        save_weights(bad, path)
    assert path.read_bytes() == saved.read_bytes()


def rewritten(saved, path, tensors=None, **header):
    """The saved file with other tensors or other entries in its header."""
    content = load_file(saved) | (tensors or {})
    header = {"format": FORMAT, "version": VERSION, "kind": "narrow", "about": {}} | header
    save_file({k: v for k, v in content.items() if v is not None}, path, {"facenb": json.dumps(header)})
    return path


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.safetensors: no such file; check the path"):
        load_weights(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_a_truncated_file_is_recognised(saved, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(saved.read_bytes()[:keep])
    for read in (load_weights, read_about):
        with pytest.raises(WeightsError, match=r"cut\.safetensors: (broken|empty)"):
            read(path)


def test_other_files_are_not_taken_for_weights(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(1000))
    with pytest.raises(WeightsError, match=r"photo\.jpg: broken safetensors"):
        load_weights(tmp_path / "photo.jpg")
    save_file({"x": torch.zeros(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(WeightsError, match=r"theirs\.safetensors: .*not weights of facenb"):
        load_weights(tmp_path / "theirs.safetensors")
    with pytest.raises(WeightsError, match="not a file"):
        load_weights(tmp_path)


def test_a_newer_format_asks_for_a_newer_facenb(saved, tmp_path):
    with pytest.raises(WeightsError, match=r"format version 2.*update facenb"):
        load_weights(rewritten(saved, tmp_path / "a", version=2))
    with pytest.raises(WeightsError, match="'enormous' network, unknown to this facenb"):
        load_weights(rewritten(saved, tmp_path / "b", kind="enormous"))


def test_another_kind_than_the_one_needed_is_refused(saved):
    with pytest.raises(WeightsError, match="of a 'narrow' network, a 'regular' one is needed"):
        load_weights(saved, kind="regular")


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"answer.bias": torch.zeros(4)}, r"answer\.bias is 4, a 'narrow' network has 5"),
        ({"answer.bias": None}, r"answer\.bias is missing, a 'narrow' network has 5"),
        ({"extra": torch.zeros(2, 3)}, r"extra is 2×3, a 'narrow' network has missing"),
        ({"answer.bias": torch.full((5,), torch.nan)}, r"answer\.bias holds NaN"),
    ],
)
def test_parts_that_do_not_fit_are_named(saved, tmp_path, tensors, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(rewritten(saved, tmp_path / "a", tensors))


def test_weights_of_another_width_do_not_fit(saved, tmp_path):
    with pytest.raises(WeightsError, match=r"is 5×32×1×1, a 'regular' network has 5×64×1×1.*damaged"):
        load_weights(rewritten(saved, tmp_path / "a", kind="regular"))


def test_an_installation_without_weights_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr("facenb.weights.resources.files", lambda package: tmp_path)
    with pytest.raises(WeightsError, match="facenb train"):
        shipped()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SHIPPED).touch()
    assert shipped() == tmp_path / "data" / SHIPPED
