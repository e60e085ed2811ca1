"""What `facenb train-prior` does: albedos, the linear part, and the generator by `facenb.trainer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from facenb.config import ConfigError
from facenb.image_sets import ImageSet, open_images
from facenb.model_source import OPEN
from facenb.open_model import open_model
from facenb.restore.albedo_prior import AlbedoPrior, PriorOptions
from facenb.restore.albedo_set import albedo_set
from facenb.restore.prior_task import PriorAndCritic, PriorTask
from facenb.restore.studio import open_studio
from facenb.train_commands import run_task

if TYPE_CHECKING:
    from facenb.commands.train_prior import Config

FITTED = 2000  # albedos, at most, that the principal components are computed from


def train_prior(config: Config) -> Path:
    """Train a fresh prior; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    if config.size & (config.size - 1):
        raise ConfigError(f"--size {config.size}: the generator doubles pictures from 4 pixels on, choose a power of 2")
    albedos = _albedos(config)
    fitted = min(len(albedos), FITTED)
    if fitted <= config.codes:
        raise ConfigError(f"--codes {config.codes}: only {len(albedos)} albedos; give fewer codes or more albedos")
    prior = AlbedoPrior(PriorOptions(config.size, config.codes, width=config.width), config.seed)
    prior.fit(torch.stack([albedos[i] for i in range(fitted)]).float() / 255)
    task = PriorTask(PriorAndCritic(prior, seed=config.seed), config.critic)
    return run_task(task, albedos, config, kept=lambda both: both.prior)


def _albedos(config: Config) -> ImageSet:
    if str(config.images) == OPEN:
        return albedo_set(open_studio(open_model()), config.seed, config.count, config.size)
    return open_images(config.images, config.size)
