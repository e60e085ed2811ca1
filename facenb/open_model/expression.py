"""Expressions: random combinations of facial actions, and their statistics (book: *Morphable models*).

Two CC0 libraries give the actions: 51 that carry the names of ARKit's blend shapes (a smile's left half, a blink, the
jaw) and 34 units of MakeHuman. An expression combines a few. The actions alone span few directions, so each one also
varies from place to place: its strength is multiplied by an independent random gain in each of six soft regions of
the face.

Statistics are taken about zero, not about the mean: zero coefficients must be the neutral face.

Units mm, x to the subject's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facenb.open_model.makehuman import data_folder, read_target

ACTIONS = "faceunits01/targets/faceunits"
UNITS = "mpfb2/targets/expression/units"
ANCESTRIES = ("african", "asian", "caucasian")  # each has its own copy of the units; we take their mean
UNUSED = ("tongueOut",)  # the model has no tongue

# Strongest use of an action, where 1 is the artist's extreme. Full smiles and sideways mouths fold the cheeks, and
# a full blink pulls the upper lid over the lower one.
CAPS = {"eyeBlink": 0.85, "mouthSmile": 0.7, "mouthLeft": 0.6, "mouthRight": 0.6}
MOST_ACTIONS, MOST_UNITS = 5, 3
CHANCE_OF_UNITS = 0.5
CHANCE_OF_BOTH_SIDES = 0.85
GAIN_SD = 0.5  # of an action's strength from region to region


@dataclass(frozen=True)
class Actions:
    """Named displacements (mm) of the base rows, the ARKit ones first."""

    names: list[str]
    n_arkit: int
    displacement: Float[np.ndarray, "A R 3"]

    def index(self, name: str) -> int:
        return self.names.index(name)

    def twin(self, name: str) -> str | None:
        """The same action on the other side of the face, None if it has no side."""
        for here, there in (("Left", "Right"), ("Right", "Left"), ("-left-", "-right-"), ("-right-", "-left-")):
            other = name.replace(here, there)
            if other != name and other in self.names:
                return other
        return None


def read_actions(rows: Int[np.ndarray, " R"]) -> Actions:
    """All actions at the base vertices `rows`."""
    arkit = sorted(file.stem for file in (data_folder() / ACTIONS).glob("*.target"))
    arkit = [name for name in arkit if name not in UNUSED]
    units = sorted(file.name.split(".")[0] for file in (data_folder() / UNITS / ANCESTRIES[0]).glob("*.target.gz"))
    moves = [read_target(f"{ACTIONS}/{name}.target", rows) for name in arkit]
    for name in units:
        moves.append(np.mean([read_target(f"{UNITS}/{a}/{name}.target.gz", rows) for a in ANCESTRIES], axis=0))
    return Actions(arkit + units, len(arkit), np.stack(moves).astype(np.float32))


def sample_expressions(
    actions: Actions, base: Float[np.ndarray, "R 3"], eye_y: float, mouth_y: float, n: int, rng: np.random.Generator
) -> Float[np.ndarray, "n R 3"]:
    """n random expressions, as displacements (mm) of the neutral base rows `base`; heights of eyes and mouth in mm."""
    strength = _random_strengths(actions, n, rng)
    flat = actions.displacement.reshape(len(actions.names), -1)
    total = np.zeros((n, len(base), 3), np.float32)
    for region in soft_regions(base, eye_y, mouth_y):
        gain = 1 + GAIN_SD * rng.standard_normal(strength.shape)
        moved = (strength * gain).astype(np.float32) @ (flat * np.repeat(region, 3).astype(np.float32))
        total += moved.reshape(total.shape)
    return total


def soft_regions(base: Float[np.ndarray, "R 3"], eye_y: float, mouth_y: float) -> Float[np.ndarray, "6 R"]:
    """Weights of left and right × brow and eyes, nose and upper lip, lower lip and chin; they sum to one everywhere."""
    x, y, _ = base.T
    left = _soft_step(x / 4.0)
    top = _soft_step((y - eye_y + 18.0) / 6.0)
    upper = _soft_step((y - mouth_y) / 3.0)
    heights = (top, upper * (1 - top), (1 - upper) * (1 - top))
    return np.stack([side * height for height in heights for side in (left, 1 - left)])


def _soft_step(t: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 1 / (1 + np.exp(-np.clip(t, -50, 50)))


def _random_strengths(actions: Actions, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n A"]:
    """One to five ARKit actions at a time, half the time a few units besides; mostly the same on both sides."""
    strength = np.zeros((n, len(actions.names)))
    for row in strength:
        chosen = list(rng.choice(actions.n_arkit, rng.integers(1, MOST_ACTIONS + 1), replace=False))
        if rng.random() < CHANCE_OF_UNITS:
            n_units = len(actions.names) - actions.n_arkit
            chosen += list(actions.n_arkit + rng.choice(n_units, rng.integers(1, MOST_UNITS + 1), replace=False))
        for k in chosen:
            row[k] = rng.beta(1.2, 2.0)
            twin = actions.twin(actions.names[k])
            if twin and rng.random() < CHANCE_OF_BOTH_SIDES:
                row[actions.index(twin)] = np.clip(row[k] * (1 + 0.15 * rng.standard_normal()), 0, 1)
    return strength * _caps(actions)


def _caps(actions: Actions) -> Float[np.ndarray, " A"]:
    return np.array([next((c for start, c in CAPS.items() if name.startswith(start)), 1.0) for name in actions.names])
