"""A training run for tests, as a script: it is started in several processes, and killed.

    python train_in_processes.py OUT --devices 2 [...]        one run; each process writes OUT/weights-RANK.safetensors
    python train_in_processes.py OUT --serve                  for each line on stdin, one run in a forked process

Serving saves the seconds that PyTorch takes to load: each forked process begins with everything in memory.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_task import TinyTask, singular, tiny_images

from facenb.train_config import TrainConfig
from facenb.trainer import train


def config(out: Path, **changes) -> TrainConfig:
    usual = {
        "images": Path("tiny"),
        "out": out,
        "steps": 30,
        "batch": 3,
        "lr": 0.01,
        "warm_up": 5,
        "checkpoint_every": 4,
        "log_every": 4,
        "device": "cpu",
        "tensorboard": False,
    }
    return TrainConfig(**usual | changes)


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def serve(out: Path) -> None:
    """Answers "PID" at once, and "ended STATUS" when that process has; a line "stop" ends it all."""
    train(TinyTask(), tiny_images(), config(out / "warm", steps=1))
    for line in sys.stdin:
        if line.strip() == "stop":
            return
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(KeyboardInterrupt):
                network = train(TinyTask(), tiny_images(), config(out, steps=120, checkpoint_every=1))
                save_file(weights(network), out / "final.safetensors")
                code = 0
            os._exit(code)
        print(child, flush=True)
        print("ended", os.waitpid(child, 0)[1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--trouble", action="store_true", help="a singular system in the second process only")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve:
        return serve(options.out)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    trouble = {3: singular()} if options.trouble and rank else {}
    task = TinyTask(norm=False, noise=0.0, trouble=trouble)
    network = train(task, tiny_images(), config(options.out, devices=options.devices, batch=options.batch))
    own = weights(task.network) | {f"average.{name}": value for name, value in weights(network).items()}
    save_file(own | {"weight": torch.tensor(task.weight)}, options.out / f"weights-{rank}.safetensors")


if __name__ == "__main__":
    main()
