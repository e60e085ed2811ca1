"""Reading the Basel Face Model 2017, and its successors in the same layout (book: *Morphable models*).

The model is free for research but may not be passed on, so a reader registers in Basel and brings the file:
`model2017-1_bfm_nomouth.h5` (the whole mask with ears) or `model2017-1_face12_nomouth.h5` (28,588 vertices, the face).
It is a statismo HDF5 file: groups `shape`, `expression` and `color`, each with `model/mean` (3V), interleaved x y z or
r g b, `model/pcaBasis` (3V, K) and `model/pcaVariance` (K), the eigenvalues.

Two traps. The shape mean and the expression mean are *both* added. And what `pcaBasis` holds changed: since version 0.9
of the format its columns are orthonormal and need the factor √variance, in version 0.8 they carry it already. Files lie
about their version (converters copy the number), columns do not: their length is 1 or √variance, so we look.

Axes and units are ours already: mm, x to the subject's left, y up, z forward. Colours are [0, 1]; files that count to
255 exist and are scaled down. The file says only "RGB"; it was photographed and is compared with photos as it is, so we
call it "sRGB".

Source: Gerig et al. 2018, "Morphable Face Models - An Open Framework".
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from facenb.model_files import (
    MAX_BYTES,
    ModelFileError,
    checked,
    facing_outwards,
    landmarks_beside,
    readable_file,
)
from facenb.morphable_model import MorphableModel

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def load_bfm(path: str | Path) -> MorphableModel:
    """The Basel Face Model at `path`, float32, both means added, every basis vector scaled to unit variance.

    `landmarks68` comes from a file beside the model if there is one (see `landmarks_beside`), else it is empty: Basel
    names some sixty points of its own (`bfm_landmarks`), fifteen of which are Multi-PIE points. `load_model` finds the
    other ones with the open model's help.

    Raises ModelFileError, naming the file and the remedy, if it is not a whole and consistent model of this layout.
    """
    path = readable_file(path)
    with _open(path) as file:
        shape_mean, identity_basis = _component(file, path, "shape")
        expression_mean, expression_basis = _component(file, path, "expression")
        albedo_mean, albedo_basis = _component(file, path, "color")
        if not len(shape_mean) == len(expression_mean) == len(albedo_mean):
            sizes = f"{len(shape_mean)}, {len(expression_mean)} and {len(albedo_mean)}"
            raise ModelFileError(f"{path}: shape, expression and color have {sizes} vertices; download the file again")
        triangles = _triangles(file, path)
    if albedo_mean.max() > 2:  # 0–255: a mean skin colour above 2 cannot be meant in [0, 1]
        albedo_mean, albedo_basis = albedo_mean / 255, albedo_basis / 255
    X = shape_mean + expression_mean  # V 3
    model = MorphableModel(
        shape_mean=X,
        identity_basis=identity_basis,
        expression_basis=expression_basis,
        albedo_mean=albedo_mean,
        albedo_basis=albedo_basis,
        triangles=triangles,
        landmarks68=landmarks_beside(path),
        colour_space="sRGB",
        name=path.stem,
    )
    model = checked(model, path)
    return facing_outwards(model)


def bfm_landmarks(path: str | Path) -> dict[str, int]:
    """Vertex of each point that the file names, such as "center.nose.tip" or "right.eye.corner_outer"; {} if none.

    The file gives positions on its reference mesh; each goes to the nearest vertex. All stored forms are read: JSON as
    a string, as an array of one string and as an array of bytes, and the older `landmarks/text` ("name visible x y z").
    """
    path = readable_file(path)
    with _open(path) as file:
        points = _landmark_points(file, path)
        if not points:
            return {}
        reference = _read(file, path, "shape/model/mean")  # 3V
        if "shape/representer/points" in file:
            points_of_mesh = _read(file, path, "shape/representer/points")  # 3 V
            if points_of_mesh.shape == (3, len(reference) // 3):
                reference = points_of_mesh.T
        reference = reference.reshape(-1, 3)  # V 3
    if not np.isfinite(reference).all():
        raise ModelFileError(f"{path}: the reference mesh holds NaN or infinite numbers; download the file again")
    _, nearest = cKDTree(reference).query(np.array(list(points.values())))
    return dict(zip(points, nearest.tolist(), strict=True))


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """The file, opened; what HDF5 has to complain about while it is read becomes one line."""
    with path.open("rb") as raw:
        if raw.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            raise ModelFileError(f"{path}: not an HDF5 file, as the Basel Face Model is; check what was downloaded")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ModelFileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's ways to say "damaged"
        raise ModelFileError(f"{path}: broken or truncated HDF5 file; download it again") from error


def _read(file: h5py.File, path: Path, name: str) -> np.ndarray:
    """A numeric dataset as float64 or int64, refused before reading if it is missing, not numeric or absurdly large."""
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise ModelFileError(
            f"{path}: no {name} inside, so this is no Basel Face Model 2017; check what was downloaded"
        )
    if data.dtype.kind not in "fiu":
        raise ModelFileError(f"{path}: {name} holds no numbers; download the file again")
    if data.nbytes > MAX_BYTES:
        raise ModelFileError(
            f"{path}: {name} claims {data.nbytes / 2**30:.0f} GiB; the file is damaged, download it again"
        )
    return data[()].astype(np.float64 if data.dtype.kind == "f" else np.int64, copy=False)


def _component(file: h5py.File, path: Path, group: str) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "V 3 K"]]:
    """Mean and unit-variance basis of one group, float32."""
    mean = _read(file, path, f"{group}/model/mean").reshape(-1)  # 3V
    U = _read(file, path, f"{group}/model/pcaBasis")  # 3V K
    variance = _read(file, path, f"{group}/model/pcaVariance").reshape(-1)  # K
    if len(mean) % 3 or U.shape != (len(mean), len(variance)):
        sizes = f"mean {len(mean)}, pcaBasis {'×'.join(map(str, U.shape))}, pcaVariance {len(variance)}"
        raise ModelFileError(f"{path}: sizes in {group} do not fit ({sizes}); download the file again")
    if not (variance >= 0).all():  # written so that NaN fails too
        raise ModelFileError(f"{path}: {group}/model/pcaVariance is negative or NaN; download the file again")
    basis = _unit_variance(U, variance)
    V, K = len(mean) // 3, len(variance)
    return torch.from_numpy(mean).float().reshape(V, 3), torch.from_numpy(basis).float().reshape(V, 3, K)


def _unit_variance(U: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Columns of length √variance, whatever their length in the file.

    That is 1 in version 0.9 of the format and √variance in version 0.8. Measured
    as ratios, over the columns that have a length; the median deviation decides.
    """
    sigma = np.sqrt(variance)  # K
    length = np.linalg.norm(U, axis=0)  # K
    told = (sigma > 0) & (length > 0)
    if not told.any():
        return U
    from_unit = np.median(np.abs(np.log(length[told])))
    from_scaled = np.median(np.abs(np.log(length[told] / sigma[told])))
    return U if from_scaled < from_unit else U * sigma


def _triangles(file: h5py.File, path: Path) -> Int[Tensor, "T 3"]:
    cells = _read(file, path, "shape/representer/cells")
    if cells.ndim != 2 or 3 not in cells.shape or cells.dtype.kind != "i":
        shape = "×".join(map(str, cells.shape))
        raise ModelFileError(
            f"{path}: shape/representer/cells is {shape}, expected 3×T indices; download the file again"
        )
    return torch.from_numpy(np.ascontiguousarray(cells.T if cells.shape[0] == 3 else cells))


def _landmark_points(file: h5py.File, path: Path) -> dict[str, list[float]]:
    """Name → x y z as the file stores them."""
    try:
        if "metadata/landmarks/json" in file:
            entries = json.loads(_text(file["metadata/landmarks/json"]))
            points = {entry["id"]: [float(x) for x in entry["coordinates"]] for entry in entries}
        elif "metadata/landmarks/text" in file:
            lines = [line.split() for line in _text(file["metadata/landmarks/text"]).splitlines()]
            points = {words[0]: [float(x) for x in words[-3:]] for words in lines if words and words[0][0] != "#"}
        else:
            points = {}
        if any(len(p) != 3 or not np.isfinite(p).all() for p in points.values()):
            raise ValueError("a point needs three finite coordinates")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ModelFileError(
            f"{path}: cannot read its landmarks ({error}); download it again, or put all 68 beside it"
        ) from error
    return points


def _text(data: h5py.Dataset) -> str:
    """Text that statismo and its relatives have written as a string, as an array of strings or as an array of bytes."""
    value = np.asarray(data[()])
    if value.dtype.kind in "iu":
        raw = value.astype(np.uint8).tobytes()
    else:
        raw = b"".join(v if isinstance(v, bytes) else bytes(str(v), "utf-8") for v in value.reshape(-1).tolist())
    return raw.rstrip(b"\x00").decode("utf-8")
