"""The training loop, the same for every task, on a CPU, a GPU, many GPUs and many machines (book: *Training at full
scale*).

One step: images → task → loss → gradient, clipped → Adam → moving average of the weights. What a step draws at random
follows from (seed, number of the step, process) alone: the generators are seeded anew each time. So the position is
all the random state that a checkpoint must know, and a resumed run goes on as if it had never stopped, bit for bit on a
CPU.

Lightning Fabric brings what differs between machines: precision, processes, the mean of their gradients.
"""

import copy
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from facenb.batches import batches
from facenb.config import ConfigError
from facenb.image_sets import ImageSet
from facenb.interrupts import stop_signals
from facenb.task import SingularStep, StepResult, Task
from facenb.train_config import TrainConfig
from facenb.train_log import TrainLog
from facenb.train_state import TrainState, prepare_folder, write_options

Prepare = Callable[[Float[Tensor, "B 3 S S"], torch.Generator], Float[Tensor, "B 3 s s"]]

FAILURES = 10  # steps in a row
SHOWN = 6  # images in TensorBoard


class TrainingError(ValueError):
    """A run that leads nowhere; the message says what to try."""


def train(
    task: Task,
    images: ImageSet,
    config: TrainConfig,
    prepare: Prepare | None = None,
    finish: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """Train `task.network` and return the moving average of its weights.

    Writes to `config.out`: checkpoints/, log.jsonl, TensorBoard's events and config.json. Goes on from the newest
    checkpoint there, unless `config.resume` forbids it.

    Args:
        images: all of one size, square.
        prepare: what happens to the images before the task sees them, the random crop for instance; by default nothing.
        finish: gets the averaged network at the end, in the first process only, to save it for instance.

    Raises TrainingError after ten failed steps in a row, CheckpointError, ConfigError, OSError; KeyboardInterrupt after
    Ctrl-C or SIGTERM, when a checkpoint has been written. Only the first of several processes says so; the others end.
    The global random state is left changed.
    """
    fabric = _launch(config)
    try:
        average = _train(fabric, task, images, config, prepare)
        if finish is not None:
            _together(fabric, lambda: finish(average))
        return average
    except (ValueError, OSError, KeyboardInterrupt):
        if fabric.is_global_zero:
            raise
        raise SystemExit(0) from None  # another code, and Fabric would kill the first process


def _train(fabric: Fabric, task: Task, images: ImageSet, config: TrainConfig, prepare: Prepare | None) -> nn.Module:
    learning_rate(config, 0)  # raises where the options contradict each other
    _together(fabric, lambda: prepare_folder(config))
    network = task.network.to(fabric.device, memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = Adam(network.parameters(), lr=config.lr, fused=True)
    state = TrainState(task, network, average, optimizer)
    notes = [_inventory(images), *state.resume(config)]
    _together(fabric, lambda: write_options(config))  # a wrong checkpoint's own are left alone
    at = state.position
    task.network, stepper = fabric.setup(network, optimizer)
    generator = torch.Generator(fabric.device)
    rank, world = fabric.global_rank, fabric.world_size
    everyone = world * config.batch

    def ready(frames: Tensor) -> Tensor:
        x = frames.to(fabric.device).float() / 255
        x = x if prepare is None else prepare(x, generator)
        return x.contiguous(memory_format=torch.channels_last)

    _seed(generator, config.seed, -1, 0)
    shown = ready(torch.stack([images[i % len(images)] for i in range(SHOWN)]))
    stream = batches(images, config.seed, at.drawn, config.batch, rank, world)
    quiet = not fabric.is_global_zero
    try:
        with (
            stop_signals() as stop_wanted,
            TrainLog(config.out, config.steps, at.step, everyone, config.tensorboard, quiet) as log,
        ):
            for note in notes:
                log.say(note)
            while at.step < config.steps:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(config, at.step)
                _seed(generator, config.seed, at.step, rank)
                buffers = [b.clone() for b in network.buffers()]
                result, failure = _attempt(task, ready(next(stream)), generator)
                failed, stop = _anywhere(fabric, failure is not None, stop_wanted())
                if not failed:
                    length, failure = _descend(fabric, task.network, stepper, result, config.clip)
                    failed = failure is not None
                stepper.zero_grad()
                if failed:
                    for buffer, before in zip(network.buffers(), buffers, strict=True):
                        buffer.copy_(before)  # batch norm has seen what may be not a number
                else:
                    task.absorb({name: fabric.all_reduce(value) for name, value in result.statistics.items()})
                    update_average(average, network, min(config.decay, 1 - 1 / (at.step - at.skipped + 2)))

                at.step, at.drawn = at.step + 1, at.drawn + everyone
                at.skipped, at.failures = at.skipped + failed, at.failures + 1 if failed else 0
                log.advance(
                    {} if failed else {"loss": float(result.loss.detach()), "gradient": length} | result.scalars,
                    everyone,
                )
                if at.failures == FAILURES:
                    raise TrainingError(
                        f"{FAILURES} steps in a row failed, the last because {failure or 'of another process'}; "
                        f"try a lower lr than {config.lr:g}, or begin with other weights"
                    )
                if at.step % config.log_every == 0 or at.step == config.steps:
                    lr = optimizer.param_groups[0]["lr"]
                    _together(fabric, lambda lr=lr: log.point(at.step, lr=lr, skipped=at.skipped))
                if at.step % config.picture_every == 0 and config.tensorboard and not quiet:
                    log.pictures(at.step, _pictures(task, average, shown))
                if stop or at.step % config.checkpoint_every == 0 or at.step == config.steps:
                    _together(fabric, lambda: state.save(config))
                if stop:
                    raise KeyboardInterrupt
    finally:
        stream.close()
        task.network = network
    return average


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of step 0, 1, …: climbs during the warm-up, then drops by its factors at their parts of the run."""
    if len(config.drop_at) != len(config.drop_by):
        raise ConfigError(f"{len(config.drop_at)} drop_at but {len(config.drop_by)} drop_by; give one factor for each")
    drops = [by for part, by in zip(config.drop_at, config.drop_by, strict=True) if step >= part * config.steps]
    return config.lr * min(1, (step + 1) / config.warm_up) * math.prod(drops)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · network, batch norm's statistics included; counters are copied."""
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def _inventory(images: ImageSet) -> str:
    left_out = f"; {len(images.broken)} files left out, {images.broken[0]}" if images.broken else ""
    return f"{len(images)} images{left_out}"


def _attempt(task: Task, images: Tensor, generator: torch.Generator) -> tuple[StepResult | None, str | None]:
    """A task's step, and why there is none."""
    try:
        result = task.step(images, generator)
    except (
        SingularStep,
        torch.linalg.LinAlgError,
        ValueError,
    ) as error:  # layers refuse infinite numbers by ValueError
        return None, str(error) or "a system was singular"
    return result, None if torch.isfinite(result.loss) else "the loss is not a number"


def _descend(
    fabric: Fabric, network: nn.Module, stepper: Any, result: StepResult, clip: float
) -> tuple[float, str | None]:
    """Move the weights; returns the length of the gradient before it was clipped, and why they were not moved."""
    fabric.backward(result.loss)
    length = float(fabric.clip_gradients(network, stepper, max_norm=clip, error_if_nonfinite=False))
    if not math.isfinite(length):
        return length, "the gradient is not a number"
    stepper.step()
    return length, None


def _anywhere(fabric: Fabric, *flags: bool) -> list[bool]:
    """Which flags are set in some process, so that all do the same: one that went alone would wait for ever."""
    if fabric.world_size == 1:
        return list(flags)
    total = fabric.all_reduce(torch.tensor(flags, dtype=torch.float32, device=fabric.device), reduce_op="sum")
    return [bool(t) for t in total > 0]


def _together(fabric: Fabric, work: Callable[[], object]) -> None:
    """Do something in the first process only; where it fails there, all fail."""
    message = None
    if fabric.is_global_zero:
        try:
            work()
        except (ValueError, OSError) as error:
            if fabric.world_size == 1:
                raise
            message = str(error)
    if fabric.world_size > 1 and (message := fabric.broadcast(message)) is not None:
        raise TrainingError(message)


def _seed(generator: torch.Generator, seed: int, step: int, rank: int) -> None:
    """The task's random numbers and PyTorch's own (dropout) for one step of one process."""
    own, shared = np.random.SeedSequence([seed, step + 1, rank]).generate_state(2, np.uint64)
    generator.manual_seed(int(own))
    torch.manual_seed(int(shared))


@torch.no_grad()
def _pictures(task: Task, average: nn.Module, images: Tensor) -> dict[str, Tensor]:
    training, task.network = task.network, average
    try:
        return task.pictures(images)
    finally:
        task.network = training


def _launch(config: TrainConfig) -> Fabric:
    """Fabric with all its processes running. Under torchrun the number of processes is torchrun's."""
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    machines = int(os.environ.get("WORLD_SIZE", per_machine)) // per_machine if "LOCAL_WORLD_SIZE" in os.environ else 1
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    fabric = Fabric(
        accelerator=config.device,
        devices=per_machine,
        num_nodes=machines,
        strategy="ddp" if per_machine * machines > 1 else "auto",
        precision={"32": "32-true", "bf16": "bf16-mixed"}[config.precision],
    )
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)
    return fabric
