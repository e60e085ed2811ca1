"""Reading ICT-FaceKit, the free light-stage model of the University of Southern California (book: *Morphable models*).

The model (MIT licence) is a folder of OBJ files on one topology of 26,719 vertices: `generic_neutral_mesh.obj`,
`identity000.obj` … `identity099.obj` and one file per expression, `jawOpen.obj` and so on, each the neutral face plus
one offset. It has no albedo: the light version keeps that back, so ours is a constant mid-grey without components.

Units: centimetres in the files, millimetres here. Scaled copies exist, so the unit is told by the distance between the
outer corners of the eyes, nine centimetres and a half in adults. Axes are ours already: x to the subject's left, y up,
z forward.

Standard deviations: the authors draw identity weights from the unit normal distribution, so each mode is one standard
deviation as published. Expression weights run from 0 to 1; a weight uniform on [0, 1] has standard deviation 1/√12, and
that much of the full action is our unit.

Source: Li et al. 2020, "Learning Formation of Physically-Based Face Attributes", and the repository's README.
"""

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from facenb.model_files import ModelFileError, checked, facing_outwards, readable_file
from facenb.morphable_model import MorphableModel

NEUTRAL = "generic_neutral_mesh.obj"
N_VERTICES = 26_719
N_FACE_VERTICES = 9_409  # "Face" of the README; what follows is the back of the head, the mouth, teeth and eyes
# "Multi-PIE 68 point facial landmarks indices" of the README, from the subject's right jaw
LANDMARKS68 = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),  # jaw
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),  # brows
    *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),  # nose
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732),  # eyes
    *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),  # outer lips
    *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),  # inner lips
)
_OUTER_EYE_CORNERS = (LANDMARKS68[36], LANDMARKS68[45])
_EYE_DISTANCE = 95.0  # mm
_UNITS = {"mm": 1.0, "cm": 10.0, "inch": 25.4, "m": 1000.0}
_EXPRESSION_SD = 1 / math.sqrt(12)


def load_ict(folder: str | Path, region: Literal["face", "full"] = "face") -> MorphableModel:
    """ICT-FaceKit from its folder `FaceXModel` (or the repository that holds it), float32, mm, constant grey albedo.

    `region` "face" keeps the 9,409 vertices of the face, an open surface as the flattening needs it; "full" keeps head,
    eyes and teeth as well. Expressions that move nothing in the region (the pupils' size) are left out. Reads some 150
    files, about ten seconds; `save_model` keeps the result.

    Raises ModelFileError, naming the file and the remedy, if a file is missing, damaged or of another topology.
    """
    if region not in ("face", "full"):
        raise ValueError(f'region {region!r}, expected "face" or "full"')
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: no such folder; give the FaceXModel folder of ICT-FaceKit")
    if (folder / "FaceXModel" / NEUTRAL).is_file():
        folder = folder / "FaceXModel"
    if not (folder / NEUTRAL).is_file():
        raise ModelFileError(f"{folder}: no {NEUTRAL} inside; give the FaceXModel folder of ICT-FaceKit")

    V = N_FACE_VERTICES if region == "face" else N_VERTICES
    neutral = _read_vertices(folder / NEUTRAL)  # 26719 3
    to_mm = _millimetres(neutral, folder / NEUTRAL)
    triangles = _read_triangles(folder / NEUTRAL)
    triangles = triangles[(triangles < V).all(1)]

    others = sorted(p for p in folder.glob("*.obj") if p.name != NEUTRAL)
    identities = [p for p in others if re.fullmatch(r"identity\d+", p.stem)]
    expressions = [p for p in others if p not in identities]
    if not identities:
        raise ModelFileError(f"{folder}: no identity000.obj and so on inside; download the whole folder")

    def basis(paths: list[Path]) -> Float[np.ndarray, "V 3 K"]:
        offsets = np.zeros((V, 3, len(paths)))
        for k, path in enumerate(paths):
            offsets[..., k] = to_mm * (_read_vertices(path) - neutral)[:V]
        return offsets

    expression_basis = _EXPRESSION_SD * basis(expressions)
    moves = np.abs(expression_basis).max((0, 1), initial=0.0) > 1e-3  # mm
    model = MorphableModel(
        shape_mean=torch.from_numpy(to_mm * neutral[:V]).float(),
        identity_basis=torch.from_numpy(basis(identities)).float(),
        expression_basis=torch.from_numpy(expression_basis[..., moves]).float(),
        albedo_mean=torch.full((V, 3), 0.5),
        albedo_basis=torch.zeros(V, 3, 0),
        triangles=torch.from_numpy(triangles),
        landmarks68=torch.tensor(LANDMARKS68),
        colour_space="sRGB",
        name="ICT-FaceKit",
    )
    return facing_outwards(checked(model, folder / NEUTRAL))


def _read_vertices(path: Path) -> Float[np.ndarray, "26719 3"]:
    """The `v` lines of an OBJ file."""
    lines = [line[2:].split()[:3] for line in readable_file(path).read_bytes().splitlines() if line.startswith(b"v ")]
    try:
        X = np.array(lines, dtype=np.float64)
    except ValueError as error:
        raise ModelFileError(f"{path}: a vertex line is not three numbers; download the file again") from error
    if X.shape != (N_VERTICES, 3):
        raise ModelFileError(
            f"{path}: {len(X):,} vertices, ICT-FaceKit has {N_VERTICES:,}; if it is the right file, download it again"
        )
    if not np.isfinite(X).all():
        raise ModelFileError(f"{path}: holds NaN or infinite numbers; download the file again")
    return X


def _read_triangles(path: Path) -> Int[np.ndarray, "T 3"]:
    """The `f` lines of an OBJ file, polygons cut into fans; indices from 0."""
    triangles = []
    try:
        for line in path.read_bytes().splitlines():
            if line.startswith(b"f "):
                corners = [int(word.split(b"/")[0]) - 1 for word in line[2:].split()]
                triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    except ValueError as error:
        raise ModelFileError(f"{path}: a face line is not made of indices; download the file again") from error
    T = np.array(triangles, dtype=np.int64).reshape(-1, 3)
    if not len(T) or T.min() < 0 or T.max() >= N_VERTICES:
        raise ModelFileError(f"{path}: faces are missing or point beyond the vertices; download the file again")
    return T


def _millimetres(neutral: Float[np.ndarray, "26719 3"], path: Path) -> float:
    """What to multiply by: the unit that brings the outer eye corners nearest to their usual distance."""
    distance = float(np.linalg.norm(np.subtract(*neutral[list(_OUTER_EYE_CORNERS)])))
    errors = {unit: abs(math.log(max(distance, 1e-9) * mm / _EYE_DISTANCE)) for unit, mm in _UNITS.items()}
    unit = min(errors, key=errors.__getitem__)
    if errors[unit] > math.log(1.3):
        raise ModelFileError(
            f"{path}: the outer eye corners are {distance:.3g} apart, no face in mm, cm, inch or m; undo the scaling"
        )
    return _UNITS[unit]
