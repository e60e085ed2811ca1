"""The 68 landmarks of Multi-PIE, found by rule on the mean face (book: *Morphable models*).

Landmark detectors answer with 68 points in an order that the Multi-PIE data set made common (Gross et al. 2010):
jaw 0–16, right brow 17–21, left brow 22–26, ridge of the nose 27–30, base of the nose 31–35, right eye 36–41, left eye
42–47, outer rim of the lips 48–59, line between the lips 60–67; from the subject's right to left, eyes and lips
clockwise as the viewer sees them. The rules here name vertices of the left half and of the midline; the right half is
their mirror image.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from facenb.open_model.lips import lip_halves, share_of_way
from facenb.open_model.mesh import FaceMesh

# landmark on the subject's right → its mirror image on the left
PAIRS = (
    {k: 16 - k for k in range(8)}
    | {17 + k: 26 - k for k in range(5)}
    | {31: 35, 32: 34}
    | {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}
    | {48: 54, 49: 53, 50: 52, 59: 55, 58: 56, 60: 64, 61: 63, 67: 65}
)

# Middle line of the left brow, from its inner to its outer end: x in widths of the eye from the inner corner, y in mm
# above the centre of the eye. Brows vary with hair more than with bone, so this is an average, not a measurement.
BROW = ((-0.2, 13.0), (0.16, 16.5), (0.52, 18.0), (0.88, 16.5), (1.22, 12.0))
FACING = 0.3  # forward part of the normal where the skin turns away from a viewer in front
OUTLINE_RAYS = 181
OUTLINE_SAG = 14.0  # mm
LIP_SHARES = {53: 0.42, 52: 0.78, 56: 0.75, 55: 0.38}  # way from the left corner to the middle
INNER_LIP_SHARE = 0.55
CORNER_WIDTH = 2.0  # mm from the end of the line between the lips to the corner of their red


def find_landmarks(mesh: FaceMesh, lips: Float[np.ndarray, " V"]) -> Int[np.ndarray, " 68"]:
    """Vertices of the landmarks; `lips` is the weight of the lips' red."""
    X, N = mesh.vertices, mesh.normals
    middle = np.flatnonzero((mesh.mirror == np.arange(len(X))) & (N[:, 2] > -0.3))  # of the front, not of the mouth
    left = _eye(X, mesh.lids[0])
    left |= _brow(X, N, X[left[42]], X[left[45]])
    nose_tip = middle[X[middle, 2].argmax()]
    left |= _nose(X, N, middle, nose_tip, X[mesh.eyes[0], 1].mean())
    left |= _lips(X, N, middle, mesh.contact, lips)
    left |= _outline(X, N, middle, X[left[45], 1], X[left[54], 1])
    landmarks = np.full(68, -1)
    landmarks[list(left)] = list(left.values())
    for right, its_twin in PAIRS.items():
        landmarks[right] = mesh.mirror[landmarks[its_twin]]
    return landmarks


def _eye(X: Float[np.ndarray, "V 3"], lid: Int[np.ndarray, " L"]) -> dict[int, int]:
    """Corners of the left eye, and the points a third and two thirds of the way along each lid."""
    upper, lower = (lid[half[::-1]] for half in lip_halves(X[lid]))  # from the inner to the outer corner
    points = {42: upper[0], 45: upper[-1]}
    for half, names in ((upper, (43, 44)), (lower, (47, 46))):
        way = share_of_way(X[half])
        points |= {name: half[np.abs(way - share).argmin()] for name, share in zip(names, (1 / 3, 2 / 3), strict=True)}
    return points


def _brow(
    X: Float[np.ndarray, "V 3"],
    N: Float[np.ndarray, "V 3"],
    inner: Float[np.ndarray, " 3"],
    outer: Float[np.ndarray, " 3"],
) -> dict[int, int]:
    width, height = outer[0] - inner[0], (inner[1] + outer[1]) / 2
    return {22 + k: _at(X, N, inner[0] + width * share, height + up) for k, (share, up) in enumerate(BROW)}


def _nose(
    X: Float[np.ndarray, "V 3"], N: Float[np.ndarray, "V 3"], middle: Int[np.ndarray, " M"], tip: int, eye_y: float
) -> dict[int, int]:
    """Four points down the ridge, from its root between the eyes to the tip, and three along the base."""
    ridge = {27 + k: _nearest(X[:, 1], y, middle) for k, y in enumerate(np.linspace(eye_y + 2, X[tip, 1], 4))}
    ridge[30] = tip
    below = middle[(X[middle, 1] < X[tip, 1] - 4) & (X[middle, 1] > X[tip, 1] - 20)]
    base = below[X[below, 2].argmin()]  # where the nose meets the lip
    height, depth = X[:, 1] - X[base, 1], X[:, 2] - X[base, 2]
    wing = np.flatnonzero((height > 1) & (height < 8) & (depth > -14) & (np.abs(X[:, 0]) < 24) & (N[:, 0] > 0.75))
    wing = wing[X[wing, 0].argmax()]
    nostril = _at(X, N, 0.45 * X[wing, 0], X[base, 1] + 1.5)
    return ridge | {33: base, 34: nostril, 35: wing}


def _lips(
    X: Float[np.ndarray, "V 3"],
    N: Float[np.ndarray, "V 3"],
    middle: Int[np.ndarray, " M"],
    contact: Int[np.ndarray, " C"],
    lips: Float[np.ndarray, " V"],
) -> dict[int, int]:
    """Where the red begins, and the line where the lips touch."""
    upper, lower = (contact[half] for half in lip_halves(X[contact]))  # from the left to the right corner
    corner, mouth_y = upper[0], X[contact, 1].mean()
    points = {64: corner}
    for half, (side, centre) in ((upper, (63, 62)), (lower, (65, 66))):
        points[centre] = half[np.abs(X[half, 0]).argmin()]
        points[side] = _nearest(X[:, 0], X[corner, 0] * (1 - INNER_LIP_SHARE), half)

    points[54] = _at(X, N, X[corner, 0] + CORNER_WIDTH, X[corner, 1])
    red = np.flatnonzero((lips > 0.5) & (X[:, 2] > X[corner, 2] - 2))
    for name, share in LIP_SHARES.items():
        near = red[np.abs(X[red, 0] - X[corner, 0] * (1 - share)) < 1.2]
        points[name] = near[((X[near, 1] - mouth_y) * (1 if name < 54 else -1)).argmax()]
    red_middle = np.intersect1d(red, middle)
    points[51], points[57] = red_middle[X[red_middle, 1].argmax()], red_middle[X[red_middle, 1].argmin()]
    return points


def _outline(
    X: Float[np.ndarray, "V 3"], N: Float[np.ndarray, "V 3"], middle: Int[np.ndarray, " M"], top: float, mouth_y: float
) -> dict[int, int]:
    """The outline of the left half as a viewer in front sees it, evenly from the height of the eyes to the chin.

    Seen from the side it runs from the temple to the chin, each where the skin turns away from the viewer, along a
    parabola that sags back towards the angle of the jaw.
    """
    facing = np.abs(N[:, 2] - FACING)
    chin = middle[X[middle, 1] < mouth_y - 15]
    chin = chin[facing[chin].argmin()]
    temple = np.flatnonzero((np.abs(X[:, 1] - top) < 3) & (X[:, 0] > 40))
    temple = temple[facing[temple].argmin()]
    t = (X[:, 1] - X[chin, 1]) / (X[temple, 1] - X[chin, 1])  # 0 at the chin, 1 at the temple
    depth = (1 - t) * X[chin, 2] + t * X[temple, 2] - 4 * OUTLINE_SAG * t * (1 - t)
    from_curve = np.abs(X[:, 2] - depth)

    offset = X[:, :2] - [0, (top + mouth_y) / 2]
    outline = [temple]
    for angle in np.linspace(np.arctan2(*offset[temple, ::-1]), -np.pi / 2, OUTLINE_RAYS)[1:-1]:
        along = offset @ [np.cos(angle), np.sin(angle)]
        across = np.abs(offset @ [-np.sin(angle), np.cos(angle)])
        outline.append(np.where((across < 2.5) & (along > 30), from_curve, np.inf).argmin())
    outline.append(chin)
    way = share_of_way(X[outline] * [1, 1, 0])
    return {16 - k: int(outline[int(np.abs(way - k / 8).argmin())]) for k in range(9)}


def _at(X: Float[np.ndarray, "V 3"], N: Float[np.ndarray, "V 3"], x: float, y: float) -> int:
    """Vertex of the front nearest to (x, y) as seen from the front."""
    front = np.flatnonzero(N[:, 2] > 0.15)
    return int(front[np.hypot(X[front, 0] - x, X[front, 1] - y).argmin()])


def _nearest(values: Float[np.ndarray, " V"], value: float, among: Int[np.ndarray, " n"]) -> int:
    return int(among[np.abs(values[among] - value).argmin()])
