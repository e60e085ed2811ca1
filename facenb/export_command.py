"""What `facenb export` does: a fitted face, or a face of a model, as a mesh for any 3D programme."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.colour import to_srgb
from facenb.config import ConfigError
from facenb.export import ENDINGS, export_mesh
from facenb.fit_result import FitFile, PortraitFit, read_fit
from facenb.flatten import Flattening, flatten
from facenb.model_source import load_model
from facenb.morphable_model import MorphableModel
from facenb.photo import photo_size, read_photo
from facenb.texture import fill_texture, texture_from_photo


def export_face(
    source: str,
    out: Path,
    model: str | None = None,
    photo: Path | None = None,
    neutral: bool = False,
    seed: int | None = None,
    scale: float = 0.8,
) -> None:
    """Write the face that `source` names to `out`, whose ending chooses the format.

    `source` is a JSON file of `facenb fit`, or a model as `load_model` takes it: then the mean face is written, or with
    a `seed` a random one, `scale` standard deviations wide. `neutral` leaves the expression out. `model` replaces the
    model that the fit names. With `photo`, the one that was fitted, the face wears it as a texture.

    Raises ValueError (of the module that noticed) naming the file and the remedy.
    """
    if out.suffix.lower() not in ENDINGS:  # said before a model is loaded
        raise ConfigError(f"{out}: no mesh format has this ending; use {', '.join(ENDINGS)}")
    if Path(source).suffix.lower() == ".json":
        if seed is not None:
            raise ConfigError("--seed draws a random face of a model, but a fit is somebody; leave one of them out")
        file = read_fit(source)
        if photo is not None:
            _check_photo(photo, file, out)
        face_model = load_model(file.model if model is None else model)
        identity, expression, albedo = file.fit.identity, file.fit.expression, file.fit.albedo
    else:
        for name, value in (("model", model), ("photo", photo)):
            if value is not None:
                raise ConfigError(f"--{name} belongs to a fit, but {source} is a model; leave --{name} out")
        face_model = load_model(source)
        identity = expression = albedo = None
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            identity, expression, albedo = (c[0] for c in face_model.sample(1, generator, scale))
    worn = None if neutral else expression
    try:
        if photo is None:
            write_mesh(out, face_model, identity, worn, albedo)
        else:
            flat = flatten(face_model)
            texture = photo_texture(read_photo(photo), file.fit, face_model, flat)
            X = flat.extend(face_model.vertices(identity, worn))
            export_mesh(out, X, flat.triangles[flat.source >= 0], uv=flat.uv, texture=texture)
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


def photo_texture(
    photo: Float[Tensor, "3 H W"],
    fit: PortraitFit,
    model: MorphableModel,
    flattening: Flattening,
    resolution: int = 1024,
) -> Float[Tensor, "3 R R"]:
    """The photo as the face's texture; where the camera saw nothing, or only at a glance, the colours around go on.

    Display values in our UV convention.
    """
    X = model.vertices(fit.identity, fit.expression)
    seen, cosine = texture_from_photo(photo, fit.camera, X, model.triangles, flattening, resolution)
    trust = ((cosine - 0.3) / 0.3).clamp(0, 1)  # what is seen at a glance is smeared, and often background
    trust = trust**2 * (3 - 2 * trust)
    return fill_texture(seen, trust, mirror=False).clamp(0, 1)  # not every model lies symmetric in the square


def _check_photo(photo: Path, file: FitFile, out: Path) -> None:
    if out.suffix.lower() == ".ply":
        raise ConfigError(f"{out}: a .ply holds no texture; use .glb or .obj, or leave --photo out")
    width, height = photo_size(photo)
    if (width, height) != (file.width, file.height):
        raise ConfigError(
            f"{photo}: {width} × {height} pixels, but {file.image} was fitted at {file.width} × {file.height}; "
            "give the photo that was fitted"
        )
