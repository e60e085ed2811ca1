"""What a network said of a few pictures while it was trained: `python -m facenb.record_frames RUN --weights FILE`.

Reads the checkpoints that a run of `facenb train … --keep 100` has left, shows each one's moving average the same
pictures and writes frames.npz, which `facenb.shipped_run.frames` reads. The pictures are a few of a rendered test set
and the portraits that come with scikit-image and Matplotlib, cut out where the last checkpoint finds their face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from skimage import data as skimage_data
from torch import Tensor
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.checkpoint import checkpoints, load_network, read_checkpoint, unpack
from facenb.evaluation import rendered_set
from facenb.face_finder import cut_out, find_face
from facenb.model_source import OPEN, load_model
from facenb.networks import build_network
from facenb.photo import read_photo
from facenb.reconstruction import reconstruction_tables
from facenb.weights import load_weights, read_about


def portraits() -> list[Float[Tensor, "3 H W"]]:
    """Two photos of real people that pip packages bring along."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    astronaut = torch.from_numpy(skimage_data.astronaut()).movedim(-1, 0).float() / 255
    return [astronaut, read_photo(hopper)]


def networks(run: Path, pretrained: Path, steps: list[int] | None) -> list[tuple[int, torch.nn.Module]]:
    """(step, network in eval mode): the pretrained one, then the moving average of the checkpoints after `steps`."""
    kind = read_about(pretrained)["kind"]
    found = [(0, load_weights(pretrained))]
    for path in checkpoints(run / "checkpoints"):
        checkpoint = read_checkpoint(path)
        if steps and checkpoint.facts["position"]["step"] not in steps:
            continue
        net = build_network(kind)
        load_network(net, unpack("average", checkpoint.tensors), path)
        found.append((checkpoint.facts["position"]["step"], net.eval()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m facenb.record_frames", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `facenb train`")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="where the run began")
    parser.add_argument("--test", type=Path, required=True, metavar="DIR", help="pictures made by `facenb render`")
    parser.add_argument("--count", type=int, default=6, help="how many of them (default: 6)")
    parser.add_argument("--steps", type=int, nargs="+", help="checkpoints to ask (default: all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    options = parser.parse_args()

    test = rendered_set(options.test, options.count)
    size = test.images.shape[-1]
    all_networks = networks(options.run, options.weights, options.steps)
    model = load_model(OPEN)
    tables = reconstruction_tables(model)
    crops = []
    for photo in portraits():
        face = find_face(all_networks[-1][1], tables, photo)
        if face is not None:
            crops.append(cut_out(photo, face.theta[None], size))
    images = torch.cat([test.images, *crops])
    five = torch.cat([test.five, torch.full((len(images) - len(test), 5, 2), torch.nan)])

    said = []
    with torch.inference_mode():
        for _, net in tqdm(all_networks, desc="asking"):
            said.append(net(images.contiguous(memory_format=torch.channels_last)))
    with atomic_path(options.out) as unfinished:
        np.savez_compressed(
            unfinished,
            step=np.array([step for step, _ in all_networks]),
            image=(255 * images).round().to(torch.uint8).numpy(),
            uv=torch.stack([m.uv for m in said]).half().numpy(),
            depth=torch.stack([m.depth for m in said]).half().numpy(),
            confidence=torch.stack([m.confidence for m in said]).half().numpy(),
            five=five.float().numpy(),
        )


if __name__ == "__main__":
    main()
