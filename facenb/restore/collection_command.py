"""What `facenb train-collection` does: people, proxy and network together, then `facenb.trainer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facenb.image_sets import open_images
from facenb.restore.collection import CollectionNetwork, CollectionOptions
from facenb.restore.collection_task import CollectionLoss, CollectionTask, strips
from facenb.restore.proxy import Proxy
from facenb.restore.shipped_proxy import shipped_proxy
from facenb.shards import DESCRIPTION, read_description
from facenb.train_commands import run_task
from facenb.weights import load_weights

if TYPE_CHECKING:
    from facenb.commands.train_collection import Config


def train_collection(config: Config) -> Path:
    """Train LAP on a proxy; returns the file of its weights.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy.
    """
    proxy = load_weights(config.proxy, Proxy.kind) if config.proxy else shipped_proxy()
    images = open_images(config.images, proxy.options.size)
    rendered = (config.images / DESCRIPTION).is_file()
    in_a_row = read_description(config.images).config.get("photos", 1) if rendered else 0
    people = strips(images, config.photos, in_a_row)
    network = CollectionNetwork(CollectionOptions(proxy.options, config.width), config.seed)
    network.proxy.load_state_dict(proxy.state_dict())
    loss = CollectionLoss(edges=config.edges, skin=config.skin, depth=config.depth)
    return run_task(CollectionTask(network, loss), people, config)
