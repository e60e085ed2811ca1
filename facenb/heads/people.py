"""Random people: coefficients, hair, clothes and whatever comes between them and the camera (book: *It learns*).

Units mm and radians; colours sRGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float

from facenb.heads.beard import beard_shell, brows, grown_beard, make_up
from facenb.heads.clothes import random_clothes, scarf
from facenb.heads.complexion import body_colours, look_aside, skin_tone, tinted
from facenb.heads.expressions import random_expression
from facenb.heads.glasses import glasses
from facenb.heads.hair import hair_shell, random_hair_colour, random_style
from facenb.heads.head_model import HeadModel, head_model
from facenb.heads.headwear import COVERS_HAIR, FLATTENS_HAIR, headwear, random_headwear
from facenb.heads.mesh_tools import area_normals, carried, turned, unit
from facenb.heads.mouth import lashes, mouth_parts
from facenb.heads.occluders import random_occluder
from facenb.heads.parts import Head, Part
from facenb.heads.updo import tied_hair

IDENTITY_SD, ALBEDO_SD = 0.9, 0.95
NECK = np.array([0.0, -95.0, -85.0], np.float32)  # mm, where the head turns against the chest
TURN_SD = (0.25, 0.1, 0.07)  # radians: yaw, pitch, roll of the chest against the head
CHANCES = {
    "hat": 0.13,
    "scarf": 0.06,
    "glasses": 0.2,
    "occluder": 0.1,
    "beard": 0.5,  # of men
    "make-up": 0.55,  # of women
    "brows": 0.4,
    "gaze": 0.7,
    "lashes": 0.45,  # of women: those that show beyond the lids
}


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
    """A random person for each generator.

    `turns` are yaw, pitch and roll of each chest against its head (radians, as in `facenb.rotation`); random if absent.
    """
    return [dress() for dress in undressed_heads(rngs, model, turns)]


def undressed_heads(
    rngs: list[np.random.Generator],
    model: HeadModel | None = None,
    turns: list[tuple[float, float, float]] | None = None,
) -> list[Callable[[], Head]]:
    """People as in `random_heads` who have a shape and a skin, and get all the rest when called (once each).

    Shapes and skins are large matrix products: for a dozen at a time they cost much less each than for one alone. The
    rest costs the same for each, so it can wait until somebody is wanted.
    """
    model = model or head_model()
    identity = np.stack([IDENTITY_SD * rng.standard_normal(model.n_identity) for rng in rngs]).astype(np.float32)
    albedo = np.stack([ALBEDO_SD * rng.standard_normal(model.n_albedo) for rng in rngs]).astype(np.float32)
    expression = np.stack([random_expression(rng, model.n_expression) for rng in rngs]).astype(np.float32)
    faces, contexts = model.shapes(identity, expression)
    colours = model.colours(albedo)
    shapes = zip(identity, expression, albedo, faces, contexts, colours, turns or [None] * len(rngs), strict=True)
    return [partial(_dress, rng, model, *shape) for rng, shape in zip(rngs, shapes, strict=True)]


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
    """One head from its shapes and colours: skin, then hair, clothes, hat, glasses, and what is held up."""
    whole, cage, V = model.whole, model.cage, len(face)
    man, age = _who(model, identity, rng)
    tone = skin_tone(model, colour)
    darkness = float(np.clip((0.78 - tone[1]) / 0.5, 0, 1))
    body = context[whole.part["body"]]
    moved = carried(np.concatenate([face, body]) - model.mean_surface, cage.vertex, cage.weight)
    angles = turn if turn is not None else tuple(rng.normal(0, TURN_SD))
    body = turned(body, whole.turn, angles, NECK)
    on_chest = turned(cage.tight, cage.turn, angles, NECK) - cage.tight
    face_normals, body_normals = _joint_normals(model, face, body)

    hat = random_headwear(man, rng) if rng.random() < CHANCES["hat"] else "none"
    style = random_style(man, age, random_hair_colour(darkness, age, rng), darkness, rng)
    if hat in FLATTENS_HAIR:
        flat = tuple(min(t, 6.0 if hat == "headband" else 2.5) for t in style.thick)
        style = replace(
            style, thick=flat, curl=min(style.curl, 1.0), lumps=0.05, covers_ears=False, parting=None, bun=""
        )
    hair, grown = hair_shell(style, cage, moved + on_chest, rng)
    if hat in COVERS_HAIR:
        grown = 0 * grown
    traits = {"hair": str(style.name), "hat": hat}

    if rng.random() < CHANCES["gaze"]:
        colour = look_aside(model, colour, rng)
    if rng.random() < CHANCES["brows"]:
        colour = tinted(colour, 0.6 * style.colour, brows(model, rng))
    if rng.random() < CHANCES["make-up"] * (1 - man):
        colour = make_up(model, colour, rng)
        traits["make-up"] = "yes"
    skin = body_colours(model, colour, tone, rng)
    scalp = style.painted * grown[cage.below] * (cage.tight[cage.below, 1] > -75)
    colour = tinted(colour, 0.85 * style.colour, scalp[:V] * model.areas.skin)
    skin = tinted(skin, 0.85 * style.colour, scalp[V:] * (1 - whole.ears))

    front = []
    if rng.random() < CHANCES["occluder"]:
        held, traits["occluder"] = random_occluder(model, face, moved, tone, rng)
        front += held
    if rng.random() < CHANCES["beard"] * man:
        name, on_face, on_body, length = grown_beard(model, rng)
        traits["beard"] = name
        own = style.colour * rng.uniform(0.6, 1.1)
        paint = rng.uniform(0.35, 0.9)
        colour, skin = tinted(colour, own, paint * on_face), tinted(skin, own, paint * on_body)
        if length > 1.5 and traits.get("occluder") != "surgical mask":
            covers = (on_face, on_body)
            front.append(
                beard_shell(model, face, face_normals, body, body_normals, covers, length, own.clip(0, 1), rng)
            )

    shine, gloss = float(rng.uniform(0.01, 0.1)), float(rng.uniform(6, 25))
    T = whole.triangles["body"]
    parts = [
        Part("face", face, model.face_triangles, colour, model.face_sky, shine, gloss, normals=face_normals),
        Part("body", body, T, skin, model.body_sky, shine, gloss, normals=body_normals),
        *mouth_parts(model, face, context, rng),
    ]
    if rng.random() < CHANCES["lashes"] * (1 - man):
        parts.append(lashes(model, context, rng))
    if style.name not in ("bald", "shaved") and hat not in COVERS_HAIR:
        parts.append(hair)
        if style.bun:
            parts.append(tied_hair(style.bun, cage, moved, style.colour, style.strands, rng))
    garments, traits["clothes"] = random_clothes(model, body, body_normals, moved + on_chest, rng)
    parts += garments
    if hat != "none":
        parts += headwear(hat, cage, moved + on_chest, rng)
    elif rng.random() < CHANCES["scarf"]:
        traits["scarf"] = "yes"
        parts.append(scarf(model, moved + on_chest, rng))
    if rng.random() < CHANCES["glasses"]:
        worn, traits["glasses"] = glasses(model, face, body, rng)
        front += worn
    return Head(parts + front, 0, identity, expression, albedo, traits)


def _who(model: HeadModel, identity: Float[np.ndarray, " Nid"], rng: np.random.Generator) -> tuple[float, float]:
    """Whether somebody dresses as a man (0 or 1), and how old he or she looks, in [0, 1].

    The regression behind it is cautious, hence the factors.
    """
    man, age = model.whole.who @ identity
    return float(rng.random() < np.clip(0.5 + 1.6 * man, 0.02, 0.98)), float(np.clip(0.4 + 2.5 * age, 0, 1))


def _joint_normals(
    model: HeadModel, face: Float[np.ndarray, "V 3"], body: Float[np.ndarray, "B 3"]
) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "B 3"]]:
    """Unit normals of face and body as one surface, so that the seam does not show in the shading."""
    whole = model.whole
    own, other = area_normals(face, model.face_triangles), area_normals(body, whole.triangles["body"])
    shared = own[whole.face_rim] + other[whole.rim]
    own[whole.face_rim] = shared
    other[whole.rim] = shared
    return unit(own), unit(other)
