"""Colours of the skin beyond the face mask, and paint on the face itself (book: *It learns*).

The face's albedo is known up to the cut. Beyond it the colours at the cut are carried on as by a soap film and give
way, with distance, to the person's general tone; ears are redder, the neck a little darker.

Colours sRGB in [0, 1].
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float

from facenb.heads.head_model import HeadModel
from facenb.heads.mesh_tools import carried, resampled

EAR_TINT = np.array([1.04, 0.94, 0.92], np.float32)
NECK_TINT = np.array([0.97, 0.95, 0.94], np.float32)
GAZE_SD = 1.7  # mm that the iris moves
GAZE_RADIUS = 0.45  # mm over which its colours are averaged


def skin_tone(model: HeadModel, colour: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " 3"]:
    """The person's skin where neither hair nor blood colours it: forehead, temples and cheeks (median)."""
    bare = (model.areas.front > 0.3) & (model.areas.cheek_line > 6) & (model.areas.hairline < -12)
    bare &= (model.areas.skin > 0.99) & (model.areas.eyelids < 0.1)
    bare[model.areas.brow_vertices] = False
    return np.median(colour[bare], axis=0)


def body_colours(
    model: HeadModel, colour: Float[np.ndarray, "V 3"], tone: Float[np.ndarray, " 3"], rng: np.random.Generator
) -> Float[np.ndarray, "B 3"]:
    """Skin of the body for a face of the given colours."""
    whole, near = model.whole, model.near_rim
    skin = np.repeat(tone[None].astype(np.float32), len(whole.tint), 0)
    skin[near] += whole.tint[near, None] * (carried(colour[whole.face_rim], *model.near_spread) - skin[near])
    ears = whole.ears * np.float32(rng.uniform(0.2, 1.3))
    neck = (1 - whole.tint) * whole.turn * np.float32(rng.uniform(0, 1.2))
    return np.clip(_shaded(_shaded(skin, ears, EAR_TINT - 1), neck, NECK_TINT - 1), 0, 1)


@numba.njit(cache=True)
def _shaded(
    colour: Float[np.ndarray, "V 3"], share: Float[np.ndarray, " V"], change: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "V 3"]:
    """Colours changed by a factor of 1 + `change` where `share` is 1."""
    out = np.empty_like(colour)
    for v in range(len(colour)):
        for c in range(3):
            out[v, c] = colour[v, c] * (np.float32(1) + share[v] * change[c])
    return out


def look_aside(
    model: HeadModel, colour: Float[np.ndarray, "V 3"], rng: np.random.Generator
) -> Float[np.ndarray, "V 3"]:
    """Colours of the face with its irises moved by a common gaze of random direction.

    The eye's colours are painted on a patch at rest; each vertex takes the colour that lies where it looks from.
    """
    eyes = model.areas.eye_vertices
    gaze = (GAZE_SD * rng.standard_normal(2) * [1.3, 0.6]).astype(np.float32)
    P = model.face_mean[eyes]
    colour = colour.copy()
    for side in (P[:, 0] > 0, P[:, 0] < 0):
        here, own = P[side][:, :2], eyes[side]
        colour[own] = resampled(here - gaze, here, colour[own], GAZE_RADIUS)
    return colour


@numba.njit(cache=True)
def tinted(
    colour: Float[np.ndarray, "V 3"], over: Float[np.ndarray, " 3"], cover: Float[np.ndarray, " V"]
) -> Float[np.ndarray, "V 3"]:
    """Paint of one colour over others, `cover` of it in [0, 1]."""
    out = np.empty_like(colour)
    for v in range(len(colour)):
        for c in range(3):
            out[v, c] = colour[v, c] + cover[v] * (over[c] - colour[v, c])
    return out
