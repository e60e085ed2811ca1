"""What `facenb export` does: a fitted face, or a face of a model, as a mesh for any 3D programme."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.colour import to_srgb
from facenb.config import ConfigError
from facenb.export import ENDINGS, export_mesh
from facenb.fit_result import read_fit
from facenb.model_source import load_model
from facenb.morphable_model import MorphableModel


def export_face(source: str, out: Path, model: str | None, neutral: bool, seed: int | None, scale: float) -> None:
    """Write the face that `source` names to `out`, whose ending chooses the format.

    `source` is a JSON file of `facenb fit`, or a model as `load_model` takes it: then the mean face is written, or with
    a `seed` a random one, `scale` standard deviations wide. `neutral` leaves the expression out. `model` replaces the
    model that the fit names.

    Raises ValueError (of the module that noticed) naming the file and the remedy.
    """
    if out.suffix.lower() not in ENDINGS:  # said before a model is loaded
        raise ConfigError(f"{out}: no mesh format has this ending; use {', '.join(ENDINGS)}")
    identity = expression = albedo = None
    if Path(source).suffix.lower() == ".json":
        if seed is not None:
            raise ConfigError("--seed draws a random face of a model, but a fit is somebody; leave one of them out")
        file = read_fit(source)
        face_model = load_model(file.model if model is None else model)
        identity, expression, albedo = file.fit.identity, file.fit.expression, file.fit.albedo
    else:
        if model is not None:
            raise ConfigError(f"--model replaces the model of a fit, but {source} is a model itself; leave --model out")
        face_model = load_model(source)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            identity, expression, albedo = (c[0] for c in face_model.sample(1, generator, scale))
    try:
        write_mesh(out, face_model, identity, None if neutral else expression, albedo)
    except ValueError as error:  # more coefficients than components: a fit with another model
        raise ValueError(f"{source}: {error}") from error


def write_mesh(
    path: Path,
    model: MorphableModel,
    identity: Float[Tensor, " Nid"] | None,
    expression: Float[Tensor, " Nex"] | None,
    albedo: Float[Tensor, " Nal"] | None,
) -> None:
    """The model's face with these coefficients as a mesh with its albedo, unlit, at the vertices."""
    colours = model.colours(albedo)
    if model.colour_space == "linear":
        colours = to_srgb(colours)
    export_mesh(path, model.vertices(identity, expression), model.triangles, colours)
