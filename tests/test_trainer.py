"""The training loop on a task that costs nothing: resumed runs, killed runs, bad steps, several processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_task import TinyTask, singular, tiny_images, tiny_network
from train_in_processes import config, weights

from facenb.batches import batches, image_numbers
from facenb.checkpoint import CheckpointError, checkpoints
from facenb.config import ConfigError
from facenb.train_log import read_log
from facenb.trainer import TrainingError, learning_rate, train, update_average

SCRIPT = Path(__file__).with_name("train_in_processes.py")


def run(out, task=None, images=None, **changes):
    """A whole run; returns the task and the averaged network."""
    task = TinyTask() if task is None else task
    return task, train(task, tiny_images() if images is None else images, config(out, **changes))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def ctrl_c():
    """As a step meets it."""
    signal.raise_signal(signal.SIGINT)


def facts(out):
    raw = checkpoints(out / "checkpoints")[-1].read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return json.loads(header["__metadata__"]["facenb"])


def test_training_learns_and_leaves_weights_and_a_log(tmp_path):
    task, average = run(tmp_path, steps=200, checkpoint_every=100)
    log = read_log(tmp_path)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["step"] == 200 and {"loss", "error", "gradient", "lr", "skipped"} <= log[-1].keys()
    assert not average.training and not equal(average, task.network)
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == [
        "step-00000100.safetensors",
        "step-00000200.safetensors",
    ]


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, precision):
    """Weights, average, the task's own numbers and the images' order: batch norm, dropout and noise included.

    Stopped first with Ctrl-C, which saves, then by an error, which does not.
    """
    whole, average = run(tmp_path / "whole", precision=precision)
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        run(parts, TinyTask(trouble={10: ctrl_c}), precision=precision)
    assert facts(parts)["position"] == {"step": 11, "drawn": 33, "skipped": 0, "failures": 0}
    with pytest.raises(RuntimeError, match="power failure"):
        run(parts, TinyTask(trouble={7: RuntimeError("power failure")}), precision=precision)
    assert facts(parts)["position"]["step"] == 16
    resumed, again = run(parts, precision=precision)
    assert resumed.steps == 30 - 16
    assert equal(whole.network, resumed.network)
    assert equal(average, again)
    assert whole.weight == resumed.weight and torch.equal(whole.spread, resumed.spread)
    assert whole.seen[3 * 16 :] == resumed.seen
    assert [line["step"] for line in read_log(parts)] == [line["step"] for line in read_log(tmp_path / "whole")]


def test_another_seed_gives_other_weights(tmp_path):
    """Else the comparison above could not fail."""
    one, two = (run(tmp_path / str(seed), seed=seed, steps=3)[0] for seed in (0, 1))
    assert not equal(one.network, two.network)


def test_ten_times_killed_at_random_moments_and_resumed_the_weights_are_the_same(tmp_path):
    """SIGKILL lets nothing tidy up. A checkpoint after every step, so that many kills hit one being written."""
    _, average = run(tmp_path / "whole", steps=120)
    server = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "killed"), "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def say(word):
        server.stdin.write(word + "\n")
        server.stdin.flush()

    moment = random.Random(4)
    kills, status = 0, None
    try:
        while status != 0:
            say("run")
            child = int(server.stdout.readline())
            if kills < 10:
                before = newest(tmp_path / "killed")
                while newest(tmp_path / "killed") < before + 2:  # it must get somewhere between two kills
                    time.sleep(0.002)
                time.sleep(moment.uniform(0, 0.03))
                os.kill(child, signal.SIGKILL)
            status = int(server.stdout.readline().split()[1])
            kills += status == signal.SIGKILL
        say("stop")
        assert server.wait(20) == 0
    finally:
        server.kill()
    assert kills == 10
    final = load_file(tmp_path / "killed" / "final.safetensors")
    for name, value in average.state_dict().items():
        assert torch.equal(final[name], value), name
    assert not list((tmp_path / "killed" / "checkpoints").glob(".unfinished-*"))


def newest(out):
    return max((int(p.stem.split("-")[1]) for p in checkpoints(out / "checkpoints")), default=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_save_before_they_stop(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, TinyTask(trouble={5: lambda: signal.raise_signal(number)}))
    assert facts(tmp_path)["position"]["step"] == 6
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_is_obeyed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "default_int_handler", signal.default_int_handler)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the step went on")

    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, TinyTask(trouble={5: twice}))
        assert newest(tmp_path) == 4
    finally:
        signal.signal(signal.SIGINT, usual)


@pytest.mark.parametrize(
    "trouble", [singular(), torch.linalg.LinAlgError("singular"), float("nan"), float("inf")], ids=repr
)
def test_a_bad_step_is_skipped_counted_and_leaves_no_trace(tmp_path, trouble):
    """Everything after it, batch norm's statistics too, is as if only the images had been passed over."""
    task, average = run(tmp_path, TinyTask(trouble={4: trouble, 9: trouble}), steps=12, log_every=3)
    assert facts(tmp_path)["position"] == {"step": 12, "drawn": 36, "skipped": 2, "failures": 0}
    assert [line["skipped"] for line in read_log(tmp_path)] == [0, 1, 1, 2]
    for network in (task.network, average):
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    assert task.network[1].num_batches_tracked == 10
    assert np.isfinite(task.weight)


def test_a_statistic_that_is_not_a_number_never_reaches_the_task(tmp_path):
    """A running mean would stay NaN for ever."""

    class Spoilt(TinyTask):
        def step(self, images, generator):
            result = super().step(images, generator)
            return replace(result, statistics={"power": torch.tensor(float("nan"))}) if self.steps == 3 else result

    task, _ = run(tmp_path, Spoilt(), steps=6)
    assert np.isfinite(task.weight) and facts(tmp_path)["position"]["skipped"] == 1


def test_a_skipped_step_moves_nothing(tmp_path):
    """Ten steps, of which the last fails, and nine steps: the same weights."""
    nine, average = run(tmp_path / "9", steps=9, drop_at=(), drop_by=())
    ten, again = run(tmp_path / "10", TinyTask(trouble={9: float("nan")}), steps=10, drop_at=(), drop_by=())
    assert equal(nine.network, ten.network) and equal(average, again)
    assert nine.weight == ten.weight


def test_an_infinite_gradient_of_a_finite_loss_is_skipped(tmp_path):
    class Steep(TinyTask):
        def step(self, images, generator):
            result = super().step(images, generator)
            if self.steps == 3:
                zero = (self.network(images) * 0).sum()
                return replace(result, loss=result.loss + torch.sqrt(zero**2))  # d sqrt at 0: infinite × 0
            return result

    task, _ = run(tmp_path, Steep(), steps=6)
    assert facts(tmp_path)["position"]["skipped"] == 1
    assert all(torch.isfinite(p).all() for p in task.network.parameters())


def test_ten_failures_in_a_row_end_the_run_with_advice(tmp_path):
    trouble = dict.fromkeys(range(3, 100), singular()) | {8: 1.0}
    with pytest.raises(TrainingError, match="10 steps in a row failed, the last because the normal equations") as error:
        run(tmp_path, TinyTask(trouble=trouble), steps=60)
    assert "try a lower lr than 0.01" in str(error.value)
    assert newest(tmp_path) == 16  # step 8 was good: it failed at 18


def test_failures_are_counted_across_a_resume(tmp_path):
    """Else a run that is killed often enough would fail for ever without a word."""
    trouble = dict.fromkeys(range(3, 100), singular())
    for steps in (8, 12):
        run(tmp_path, TinyTask(trouble=trouble), steps=steps)
        trouble = dict.fromkeys(range(100), singular())
    with pytest.raises(TrainingError):
        run(tmp_path, TinyTask(trouble=trouble), steps=14)


def test_every_image_comes_once_in_each_epoch_and_in_another_order():
    numbers = np.concatenate([image_numbers(7, 0, drawn, 5) for drawn in range(0, 70, 5)])
    epochs = numbers.reshape(10, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 5
    assert not np.array_equal(image_numbers(7, 0, 0, 7), image_numbers(7, 1, 0, 7))


def test_a_batch_larger_than_the_set_takes_images_again():
    assert Counter(image_numbers(3, 0, 0, 7).tolist()).most_common()[-1][1] == 2


def test_processes_share_what_one_would_take():
    images = tiny_images()
    whole = batches(images, 0, 0, 6)
    halves = [batches(images, 0, 0, 3, rank, 2) for rank in (0, 1)]
    for _ in range(4):
        assert torch.equal(next(whole), torch.cat([next(half) for half in halves]))
    for stream in (whole, *halves):
        stream.close()


def test_the_learning_rate_climbs_and_drops(tmp_path):
    c = config(tmp_path, steps=100, lr=2.0, warm_up=10, drop_at=(0.5, 0.8), drop_by=(0.5, 0.1))
    rates = [learning_rate(c, step) for step in (0, 4, 9, 49, 50, 79, 80, 99)]
    assert rates == pytest.approx([0.2, 1.0, 2.0, 2.0, 1.0, 1.0, 0.1, 0.1])
    with pytest.raises(ConfigError, match="2 drop_at but 1 drop_by"):
        run(tmp_path, drop_at=(0.5, 0.8))


def test_the_average_keeps_what_it_should():
    average, network = tiny_network(), tiny_network()
    for p in network.parameters():
        p.data += 1
    network[1].running_mean += 4
    network[1].num_batches_tracked += 3
    before = average[0].weight.clone()
    update_average(average, network, decay=0.75)
    torch.testing.assert_close(average[0].weight, before + 0.25)
    torch.testing.assert_close(average[1].running_mean, torch.ones(4))
    assert average[1].num_batches_tracked == 3


def test_early_averages_forget_the_random_start(tmp_path):
    """Decay min(0.995, 1 − 1/(k + 2)) makes the mean of the start and all weights since, while it lasts."""
    weights = []

    class Watched(TinyTask):
        def absorb(self, statistics):
            super().absorb(statistics)
            weights.append(self.network.state_dict()["0.weight"].clone())

    task = Watched()
    start = task.network[0].weight.detach().clone()
    _, average = run(tmp_path, task, steps=6)
    torch.testing.assert_close(average[0].weight, torch.stack([start, *weights]).mean(0))


def test_the_task_gets_numbers_from_zero_to_one(tmp_path):
    images = tiny_images()
    task, _ = run(tmp_path, steps=5)
    pixels = {float(images[i][0, 0, 0]) / 255 for i in range(7)}
    assert sorted(set(task.seen)) == pytest.approx(sorted(pixels))


def test_the_gradient_is_clipped(tmp_path):
    """Adam does not care for the length of the gradient, but for the ratio of one to the next."""
    free, clipped = (run(tmp_path / str(c), steps=8, clip=c)[0] for c in (1e9, 1e-3))
    assert not equal(free.network, clipped.network)
    assert read_log(tmp_path / "0.001")[-1]["gradient"] > 0.1  # as it was before


def test_tensorboard_gets_curves_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, tensorboard=True, picture_every=10, steps=20, log_every=5)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("loss")] == [5, 10, 15, 20]
    assert {"lr", "error", "gradient", "skipped"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Images("brightness")] == [10, 20]


def test_pictures_disturb_nothing(tmp_path):
    one, _ = run(tmp_path / "1", tensorboard=True, picture_every=2, steps=8)
    two, _ = run(tmp_path / "2", steps=8)
    assert equal(one.network, two.network)


def test_a_finished_run_can_be_made_longer(tmp_path, capsys):
    run(tmp_path, steps=10)
    task, _ = run(tmp_path, steps=10)
    assert task.steps == 0
    task, _ = run(tmp_path, steps=12, lr=0.001)
    assert task.steps == 2
    assert "changed since: steps 10 → 12, lr 0.01 → 0.001" in capsys.readouterr().err


def test_no_resume_begins_anew(tmp_path):
    run(tmp_path, steps=20)
    task, _ = run(tmp_path, steps=10, resume=False)
    assert task.steps == 10
    assert newest(tmp_path) == 10
    assert [line["step"] for line in read_log(tmp_path)] == [4, 8, 10]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: setattr(t, "name", "other"), "a checkpoint of tiny, not of other; choose another --out"),
        (lambda t: t.about.update(model="B"), "begun with model None, not B; give the same, or choose another --out"),
        (lambda t: t.about.pop("norm"), "begun with norm True, not None"),
        (lambda t: setattr(t, "network", tiny_network(norm=False)), "made by another network"),
        (lambda t: setattr(t, "network", tiny_network(width=5)), r"\(0.bias is \(4,\) there, \(5,\) here\)"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, change, message):
    run(tmp_path, steps=4)
    noted = (tmp_path / "config.json").read_text()
    task = TinyTask()
    change(task)
    with pytest.raises(ValueError, match=message) as error:
        run(tmp_path, task, steps=8)
    assert "step-00000004.safetensors: " in str(error.value) and "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == noted


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_done(tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    task = TinyTask()
    with pytest.raises(ConfigError, match=r"out: cannot write there \(.*choose another folder with --out"):
        run(tmp_path / "out", task)
    assert task.steps == 0


def test_a_full_disk_ends_the_run_with_one_line_and_the_older_checkpoint(tmp_path, monkeypatch):
    whole, average = run(tmp_path / "whole")

    def full(*_):
        raise OSError(28, "No space left on device")

    def fill_disk():
        monkeypatch.setattr("os.replace", full)

    with pytest.raises(CheckpointError, match=r"step-00000008\.safetensors: cannot be written") as error:
        run(tmp_path / "out", TinyTask(trouble={6: fill_disk}))
    assert "make room" in str(error.value)
    monkeypatch.undo()
    assert newest(tmp_path / "out") == 4
    resumed, again = run(tmp_path / "out")
    assert equal(whole.network, resumed.network) and equal(average, again)


def test_an_image_that_cannot_be_read_stops_the_run_by_name(tmp_path):
    def read(i):
        raise OSError(f"{i}.jpg: gone")

    images = replace(tiny_images(), read=read)
    with pytest.raises(OSError, match="gone"):
        run(tmp_path, images=images)


def test_a_missing_gpu_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU here; use --device cpu"):
        run(tmp_path, device="cuda")


def launch(out, *words, torchrun=False):
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if torchrun else []
    quiet = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")}
    done = subprocess.run(
        [sys.executable, *start, str(SCRIPT), str(out), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=quiet | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return {p.stem: load_file(p) for p in sorted(out.glob("weights-*.safetensors"))}


def test_two_processes_equal_one_with_the_double_batch(tmp_path):
    """The gradient of a mean is the mean of gradients. Without batch norm, which sees its own process's images only,
    and without noise and dropout, which each process draws for itself."""
    both = launch(tmp_path / "two", "--devices", "2")
    task = TinyTask(norm=False, noise=0.0)
    one = weights(run(tmp_path / "one", task, batch=6)[0].network)
    assert both.keys() == {"weights-0", "weights-1"}
    start = tiny_network(norm=False).state_dict()
    for name, value in one.items():
        assert torch.equal(both["weights-0"][name], both["weights-1"][name]), name
        torch.testing.assert_close(both["weights-0"][name], value, rtol=1e-4, atol=1e-6)
    assert all((one[name] - value).abs().max() > 0.02 for name, value in start.items())  # it has gone somewhere


def test_torchrun_and_a_step_that_fails_in_one_process_only(tmp_path):
    """All skip it together: one that went on alone would wait for the others' gradients for ever."""
    both = launch(tmp_path, "--trouble", torchrun=True)
    assert facts(tmp_path)["position"] == {"step": 30, "drawn": 180, "skipped": 1, "failures": 0}
    for name, value in both["weights-0"].items():
        assert torch.equal(value, both["weights-1"][name]), name
