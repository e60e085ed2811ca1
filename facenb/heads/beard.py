"""Beards, brows and make-up (book: *It learns*).

Stubble is paint on the skin. A beard that stands off is a shell besides: the face's own mesh below the cheek line,
joined to the skin under the chin, pushed outwards and cut where it thins out. The open model's albedo has stubble and
brows too; what is added here its coefficients do not know, as with any real person.

Units mm; colours sRGB; covers in [0, 1].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.head_model import HeadModel
from facenb.heads.mesh_tools import carried, ramp
from facenb.heads.parts import Part

KINDS = {  # chance of each; strengths of moustache, goatee, jaw
    "full": (0.40, (1.0, 1.0, 1.0)),
    "goatee": (0.22, (0.9, 1.0, 0.0)),
    "moustache": (0.12, (1.0, 0.0, 0.0)),
    "chin strap": (0.08, (0.1, 0.8, 1.0)),
    "stubble": (0.18, (0.9, 0.9, 0.9)),
}
UNDER_CHIN = 34.0  # mm that a beard reaches beyond the face mask


def grown_beard(
    model: HeadModel, rng: np.random.Generator
) -> tuple[str, Float[np.ndarray, " V"], Float[np.ndarray, " B"], float]:
    """A random beard: its name, how densely it covers face and body, and its length in mm."""
    areas, whole = model.areas, model.whole
    chances = np.array([chance for chance, _ in KINDS.values()])
    name = str(rng.choice(list(KINDS), p=chances / chances.sum()))
    moustache, goatee, jaw = np.array(KINDS[name][1]) * rng.uniform(0.75, 1.0, 3)
    lower = ramp(rng.normal(-3, 6) - areas.cheek_line, 6)
    cover = np.maximum(moustache * areas.moustache, np.maximum(goatee * areas.goatee, jaw * areas.jaw_beard * lower))
    length = rng.gamma(2.0, 3.5) if name != "stubble" else 0.0
    wave = rng.standard_normal((6, 3)) / 7
    phase, grows = rng.uniform(0, 6, 6), np.flatnonzero(cover)
    cover[grows] *= 1 + 0.10 * np.sin((model.face_mean @ wave.T)[grows] + phase).sum(1)
    cover = cover * areas.skin
    cover = cover * (1 - 0.95 * areas.lips)
    below = np.zeros_like(model.below_chin)
    at_rim = cover[whole.face_rim, None].astype(np.float32)
    below[model.near_rim] = carried(at_rim, *model.near_spread)[:, 0] * model.below_chin[model.near_rim]
    return name, cover.clip(0, 1).astype(np.float32), below.clip(0, 1), float(length)


def beard_shell(
    model: HeadModel,
    face: Float[np.ndarray, "V 3"],
    face_normals: Float[np.ndarray, "V 3"],
    body: Float[np.ndarray, "B 3"],
    body_normals: Float[np.ndarray, "B 3"],
    cover: tuple[Float[np.ndarray, " V"], Float[np.ndarray, " B"]],
    length: float,
    colour: Float[np.ndarray, " 3"],
    rng: np.random.Generator,
) -> Part:
    """The shell of a beard of this length (mm)."""
    vertices, triangles = model.beard_mesh
    X = np.concatenate([face, body])[vertices]
    N = np.concatenate([face_normals, body_normals])[vertices]
    density = np.concatenate(cover)[vertices]
    rest = model.mean_surface[vertices]
    wave = rng.standard_normal((8, 3)) / rng.uniform(2.5, 6)
    strands = np.sin(rest * [1, 0.25, 1] @ wave.T + rng.uniform(0, 6, 8)).sum(1) / 2
    chin = np.exp(-((rest[:, 0] / 30) ** 2)) * ramp(-rest[:, 1] - 45, 25)
    stand = length * (0.35 + 0.65 * chin + 0.12 * strands) * ramp(density - 0.3, 0.5)
    down = np.array([0, -0.8, 0.15], np.float32) * (length * chin * ramp(density - 0.4, 0.4))[:, None]
    tint = colour * np.exp((rng.uniform(0.08, 0.2) * strands)[:, None] * np.array([0.9, 1.0, 1.1]))
    return Part(
        "beard",
        (X + (0.4 + stand)[:, None] * N + down).astype(np.float32),
        triangles,
        np.clip(tint, 0, 1).astype(np.float32),
        np.concatenate([model.face_sky, model.body_sky])[vertices],
        specular=0.02,
        gloss=10.0,
        alpha=(0.5 + 1.3 * (density - rng.uniform(0.35, 0.5)) + 0.06 * strands).clip(0, 1).astype(np.float32),
        texture_noise=float(rng.uniform(0.08, 0.2)),
    )


def beard_mesh(
    model: HeadModel,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "t 3"]]:
    """Vertices (face first, then body) and triangles where beards can grow, joined along the cut."""
    areas, whole = model.areas, model.whole
    V = len(model.face_mean)
    grows = np.maximum(np.maximum(areas.moustache, areas.goatee), areas.jaw_beard * (areas.cheek_line < 12))
    grows = (grows > 0.05) & (areas.skin > 0.5) & (areas.lips < 0.8)
    own = np.arange(len(whole.mean[whole.part["body"]])) + V
    own[whole.rim] = whole.face_rim
    on_body = (model.below_chin > 0.05) | np.isin(np.arange(len(own)), whole.rim[grows[whole.face_rim]])
    T = np.concatenate(
        [
            model.face_triangles[grows[model.face_triangles].all(1)],
            own[whole.triangles["body"][on_body[whole.triangles["body"]].all(1)]],
        ]
    )
    vertices, T = np.unique(T, return_inverse=True)
    return vertices, T.reshape(-1, 3).astype(np.int32)


def below_chin(model: HeadModel) -> Float[np.ndarray, " B"]:
    """How strongly a beard spreads from the cut to each body vertex: under chin and jaw only."""
    rest = model.whole.mean[model.whole.part["body"]]
    rim = rest[model.whole.rim]
    distance = np.sqrt(((rest[:, None, :] - rim[None]) ** 2).sum(-1).min(1))
    return (
        ramp(UNDER_CHIN - distance, UNDER_CHIN / 2) * ramp(-40 - rest[:, 1], 15) * ramp(rest[:, 2] + 75, 20)
    ).astype(np.float32)


def brows(model: HeadModel, rng: np.random.Generator) -> Float[np.ndarray, " V"]:
    """Cover of bushier, darker or differently bowed brows than the albedo holds."""
    areas = model.areas
    x, y = areas.brow_x, areas.brow_y
    middle = rng.normal(0, 1.0) + rng.normal(0, 1.5) * (x - 0.5) + rng.normal(0, 3.0) * (0.25 - (x - 0.55) ** 2)
    thickness = rng.uniform(2.2, 4.8) * (1.1 - 0.5 * x.clip(0, 1) ** 1.5)
    along = ramp(x - rng.normal(0, 0.04), 0.1) * ramp(rng.normal(1.0, 0.06) - x, 0.12)
    cover = np.zeros(len(model.face_mean), np.float32)
    cover[areas.brow_vertices] = rng.uniform(0.3, 0.95) * along * np.exp(-(np.abs((y - middle) / thickness) ** 2.5))
    return cover


def make_up(model: HeadModel, colour: Float[np.ndarray, "V 3"], rng: np.random.Generator) -> Float[np.ndarray, "V 3"]:
    """Lipstick, eye shadow, eyeliner and rouge over the colours of a face."""
    areas = model.areas

    def over(colour: np.ndarray, paint: np.ndarray, cover: np.ndarray) -> np.ndarray:
        return colour + cover[:, None] * (np.asarray(paint, np.float32) - colour)

    red = np.array([rng.uniform(0.45, 0.85), rng.uniform(0.05, 0.35), rng.uniform(0.12, 0.42)])
    colour = over(colour, red, rng.uniform(0.2, 0.85) * areas.lips)
    if rng.random() < 0.6:
        shadow = np.array([0.35, 0.25, 0.25]) * rng.uniform(0.3, 1.4) + rng.normal(0, 0.05, 3)
        colour = over(colour, shadow, rng.uniform(0.1, 0.55) * areas.eyelids)
    if rng.random() < 0.6:
        colour = over(colour, np.full(3, 0.06), rng.uniform(0.2, 0.9) * areas.upper_lashes)
    if rng.random() < 0.5:
        colour = over(colour, colour.mean(0) * [1.25, 0.75, 0.75], rng.uniform(0.1, 0.4) * areas.cheeks)
    return colour
