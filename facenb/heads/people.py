"""Random people: coefficients, hair, clothes and whatever comes between them and the camera (book: *It learns*).

Units mm and radians; colours sRGB.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from facenb.heads.cage import follow
from facenb.heads.complexion import body_colours, look_aside, skin_tone, tinted
from facenb.heads.clothes import random_clothes, scarf
from facenb.heads.expressions import random_expression
from facenb.heads.hair import hair_shell, random_hair_colour, random_style
from facenb.heads.head_model import HeadModel, head_model
from facenb.heads.mesh_tools import area_normals, turned, unit
from facenb.heads.mouth import mouth_parts
from facenb.heads.parts import Head, Part

IDENTITY_SD, ALBEDO_SD = 0.9, 0.95
NECK = np.array([0.0, -95.0, -85.0], np.float32)  # mm, where the head turns against the chest


def random_head(
    rng: np.random.Generator, model: HeadModel | None = None, turn: tuple[float, float, float] | None = None
) -> Head:
    """One random person; see `random_heads`."""
    return random_heads([rng], model, None if turn is None else [turn])[0]


def random_heads(
    rngs: list[np.random.Generator],
    model: HeadModel | None = None,
    turns: list[tuple[float, float, float]] | None = None,
) -> list[Head]:
    """A random person for each generator: a dozen at a time cost much less each than one alone.

    `turns` are yaw, pitch and roll of each chest against its head (radians, as in `facenb.rotation`); random if absent.
    """
    model = model or head_model()
    identity = np.stack([IDENTITY_SD * rng.standard_normal(model.n_identity) for rng in rngs]).astype(np.float32)
    albedo = np.stack([ALBEDO_SD * rng.standard_normal(model.n_albedo) for rng in rngs]).astype(np.float32)
    expression = np.stack([random_expression(rng, model.n_expression) for rng in rngs]).astype(np.float32)
    faces, contexts = model.shapes(identity, expression)
    colours = model.colours(albedo)
    return [
        _dress(rng, model, identity[i], expression[i], albedo[i], faces[i], contexts[i], colours[i], turns and turns[i])
        for i, rng in enumerate(rngs)
    ]


def _dress(
    rng: np.random.Generator,
    model: HeadModel,
    identity: Float[np.ndarray, " Nid"],
    expression: Float[np.ndarray, " Nex"],
    albedo: Float[np.ndarray, " Nal"],
    face: Float[np.ndarray, "V 3"],
    context: Float[np.ndarray, "C 3"],
    colour: Float[np.ndarray, "V 3"],
    turn: tuple[float, float, float] | None,
) -> Head:
    whole, cage = model.whole, model.cage
    body = context[whole.part["body"]]
    man, age = np.clip(0.5 + whole.who @ identity, 0, 1)
    man = float(np.clip(0.5 + 1.4 * (man - 0.5), 0, 1))
    tone = skin_tone(model, colour)
    darkness = float(np.clip((0.78 - tone[1]) / 0.5, 0, 1))
    angles = turn if turn is not None else tuple(rng.normal(0, [0.25, 0.1, 0.07]))
    moved = follow(cage, np.concatenate([face, body]), model.mean_surface)
    body = turned(body, whole.turn, angles, NECK)

    style = random_style(man, float(age), random_hair_colour(darkness, float(age), rng), darkness, rng)
    hair, grown = hair_shell(style, cage, moved, rng)

    if rng.random() < 0.7:
        colour = look_aside(model, colour, rng)
    skin = body_colours(model, colour, tone, rng)
    scalp = style.painted * grown[cage.below] * (cage.tight[cage.below, 1] > -75)
    V = len(face)
    colour = tinted(colour, 0.85 * style.colour, scalp[:V] * model.areas.skin)
    skin = tinted(skin, 0.85 * style.colour, scalp[V:] * (1 - whole.ears))

    face_normals, body_normals = area_normals(face, model.face_triangles), area_normals(body, whole.triangles["body"])
    shared = face_normals[whole.face_rim] + body_normals[whole.rim]
    face_normals[whole.face_rim] = shared
    body_normals[whole.rim] = shared
    shine, gloss = float(rng.uniform(0.01, 0.1)), float(rng.uniform(6, 25))
    parts = [
        Part("face", face, model.face_triangles, colour, model.face_sky, shine, gloss, normals=unit(face_normals)),
        Part("body", body, whole.triangles["body"], skin, model.body_sky, shine, gloss, normals=unit(body_normals)),
        *mouth_parts(model, face, context, rng),
    ]
    if style.name not in ("bald", "shaved"):
        parts.append(hair)
    garments, clothes = random_clothes(model, body, unit(body_normals), moved, rng)
    parts += garments
    if rng.random() < 0.08:
        parts.append(scarf(model, moved, rng))
    return Head(parts, 0, identity, expression, albedo, {"hair": str(style.name), "clothes": clothes})
