"""Scans of the MICC Florence data set as subjects of the cross-view experiment.

Bagdanov, Del Bimbo and Masi 2011 scanned 53 people by structured light; the data may be had for a signed licence. Their
own layout is read as it comes:

    MICC/subject_01/Model/frontal1/obj/NAME.obj      vertices in mm, with a picture for a texture beside it
         subject_02/ …

A scan shows more than a face, and its origin is the scanner's. So it is laid on the open model's average face by the
nose, then by trimmed ICP, and cut off 95 mm round the tip of the nose, as is usual on this data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals
from facenb.restore.alignment import Similarity, Surface, align
from facenb.restore.studio import Subject, canonical

RADIUS = 95.0  # mm round the tip of the nose
SCAN = "Model/frontal*/obj/*.obj"
SIZES = (100.0, 1000.0)  # mm: a head's scan is as large
POINTS = 2000  # vertices that the alignment looks at


class ScanError(ValueError):
    """A scan that cannot be used; the message names the file and the remedy."""


def micc_scans(folder: str | Path) -> list[Path]:
    """The first frontal scan of every subject. Raises ScanError for a folder that is not laid out as above."""
    folder = Path(folder)
    found = [sorted(subject.glob(SCAN)) for subject in sorted(folder.glob("subject_*"))]
    scans = [paths[0] for paths in found if paths]
    if not scans:
        raise ScanError(f"{folder}: no scans; give the folder that holds subject_01/Model/frontal1/obj/….obj")
    return scans


def micc_subjects(folder: str | Path, model: MorphableModel) -> Iterator[tuple[str, Subject]]:
    """Name and subject of every scan, in the studio's canonical camera."""
    for path in micc_scans(folder):
        yield path.relative_to(folder).parts[0], read_scan(path, model)


def read_scan(path: Path, model: MorphableModel) -> Subject:
    """One scan, upright, cut out and coloured. Raises ScanError naming the file."""
    try:
        mesh = trimesh.load(path, force="mesh", process=False)
    except Exception as error:  # trimesh's loaders raise whatever their parsers do
        raise ScanError(f"{path}: not a readable OBJ file ({error}); copy it again from the data set") from None
    vertices, triangles = np.asarray(mesh.vertices, float), np.asarray(mesh.faces)
    if not len(triangles) or not np.isfinite(vertices).all():
        raise ScanError(f"{path}: no triangles, or vertices that are not numbers; copy it again from the data set")
    extent = np.ptp(vertices, axis=0).max()
    if not SIZES[0] <= extent <= SIZES[1]:
        raise ScanError(f"{path}: {extent:.3g} mm large; scans must be in mm, scale it")
    colours = _colours(mesh, path)
    place = _place(vertices, triangles, model)
    vertices = place(vertices)
    tip = vertices[_nose_tip(vertices)]
    near = np.linalg.norm(vertices - tip, axis=1) <= RADIUS
    kept = near[triangles].all(1)
    used, triangles = np.unique(triangles[kept], return_inverse=True)
    triangles = torch.from_numpy(triangles.reshape(-1, 3))
    X = torch.from_numpy(vertices[used]).float()  # mm, model coordinates
    return Subject(
        X=canonical(X),
        normals=vertex_normals(X, triangles),
        colours=torch.from_numpy(colours[used]).float(),
        triangles=triangles,
        skin=torch.ones(len(X), dtype=torch.bool),
        identity=torch.zeros(0),
        expression=torch.zeros(0),
    )


def _colours(mesh: trimesh.Trimesh, path: Path) -> Float[np.ndarray, "V 3"]:
    """sRGB of each vertex, from the texture or the vertices' own colours."""
    try:
        colours = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
        rgba = np.asarray(colours.vertex_colors)
    except (AttributeError, ValueError, OSError) as error:
        raise ScanError(f"{path}: its texture cannot be read ({error}); is the picture beside it?") from None
    return rgba[:, :3].astype(float) / 255


def _place(vertices: np.ndarray, triangles: np.ndarray, model: MorphableModel) -> Similarity:
    """The rigid motion from the scanner's coordinates to the model's."""
    mean = model.shape_mean.double().numpy()
    start = Similarity(1.0, np.eye(3), mean[_nose_tip(mean)] - vertices[_nose_tip(vertices)])
    points = mean[:: max(len(mean) // POINTS, 1)]
    return align(Surface(vertices, triangles), points, start, scale=False)


def _nose_tip(vertices: Float[np.ndarray, "V 3"]) -> int:
    """The vertex that stands out most towards the viewer (+z) in the middle third of the scan's height."""
    y = vertices[:, 1]
    low, high = np.quantile(y, [1 / 3, 2 / 3])
    return int(np.where((y >= low) & (y <= high), vertices[:, 2], -np.inf).argmax())
