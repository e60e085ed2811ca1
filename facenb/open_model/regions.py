"""Named parts of the face as soft vertex weights (book: *Morphable models*).

Two come from MakeHuman's painted masks (lips, eyelids), two from the mesh itself (eyes, inside of the lips); the
others are measured in mm from the landmarks. None asks for the sign of x, so they are exactly mirror-symmetric on a
mirror-symmetric mesh. Weights lie in [0, 1].
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from facenb.open_model.face_maps import ramp, sky_visibility
from facenb.open_model.mesh import FaceMesh

COLUMELLA = 3.0  # mm, half the width of the bridge of skin between the nostrils
PIT = (3.2, 2.6, 3.6)  # mm, size of a nostril along each axis
BROW_HALF_WIDTH = 3.5  # mm


def find_regions(
    mesh: FaceMesh,
    painted_lips: Float[np.ndarray, " V"],
    painted_eyelids: Float[np.ndarray, " V"],
    inner_lips: Int[np.ndarray, " I"],
    links: sp.csr_array,
) -> dict[str, Float[np.ndarray, " V"]]:
    """Weights by name; `mesh` must have its landmarks.

    Names: eyes, eyelids, brows, nose, nostrils, lips, cheeks, beard, forehead, chin, and face (the part that looks
    forward, for weighting a fit).
    """
    X, P = mesh.vertices, mesh.vertices[mesh.landmarks68]
    N = mesh.normals
    x, y, z = np.abs(X[:, 0]), X[:, 1], X[:, 2]
    neighbours = sp.diags_array(1 / links.sum(1)) @ links

    def smooth(weight: Float[np.ndarray, " V"], rounds: int) -> Float[np.ndarray, " V"]:
        for _ in range(rounds):
            weight = (weight + neighbours @ weight) / 2
        return weight

    eyes = np.zeros(len(X))
    eyes[np.concatenate(mesh.eyes)] = 1
    lips = smooth(painted_lips, 1)
    lips[inner_lips] = 1
    brow = P[22:27]
    nose = _near_polyline(X, P[27:31], 10, np.linspace(0.8, 1.9, 4))
    nose *= ramp(y - P[33, 1] - 1, 1.5) * ramp(1.15 * P[35, 0] - x, 2) * ramp(z - P[35, 2] + 3, 2)
    cheek = _blob(x, y, (0.9 * P[45, 0], P[33, 1] + 6), (15, 16)) * ramp(z - P[14, 2], 10)
    # the pits on both sides of the columella: around the spot on the underside of the nose that sees least of the sky
    under = (x > COLUMELLA) & (x < P[35, 0]) & (y > P[33, 1]) & (y < P[30, 1]) & (z > P[35, 2])
    pit = X[np.where(under, sky_visibility(mesh), np.inf).argmin()]
    from_pit = np.stack([x - abs(pit[0]), y - pit[1], z - pit[2]], -1) / PIT
    nostrils = np.exp(-(from_pit**2).sum(1))
    nostrils *= ramp(x - COLUMELLA, 0.5) * ramp(-N[:, 1] + 0.2, 0.2)
    jaw_line = np.interp(x, P[8:15, 0], P[8:15, 1] + 32)  # upper edge of a beard, well above the jaw
    beard = np.maximum(ramp(P[33, 1] - 1 - y, 3) * ramp(P[54, 0] + 10 - x, 4), ramp(jaw_line - y, 6))
    regions = {
        "eyes": eyes,
        "eyelids": smooth(painted_eyelids, 3) * (1 - eyes),
        "brows": _near_polyline(X * [1, 1, 0], brow * [1, 1, 0], BROW_HALF_WIDTH, np.linspace(1, 0.6, 5)) * ramp(z, 10),
        "nose": nose,
        "nostrils": nostrils,
        "lips": lips,
        "cheeks": cheek,
        "beard": beard * (1 - lips),
        "forehead": ramp(y - brow[:, 1].max() - 4, 3) * ramp(N[:, 2] - 0.35, 0.15),
        "chin": _blob(x, y, (0.0, 0.55 * P[57, 1] + 0.45 * P[8, 1]), (20, 12)) * ramp(z - P[54, 2] + 15, 5),
        "face": smooth(ramp(N[:, 2] - 0.3, 0.15), 12) * ramp(y - P[8, 1], 3),
    }
    return {name: np.clip((weight + weight[mesh.mirror]) / 2, 0, 1) for name, weight in regions.items()}


def _blob(
    x: Float[np.ndarray, " V"], y: Float[np.ndarray, " V"], centre: tuple[float, float], size: tuple[float, float]
) -> Float[np.ndarray, " V"]:
    return np.exp(-(((x - centre[0]) / size[0]) ** 2) - ((y - centre[1]) / size[1]) ** 2)


def _near_polyline(
    X: Float[np.ndarray, "V 3"], line: Float[np.ndarray, "n 3"], width: float, taper: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " V"]:
    """Gaussian of the distance to a polygon of the left half or its mirror image; `taper` scales `width` along it."""
    X = np.stack([np.abs(X[:, 0]), X[:, 1], X[:, 2]], -1)
    weight = np.zeros(len(X))
    for a, b, s, e in zip(line[:-1], line[1:], taper[:-1], taper[1:], strict=True):
        t = np.clip((X - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distance = np.linalg.norm(X - a - t[:, None] * (b - a), axis=1)
        weight = np.maximum(weight, np.exp(-((distance / (width * (s + t * (e - s)))) ** 2)))
    return weight
