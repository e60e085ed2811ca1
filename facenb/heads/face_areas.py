"""Where on the face beards grow, masks lie and brows sit (book: *It learns*).

The maps are those that the open model's painter uses, taken once from the mean face and kept as arrays.

Units mm; maps in [0, 1] unless stated otherwise, one value a face vertex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facenb.morphable_model import MorphableModel
from facenb.open_model.face_maps import face_maps
from facenb.open_model.identity import average_adult
from facenb.open_model.makehuman import read_base_mesh
from facenb.open_model.mesh import FaceMesh
from facenb.open_model.topology import build_topology


@dataclass(frozen=True)
class FaceAreas:
    """Maps of the mean face.

    Attributes:
        cheek_line: height in mm above the usual upper edge of a beard; hairline: above the usual hairline.
        eye_radius: mm from the optical axis at `eye_vertices`.
        brow_x, brow_y: along the brow (0 inner end, 1 outer end) and mm above its middle, at `brow_vertices`.
        contact: vertices of the mouth line; mouth: of the hole behind the lips; lids: both rims of the lids.
    """

    skin: Float[np.ndarray, " V"]
    lips: Float[np.ndarray, " V"]
    upper_lip: Float[np.ndarray, " V"]
    lower_lip: Float[np.ndarray, " V"]
    cheeks: Float[np.ndarray, " V"]
    eyelids: Float[np.ndarray, " V"]
    upper_lashes: Float[np.ndarray, " V"]
    moustache: Float[np.ndarray, " V"]
    goatee: Float[np.ndarray, " V"]
    jaw_beard: Float[np.ndarray, " V"]
    cheek_line: Float[np.ndarray, " V"]
    hairline: Float[np.ndarray, " V"]
    front: Float[np.ndarray, " V"]
    eye_vertices: Int[np.ndarray, " E"]
    eye_radius: Float[np.ndarray, " E"]
    brow_vertices: Int[np.ndarray, " N"]
    brow_x: Float[np.ndarray, " N"]
    brow_y: Float[np.ndarray, " N"]
    contact: Int[np.ndarray, " C"]
    mouth: Int[np.ndarray, " M"]
    lids: Int[np.ndarray, " L"]


def build_face_areas(model: MorphableModel) -> FaceAreas:
    """The maps; a few seconds."""
    base = read_base_mesh()
    topology = build_topology(base, average_adult(base.vertices))
    regions = {name: weight.numpy().astype(np.float64) for name, weight in model.regions.items()}
    mesh = FaceMesh(
        vertices=model.shape_mean.numpy().astype(np.float64),
        triangles=model.triangles.numpy(),
        mirror=topology.mirror,
        outer=topology.outer,
        mouth=topology.mouth,
        contact=topology.contact,
        lids=topology.lids,
        eyes=topology.eyes,
        landmarks68=model.landmarks68.numpy(),
        regions=regions,
    )
    maps = face_maps(mesh)

    def f(x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.float32)

    def i(x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.int32)

    names = ("skin", "upper_lip", "lower_lip", "cheeks", "eyelids", "upper_lashes", "moustache", "goatee")
    names += ("jaw_beard", "cheek_line", "hairline", "eye_radius", "brow_x", "brow_y")
    return FaceAreas(
        **{name: f(getattr(maps, name)) for name in names},
        lips=f(regions["lips"]),
        front=f(regions["face"]),
        eye_vertices=i(maps.eye_vertices),
        brow_vertices=i(maps.brow_vertices),
        contact=i(mesh.contact),
        mouth=i(mesh.mouth),
        lids=i(np.concatenate(mesh.lids)),
    )
