"""What `facenb train-proxy` does: images, network and task together, then `facenb.trainer`."""

from __future__ import annotations

from math import radians
from pathlib import Path
from typing import TYPE_CHECKING

from facenb.config import ConfigError
from facenb.image_sets import open_images
from facenb.restore.perceptual import VGGLoss
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.proxy_task import ProxyLoss, ProxyTask
from facenb.train_commands import run_task

if TYPE_CHECKING:
    from facenb.commands.train_proxy import Config


def train_proxy(config: Config) -> Path:
    """Train a fresh proxy on `config.images`; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    for name in ("size", "coarse"):
        side = getattr(config, name)
        if side & (side - 1):
            raise ConfigError(f"--{name} {side}: the networks halve photos down to 4 pixels, choose a power of two")
    if config.coarse > config.size:
        raise ConfigError(f"--coarse {config.coarse} is more than --size {config.size}; give at most as much")
    options = ProxyOptions(config.size, config.coarse, config.width, config.bump, template=config.template)
    loss = ProxyLoss(
        mirror=config.mirror,
        smooth=config.smooth,
        individual=config.individual,
        held=config.held,
        shading=config.shading,
        near=config.near,
        centre=config.centre,
        yaw_spread=radians(config.yaw_spread),
        shared=config.shared,
        small=config.small,
        edges=config.edges,
        vgg=config.vgg_weight if config.vgg else 0.0,
    )
    vgg = VGGLoss(config.vgg) if config.vgg else None
    task = ProxyTask(Proxy(options, config.seed), loss, vgg)
    return run_task(task, open_images(config.images, config.size), config)
