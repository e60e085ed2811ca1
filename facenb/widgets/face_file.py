"""A face model for the browser: the leading components in one small binary file (book: *Live figures*).

Numbers are rounded to steps too small to see, and smooth over the surface, so each is stored as the difference from
what its neighbours let expect: half a byte a number is left for zlib. The same integers come out on every machine.

    zlib( length of header, uint32 | header, JSON | planes )

A row of n integers is written as zigzag numbers (0, −1, 1, −2 → 0, 1, 2, 3) in three planes: n lowest bytes, n middle
ones, n highest. The header's `fields` say which rows follow in which order. `js/face_file.js` reads it.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.colour import to_linear
from facenb.flatten import Flattening
from facenb.mesh_topology import boundary_loops, loop_length
from facenb.morphable_model import MorphableModel
from facenb.pictures import DARK_MOUTH

# mm (a face of 200 mm in a thousand pixels shows 0.2), colours, shares of the square, lengths of a unit vector
STEPS = {"shape": 0.005, "albedo": 1 / 2048, "uv": 1 / 65535, "normal": 1 / 1024}
NEIGHBOURS = 3  # at most so many let expect a number
CAVITY_MM = 12.0  # how deep the dark behind an open mouth is, as in `pictures.close_holes`


@dataclass(frozen=True)
class _Mesh:
    """The model with the dark of the mouth, whose W − V vertices come after its own."""

    shape: Float[np.ndarray, "W 3 1+Ns"]  # mean first
    albedo: Float[np.ndarray, "W 3 1+Nal"]
    uv: Float[np.ndarray, "W 2"]
    triangles: Int[np.ndarray, "U 3"]


def face_file(
    model: MorphableModel,
    flattening: Flattening,
    n_identity: int = 40,
    n_expression: int = 30,
    n_albedo: int = 20,
    names: dict[str, list[str]] | None = None,
    expressions: dict[str, list[float]] | None = None,
) -> bytes:
    """The model's leading components as a file.

    Args:
        flattening: of the model, for uv.
        names: of components, by "identity", "expression", "albedo"; what their sliders are called.
        expressions: coefficients of named expressions.
    """
    small = model.truncate(
        min(n_identity, model.n_identity), min(n_expression, model.n_expression), min(n_albedo, model.n_albedo)
    )
    mesh = _with_dark_mouth(small, flattening)
    header = {
        "name": model.name,
        "face": small.n_vertices,
        "identity": small.n_identity,
        "expression": small.n_expression,
        "albedo": small.n_albedo,
        "landmarks": small.landmarks68.tolist(),
        "linear": small.colour_space == "linear",
        "names": names or {},
        "expressions": expressions or {},
    }
    tables = {"uv": mesh.uv[..., None], "shape": mesh.shape, "albedo": mesh.albedo}
    return write_file(header, mesh.triangles, tables)


def layout(model: MorphableModel, flattening: Flattening) -> Float[np.ndarray, "2 W"]:
    """u and v of the file's vertices in a flattening: the model's own, and those of the dark of the mouth."""
    return _with_dark_mouth(model.truncate(0, 0, 0), flattening).uv.T


def mesh_file(
    name: str,
    vertices: Float[Tensor, "W 3"],
    normals: Float[Tensor, "W 3"],
    uv: Float[Tensor, "W 2"],
    triangles: Int[Tensor, "U 3"],
) -> bytes:
    """One face that cannot change its shape, with normals of its own, for a texture over uv."""
    header = {
        "name": name,
        "face": len(vertices),
        "identity": 0,
        "expression": 0,
        "albedo": 0,
        "landmarks": [],
        "linear": False,
        "names": {},
        "expressions": {},
    }
    tables = {k: x.double().numpy()[..., None] for k, x in (("uv", uv), ("shape", vertices), ("normal", normals))}
    return write_file(header, triangles.numpy(), tables)


def write_file(header: dict, triangles: Int[np.ndarray, "U 3"], tables: dict[str, Float[np.ndarray, "W C K"]]) -> bytes:
    """Header, triangles and tables over the vertices, each in its step of `STEPS`."""
    W = len(tables["shape"])
    near = neighbours_before(triangles, W)
    all_rows = {"triangles": np.diff(triangles.ravel(), prepend=0)[None]}
    for name, values in tables.items():
        steps = np.round(values / STEPS[name]).astype(np.int64)  # W C K
        all_rows[name] = (steps - expected(steps, near)).transpose(2, 1, 0).reshape(-1, W)
    header = header | {
        "vertices": W,
        "steps": {name: STEPS[name] for name in tables},
        "fields": [[name, *rows.shape] for name, rows in all_rows.items()],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    planes = [to_planes(rows) for rows in all_rows.values()]
    return zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *planes]), 9)


def neighbours_before(triangles: Int[np.ndarray, "U 3"], n: int) -> Int[np.ndarray, "W NEIGHBOURS"]:
    """Of each vertex the neighbours with a smaller number, the largest `NEIGHBOURS` of them, in falling order; −1 where
    there are fewer."""
    a, b = np.concatenate([triangles, triangles[:, [1, 2, 0]], triangles[:, [2, 0, 1]]])[:, :2].T
    edges = np.unique(np.stack([np.maximum(a, b), np.minimum(a, b)], 1), axis=0)[::-1]  # both fall
    rank = np.arange(len(edges)) - np.searchsorted(-edges[:, 0], -edges[:, 0])
    near = np.full((n, NEIGHBOURS), -1)
    few = rank < NEIGHBOURS
    near[edges[few, 0], rank[few]] = edges[few, 1]
    return near


def expected(steps: Int[np.ndarray, "W C K"], near: Int[np.ndarray, "W N"]) -> Int[np.ndarray, "W C K"]:
    """Mean of the neighbours before, rounded half up; 0 for a vertex that has none."""
    there = near >= 0
    count = there.sum(1)[:, None, None]
    total = np.where(there[..., None, None], steps[near], 0).sum(1)  # W C K
    return np.where(count > 0, (2 * total + count) // np.maximum(2 * count, 1), 0)


def to_planes(rows: Int[np.ndarray, "R n"]) -> bytes:
    """Zigzag, three planes for each row. Raises ValueError where 24 bits are too few."""
    zigzag = np.where(rows < 0, -2 * rows - 1, 2 * rows)
    if zigzag.max(initial=0) >= 1 << 24:
        raise ValueError("a number of the face model is too large for the viewer: are its units millimetres?")
    return np.stack([zigzag & 255, zigzag >> 8 & 255, zigzag >> 16], 1).astype(np.uint8).tobytes()


def _with_dark_mouth(model: MorphableModel, flattening: Flattening) -> _Mesh:
    """`pictures.close_holes` for all shapes at once: a fan behind every hole that moves with its rim."""
    X = torch.cat([model.shape_mean[..., None], model.shape_basis], -1)  # V 3 1+Ns
    albedo = torch.cat([model.albedo_mean[..., None], model.albedo_basis], -1)
    dark = torch.tensor(DARK_MOUTH)  # display values
    dark = to_linear(dark) if model.colour_space == "linear" else dark
    T, uv = model.triangles, flattening.uv[: model.n_vertices].to(X)
    rims = sorted(boundary_loops(T), key=lambda rim: float(loop_length(rim, model.shape_mean)))
    for rim in rims[:-1]:  # the last one is the outer rim of the face
        behind = X[rim].mean(0, keepdim=True)
        behind[0, 2, 0] -= CAVITY_MM
        n, L = len(X), len(rim)
        i = n + torch.arange(L)
        T = torch.cat([T, torch.stack([i.roll(-1), i, torch.full_like(i, n + L)], -1).to(T)])
        X = torch.cat([X, X[rim], behind])
        colour = albedo.new_zeros(L + 1, *albedo.shape[1:])
        colour[..., 0] = dark
        albedo = torch.cat([albedo, colour])
        uv = torch.cat([uv, uv[rim], uv[rim].mean(0, keepdim=True)])
    return _Mesh(*(x.double().numpy() for x in (X, albedo, uv)), T.numpy())
