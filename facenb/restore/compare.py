"""All methods on the same photos: `python -m facenb.restore.compare --faces DIR --proxy FILE --restorer NAME=FILE …`.

Two tests. Faces with truth, made by `facenb studio` and never trained on, are spoilt and asked for shape, skin and
picture (`facenb.restore.restorer_evaluation`). Then subjects sit for nine photos each, and shapes are measured across
views (`facenb.restore.cross_view`): subjects of the open model, or scans in MICC Florence's own layout with --micc.
LAP gets a single photo in the first test, and the three of a pose in the second.
Runs of one method with other seeds are called NAME 0, NAME 1, …
Writes what `facenb.restore.comparison` reads. A run that was stopped goes on with the methods that are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.open_model import open_model
from facenb.restore.collection import CollectionNetwork
from facenb.restore.collection_evaluation import collect
from facenb.restore.cross_view import (
    RENDERINGS,
    CrossViewErrors,
    Guess,
    Sitting,
    hold_sitting,
    measure,
    photograph_poses,
)
from facenb.restore.degrade import Degradation, degrade
from facenb.restore.micc import micc_subjects
from facenb.restore.proxy import Face, Proxy
from facenb.restore.proxy_evaluation import mean_canonical_depth, predict
from facenb.restore.restorer import Restorer
from facenb.restore.restorer_evaluation import restoration_errors, restored_in_2d
from facenb.restore.studio import StudioFaces, open_studio
from facenb.restore.studio_files import read_studio
from facenb.scripts import answered
from facenb.weights import load_weights

SPOILT = 100  # seed of what happens to the test photos
Input = Callable[[Tensor], Tensor]


def inputs(factor: int) -> dict[str, Input]:
    """What a method may be given of photos, bytes → bytes: as they are, spoilt, spoilt and then restored in 2D."""

    def spoilt(photos: Tensor) -> Tensor:
        return degrade(photos, SPOILT, Degradation(factors=(factor,)))

    return {
        "clean": lambda photos: photos,
        "degraded": spoilt,
        "restored in 2D": lambda photos: restored_in_2d(spoilt(photos), factor),
    }


def answer(network: Proxy | Restorer | CollectionNetwork, photos: Tensor, together: int = 1) -> Face:
    """What a network says of photos that are bytes; LAP gets so many of a person `together`."""
    if isinstance(network, CollectionNetwork):
        return collect(network, photos.float() / 255, together).own
    return predict(network, photos.float() / 255)


def baselines(faces: StudioFaces) -> dict[str, Guess]:
    """Shapes that nobody had to look at the photo for; "truth" and "mean, true view" know what no method may."""
    mean = mean_canonical_depth(faces)

    def truth(photos: StudioFaces):
        return torch.where(photos.canonical_mask, photos.canonical_depth, mean), photos.view

    return {
        "truth": truth,
        "mean, true view": lambda photos: (mean.expand(len(photos), -1, -1).contiguous(), photos.view),
        "plane": lambda photos: (torch.ones_like(photos.depth), photos.view),
    }


def cross_view_entry(errors: CrossViewErrors) -> dict[str, Any]:
    """Each photo's numbers, for means and intervals."""
    return {name: np.asarray(values).round(4).tolist() for name, values in vars(errors).items()}


def sittings(subjects: int, seed: int, size: int, micc: Path | None) -> list[Sitting]:
    """Who sits, nine photos each."""
    model = open_model()
    if micc is not None:
        scans = micc_subjects(micc, model)
        return [photograph_poses(s, np.random.default_rng([seed, i]), size) for i, (_, s) in enumerate(scans)]
    studio = open_studio(model)
    return [hold_sitting(studio, seed, i, size) for i in range(subjects)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facenb.restore.compare", description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True, metavar="DIR", help="faces made by `facenb studio`")
    parser.add_argument("--proxy", type=Path, required=True, metavar="FILE", help="weights of `facenb train-proxy`")
    parser.add_argument("--collection", type=Path, metavar="FILE", help="weights of `facenb train-collection`")
    parser.add_argument("--restorer", nargs="+", default=[], metavar="NAME=FILE", help="of `facenb train-restorer`")
    parser.add_argument("--micc", type=Path, metavar="DIR", help="the MICC Florence data set instead of the open model")
    parser.add_argument("--subjects", type=int, default=10, help="of the open model (default: 10)")
    parser.add_argument("--seed", type=int, default=53, help="of the subjects (default: 53)")
    parser.add_argument("--factor", type=int, default=4, help="by which photos are reduced (default: 4)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()
    return answered("compare", lambda: _compare(given))


def _compare(given: argparse.Namespace) -> None:
    faces = read_studio(given.faces)
    proxy = load_weights(given.proxy, Proxy.kind)
    restorers = {name: load_weights(file, Restorer.kind) for name, file in (r.split("=", 1) for r in given.restorer)}
    seated = sittings(given.subjects, given.seed, faces.image.shape[-1], given.micc)
    asked = {"faces": len(faces), "factor": given.factor, "subjects": len(seated), "seed": given.seed}
    asked["people"] = str(given.micc or "open")
    result: dict[str, Any] = {**asked, "same view": {}, "cross view": {}}
    if given.out.is_file():
        result = json.loads(given.out.read_text(encoding="utf-8"))
        if changed := [name for name, value in asked.items() if result.get(name) != value]:
            raise ValueError(f"{given.out}: holds answers with another {changed[0]}; choose another file for --out")
    ways = inputs(given.factor)
    methods = {(f"proxy, {way}"): (proxy, ways[way]) for way in ways}
    if given.collection:
        collection = load_weights(given.collection, CollectionNetwork.kind)
        methods |= {(f"LAP, {way}"): (collection, ways[way]) for way in ways}
    methods |= {name: (network, ways["degraded"]) for name, network in restorers.items()}
    with tqdm(total=len(methods) + 3, desc="methods") as bar:
        for name, guess in baselines(faces).items():
            if name not in result["cross view"]:
                result["cross view"][name] = cross_view_entry(measure(seated, guess))
                _write(given.out, result)
            bar.update()
        for name, (network, way) in methods.items():
            if name not in result["same view"]:
                errors = restoration_errors(answer(network, way(faces.image)), faces)
                result["same view"][name] = {key: round(value, 4) for key, value in errors.means().items()}
            if name not in result["cross view"]:
                result["cross view"][name] = cross_view_entry(measure(seated, _guess(network, way)))
            _write(given.out, result)
            bar.update()


def _guess(network: Proxy | Restorer | CollectionNetwork, way: Input) -> Guess:
    def guess(photos: StudioFaces):
        face = answer(network, way(photos.image), RENDERINGS)
        return face.depth, face.view

    return guess


def _write(path: Path, result: dict[str, Any]) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
