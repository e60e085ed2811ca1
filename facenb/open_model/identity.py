"""People: random combinations of MakeHuman's targets, and their statistics (book: *Morphable models*).

A person is the base mesh plus a weighted sum of targets. Three kinds of weights are drawn at random:

* who: gender, age, muscle, weight and a mixture of three ancestries, as MakeHuman interpolates them;
* features: pairs such as nose wider / nose narrower, capped in millimetres so that no feature becomes a caricature;
* asymmetry: small, since no face is exactly symmetric.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from facenb.open_model.components import mirrored
from facenb.open_model.makehuman import data_folder, read_target, target_list

FOLDER = "mpfb2/targets"
GENDERS = ("male", "female")
AGES = ("child", "young", "old")
AGE_ANCHORS = (1 / 3, 2 / 3, 1.0)  # MakeHuman's age scale: 1/3 is a child of twelve, 2/3 twenty-five years, 1 ninety
LEVELS = ("min", "average", "max")
ANCESTRIES = ("african", "asian", "caucasian")

# Largest displacement, in mm at one standard deviation, that a feature target of each body part may cause.
CAPS = {
    "head": 2.2,
    "forehead": 1.6,
    "eyebrows": 1.1,
    "eyes": 0.8,
    "cheek": 1.1,
    "nose": 1.0,
    "mouth": 0.8,
    "chin": 1.3,
    "neck": 1.3,
}
ONE_SIDED_CAP = 1.2
ASYMMETRY_CAP = 0.4
LARGEST_SD = 0.4  # of a target's weight, where 1 is the artist's extreme
LIKENESS_OF_SIDES = 0.97  # correlation of a left feature with its right twin
YOUNGEST = 0.55  # on MakeHuman's age scale: about eighteen years
# Poses and measures rather than features: they move the head as a whole, or the neck below the cut.
NOT_FEATURES = ("head-trans", "head-angle", "head-back", "measure-", "neck-scale", "neck-trans", "neck-back")
NOT_ON_FACE = ("asym-ear", "asym-top")


@dataclass(frozen=True)
class Feature:
    """A pair of opposite targets, such as nose wider and nose narrower."""

    name: str  # without the prefix "l-" or "r-" of one side
    part: str
    side: str  # "left", "right" or "unsided"
    negative: str  # file
    positive: str


@dataclass(frozen=True)
class Targets:
    """Displacements (mm) of the base rows, by kind."""

    who: dict[tuple[str, ...], Float[np.ndarray, "R 3"]]
    features: list[Feature]
    negative: Float[np.ndarray, "F R 3"]
    positive: Float[np.ndarray, "F R 3"]
    one_sided: Float[np.ndarray, "S R 3"]
    asymmetries: Float[np.ndarray, "A R 3"]


def macro_files() -> dict[tuple[str, ...], str]:
    """Files of the targets that say who somebody is, by (gender, age, muscle, weight) or (ancestry, gender, age)."""
    files = {
        (g, a, m, w): f"{FOLDER}/macrodetails/universal-{g}-{a}-{m}muscle-{w}weight.target.gz"
        for g, a, m, w in product(GENDERS, AGES, LEVELS, LEVELS)
    }
    return files | {
        (r, g, a): f"{FOLDER}/macrodetails/{r}-{g}-{a}.target.gz" for r, g, a in product(ANCESTRIES, GENDERS, AGES)
    }


def average_adult(vertices: Float[np.ndarray, "B 3"]) -> Float[np.ndarray, "B 3"]:
    """The base mesh (mm) as a young adult half-way between the genders and among the ancestries."""
    rows = np.arange(len(vertices))
    files = macro_files()
    X = vertices.copy()
    for g in GENDERS:
        X += read_target(files[g, "young", "average", "average"], rows) / 2
        for r in ANCESTRIES:
            X += read_target(files[r, g, "young"], rows) / 6
    return X


def read_targets(rows: Int[np.ndarray, " R"]) -> Targets:
    """All identity targets at the base vertices `rows`."""
    features, one_sided = [], []
    for part in CAPS:
        for category in target_list()[part]["categories"]:
            opposites = category.get("opposites")
            if opposites is None:
                one_sided += [f"{FOLDER}/{part}/{name}.target.gz" for name in category["targets"]]
                continue
            for side in ("left", "right", "unsided"):
                low, high = opposites.get(f"negative-{side}"), opposites.get(f"positive-{side}")
                if low and high and not low.startswith(NOT_FEATURES) and not high.startswith(NOT_FEATURES):
                    name = high if side == "unsided" else high[2:]
                    files = (f"{FOLDER}/{part}/{target}.target.gz" for target in (low, high))
                    features.append(Feature(name, part, side, *files))
    asymmetries = sorted(file.name for file in (data_folder() / FOLDER / "asym").glob("asym-*"))
    asymmetries = [f"{FOLDER}/asym/{name}" for name in asymmetries if not name.startswith(NOT_ON_FACE)]

    def read(paths: Iterable[str]) -> Float[np.ndarray, "n R 3"]:
        return np.stack([read_target(path, rows) for path in paths]).astype(np.float32)

    return Targets(
        who={key: read_target(path, rows).astype(np.float32) for key, path in macro_files().items()},
        features=features,
        negative=read(f.negative for f in features),
        positive=read(f.positive for f in features),
        one_sided=read(one_sided),
        asymmetries=read(asymmetries),
    )


def sample_people(
    base: Float[np.ndarray, "R 3"], targets: Targets, on_face: Bool[np.ndarray, " R"], n: int, rng: np.random.Generator
) -> Float[np.ndarray, "n R 3"]:
    """n random people (mm) on the base rows `base`; the caps apply to the rows `on_face`."""
    who = np.stack(list(targets.who.values()))
    X = base.astype(np.float32) + _combine(_weights_of_who(list(targets.who), n, rng), who)

    caps = np.array([CAPS[f.part] for f in targets.features])
    reach = np.maximum(_largest_move(targets.negative, on_face), _largest_move(targets.positive, on_face))
    weights = _paired_normal(targets.features, n, rng) * _capped(caps, reach)
    weights = np.clip(weights, -3 * LARGEST_SD, 3 * LARGEST_SD)
    X += _combine(np.maximum(weights, 0), targets.positive) + _combine(np.maximum(-weights, 0), targets.negative)

    for group, cap in ((targets.one_sided, ONE_SIDED_CAP), (targets.asymmetries, ASYMMETRY_CAP)):
        weights = np.abs(rng.standard_normal((n, len(group)))) * _capped(cap, _largest_move(group, on_face))
        X += _combine(weights, group)
    return X


def _weights_of_who(keys: list[tuple[str, ...]], n: int, rng: np.random.Generator) -> Float[np.ndarray, "n M"]:
    """MakeHuman's interpolation among the corners of its space of people: products of one weight for each property."""
    man = rng.beta(0.6, 0.6, n)  # most people are clearly a man or clearly a woman
    age = rng.beta(1.2, 2.2, n) * (1 - YOUNGEST) + YOUNGEST
    muscle, weight = rng.beta(3, 3, n), rng.beta(3, 3, n)
    ancestry = rng.dirichlet([0.6, 0.6, 0.6], n)
    by_name = dict(zip(GENDERS, (man, 1 - man), strict=True))
    by_name |= dict(zip(AGES, _hats(age, AGE_ANCHORS), strict=True))
    by_name |= dict(zip(ANCESTRIES, ancestry.T, strict=True))
    muscles = dict(zip(LEVELS, _hats(muscle, (0.0, 0.5, 1.0)), strict=True))
    weights = dict(zip(LEVELS, _hats(weight, (0.0, 0.5, 1.0)), strict=True))

    def product_of(key: tuple[str, ...]) -> Float[np.ndarray, " n"]:
        if key[0] in ANCESTRIES:
            return by_name[key[0]] * by_name[key[1]] * by_name[key[2]]
        return by_name[key[0]] * by_name[key[1]] * muscles[key[2]] * weights[key[3]]

    return np.stack([product_of(key) for key in keys], -1)


def _hats(x: Float[np.ndarray, " n"], anchors: tuple[float, ...]) -> list[Float[np.ndarray, " n"]]:
    """Weights of linear interpolation between anchors: one at its own anchor, falling to zero at the next."""
    return [np.interp(x, anchors, np.eye(len(anchors))[k]) for k in range(len(anchors))]


def _paired_normal(features: list[Feature], n: int, rng: np.random.Generator) -> Float[np.ndarray, "n F"]:
    """Standard normal draws; the left and the right eye or cheek get nearly the same."""
    z = rng.standard_normal((n, len(features)))
    first = {}
    for k, feature in enumerate(features):
        other = first.setdefault(feature.name, k)
        if other != k:
            z[:, k] = LIKENESS_OF_SIDES * z[:, other] + np.sqrt(1 - LIKENESS_OF_SIDES**2) * z[:, k]
    return z


def _largest_move(targets: Float[np.ndarray, "K R 3"], on_face: Bool[np.ndarray, " R"]) -> Float[np.ndarray, " K"]:
    return np.linalg.norm(targets[:, on_face], axis=-1).max(-1)


def _capped(cap: float | Float[np.ndarray, " K"], reach: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """Standard deviation of a target's weight, so that its largest move is at most `cap` mm."""
    return np.minimum(LARGEST_SD, cap / np.maximum(reach, 1e-9))


def _combine(weights: Float[np.ndarray, "n K"], targets: Float[np.ndarray, "K R 3"]) -> Float[np.ndarray, "n R 3"]:
    return np.tensordot(weights.astype(np.float32), targets, (1, 0))


def align(
    X: Float[np.ndarray, "N V 3"], mirror: Int[np.ndarray, " V"], reference: Float[np.ndarray, "V 3"], rounds: int = 3
) -> Float[np.ndarray, "N V 3"]:
    """Faces turned and moved onto their common mean, without scaling: size is part of who somebody is.

    Each round solves the orthogonal Procrustes problem (Schönemann 1966) against the mean of the round before, made
    mirror-symmetric; the first against `reference`. The centroid of all vertices becomes the origin.
    """
    X = X - X.mean(1, keepdims=True)
    target = (reference - reference.mean(0)).astype(X.dtype)
    for _ in range(rounds):
        U, _, Vt = np.linalg.svd(np.einsum("nvi,vj->nij", X, target).astype(np.float64))
        U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]  # a rotation, not a reflection
        X = X @ (U @ Vt).astype(X.dtype)
        mean = X.mean(0)
        target = (mean + mirrored(mean, mirror)) / 2
    return X
