"""Albedo of the open model: 1,200 painted faces and their principal components (book: *Morphable models*).

No textures come with the mesh, so people are painted: pigments (`skin.py`) in amounts that vary smoothly, in blotches
and in spots (`random_fields.py`), through maps of the face (`face_maps.py`). Skin tones are spread evenly from very
light to very dark rather than like those of any one country. Every amount below is chosen by eye: the pictures should
look like people, but nobody was measured.

Conventions: colours are sRGB display values, because there skin tones are nearly Gaussian; a basis vector is one
standard deviation. Everything follows from one seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from tqdm import tqdm

from facenb.colour import to_srgb
from facenb.open_model.components import principal_components
from facenb.open_model.face_maps import FaceMaps, face_maps, ramp
from facenb.open_model.mesh import FaceMesh
from facenb.open_model.random_fields import RandomFields
from facenb.open_model.skin import DARKEST, hair_colour, iris_colour, melanin_of_green, skin_colour

N_COMPONENTS = 199
N_PEOPLE = 1200
BATCH = 125
GREEN_RANGE = (0.25, 0.75)  # display values of the darkest and lightest skin


@dataclass(frozen=True)
class People:
    """Traits of n random people that several parts of the face share; arrays (n,) unless stated otherwise."""

    melanin: Float[ndarray, " n"]
    haemoglobin: Float[ndarray, " n"]
    carotene: Float[ndarray, " n"]
    darkness: Float[ndarray, " n"]  # 0 lightest, 1 darkest skin
    masculine: Float[ndarray, " n"]
    age: Float[ndarray, " n"]  # 0 young, 1 old
    hair: Float[ndarray, "n 3"]
    iris_melanin: Float[ndarray, " n"]


def random_people(n: int, rng: np.random.Generator) -> People:
    """Traits with the correlations that one expects: dark skin rarely comes with light eyes, grey hair with youth."""
    lightness = rng.beta(1.5, 1.5, n)
    green = GREEN_RANGE[0] + (GREEN_RANGE[1] - GREEN_RANGE[0]) * lightness
    dark = 1 - lightness
    age = rng.beta(1.1, 1.6, n)
    eumelanin = np.clip(5.4 + 4.4 * dark + (1.7 - 1.2 * dark) * rng.standard_normal(n), 2.4, 9.8)
    grey = ramp(age - rng.normal(0.85, 0.1, n), 0.12)
    red = (rng.random(n) < 0.12 * lightness) * rng.uniform(0.6, 1.6, n)
    iris = np.clip(0.6 + 3.6 * dark + (0.9 - 0.5 * dark) * rng.standard_normal(n), 0, 3.6)
    return People(
        melanin=melanin_of_green(((green + 0.055) / 1.055) ** 2.4),
        haemoglobin=np.clip(rng.normal(0.2, 0.05, n), 0.05, 0.4),
        carotene=rng.uniform(0, 0.12, n),
        darkness=dark,
        masculine=rng.beta(0.6, 0.6, n),
        age=age,
        hair=hair_colour(eumelanin * (1 - 0.85 * grey), rng.uniform(0.1, 0.5, n) * (1 - grey) + red),
        iris_melanin=iris,
    )


class Painter:
    """Paints random people on one mesh: `paint(n, rng)` gives linear RGB (n, V, 3).

    The banks of patterns are drawn once, from `rng`; people differ in how much they have of each.
    """

    def __init__(self, mesh: FaceMesh, fields: RandomFields, maps: FaceMaps, rng: np.random.Generator) -> None:
        self.fields, self.maps = fields, maps
        sunny = np.clip(maps.cheeks + maps.nose + 0.35 * maps.forehead + 0.2 * maps.chin, 0, 1) * maps.skin
        self.mottle = fields.mottle(40, 2.5, rng) * maps.skin
        self.redness = fields.mottle(24, 5.0, rng) * maps.skin
        self.freckles = fields.spots(12, 0.10 * sunny, 0.9, rng)
        self.age_spots = fields.spots(16, 0.003 * maps.skin * (1 - maps.around_mouth), 2.2, rng)
        self.strokes = fields.mottle(16, 1.2, rng)

    def paint(self, n: int, rng: np.random.Generator) -> Float[ndarray, "n V 3"]:
        people = random_people(n, rng)
        colour = self._skin(people, rng)
        colour = self._beard(colour, people, rng)
        colour = self._scalp(colour, people, rng)
        colour = self._brows(colour, people, rng)
        colour = self._lashes(colour, people, rng)
        colour[:, self.maps.eye_vertices] = self._eyes(people, rng)
        return colour * self._shade(rng, n)

    def _skin(self, people: People, rng: np.random.Generator) -> Float[ndarray, "n V 3"]:
        """Pigments: amounts that vary over the face, region by region and at random; lips are skin with more blood."""
        n, maps, fields = len(people.age), self.maps, self.fields
        col = column

        def amount(low: float, high: float) -> Float[ndarray, "n 1"]:
            return rng.uniform(low, high, (n, 1))

        melanin = 0.10 * fields.blotches(n, 60, rng) + 0.06 * fields.blotches(n, 25, rng, likeness=0.2)
        melanin += amount(-0.05, 0.30) * maps.under_eyes + amount(0.0, 0.35) * maps.eyelids
        melanin += amount(-0.12, 0.22) * maps.forehead + amount(-0.05, 0.22) * maps.around_mouth
        melanin += amount(-0.1, 0.15) * maps.nose + amount(-0.15, 0.15) * maps.cheeks
        melanin += amount(-0.3, 0.15) * maps.lower_lip + amount(-0.1, 0.3) * maps.upper_lip
        melanin += 0.010 * rng.standard_normal((n, len(self.mottle))) @ self.mottle
        spotty = rng.exponential(1, (n, 1)) * np.exp(-1.5 * col(people.darkness))
        melanin += 0.35 * spotty * rng.uniform(0, 0.5, (n, len(self.freckles))) @ self.freckles
        worn = col(people.age) ** 2 * rng.uniform(0, 1.5, (n, 1))
        melanin += 0.5 * worn * (rng.exponential(0.25, (n, len(self.age_spots))) @ self.age_spots)
        melanin = col(people.melanin) + (0.45 + 0.22 * col(people.melanin)) * melanin

        blood = col(people.haemoglobin) * (1 + 0.2 * fields.blotches(n, 45, rng))
        blood += 0.009 * rng.standard_normal((n, len(self.redness))) @ self.redness
        blood += amount(0, 0.28) * maps.cheeks + amount(0, 0.32) * maps.nose + amount(0, 0.14) * maps.chin
        blood += amount(0, 0.15) * maps.under_eyes + amount(0.0, 0.2) * maps.eyelids + amount(0, 0.12) * maps.folds
        lips = maps.upper_lip + maps.lower_lip
        blood += amount(0.35, 1.1) * lips * (1 + 0.25 * rng.standard_normal((n, 16)) @ self.strokes / 4)
        yellow = col(people.carotene) * (1 + 0.3 * fields.blotches(n, 60, rng))
        return skin_colour(melanin.clip(0.05), blood.clip(0), yellow.clip(0))

    def _beard(
        self, colour: Float[ndarray, "n V 3"], people: People, rng: np.random.Generator
    ) -> Float[ndarray, "n V 3"]:
        """Stubble: three parts that grow on their own, more or less dense from spot to spot."""
        n, maps = len(colour), self.maps
        grown = column(people.masculine * rng.uniform(0, 1, n))
        part = grown * rng.uniform(0.4, 1, (3, n, 1))
        lower = ramp(rng.normal(-2, 4, (n, 1)) - maps.cheek_line, 7)  # the edge on the cheek varies from man to man
        cover = part[0] * maps.moustache + part[1] * maps.goatee + part[2] * maps.jaw_beard * lower
        patchy = 1 + 0.25 * rng.standard_normal((n, 16)) @ self.strokes / 4 + 0.15 * self.fields.blotches(n, 25, rng)
        cover = (0.68 * cover * patchy).clip(0, 0.85)
        return blend(colour, people.hair, cover)

    def _scalp(
        self, colour: Float[ndarray, "n V 3"], people: People, rng: np.random.Generator
    ) -> Float[ndarray, "n V 3"]:
        """Shorn or receding hair: a shade above a hairline that lies higher or lower."""
        n = len(colour)
        height = rng.normal(0, 7, (n, 1)) + column(14 * people.age * people.masculine)
        patchy = 1 + 0.15 * rng.standard_normal((n, 16)) @ self.strokes / 4
        cover = rng.uniform(0, 0.6, (n, 1)) * ramp(self.maps.hairline - height, 8) * patchy * self.maps.skin
        return blend(colour, people.hair, cover.clip(0, 0.85))

    def _brows(
        self, colour: Float[ndarray, "n V 3"], people: People, rng: np.random.Generator
    ) -> Float[ndarray, "n V 3"]:
        """Two bows of hair, alike but not the same; ragged at the edges and thin at the ends."""
        n, maps = len(colour), self.maps
        v = maps.brow_vertices
        s, h = maps.brow_x, maps.brow_y

        def both(mean: float | ndarray, sd: float) -> Float[ndarray, "n B"]:
            """A trait per brow, the two of a face strongly alike, at the vertices of that brow."""
            shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, 2))
            return (np.reshape(mean, (-1, 1)) + sd * (0.94 * shared + 0.34 * own))[:, maps.side[v]]

        middle = both(0, 0.8) + both(0, 1.1) * (s - 0.5) + both(0, 1.5) * (0.25 - (s - 0.55) ** 2)
        thickness = both(3.1 + 1.2 * people.masculine, 0.5).clip(2.0) * (1.05 - 0.5 * s.clip(0, 1) ** 1.5)
        start, end = both(0.0, 0.05), both(0.98, 0.06)
        along = ramp(s - start, 0.12) * ramp(end - s, 0.14)
        across = np.exp(-(np.abs((h - middle) / thickness) ** 2.5))
        ragged = 0.9 + 0.14 * rng.standard_normal((n, 16)) @ self.strokes[:, v] / 4 + 0.05 * self.strokes[0, v]
        dense = rng.uniform(0.8, 1.0, (n, 1)) * (0.9 + 0.1 * column(people.masculine))
        cover = (dense * along * across * ragged).clip(0, 0.9)
        colour[:, v] = blend(colour[:, v], 0.7 * people.hair, cover)  # brows are darker than the hair of the head
        return colour

    def _lashes(
        self, colour: Float[ndarray, "n V 3"], people: People, rng: np.random.Generator
    ) -> Float[ndarray, "n V 3"]:
        upper = rng.uniform(0.45, 0.85, (len(colour), 1)) * self.maps.upper_lashes
        lower = rng.uniform(0.1, 0.35, (len(colour), 1)) * self.maps.lower_lashes
        return blend(colour, 0.7 * people.hair, upper + lower)

    def _eyes(self, people: People, rng: np.random.Generator) -> Float[ndarray, "n E 3"]:
        """Sclera, iris with a darker rim and a lighter or browner ring around the pupil, pupil."""
        n, r = len(people.age), self.maps.eye_radius
        edge, pupil = rng.normal(5.85, 0.12, (n, 1)), rng.normal(2.1, 0.25, (n, 1))
        white = np.array([0.60, 0.54, 0.48]) * rng.uniform(0.82, 1.05, (n, 1))
        white = white * np.exp(-np.multiply.outer(rng.uniform(0, 0.2, n), [0.1, 0.4, 0.8]))  # yellowish with age
        white = white[:, None] * np.exp(-(r.clip(6) - 6)[:, None] * [0.01, 0.035, 0.03])  # vessels towards the corners
        ring = np.exp(-(((r - pupil - 0.8) / 1.1) ** 2)) * rng.uniform(-0.3, 0.7, (n, 1))
        iris = iris_colour((column(people.iris_melanin) + ring).clip(0)) * rng.uniform(0.8, 1.25, (n, 1, 1))
        limbal = np.exp(-(((r - edge + 0.35) / 0.7) ** 2)) * rng.uniform(0.2, 0.7, (n, 1))
        iris = iris * (1 - limbal)[..., None]
        eye = white + ramp(edge - r, 0.9)[..., None] * (iris - white)
        return eye + ramp(pupil - r, 0.7)[..., None] * (DARKEST - eye)

    def _shade(self, rng: np.random.Generator, n: int) -> Float[ndarray, "n V 1"]:
        """Darkness that no light in a photograph removes: nostrils, the line of the mouth, the folds of the lids.

        Strictly this is shadow and not albedo; measured albedo maps hold it too, and without it nostrils would glow.
        """
        strength = rng.uniform(0.75, 1.0, (n, 1))
        return ((1 - strength) + strength * (0.12 + 0.88 * self.maps.sky**1.2))[..., None]


def column(trait: Float[ndarray, " n"]) -> Float[ndarray, "n 1"]:
    return trait[:, None]


def blend(
    colour: Float[ndarray, "n V 3"], over: Float[ndarray, "n 3"], cover: Float[ndarray, "n V"]
) -> Float[ndarray, "n V 3"]:
    """Hair of one colour over the skin, `cover` of it in [0, 1]."""
    return colour + cover[..., None] * (over[:, None] - colour)


def painted_faces(
    mesh: FaceMesh, n: int = N_PEOPLE, seed: int = 0, progress: bool = False, fields: RandomFields | None = None
) -> Float[ndarray, "n V 3"]:
    """n random people in sRGB display values, float32: the samples behind `albedo_statistics`.

    `fields` saves some seconds if `RandomFields.on(mesh)` is at hand.
    """
    rng = np.random.default_rng(seed)
    painter = Painter(mesh, fields or RandomFields.on(mesh), face_maps(mesh), rng)
    out = np.empty((n, len(mesh.vertices), 3), np.float32)
    for i in tqdm(range(0, n, BATCH), desc="painting faces", disable=not progress):
        linear = painter.paint(min(BATCH, n - i), rng)
        out[i : i + len(linear)] = to_srgb(torch.from_numpy(linear).float().clamp(0, 1)).numpy()
    return out


def albedo_statistics(
    mesh: FaceMesh,
    progress: bool = True,
    n_people: int = N_PEOPLE,
    n_components: int = N_COMPONENTS,
    fields: RandomFields | None = None,
) -> tuple[Float[ndarray, "V 3"], Float[ndarray, "V 3 K"]]:
    """Mean and principal components (one standard deviation each) of the painted faces, sRGB display values.

    For every painted face its mirror image counts too, so each component is exactly symmetric or antisymmetric.
    """
    faces = painted_faces(mesh, n_people, progress=progress, fields=fields)
    components = principal_components(faces, mesh.mirror, n_components, flip=np.ones(3))
    return components.mean, components.basis
