"""Where on the face what is: soft maps that the albedo paints through (book: *Morphable models*).

Everything is measured from the landmarks in mm and depends on the size of x only, so that maps are exactly
mirror-symmetric on a mirror-symmetric mesh. Maps are arrays (V,) in [0, 1] unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from facenb.normals import vertex_normals
from facenb.open_model.mesh import FaceMesh
from facenb.rasterise import rasterise


def ramp(x: Float[ndarray, "*any"], width: float = 1.0) -> Float[ndarray, "*any"]:
    """Soft step from 0 to 1 at x = 0, `width` mm from a quarter to three quarters."""
    return 1 / (1 + np.exp(-np.clip(2.2 * x / width, -40, 40)))


@dataclass(frozen=True)
class FaceMaps:
    """Maps and measures of one mesh.

    Attributes:
        side: 0 on the subject's left half, 1 on the right.
        sky: share of a hemisphere of light that reaches the vertex, 1 on open skin; low in nostrils and creases.
        eye_vertices: vertices of both eyeballs; eye_radius: their distance from the optical axis, mm.
        brow_x, brow_y: position along the brow (0 inner end, 1 outer end) and height in mm above its middle line.
        cheek_line: height in mm above the usual upper edge of a beard; hairline: above the usual hairline.
    """

    side: Int[ndarray, " V"]
    skin: Float[ndarray, " V"]
    sky: Float[ndarray, " V"]
    eye_vertices: Int[ndarray, " E"]
    eye_radius: Float[ndarray, " E"]
    brow_vertices: Int[ndarray, " B"]
    brow_x: Float[ndarray, " B"]
    brow_y: Float[ndarray, " B"]
    upper_lip: Float[ndarray, " V"]
    lower_lip: Float[ndarray, " V"]
    cheeks: Float[ndarray, " V"]
    nose: Float[ndarray, " V"]
    chin: Float[ndarray, " V"]
    forehead: Float[ndarray, " V"]
    under_eyes: Float[ndarray, " V"]
    eyelids: Float[ndarray, " V"]
    around_mouth: Float[ndarray, " V"]
    folds: Float[ndarray, " V"]
    upper_lashes: Float[ndarray, " V"]
    lower_lashes: Float[ndarray, " V"]
    moustache: Float[ndarray, " V"]
    goatee: Float[ndarray, " V"]
    jaw_beard: Float[ndarray, " V"]
    cheek_line: Float[ndarray, " V"]
    hairline: Float[ndarray, " V"]


def face_maps(mesh: FaceMesh) -> FaceMaps:
    """All maps of a mesh. Raises ValueError if the mesh has no landmarks or no "lips" region."""
    if mesh.landmarks68 is None or "lips" not in mesh.regions:
        raise ValueError("the albedo needs landmarks68 and the region 'lips': fill them in before painting")
    X = mesh.vertices
    x, y, z = np.abs(X[:, 0]), X[:, 1], X[:, 2]
    P = X[mesh.landmarks68]
    eye, mouth = X[mesh.eyes[0]].mean(0), P[48:60].mean(0)
    nose_tip, nose_base = P[30], P[33]

    def blob(cx: float, cy: float, sx: float, sy: float) -> Float[ndarray, " V"]:
        return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2) * ramp(z - nose_base[2] + 60, 20)

    eye_vertices = np.concatenate(mesh.eyes)
    skin = np.ones(len(X))
    skin[eye_vertices] = 0

    # Lips: the region, split where they touch
    lips = mesh.regions["lips"]
    near = np.exp(-(((x[:, None].clip(max=x[mesh.contact].max()) - x[mesh.contact]) / 1.5) ** 2))  # V C
    middle = near @ y[mesh.contact] / near.sum(1)  # height of the line where the lips touch, smoothed along it
    upper = ramp(y - middle, 1.5)

    # Brows, in their own coordinates
    inner, outer = np.abs(P[[39, 42], 0]).mean(), np.abs(P[[36, 45], 0]).mean()  # eye corners
    width = outer - inner
    template_x = np.array([inner - 0.22 * width, inner + 0.1 * width, inner + 0.45 * width, inner + 0.85 * width])
    template_x = np.append(template_x, outer + 0.32 * width)
    template_y = eye[1] + np.array([13.0, 16.0, 18.0, 17.0, 11.0])
    brow_x = (x - template_x[0]) / (template_x[-1] - template_x[0])
    curve = np.polynomial.Polynomial.fit(template_x, template_y, 3)
    brow_y = y - curve(np.clip(x, template_x[0] - 6, template_x[-1] + 6))
    brow_vertices = np.flatnonzero(
        (brow_x > -0.4) & (brow_x < 1.4) & (np.abs(brow_y) < 16) & (z > nose_base[2] - 60) & (skin > 0)
    )

    # Lids and lashes, by distance from the rim
    rim = X[np.concatenate(mesh.lids)]
    distance, _ = cKDTree(rim).query(X)
    above = ramp(y - eye[1] - 1 - 0.1 * (x - eye[0]), 2)
    lid = skin * np.exp(-((distance / 6) ** 2))
    lash = skin * np.exp(-((distance / np.where(above > 0.5, 1.7, 1.2)) ** 2))

    # Beard: below a line from the sideburn over the cheek to the corner of the mouth
    line_x = np.array([0, 24, 34, 46, 58, 66, 90])
    line_y = np.array(
        [nose_base[1], nose_base[1] - 3, mouth[1] + 6, mouth[1] + 12, eye[1] - 28, eye[1] - 4, eye[1] + 4]
    )
    cheek_line = y - np.interp(x, line_x, line_y)
    beard = skin * (1 - lips) * ramp(-cheek_line, 5)
    above_lip = ramp(y - mouth[1], 3) * ramp(30 - x, 4)
    goatee = ramp(mouth[1] - 4 - y, 4) * np.exp(-((x / 24) ** 4))
    bare = np.exp(-(((x - 15) / 6) ** 2) - ((y - mouth[1] + 15) / 6) ** 2) / 2  # beside the tuft under the lip

    top = P[27, 1] + np.interp(x, [0, 30, 50, 62, 70, 90], [68, 66, 56, 38, 8, -4])
    sky = sky_visibility(mesh)
    return FaceMaps(
        side=(X[:, 0] < 0).astype(np.int64),
        skin=skin,
        sky=sky,
        eye_vertices=eye_vertices,
        eye_radius=np.concatenate([_distance_from_axis(X[e]) for e in mesh.eyes]),
        brow_vertices=brow_vertices,
        brow_x=brow_x[brow_vertices],
        brow_y=brow_y[brow_vertices],
        upper_lip=lips * upper,
        lower_lip=lips * (1 - upper),
        cheeks=skin * blob(eye[0] + 9, nose_tip[1] + 4, 17, 15),
        nose=skin * np.exp(-(((X - nose_tip) / [15, 14, 20]) ** 2).sum(1)),
        chin=skin * blob(0, P[8, 1] + 14, 20, 12),
        forehead=skin * ramp(y - eye[1] - 24, 12),
        under_eyes=skin * np.exp(-(((x - eye[0] + 3) / 13) ** 2) - ((y - eye[1] + 12) / 6.5) ** 2),
        eyelids=lid,
        around_mouth=skin * (1 - lips) * np.exp(-((x / 32) ** 4) - ((y - mouth[1]) / 20) ** 4),
        folds=skin * _fold(x, y, P),
        upper_lashes=lash * above,
        lower_lashes=lash * (1 - above),
        moustache=beard * above_lip,
        goatee=beard * (1 - above_lip) * goatee * (1 - bare),
        jaw_beard=beard * (1 - above_lip) * (1 - goatee),
        cheek_line=cheek_line,
        hairline=y - top,
    )


def sky_visibility(mesh: FaceMesh, n_directions: int = 150, bias: float = 1.5) -> Float[ndarray, " V"]:
    """How much of a frontal, evenly bright hemisphere each vertex sees, relative to a flat open surface; in [0, 1].

    From each of `n_directions` the mesh is drawn as a lamp there would see it, one pixel a mm; a vertex that lies more
    than `bias` mm behind the drawn surface is in the shade. Symmetrised, since the directions are not quite.
    """
    X = torch.from_numpy(mesh.vertices)
    T = torch.from_numpy(mesh.triangles)
    N = vertex_normals(X, T)
    received = torch.zeros(len(X), dtype=X.dtype)
    possible = torch.zeros(len(X), dtype=X.dtype)
    k = torch.arange(n_directions, dtype=X.dtype) + 0.5
    cos = k / n_directions  # equal areas on the hemisphere z > 0
    azimuth = k * torch.pi * (3 - 5**0.5)
    sin = (1 - cos**2).sqrt()
    far = 1e4  # an almost parallel projection: perspective-correct depth needs positive depths
    for d in torch.stack([sin * azimuth.cos(), sin * azimuth.sin(), cos], -1):
        a = torch.linalg.cross(d, torch.tensor([0.0, 1.0, 0.0], dtype=X.dtype))
        a = a / a.norm()
        pixel = torch.stack([X @ a, X @ torch.linalg.cross(a, d)], -1)
        pixel = pixel - pixel.amin(0)
        depth = far - X @ d
        width, height = (int(s) + 2 for s in pixel.amax(0))
        seen = rasterise(torch.cat([pixel, depth[:, None]], 1)[None], T, height, width).depth[0]
        c, r = pixel.round().long().unbind(-1)
        cosine = (N @ d).clamp(min=0)
        lit = (depth <= seen[r, c] + bias) | ~torch.isfinite(seen[r, c])
        received += cosine * lit
        possible += cosine
    sky = (received / possible.clamp(min=1e-9)).numpy()
    sky = (sky + sky[mesh.mirror]) / 2
    return np.clip(sky / np.quantile(sky, 0.9), 0, 1)


def _distance_from_axis(X: Float[ndarray, "E 3"]) -> Float[ndarray, " E"]:
    """Distance (mm) from the line through the eyeball's centre along z, the centre being that of the best sphere."""
    A = np.c_[2 * X, np.ones(len(X))]
    centre = np.linalg.lstsq(A, (X**2).sum(1), rcond=None)[0][:3]
    return np.hypot(X[:, 0] - centre[0], X[:, 1] - centre[1] + 0.8)  # eyes at rest look a little down


def _fold(x: Float[ndarray, " V"], y: Float[ndarray, " V"], P: Float[ndarray, "68 3"]) -> Float[ndarray, " V"]:
    """The line from the wing of the nose past the corner of the mouth."""
    a = P[35, :2] + [3, 3]  # landmarks of the subject's left side, where x = |x|
    b = P[54, :2] + [7, -2]
    t = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum(), 0, 1)
    d = np.hypot(x - a[0] - t * (b - a)[0], y - a[1] - t * (b - a)[1])
    return np.exp(-((d / 3.5) ** 2)) * (1 - 0.5 * t)
