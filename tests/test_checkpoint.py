"""Checkpoints: whole or not at all, the last two, and one clear line where one will not do."""

import errno
import json
import os
import resource
import signal

import pytest
import torch
from torch.optim import Adam

from facenb.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoints,
    load_network,
    load_optimizer,
    optimizer_tensors,
    pack,
    read_newest,
    sweep,
    unpack,
    write_checkpoint,
)


@pytest.fixture
def checkpoint(generator):
    tensors = {"network/a": torch.randn(3, 5, generator=generator), "task/n": torch.tensor(7)}
    return Checkpoint(tensors, {"position": {"step": 3}, "lr": 0.1 + 0.2, "infinite": float("inf")})


def test_what_was_written_is_read_bit_for_bit(tmp_path, checkpoint):
    path = write_checkpoint(tmp_path, 3, checkpoint)
    found_path, found = read_newest(tmp_path)
    assert found_path == path
    assert found.facts == checkpoint.facts
    assert found.tensors.keys() == checkpoint.tensors.keys()
    for name, value in checkpoint.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.equal(found.tensors[name], value)


def test_the_last_two_are_kept(tmp_path, checkpoint):
    for step in (5, 10, 100, 20):
        write_checkpoint(tmp_path, step, checkpoint)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000020.safetensors", "step-00000100.safetensors"]
    (tmp_path / "step-best.safetensors").write_bytes(b"somebody's own")
    assert len(checkpoints(tmp_path)) == 2


def test_more_are_kept_if_asked_for(tmp_path, checkpoint):
    for step in (1, 2, 3, 4):
        write_checkpoint(tmp_path, step, checkpoint, keep=3)
    assert [p.name for p in checkpoints(tmp_path)] == [f"step-0000000{i}.safetensors" for i in (2, 3, 4)]


def test_a_checkpoint_is_safetensors_and_no_pickle(tmp_path, checkpoint):
    raw = write_checkpoint(tmp_path, 3, checkpoint).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["facenb"])["position"] == {"step": 3}


def test_where_the_newest_is_broken_the_one_before_serves(tmp_path, checkpoint):
    first = write_checkpoint(tmp_path, 1, checkpoint)
    second = write_checkpoint(tmp_path, 2, checkpoint)
    second.write_bytes(second.read_bytes()[:-7])
    assert read_newest(tmp_path)[0] == first
    first.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-00000002.safetensors: not a checkpoint of facenb, or broken") as e:
        read_newest(tmp_path)
    assert "remove it" in str(e.value)


def test_other_safetensors_are_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "step-00000009.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of facenb"):
        read_newest(tmp_path)


def test_an_empty_folder_has_none(tmp_path):
    assert read_newest(tmp_path) is None
    assert read_newest(tmp_path / "nowhere") is None


def test_a_full_disk_leaves_the_older_checkpoint_alone(tmp_path, checkpoint, monkeypatch):
    old = write_checkpoint(tmp_path, 1, checkpoint)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(
        CheckpointError, match=r"step-00000002.safetensors: cannot be written \(No space left on device"
    ):
        write_checkpoint(tmp_path, 2, checkpoint)
    assert list(tmp_path.iterdir()) == [old]


def test_a_write_that_the_system_cuts_short_leaves_nothing(tmp_path):
    """The real thing rather than a fake: no file of this process may grow beyond 10 kB."""
    big = Checkpoint({"a": torch.zeros(10_000)}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_checkpoint(tmp_path, 2, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_sweeping_removes_what_a_killed_run_left(tmp_path, checkpoint):
    path = write_checkpoint(tmp_path, 1, checkpoint)
    (tmp_path / ".unfinished-x1").mkdir()
    (tmp_path / ".unfinished-x1" / "step-00000002.safetensors").write_bytes(b"half")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_packed_tensors_come_out_under_their_own_names():
    packed = pack("network", {"a.weight": torch.ones(3)}) | pack("net", {"b": torch.zeros(2)})
    assert unpack("network", packed).keys() == {"a.weight"}
    assert unpack("net", packed).keys() == {"b"}


def test_others_may_read_a_checkpoint_as_they_may_any_file(tmp_path, checkpoint):
    (tmp_path / "any").write_text("")
    assert write_checkpoint(tmp_path, 1, checkpoint).stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize(
    "other, message",
    [
        (torch.nn.Linear(3, 2, bias=False), "bias is in one of them only"),
        (torch.nn.Linear(4, 2), r"weight is \(2, 4\) there, \(2, 3\) here"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, other, message):
    network = torch.nn.Linear(3, 2)
    before = network.weight.clone()
    with pytest.raises(CheckpointError, match=message):
        load_network(network, other.state_dict(), tmp_path / "x.safetensors")
    assert torch.equal(network.weight, before)


def test_an_optimiser_goes_on_as_if_nothing_had_happened(generator):
    """Same steps after loading, and the same layout in memory: channels last, as the parameter's."""

    def network():
        torch.manual_seed(3)
        return torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)

    def step(net, optimizer, x):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    xs = torch.randn(6, 2, 3, 9, 9, generator=generator)
    one, two = network(), network()
    adam = Adam(one.parameters(), lr=0.1)
    for x in xs[:3]:
        step(one, adam, x)
    two.load_state_dict(one.state_dict())
    again = Adam(two.parameters(), lr=0.1)
    load_optimizer(again, {k: v.clone().contiguous() for k, v in optimizer_tensors(adam).items()})
    for x in xs[3:]:
        step(one, adam, x)
        step(two, again, x)
    assert torch.equal(one.weight, two.weight)
    for old, new in zip(adam.state.values(), again.state.values(), strict=True):
        assert old["step"] == new["step"] == 6
        assert old["exp_avg"].stride() == new["exp_avg"].stride()
