"""The training loop, the same for every task, on a CPU, a GPU, many GPUs and many machines (book: *Training at full
scale*).

One step: images → task → loss → gradient, clipped → Adam → moving average of the weights. What a step draws at random
follows from (seed, number of the step, process) alone: the generators are seeded anew each time. So the position is
all the random state that a checkpoint must know, and a resumed run goes on as if it had never stopped, bit for bit on a
CPU.

Lightning Fabric brings what differs between machines: precision, processes, the mean of their gradients.
"""

import copy
import logging
import math
import os
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from jaxtyping import Float, UInt8
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

FAILURES = 10  # steps in a row
SHOWN = 6  # images in TensorBoard


class TrainingError(ValueError):
    """A run that leads nowhere; the message says what to try."""


def train(
    task: Task,
    images: ImageSet,
    config: TrainConfig,
    finish: Callable[[nn.Module], object] | None = None,
    fabric: Fabric | None = None,
) -> nn.Module:
    """Train `task.network` and return the moving average of its weights.

    Writes to `config.out`: checkpoints/, log.jsonl, TensorBoard's events and config.json. Goes on from the newest
    checkpoint there, unless `config.resume` forbids it.

    Args:
        images: all of one size, square. The task gets them as numbers in [0, 1].
        finish: gets the averaged network at the end, in the first process only, to save it for instance.
        fabric: from `launch(config)`, where the task had to know its device; by default launched here.

    Raises TrainingError after ten failed steps in a row, CheckpointError, ConfigError, OSError; KeyboardInterrupt after
    Ctrl-C or SIGTERM, when a checkpoint has been written. Only the first of several processes says so; the others end.
    The global random state is left changed.
    """
    fabric = launch(config) if fabric is None else fabric
    network = task.network
    try:
        run = _Run(fabric, task, images, config)
        run.loop()
        if finish is not None:
            _together(fabric, lambda: finish(run.average))
        return run.average
    except (ValueError, OSError, KeyboardInterrupt):
        if fabric.is_global_zero:
            raise
        raise SystemExit(0) from None  # another code, and Fabric would kill the first process
    finally:
        task.network = network  # without Fabric's wrapping


def launch(config: TrainConfig) -> Fabric:
    """Fabric with all its processes running. Under torchrun the number of processes is torchrun's."""
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    machines = int(os.environ.get("WORLD_SIZE", per_machine)) // per_machine if "LOCAL_WORLD_SIZE" in os.environ else 1
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it comments on every choice
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


class _Run:
    """One run of one process."""

    def __init__(self, fabric: Fabric, task: Task, images: ImageSet, config: TrainConfig):
        learning_rate(config, 0)  # raises where the options contradict each other
        _together(fabric, lambda: prepare_folder(config))
        self.fabric, self.task, self.images, self.config = fabric, task, images, config
        self.network = task.network.to(fabric.device, memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = Adam(self.network.parameters(), lr=config.lr, fused=True)
        self.state = TrainState(task, self.network, self.average, self.optimizer)
        self.notes = [_inventory(images), *self.state.resume(config)]
        _together(fabric, lambda: write_options(config))  # a wrong checkpoint's own are left alone
        self.at = self.state.position
        task.network, self.stepper = fabric.setup(self.network, self.optimizer)
        task.average = self.average
        self.generator = torch.Generator(fabric.device)
        self.batch = fabric.world_size * config.batch  # of all processes together

    def loop(self) -> None:
        """Step by step to the end, or to Ctrl-C."""
        fabric, config, at = self.fabric, self.config, self.at
        shown = self.ready(torch.stack([self.images[i % len(self.images)] for i in range(SHOWN)]))
        stream = batches(self.images, config.seed, at.drawn, config.batch, fabric.global_rank, fabric.world_size)
        quiet = not fabric.is_global_zero
        with (
            closing(stream),
            stop_signals() as stop_wanted,
            TrainLog(config.out, config.steps, at.step, self.batch, config.tensorboard, quiet) as log,
        ):
            for note in self.notes:
                log.say(note)
            while at.step < config.steps:
                scalars, failure = self.step(self.ready(next(stream)))
                at.step, at.drawn = at.step + 1, at.drawn + self.batch
                at.skipped, at.failures = (at.skipped + 1, at.failures + 1) if failure else (at.skipped, 0)
                log.advance(scalars, self.batch)
                if at.failures == FAILURES:
                    raise TrainingError(
                        f"{FAILURES} steps in a row failed, the last because {failure}; "
                        f"try a lower lr than {config.lr:g}, or begin with other weights"
                    )
                end = at.step == config.steps
                if end or at.step % config.log_every == 0:
                    lr = self.optimizer.param_groups[0]["lr"]
                    _together(fabric, lambda lr=lr: log.point(at.step, lr=lr, skipped=at.skipped))
                if at.step % config.picture_every == 0 and config.tensorboard and not quiet:
                    log.pictures(at.step, self.pictures(shown))
                (stop,) = _anywhere(fabric, stop_wanted())
                if end or stop or at.step % config.checkpoint_every == 0:
                    _together(fabric, lambda: self.state.save(config))
                if stop:
                    raise KeyboardInterrupt(f"at step {at.step}, which is saved; the same command goes on from there")

    def step(self, images: Float[Tensor, "B 3 S S"]) -> tuple[dict[str, float], str | None]:
        """One step, taken or skipped by all processes together; its numbers, or why it was skipped."""
        at, config = self.at, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, at.step)
        _seed(self.generator, config.seed, at.step, self.fabric.global_rank)
        buffers = [b.clone() for b in self.network.buffers()]
        result, failure = self.attempt(images)
        if _anywhere(self.fabric, failure is not None) == [True]:
            failure = failure or "another process could not take it"
        else:
            self.fabric.backward(result.loss)
            gradient = self.fabric.clip_gradients(
                self.task.network, self.stepper, max_norm=config.clip, error_if_nonfinite=False
            )
            failure = None if torch.isfinite(gradient) else "the gradient is not a number"
        if failure:
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)  # batch norm has seen what may be not a number
            self.stepper.zero_grad()
            return {}, failure
        self.stepper.step()
        self.stepper.zero_grad()
        self.task.absorb({name: self.fabric.all_reduce(value) for name, value in result.statistics.items()})
        update_average(self.average, self.network, min(config.decay, 1 - 1 / (at.step - at.skipped + 2)))
        return {"loss": result.loss.item(), "gradient": gradient.item(), **result.scalars}, None

    def attempt(self, images: Float[Tensor, "B 3 S S"]) -> tuple[StepResult | None, str | None]:
        """The task's step, or why there is none."""
        try:
            result = self.task.step(images, self.generator)
        except (SingularStep, torch.linalg.LinAlgError, ValueError) as error:  # a ValueError: layers met infinity
            return None, str(error) or "a system was singular"
        if not torch.isfinite(result.loss):
            return None, "the loss is not a number"
        for name, value in result.statistics.items():
            if not torch.isfinite(value).all():  # absorbed, it would stay for ever
                return None, f"its {name} is not a number"
        return result, None

    def ready(self, frames: UInt8[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Bytes as numbers, where and as the network wants them."""
        return (frames.to(self.fabric.device).float() / 255).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """The task's pictures, drawn with the moving average."""
        training, self.task.network = self.task.network, self.average
        try:
            return self.task.pictures(images)
        finally:
            self.task.network = training


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
    return f"{len(images)} {images.unit}{left_out}"


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
