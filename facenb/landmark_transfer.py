"""The 68 Multi-PIE points of a model that names only some of them (book: *Morphable models*).

The Basel Face Model names corners and midpoints of eyes, nose and mouth, but no point of the jaw except the chin. The
missing ones are carried over from a model that has all 68: its mean face is moved onto the other by the similarity that
brings the shared points together, then bent so that they all but meet. The bending is a Gaussian process on what the
similarity leaves over: it fades with distance from the shared points, since far from them it would blow up a small
disagreement, and it need not obey two points that nearly coincide (the lips' inner rims) when they disagree. What lands
near the surface is taken to its nearest vertex.

Mean shapes in mm; landmark indices from 0, in the Multi-PIE order from the subject's right jaw.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from facenb.morphable_model import MorphableModel

# Points of the Basel Face Model that are points of Multi-PIE, too. Left out are its brows and wings of the nose, which
# are near points of Multi-PIE, but not the same.
BASEL_TO_MULTI_PIE = {
    "center.chin.tip": 8,
    "center.nose.tip": 30,
    "center.nose.attachement_to_philtrum": 33,
    "right.eye.corner_outer": 36,
    "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42,
    "left.eye.corner_outer": 45,
    "right.lips.corner": 48,
    "right.lips.philtrum_ridge": 50,
    "center.lips.upper.outer": 51,
    "left.lips.philtrum_ridge": 52,
    "left.lips.corner": 54,
    "center.lips.lower.outer": 57,
    "center.lips.upper.inner": 62,
    "center.lips.lower.inner": 66,
}
FEWEST = 8  # shared points; and they must not lie on a line
_REACH = 25.0  # mm over which the bending fades: about the size of an eye or half a mouth
_BEND, _NOISE = 5.0, 1.0  # mm: how far mean faces differ, and how well two hands agree on one point


def complete_landmarks68(model: MorphableModel, known: dict[int, int], template: MorphableModel) -> MorphableModel:
    """`model` with all 68 landmarks: `known` gives the vertex of some of them by number, `template` shows the others.

    Accuracy is that of two mean faces agreeing: a few millimetres for brows, lids and lips, worst on the jaw, where
    nobody agrees anyway.

    Raises ValueError if fewer than `FEWEST` points are known, if they lie on a line, or if `template` has no landmarks.
    """
    if len(known) < FEWEST:
        raise ValueError(
            f"{len(known)} of the 68 landmarks are known, at least {FEWEST} are needed to place the others"
        )
    if template.landmarks68.shape != (68,):
        raise ValueError(f"{template.name} has no 68 landmarks to take over")
    X = model.shape_mean.double().cpu().numpy()  # V 3
    points = template.shape_mean[template.landmarks68].double().cpu().numpy()  # 68 3
    shared, vertices = list(known), list(known.values())
    moved = _similarity(points[shared], X[vertices], points)  # 68 3
    left_over = X[vertices] - moved[shared]
    smoothing = (_NOISE / _BEND) ** 2
    bend = RBFInterpolator(
        moved[shared], left_over, smoothing=smoothing, kernel="gaussian", epsilon=1 / _REACH, degree=-1
    )
    _, nearest = cKDTree(X).query(moved + bend(moved))
    landmarks = torch.from_numpy(nearest)
    landmarks[shared] = torch.tensor(vertices)
    return replace(model, landmarks68=landmarks.to(model.triangles))


def _similarity(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"], points: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, "M 3"]:
    """`points` under the rotation, scale and shift that bring `source` nearest to `target`.

    Source: Umeyama 1991, equations 40–42.
    """
    centre_s, centre_t = source.mean(0), target.mean(0)
    s, t = source - centre_s, target - centre_t
    U, D, Vt = np.linalg.svd(t.T @ s)
    if D[1] < 1e-6 * D[0]:
        raise ValueError("the known landmarks lie on a line and do not tell how the face is turned")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])  # a rotation, not a mirror
    R = U @ np.diag(sign) @ Vt
    scale = (D * sign).sum() / (s**2).sum()
    return scale * (points - centre_s) @ R.T + centre_t
