"""What `facenb train-restorer` does: proxy, prior and restoration together, then `facenb.trainer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from facenb.config import ConfigError
from facenb.image_sets import ImageSet, open_images
from facenb.restore.albedo_prior import AlbedoPrior
from facenb.restore.degrade import Degradation
from facenb.restore.proxy import Proxy
from facenb.restore.restorer import Restorer, RestorerOptions
from facenb.restore.restorer_task import RestorerLoss, RestorerTask
from facenb.restore.shipped_proxy import shipped_proxy
from facenb.restore.shipped_restorer import shipped_prior
from facenb.train_commands import run_task
from facenb.weights import load_weights

if TYPE_CHECKING:
    from facenb.commands.train_restorer import Config

CALIBRATED = 400  # photos whose albedos tell where the proxy's front is


def train_restorer(config: Config) -> Path:
    """Train a restorer; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    proxy = load_weights(config.proxy, Proxy.kind) if config.proxy else shipped_proxy()
    prior = load_weights(config.prior, AlbedoPrior.kind) if config.prior else shipped_prior()
    size = proxy.options.size
    if prior.options.size != size:
        raise ConfigError(
            f"{config.prior or 'the shipped prior'}: draws {prior.options.size} pixels, the proxy {size}; "
            f"train one with --size {size}"
        )
    for factor in config.factors:
        if size % factor:
            raise ConfigError(f"--factors {factor}: photos of {size} pixels cannot be reduced so, choose a divisor")
    images = open_images(config.images, size)
    options = RestorerOptions(proxy.options, prior.options, config.arn, config.grn, config.width)
    begin = proxy if config.begin is None else _proxy_of(config.begin, options)
    restorer = assemble(options, begin, prior, images, config.seed)
    loss = RestorerLoss(
        edges=config.edges,
        teacher=config.teacher,
        smooth=config.smooth,
        critic=config.critic,
        mutual=config.mutual,
        tune_all=config.tune_all,
        shading=config.shading,
    )
    task = RestorerTask(restorer, proxy, Degradation(factors=config.factors), loss)
    return run_task(task, images, config)


def _proxy_of(path: Path, options: RestorerOptions) -> Proxy:
    """The proxy within the restorer of a file."""
    proxy = load_weights(path, Restorer.kind).proxy
    if proxy.options != options.proxy:
        raise ConfigError(f"{path}: its proxy is built otherwise than the teacher of --proxy; tune that one")
    return proxy


def assemble(options: RestorerOptions, proxy: Proxy, prior: AlbedoPrior, images: ImageSet, seed: int) -> Restorer:
    """A fresh restorer around a trained proxy and a trained prior, the two calibrated."""
    restorer = Restorer(options, seed)
    restorer.proxy.load_state_dict(proxy.state_dict())
    if restorer.albedo is not None:
        restorer.albedo.prior.load_state_dict(prior.state_dict())
        restorer.albedo.calibrate(_albedos(proxy, images))
    return restorer


@torch.no_grad()
def _albedos(proxy: Proxy, images: ImageSet) -> Tensor:
    """What the proxy says of some photos."""
    photos = torch.stack([images[i] for i in range(min(len(images), CALIBRATED))]).float() / 255
    return torch.cat([proxy.eval()(part).albedo for part in photos.split(50)])
