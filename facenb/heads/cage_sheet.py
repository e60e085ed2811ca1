"""Sheets over the cage: what hair, hats, hoods, headscarves and scarves have in common (book: *It learns*).

A sheet is the cage pushed outwards by a thickness and cut by an alpha; both are grids (row, column) over the cage.

Units mm; angles in degrees from the front, growing to the subject's left.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Bool, Float, Int

from facenb.heads.cage import N_COLUMNS, Cage
from facenb.heads.parts import Part
from facenb.heads.patterns import ROWS

THINNEST = 0.8  # mm
VISIBLE = 0.3  # triangles whose alpha stays below this are dropped: noise cannot lift them over a half


def angles_and_heights(cage: Cage) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, "R U"]]:
    """Azimuth of each column in degrees within ±180, and the height (mm) of each point on the mean head."""
    return wrap(np.degrees(cage.azimuth)), cage.tight[:, 1].reshape(ROWS, N_COLUMNS)


def wrap(degrees: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Angles within ±180 degrees."""
    return (degrees + 180) % 360 - 180


def ear_room(azimuth: Float[np.ndarray, " U"], y: Float[np.ndarray, "R U"]) -> Float[np.ndarray, "R U"]:
    """1 over the ears, falling to 0 around them: where sheets that cover ears must stand off (the cage has none)."""
    return np.exp(-(((np.abs(azimuth) - 98) / 20) ** 2)) * np.exp(-(((y - 2) / 38) ** 2))


def sheet(
    name: str,
    cage: Cage,
    moved: Float[np.ndarray, "G 3"],
    alpha: Float[np.ndarray, "R U"],
    thick: Float[np.ndarray, "R U"],
    colour: Float[np.ndarray, "R U 3"],
    sky: Float[np.ndarray, "R U"] | float = 1.0,
    *,
    loose: Float[np.ndarray, "R U"] | float = 0.0,
    sideways: Float[np.ndarray, "R U"] | None = None,
    specular: float = 0.0,
    gloss: float = 10.0,
    texture_noise: float = 0.0,
) -> Part:
    """A part on the cage; `moved` is how far the cage points have followed this person's head (mm).

    `loose` blends from the tight to the loose cage, `sideways` moves points along their row.
    """

    def flat(x: Float[np.ndarray, "R U"] | float) -> Float[np.ndarray, " G"]:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(x, np.float32), (ROWS, N_COLUMNS)).ravel())

    aside = flat(0.0 if sideways is None else sideways)
    alpha = flat(alpha)
    return Part(
        name=name,
        vertices=_pushed(cage.tight, cage.loose, cage.normal, moved, flat(thick).clip(THINNEST), flat(loose), aside),
        triangles=_seen(cage.triangles, alpha > VISIBLE),
        colour=np.clip(colour, 0, 1).reshape(-1, 3).astype(np.float32),
        occlusion=np.clip(flat(sky), 0.1, 1),
        specular=specular,
        gloss=gloss,
        alpha=alpha,
        texture_noise=texture_noise,
    )


@numba.njit(cache=True)
def _pushed(
    tight: Float[np.ndarray, "G 3"],
    loose: Float[np.ndarray, "G 3"],
    normal: Float[np.ndarray, "G 3"],
    moved: Float[np.ndarray, "G 3"],
    thick: Float[np.ndarray, " G"],
    looseness: Float[np.ndarray, " G"],
    aside: Float[np.ndarray, " G"],
) -> Float[np.ndarray, "G 3"]:
    """Points of a sheet `thick` mm outside a cage between tight and loose, and `aside` mm along their rows."""
    out = np.empty_like(tight)
    for g in range(len(tight)):
        for c in range(3):
            P = tight[g, c] + moved[g, c] + thick[g] * normal[g, c]
            out[g, c] = P + looseness[g] * (loose[g, c] - tight[g, c])
        out[g, 0] += aside[g] * normal[g, 2]
        out[g, 2] -= aside[g] * normal[g, 0]
    return out


@numba.njit(cache=True)
def _seen(triangles: Int[np.ndarray, "T 3"], visible: Bool[np.ndarray, " G"]) -> Int[np.ndarray, "S 3"]:
    """Triangles with a visible corner."""
    out = np.empty_like(triangles)
    n = 0
    for t in range(len(triangles)):
        if visible[triangles[t, 0]] or visible[triangles[t, 1]] or visible[triangles[t, 2]]:
            out[n] = triangles[t]
            n += 1
    return out[:n].copy()
