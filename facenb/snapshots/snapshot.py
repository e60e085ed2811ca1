"""One snapshot: a random head in random light before a random background, through a random camera, and its truth.

Snapshot number i of seed s depends on nothing but (s, i): neither on its neighbours nor on how many are made at once,
by how many processes. Truth is evaluated at pixel *centres*, colours are means over the 3 × 3 samples of a pixel, of
which the middle one is the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from facenb.flatten import flatten
from facenb.heads import Head
from facenb.morphable_model import MorphableModel
from facenb.open_model import open_model
from facenb.rasterise import rasterise
from facenb.snapshots.backgrounds import random_background
from facenb.snapshots.light import Light, random_light
from facenb.snapshots.photography import photograph
from facenb.snapshots.pose import Framing, View, random_view
from facenb.snapshots.simple_heads import random_head
from facenb.snapshots.scene import Scene, build_scene
from facenb.snapshots.shading import LINEAR, resolve, shade_samples
from facenb.snapshots.visibility import draw, project, shadow_map

GENERATOR = 1  # to be counted up when pictures of the same seed change
SAMPLES = 3  # to a pixel, each way
SHADOW_MAP = 160  # texels each way, of about 2.5 mm
AROUND = np.array([0.0, -20.0, -60.0], np.float32)  # mm, the middle of a head with its neck
REACH = 200.0  # mm each way: what casts shadows on a face


@dataclass(frozen=True)
class SnapshotTruth:
    """What is known about a snapshot because we made it. Pixels and camera: conventions of `facenb.camera`.

    Attributes:
        uv: where on the flattened open model (`facenb.flatten.flatten` of `open_model()`) the face is that lies in the
            pixel, hidden or not; 0 where no face is.
        depth: its camera z in mm; 0 where no face is.
        mask: True where the face is *seen*: its outer side lies at the pixel's centre, and at least half of the pixel's
            nine samples see the face model's own surface or what counts as skin: beard, moustache, stubble, brows,
            lashes. False where hair of the head, rims or dark lenses of glasses, hands, hats, scarves, microphones or
            the inside of the mouth cover it, and on ears, neck and the rest of the head, which the model has not.
        landmarks68, landmarks5: pixels, seen or not (order and definition: `five_points`).
        identity, expression, albedo: the open model's coefficients.
        K, R, t: X_camera = R X + t, pixel ~ K X_camera, X in model coordinates (mm).
        yaw, pitch, roll: radians, read off R by `facenb.rotation`.
    """

    uv: Float[np.ndarray, "H W 2"]
    depth: Float[np.ndarray, "H W"]
    mask: Bool[np.ndarray, "H W"]
    landmarks68: Float[np.ndarray, "68 2"]
    landmarks5: Float[np.ndarray, "5 2"]
    identity: Float[np.ndarray, " 199"]
    expression: Float[np.ndarray, " 100"]
    albedo: Float[np.ndarray, " 199"]
    K: Float[np.ndarray, "3 3"]
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Snapshot:
    image: UInt8[np.ndarray, "H W 3"]
    truth: SnapshotTruth
    traits: dict[str, str]


@dataclass(frozen=True)
class _Face:
    """The open model's constants that every snapshot needs."""

    triangles: Int[np.ndarray, "T 3"]
    uv: Float[np.ndarray, "V 2"]
    landmarks68: Int[np.ndarray, " 68"]


def five_points(landmarks68: np.ndarray) -> np.ndarray:
    """The middles of both eyes, the tip of the nose and the corners of the mouth, from the 68 (…, 68, c) → (…, 5, c)."""
    L = landmarks68
    eyes = [L[..., 36:42, :].mean(-2), L[..., 42:48, :].mean(-2)]
    return np.stack([*eyes, L[..., 30, :], L[..., 48, :], L[..., 54, :]], -2)


def render_snapshot(seed: int, index: int, size: int, framing: Framing) -> Snapshot:
    """Snapshot `index` of `seed`, `size` × `size` pixels."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    # a stream of its own for each: another number of hairs must not change the light
    who, where, lit, behind, camera = (np.random.default_rng(s) for s in rng.bit_generator.seed_seq.spawn(5))
    head = random_head(who)
    face = _face()
    view = random_view(where, framing, size, five_points(head.parts[head.face].vertices[face.landmarks68]))
    scene = build_scene(head)
    light = random_light(lit)
    skin = head.parts[head.face].colour.mean(0)
    background = random_background(behind, size, skin)
    radiance, as_skin = _expose(scene, view, light, background, size)
    truth = _truth(head, view, as_skin, size)
    return Snapshot(photograph(camera, radiance), truth, head.traits)


def _expose(
    scene: Scene, view: View, light: Light, background: np.ndarray, size: int
) -> tuple[Float[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """Linear light in each pixel, and where at least half of a pixel's samples count as the face."""
    S = SAMPLES * size
    P = np.empty_like(scene.X)
    K, R, t = (a.astype(np.float32) for a in (view.K, view.R, view.t))
    project(scene.X, K, R, t, SAMPLES, P)
    triangle = np.full((S, S), -1, np.int32)
    barycentric = np.empty((S, S, 2), np.float32)
    inverse_depth = np.zeros((S, S), np.float32)
    draw(P, scene.T, scene.opacity, np.float32(20), triangle, barycentric, inverse_depth)

    turn = np.array([[1], [-1], [-1]], np.float32) * R  # model → viewer
    lamps = np.ascontiguousarray(light.directions @ turn)  # Rᵀ d, in model coordinates
    frames = np.stack([_frame(d) for d in lamps]) if len(lamps) else np.zeros((0, 3, 3), np.float32)
    maps = np.full((len(lamps), SHADOW_MAP, SHADOW_MAP), -1e9, np.float32)
    for frame, depth in zip(frames, maps, strict=True):
        shadow_map(scene.X, scene.T, scene.opacity, frame, AROUND, REACH, depth)
    samples = np.empty((S, S, 3), np.float32)
    shade_samples(
        triangle, barycentric, scene.T, scene.X, scene.N, scene.colour, scene.occlusion, scene.part_of,
        scene.material, view.eye.astype(np.float32), turn, light.sky, lamps, light.colours, light.sizes, maps, frames,
        AROUND, np.float32(REACH), samples,
    )  # fmt: skip
    behind = LINEAR[(background * 1023).astype(np.int32)]
    radiance = np.empty((size, size, 3), np.float32)
    resolve(samples, triangle, behind, SAMPLES, radiance)
    counts = np.array([*scene.as_skin, False])[np.where(triangle < 0, -1, scene.part_of[triangle])]
    share = counts.reshape(size, SAMPLES, size, SAMPLES).sum((1, 3))
    return radiance, 2 * share >= SAMPLES**2


def _frame(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rows: two directions across the lamp's light, and the one towards it."""
    helper = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.8 else np.array([0, 1.0, 0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction]).astype(np.float32)


def _truth(head: Head, view: View, as_skin: Bool[np.ndarray, "H W"], size: int) -> SnapshotTruth:
    face = _face()
    X = head.parts[head.face].vertices.astype(np.float64)
    camera = X @ view.R.T + view.t
    pixels = camera @ view.K.T
    P = np.concatenate([pixels[:, :2] / pixels[:, 2:], camera[:, 2:]], 1)
    seen = rasterise(torch.from_numpy(P)[None], torch.from_numpy(face.triangles), size, size)
    triangle, b = seen.triangle[0].numpy(), seen.barycentric[0].numpy()
    corner = face.triangles[np.maximum(triangle, 0)]
    covered = triangle >= 0
    uv = np.where(covered[..., None], (face.uv[corner] * b[..., None]).sum(2), 0)
    p, q, r = (P[corner[..., i], :2] for i in range(3))
    e, f = q - p, r - p
    outside = e[..., 0] * f[..., 1] - e[..., 1] * f[..., 0] < 0  # counterclockwise from outside, but y points down
    landmarks68 = P[face.landmarks68, :2]
    return SnapshotTruth(
        uv=uv.astype(np.float32),
        depth=np.where(covered, seen.depth[0].numpy(), 0).astype(np.float32),
        mask=covered & outside & as_skin,
        landmarks68=landmarks68,
        landmarks5=five_points(landmarks68),
        identity=head.identity,
        expression=head.expression,
        albedo=head.albedo,
        K=view.K,
        R=view.R,
        t=view.t,
        yaw=view.yaw,
        pitch=view.pitch,
        roll=view.roll,
    )


@cache
def _face() -> _Face:
    model: MorphableModel = open_model()
    uv = flatten(model).uv.numpy()[: model.n_vertices]
    return _Face(model.triangles.numpy(), uv, model.landmarks68.numpy())
