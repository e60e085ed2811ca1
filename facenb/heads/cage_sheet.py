"""Sheets over the cage: what hair, hats, hoods, headscarves and scarves have in common (book: *It learns*).

A sheet is the cage pushed outwards by a thickness and cut by an alpha; both are grids (row, column) over the cage.

Units mm; angles in degrees from the front, growing to the subject's left.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from facenb.heads.cage import N_COLUMNS, Cage
from facenb.heads.parts import Part
from facenb.heads.patterns import ROWS

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

    def column(x: Float[np.ndarray, "R U"] | float) -> Float[np.ndarray, "G 1"]:
        return np.broadcast_to(np.asarray(x, np.float32), (ROWS, N_COLUMNS)).reshape(-1, 1)

    P = cage.tight + moved + column(thick).clip(0.8) * cage.normal
    if np.any(loose):
        P = P + column(loose) * (cage.loose - cage.tight)
    if sideways is not None:
        tangent = np.stack([cage.normal[:, 2], np.zeros(len(P), np.float32), -cage.normal[:, 0]], -1)
        P = P + column(sideways) * tangent
    alpha = np.ascontiguousarray(column(alpha)[:, 0])
    corner = alpha > VISIBLE
    a, b, c = cage.triangles.T
    return Part(
        name=name,
        vertices=P.astype(np.float32),
        triangles=cage.triangles[corner[a] | corner[b] | corner[c]],
        colour=np.clip(colour, 0, 1).reshape(-1, 3).astype(np.float32),
        occlusion=np.clip(column(sky)[:, 0], 0.1, 1),
        specular=specular,
        gloss=gloss,
        alpha=alpha,
        texture_noise=texture_noise,
    )
