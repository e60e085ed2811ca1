"""What `facenb pretrain` and `facenb train` do: images, network and task together, then `facenb.trainer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from facenb.config import ConfigError
from facenb.distil_task import DistilTask
from facenb.flatten import flatten
from facenb.image_sets import ImageSet, open_images
from facenb.lessons import face_tables
from facenb.mean_pose import average_landmarks5, mean_supervision, to_pixels
from facenb.model_source import load_model
from facenb.morphable_model import MorphableModel
from facenb.networks import MULTIPLE, build_network
from facenb.pretrain_task import PretrainTask
from facenb.residual_task import ResidualTask
from facenb.task import Task
from facenb.train_config import TrainConfig
from facenb.train_log import read_log
from facenb.train_state import options, portable
from facenb.trainer import launch, train
from facenb.weights import load_weights, save_weights

if TYPE_CHECKING:
    from facenb.commands import pretrain as pretrain_words
    from facenb.commands import train as train_words

WEIGHTS = "weights.safetensors"


def pretrain(config: pretrain_words.Config) -> Path:
    """Pretrain a fresh network on `config.images`; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    side = _frame(config.size)
    images = open_images(config.images, side)
    model = load_model(config.model)
    five = _landmarks5(config.landmarks5, images, model)
    supervision = mean_supervision(model, flatten(model), to_pixels(five, side), side)
    network = build_network(config.network, config.seed)
    task = PretrainTask(network, supervision, config.size, config.photometric)
    return run_task(task, images, config)


def main_training(config: train_words.Config) -> Path:
    """Train the network in `config.weights` on `config.images`; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    images = open_images(config.images, _frame(config.size))
    network = load_weights(config.weights)
    model = load_model(config.model).truncate(config.identity, config.expression, config.albedo)
    faces = face_tables(model, flatten(model), texels=config.map_size)
    fabric = launch(config)
    faces = faces.to(fabric.device)
    if config.loss == "distil":
        task: Task = DistilTask(network, faces, config.size, config.views, photometric=config.photometric)
    else:
        task = ResidualTask(network, faces.tables, config.size, face_model=faces.model)
    return run_task(task, images, config, fabric)


def run_task(
    task: Task,
    images: ImageSet,
    config: TrainConfig,
    fabric: Fabric | None = None,
    kept: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> Path:
    """Train, and save the averaged network, or the part of it that is `kept`; returns its file."""
    path = config.out / WEIGHTS

    def finish(average: nn.Module) -> None:
        last = (read_log(config.out) or [{}])[-1]
        learnt = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in task.state_dict().items()}
        about = {"task": task.name, **task.about, "options": portable(options(config)), "end": last, "learnt": learnt}
        save_weights(kept(average), path, about=about)

    train(task, images, config, finish, fabric)
    return path


def _frame(size: int) -> int:
    """Side of the images that are read: the crop that the network sees is cut out of them, about 80 % of a side."""
    if size % MULTIPLE:
        raise ConfigError(f"--size {size}: the network halves images four times, choose a multiple of {MULTIPLE}")
    return size * 3 // 2


def _landmarks5(given: tuple[float, ...], images: ImageSet, model: MorphableModel) -> Tensor:
    if not given:
        try:
            return average_landmarks5(images, model)
        except ValueError as error:
            raise ConfigError(f"{error}, with --landmarks5") from error
    if len(given) != 10:
        raise ConfigError(f"--landmarks5: {len(given)} numbers, expected ten: x y of five points")
    return torch.tensor(given).reshape(5, 2)
