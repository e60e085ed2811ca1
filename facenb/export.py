"""A face as a file that other programs open: OBJ, PLY and GLB.

* .obj, for editors: mm; display values after x y z (an extension that MeshLab and Blender read), or a texture in a .png
  beside it.
* .ply, for measuring and point clouds: mm; display values, 8 bits.
* .glb, for web pages, engines and Blender: **metres**; *linear* values, or a texture inside the file.

glTF fixes its unit (metres), its axes (+Y up, the front looks along +Z: our own) and its colours: vertex colours are
linear light, textures are sRGB. Who writes display values into COLOR_0 gets a pale face. The other two formats fix
nothing; there the numbers stay millimetres in model coordinates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from facenb.atomic import atomic_path
from facenb.colour import to_linear
from facenb.normals import vertex_normals

ENDINGS = (".obj", ".ply", ".glb")
_METRES_PER_MILLIMETRE = 1e-3


class ExportError(ValueError):
    """The mesh cannot be written as asked; the message says what to change."""


def export_mesh(
    path: str | Path,
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    colours: Float[Tensor, "V 3"] | None = None,
    *,
    uv: Float[Tensor, "V 2"] | None = None,
    texture: Float[Tensor, "3 H W"] | None = None,
) -> Path:
    """Write a mesh with vertex colours or with a texture; returns the path of the file.

    The file appears whole or not at all. Missing folders are made; a file of that name is replaced. Vertices keep their
    order and their number, so that landmarks still point at them. An OBJ with a texture brings `<stem>.mtl` and
    `<stem>.png`.

    Args:
        path: the ending chooses the format, see the table above.
        vertices: mm, model coordinates.
        colours: display (sRGB) values; values outside [0, 1] are clipped.
        uv, texture: our convention, v down, and display values. With a `Flattening` f: vertices `f.extend(X)`,
        triangles
            `f.triangles[f.source >= 0]`, uv `f.uv`.

    Raises ExportError for another ending, vertices that are not finite, sizes that do not match, colours *and* a
    texture, a texture in a .ply; OSError if the folder cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    _check(path, ending, vertices, triangles, colours, uv, texture)
    X = vertices.detach().cpu().double()
    T = triangles.detach().cpu()
    N = vertex_normals(X, T)
    N[(N == 0).all(-1)] = N.new_tensor([0.0, 0.0, 1.0])  # a vertex of no triangle still needs a unit normal
    scale = _METRES_PER_MILLIMETRE if ending == ".glb" else 1.0
    mesh = trimesh.Trimesh(scale * X.numpy(), T.numpy(), vertex_normals=N.numpy(), process=False, validate=False)

    files: dict[str, bytes] = {}  # in the order of writing: what is referred to comes first
    if ending == ".glb":
        files[path.name] = _glb(mesh, colours, uv, texture)
    else:
        if texture is not None:
            material = SimpleMaterial(_picture(texture), diffuse=[255] * 3, ambient=[255] * 3, specular=[0] * 3)
            material.name = path.stem
            mesh.visual = TextureVisuals(_v_up(uv), material)
        elif colours is not None:
            mesh.visual = ColorVisuals(mesh, vertex_colors=_bytes(colours))
        if ending == ".ply":
            files[path.name] = export_ply(mesh, vertex_normal=True)
        else:
            text, beside = export_obj(
                mesh, include_normals=True, return_texture=True, digits=5, mtl_name=f"{path.stem}.mtl", header=None
            )
            files |= dict(sorted(beside.items(), reverse=True))
            files[path.name] = text.encode()
    for name, content in files.items():
        try:
            with atomic_path(path.with_name(name)) as unfinished:
                unfinished.write_bytes(content)
        except OSError as error:
            raise OSError(f"cannot write {path.with_name(name)}: {error.strerror}; choose another folder") from error
    return path


def _glb(mesh: trimesh.Trimesh, colours: Tensor | None, uv: Tensor | None, texture: Tensor | None) -> bytes:
    """glTF needs a material even for vertex colours: its default one is polished metal."""
    skin = PBRMaterial(metallicFactor=0.0, roughnessFactor=0.7, doubleSided=True)
    if texture is not None:
        skin.baseColorTexture = _picture(texture)
    mesh.visual = TextureVisuals(_v_up(uv) if texture is not None else None, skin)
    if colours is not None:  # as floats: eight bits of *linear* light would show as bands in dark skin
        mesh.vertex_attributes["_COLOR"] = to_linear(colours.detach().cpu().float().clamp(0, 1)).numpy()

    def name_the_colours(tree: dict) -> None:
        attributes = tree["meshes"][0]["primitives"][0]["attributes"]
        if "_COLOR" in attributes:
            attributes["COLOR_0"] = attributes.pop("_COLOR")

    return export_glb(trimesh.Scene(mesh), include_normals=True, tree_postprocessor=name_the_colours)


def _v_up(uv: Float[Tensor, "V 2"]) -> np.ndarray:
    """OBJ, and trimesh inside, let v grow upwards."""
    u, v = uv.detach().cpu().double().unbind(-1)
    return torch.stack([u, 1 - v], -1).numpy()


def _bytes(values: Tensor) -> np.ndarray:
    return (values.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _picture(texture: Float[Tensor, "3 H W"]) -> Image.Image:
    return Image.fromarray(_bytes(texture).transpose(1, 2, 0))


def _check(path: Path, ending: str, vertices, triangles, colours, uv, texture) -> None:
    def demand(condition: bool, message: str) -> None:
        if not condition:
            raise ExportError(f"{path}: {message}")

    V = len(vertices)
    demand(ending in ENDINGS, f"no format is known for the ending {ending!r}; use {', '.join(ENDINGS)}")
    demand(vertices.shape == (V, 3), f"vertices must be (V, 3), got {tuple(vertices.shape)}")
    demand(bool(vertices.isfinite().all()), "some vertices are not finite; the fit has failed, nothing was written")
    demand(triangles.ndim == 2 and triangles.shape[1] == 3, f"triangles must be (T, 3), got {tuple(triangles.shape)}")
    demand(
        triangles.numel() == 0 or (int(triangles.min()) >= 0 and int(triangles.max()) < V),
        f"triangles refer to vertices that do not exist: there are {V}",
    )
    demand((uv is None) == (texture is None), "a texture needs uv, and uv a texture")
    demand(colours is None or texture is None, "give colours or a texture: a viewer would multiply the two")
    demand(texture is None or ending != ".ply", "a .ply holds no texture; use .glb or .obj, or give colours")
    for name, values, width in (("colours", colours, 3), ("uv", uv, 2)):
        if values is not None:
            demand(values.shape == (V, width), f"{name} must be ({V}, {width}), got {tuple(values.shape)}")
            demand(bool(values.isfinite().all()), f"some {name} are not finite")
    if texture is not None:
        demand(texture.ndim == 3 and len(texture) == 3, f"a texture must be (3, H, W), got {tuple(texture.shape)}")
