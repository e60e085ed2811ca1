"""Hands, phones, cups, microphones and surgical masks in front of faces (book: *It learns*).

Solid things are laid against the face: a height map of the mean face (z over x and y) says how far each may come.

Units mm; colours sRGB.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from facenb.heads.cage_sheet import angles_and_heights, sheet
from facenb.heads.clothes import random_cloth
from facenb.heads.hand_model import FINGERS, JOINTS
from facenb.heads.head_model import HeadModel
from facenb.heads.mesh_tools import normals_of, ramp
from facenb.heads.parts import Part
from facenb.heads.tubes import box, lathe, tube

GRID = 4.0  # mm, of the height map
REACH = 160.0  # mm, half its size
KINDS = {"hand": 0.5, "phone": 0.12, "cup": 0.1, "microphone": 0.12, "mask": 0.16}
# Where hands touch: x, y (mm), then the range of the fingers' direction (degrees from up towards the other side)
PLACES = {
    "chin": (0.0, -66.0, (10, 80)),
    "cheek": (48.0, -30.0, (-15, 40)),
    "mouth": (5.0, -42.0, (25, 85)),
    "jaw": (52.0, -55.0, (-10, 35)),
    "temple": (58.0, 35.0, (-10, 50)),
    "forehead": (15.0, 70.0, (30, 90)),
    "nose": (5.0, -5.0, (30, 80)),
}


def random_occluder(
    model: HeadModel,
    face: Float[np.ndarray, "V 3"],
    moved: Float[np.ndarray, "G 3"],
    tone: Float[np.ndarray, " 3"],
    rng: np.random.Generator,
) -> tuple[list[Part], str]:
    """One random thing in front of a face of the given skin tone, and its name."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    if kind == "hand":
        place = str(rng.choice(list(PLACES)))
        return [_hand(model, place, tone, rng)], f"hand at the {place}"
    if kind == "mask":
        return _surgical_mask(model, moved, rng), "surgical mask"
    return {"phone": _phone, "cup": _cup, "microphone": _microphone}[kind](model, rng), kind


def height_map(X: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "n n"]:
    """Largest z of the vertices around each grid point (row y, column x), −200 where there is nothing."""
    n = int(2 * REACH / GRID) + 1
    z = np.full((n, n), -200.0, np.float32)
    i, j = _cells(X)
    np.maximum.at(z, (i, j), X[:, 2])
    for axis in (0, 1):  # close gaps between vertices
        z = np.maximum(z, np.maximum(np.roll(z, 1, axis), np.roll(z, -1, axis)) - 1.0)
    return z


def _cells(X: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray]:
    n = int(2 * REACH / GRID)
    return tuple(np.clip(((X[:, k] + REACH) / GRID).astype(int), 0, n) for k in (1, 0))


def _laid_on(model: HeadModel, X: Float[np.ndarray, "V 3"], clearance: float) -> Float[np.ndarray, "V 3"]:
    """X pushed along z until it all but touches the mean face, `clearance` mm in front of it."""
    depth = model.heights[_cells(X)] - X[:, 2]
    return (X + np.array([0, 0, np.quantile(depth, 0.985) + clearance])).astype(np.float32)


def posed_hand(model: HeadModel, curl: Float[np.ndarray, "5 3"], spread: Float[np.ndarray, " 5"]) -> np.ndarray:
    """Vertices (mm, the hand's own frame) with every joint bent by `curl` and fingers spread sideways (radians)."""
    hand = model.hand
    X = hand.vertices * (1 - hand.weight.sum(1, keepdims=True).clip(0, 1))
    for f in range(FINGERS):
        R, t = np.eye(3), np.zeros(3)
        for j in range(JOINTS):
            k = f * JOINTS + j
            bend = Rotation.from_rotvec(curl[f, j] * hand.axis[k]).as_matrix()
            if j == 0:
                bend = bend @ Rotation.from_rotvec([0, 0, spread[f]]).as_matrix()
            t = t + R @ (hand.joint[k] - bend @ hand.joint[k])
            R = R @ bend
            X = X + hand.weight[:, k : k + 1] * (hand.vertices @ R.T + t)
    return X.astype(np.float32)


def _hand(model: HeadModel, place: str, tone: Float[np.ndarray, " 3"], rng: np.random.Generator) -> Part:
    kind = rng.choice(["flat", "relaxed", "fist", "pointing"])
    base = {"flat": 0.08, "relaxed": 0.45, "fist": 1.35, "pointing": 1.25}[str(kind)]
    curl = np.clip(base + rng.normal(0, 0.15) + 0.12 * rng.standard_normal((FINGERS, JOINTS)), -0.1, 1.5)
    curl[0] *= 0.4
    if kind == "pointing":
        curl[1] = rng.uniform(0, 0.3, JOINTS)
    spread = rng.normal(0, 0.05, FINGERS) + rng.normal(0, 0.06) * np.array([0, 1, 0, -1, -2])
    X = posed_hand(model, curl, spread) * rng.uniform(0.88, 1.08)
    x, y, (low, high) = PLACES[place]
    roll = np.radians(rng.uniform(low, high))
    touching = np.array([0.0, rng.uniform(60, 150) if kind in ("flat", "relaxed") else rng.uniform(60, 100), 0.0])
    pitch, yaw = rng.normal(-0.2, 0.25), rng.normal(0, 0.35)  # fingertips towards the face
    palm = np.pi if rng.random() < 0.2 else 0.0  # or the back of the hand on the skin
    R = (Rotation.from_euler("y", yaw) * Rotation.from_euler("yxz", [palm, pitch, roll])).as_matrix()
    X = (X - touching) @ R.T + np.array([x + rng.normal(0, 8), y + rng.normal(0, 8), 0])
    T = model.hand.triangles
    if rng.random() < 0.5:  # the other hand
        X, T = X * [-1, 1, 1], T[:, ::-1]
    X = _laid_on(model, X, rng.uniform(-4, 3) if rng.random() < 0.8 else rng.uniform(5, 60))
    blotch = 1 + 0.03 * np.sin(X @ (rng.standard_normal((3, 3)) / 12)).sum(1)
    tips = np.clip(model.hand.weight[:, 2::JOINTS].sum(1), 0, 1)[:, None]
    colour = tone * (1 - tips * [0.0, 0.06, 0.05]) * blotch[:, None] * rng.uniform(0.9, 1.08)
    sky = (0.75 + 0.25 * normals_of(X, np.ascontiguousarray(T))[:, 2]).clip(0.4, 1)
    return Part(
        "hand", X, np.ascontiguousarray(T), colour.clip(0, 1).astype(np.float32), sky.astype(np.float32), 0.05, 15.0
    )


def _solid(name: str, mesh, colour, model: HeadModel, angles, at, clearance: float, **material) -> Part:
    X, T = mesh
    X = X @ Rotation.from_euler("xyz", angles).as_matrix().T + np.array([*at, 0.0])
    X = _laid_on(model, X, clearance)
    tint = np.broadcast_to(np.asarray(colour, np.float32), X.shape).copy()
    return Part(name, X, T, tint, np.full(len(X), 0.9, np.float32), **material)


def _phone(model: HeadModel, rng: np.random.Generator) -> list[Part]:
    side = rng.choice([-1, 1])
    mesh = box((rng.uniform(66, 78), rng.uniform(135, 160), 9))
    at = (
        (side * rng.uniform(20, 95), rng.uniform(-90, 20))
        if rng.random() < 0.8
        else (rng.normal(0, 20), rng.uniform(-60, 40))
    )
    angles = (rng.normal(0, 0.2), side * rng.uniform(0.2, 1.3), rng.normal(0, 0.3))
    colour = random_cloth(rng) if rng.random() < 0.4 else np.full(3, rng.uniform(0.03, 0.15))
    return [_solid("phone", mesh, colour, model, angles, at, rng.uniform(2, 40), specular=0.4, gloss=60.0)]


def _cup(model: HeadModel, rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(28, 42), rng.uniform(80, 120)
    profile = np.array([[0, -h], [0.72 * r, -h], [r, 0], [r + 1.5, 2], [r - 1, 3], [0.7 * r, -h + 4]])
    angles = (rng.uniform(-0.9, 0.1), 0, rng.normal(0, 0.15))
    at = (rng.normal(0, 12), rng.uniform(-62, -30))
    return [
        _solid(
            "cup", lathe(profile), random_cloth(rng), model, angles, at, rng.uniform(0, 20), specular=0.1, gloss=20.0
        )
    ]


def _microphone(model: HeadModel, rng: np.random.Generator) -> list[Part]:
    ball, length = rng.uniform(20, 28), rng.uniform(140, 200)
    t = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    profile = np.concatenate([[[9, -length], [12, -ball]], np.stack([ball * np.cos(t), ball * np.sin(t)], -1)[2:]])
    angles = (rng.uniform(-0.2, 0.9), 0, rng.uniform(-0.9, 0.9))
    at = (rng.normal(0, 14), rng.uniform(-75, -42))
    colour = np.full(3, rng.uniform(0.03, 0.5))
    return [
        _solid(
            "microphone", lathe(profile, 16), colour, model, angles, at, rng.uniform(4, 40), specular=0.3, gloss=30.0
        )
    ]


def _surgical_mask(model: HeadModel, moved: Float[np.ndarray, "G 3"], rng: np.random.Generator) -> list[Part]:
    azimuth, y = angles_and_heights(model.cage)
    a = np.abs(azimuth)
    down = rng.uniform(-50, -30) if rng.random() < 0.12 else rng.normal(0, 4)  # some wear it under the nose
    top = np.interp(a, [0, 20, 62], [17, 3, -14]) + down
    low = np.interp(a, [0, 30, 62], [-92, -84, -58]) + 0.3 * down
    alpha = np.clip(0.5 + np.minimum(np.minimum(top - y, y - low) / 2, (60 - a) / 4), 0, 1)
    pleats = np.sin(y / rng.uniform(2.5, 4)) * (rng.random() < 0.6)
    kinds = [(0.55, 0.75, 0.85), (0.92, 0.93, 0.94), (0.08, 0.08, 0.09)]
    tint = np.array(kinds[rng.integers(3)]) * rng.uniform(0.9, 1.05) if rng.random() < 0.75 else random_cloth(rng)
    colour = tint * (1 + 0.05 * pleats)[..., None]
    cloth = sheet(
        "mask", model.cage, moved, alpha, 6 + 2 * ramp(y + 40, 30) + 1.2 * pleats, colour, 0.95, texture_noise=0.03
    )
    loops = []
    grid = cloth.vertices.reshape(*y.shape, 3)
    for side, ear in zip((1, -1), model.ear_tops, strict=True):
        column = int(np.abs(azimuth - side * 59).argmin())
        end = model.whole.mean[model.whole.part["body"]][ear] + [side * 2, 0, -4]
        for edge in (top, low):
            start = grid[int(np.abs(y[:, column] - edge[column]).argmin()), column]
            path = (
                start
                + np.linspace(0, 1, 4)[:, None] * (end - start)
                + np.array([side * 3, 0, 0]) * [[0], [1], [1], [0]]
            )
            X, T = tube(path, 1.2, sides=4)
            loops.append(Part("loop", X, T, np.full(X.shape, 0.85, np.float32), np.full(len(X), 0.9, np.float32)))
    return [cloth, *loops]
