"""What `facenb restore` does: photos in; restored pictures, maps and meshes out.

For each photo NAME it writes NAME.png, NAME_maps.npz and, last, NAME.glb, so that where the mesh is, all is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, radians
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.atomic import atomic_path
from facenb.config import ConfigError
from facenb.depth_light import light_depth
from facenb.export import export_mesh
from facenb.image_sets import SMALLEST, centre_square
from facenb.photo import photo_size, read_photo, write_photo
from facenb.restore.depth_mesh import BEHIND, depth_mesh
from facenb.restore.proxy import RELIEF, Face, reconstruct
from facenb.restore.restorer import Restorer
from facenb.restore.shipped_restorer import restorer_file
from facenb.restore.view import MIDDLE, Viewpoint
from facenb.restore.warp import render_view, sample
from facenb.result_files import demand_free_names, make_folder
from facenb.six_panels import SIDE, panel_sheet
from facenb.weights import load_weights

NEW_VIEW = 35.0  # yaw, degrees
ENDINGS = (".png", "_maps.npz", ".glb")  # in the order of writing


def restore_photos(
    photos: tuple[Path, ...],
    out: Path,
    weights: Path | None,
    box: tuple[float, ...] | None,
    say: Callable[[str], None],
) -> list[Path]:
    """Restore each photo with the network of `weights`, else with the one that is shipped; returns the meshes' paths.

    Raises ValueError (of the module that noticed) naming the file or option and the remedy; OSError for a full disk.
    """
    if box is not None and (len(box) != 3 or not all(map(isfinite, box)) or box[2] < 1):
        raise ConfigError("--box: give three numbers, left, top and side of the square, in pixels of the photo")
    demand_free_names(photos, out, ENDINGS)
    for photo in photos:
        photo_size(photo)  # one that cannot be read is named before the others cost time
    network = load_weights(weights or restorer_file(), Restorer.kind)
    make_folder(out)
    written = []
    for path in photos:
        square = cut_square(read_photo(path), box, path)
        with torch.no_grad():
            face = network(to_size(square, network.options.proxy.size)[None])
            written.append(_write(out / path.stem, square, face))
        say(f"{path} → {out / path.stem}.png, _maps.npz and .glb")
    return written


def cut_square(photo: Float[Tensor, "3 H W"], box: tuple[float, ...] | None, path: Path) -> Float[Tensor, "3 s s"]:
    """The square of the box, or the one in the middle. Raises ConfigError for one that leaves the photo or is tiny."""
    side = min(photo.shape[1:]) if box is None else round(box[2])
    if side < SMALLEST:
        raise ConfigError(
            f"{path}: {side} × {side} pixels are too few to show a face; {SMALLEST} × {SMALLEST} are needed"
        )
    if box is None:
        return centre_square(photo)
    left, top = round(box[0]), round(box[1])
    if min(left, top) < 0 or left + side > photo.shape[2] or top + side > photo.shape[1]:
        size = f"{photo.shape[2]} × {photo.shape[1]}"
        raise ConfigError(f"{path}: the box {left} {top} {side} leaves the photo of {size} pixels; give a smaller one")
    return photo[:, top : top + side, left : left + side]


def to_size(square: Float[Tensor, "3 s s"], size: int) -> Float[Tensor, "3 size size"]:
    """Means where it shrinks, bicubic where it grows."""
    grows = square.shape[-1] < size
    mode = {"mode": "bicubic"} if grows else {"mode": "bilinear", "antialias": True}
    return interpolate(square[None], size=(size, size), align_corners=False, **mode)[0].clamp(0, 1)


def panels(square: Float[Tensor, "3 s s"], face: Face) -> dict[str, Float[Tensor, "3 SIDE SIDE"]]:
    """Before and after, the face from other sides, its albedo and depth, by name."""
    texture = light_depth(face.depth, face.albedo, face.light).texture
    near = ((MIDDLE[2] + RELIEF / 2 - face.depth) / RELIEF).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)

    def turned(yaw: float) -> Float[Tensor, "3 S S"]:
        angles = face.view.angles.new_tensor([[radians(yaw), 0.0, 0.0]])
        return _on_white(
            render_view(face.depth, texture, Viewpoint(angles, torch.zeros_like(face.view.shift))), face.depth
        )

    pictures = {
        "Photo": square,
        "Restored": reconstruct(face).image[0],
        "Turned to the left": turned(-NEW_VIEW),
        "Albedo": face.albedo[0],
        "Depth": near[0],
        "Turned to the right": turned(NEW_VIEW),
    }
    return {name: to_size(picture, SIDE) for name, picture in pictures.items()}


def _on_white(rendering, depth: Float[Tensor, "1 S S"]) -> Float[Tensor, "3 S S"]:
    """The picture of the face itself, without what lies behind it."""
    face = sample((depth - MIDDLE[2] < BEHIND)[:, None].to(depth.dtype), rendering.lookup)[0] > 0.5
    return torch.where(face & rendering.mask, rendering.image[0].clamp(0, 1), 1.0)


def _write(stem: Path, square: Float[Tensor, "3 s s"], face: Face) -> Path:
    """The three files of one photo; returns the mesh."""
    write_photo(panel_sheet(panels(square, face)), stem.with_name(f"{stem.name}.png"))
    light = light_depth(face.depth, face.albedo, face.light)
    maps = {
        "depth": face.depth[0],
        "albedo": face.albedo[0],
        "texture": light.texture[0],
        "angles": face.view.angles[0],
        "shift": face.view.shift[0],
        "ambient": face.light.ambient[0],
        "diffuse": face.light.diffuse[0],
        "lamp": face.light.direction[0],
    }
    with atomic_path(stem.with_name(f"{stem.name}_maps.npz")) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **{name: value.cpu().numpy() for name, value in maps.items()})
    mesh = depth_mesh(face.depth[0])
    path = stem.with_name(f"{stem.name}.glb")
    return export_mesh(path, mesh.vertices, mesh.triangles, uv=mesh.uv, texture=face.albedo[0])
