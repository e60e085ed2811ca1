"""One snapshot: a random head in random light before a random background, through a random camera, and its truth.

Snapshot number i of seed s depends on nothing but (s, i): neither on its neighbours nor on how many are made at once,
by how many processes. Truth is evaluated at pixel *centres*, colours are means over the 3 × 3 samples of a pixel, of
which the middle one is the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facenb.flatten import flatten
from facenb.heads import Head, undressed_heads
from facenb.metrics import five_points
from facenb.open_model import open_model
from facenb.rasterise import interpolate, rasterise
from facenb.snapshots.backgrounds import random_background
from facenb.snapshots.light import Light, random_light
from facenb.snapshots.photography import photograph
from facenb.snapshots.pose import Framing, Pose, View, frame, random_pose
from facenb.snapshots.scene import Scene, build_scene, coarse_triangles
from facenb.snapshots.shading import LINEAR, Eye, Lit, expose
from facenb.snapshots.visibility import draw, project, shadow_map

GENERATOR = 1  # to be counted up when pictures of the same seed change
CHEST_SD = (0.2, 0.08, 0.06)  # radians by which a chest is turned against its head, beside following it
WET_LIPS = 0.12  # how much lips shine, compared with eyes
BLOCK = 8  # heads that are shaped at a time
SAMPLES = 3  # to a pixel, each way
SHADOW_MAP = 160  # texels each way
TEXELS_PER_MM = np.float32(0.4)  # so a map covers what can cast a shadow on a face
SHADOW_CELL = 5.0  # mm, see `coarse_triangles`
AROUND = np.array([0.0, -20.0, -60.0], np.float32)  # mm, the middle of a head with its neck
Streams = list[np.random.Generator]  # of light, background and camera


@dataclass(frozen=True)
class SnapshotTruth:
    """What is known about a snapshot because we made it. Pixels and camera: conventions of `facenb.camera`.

    Attributes:
        uv: where on the flattened open model (`facenb.flatten.flatten` of `open_model()`) the face is whose outer side
            lies at the pixel's centre, hidden or not; 0 where no face is.
        depth: its camera z in mm; 0 where no face is.
        mask: True where the face is *seen*: it lies at the pixel's centre, and at least half of the pixel's nine
            samples see the face model's own surface or what is worn like skin (beard, lashes: see `WORN_AS_SKIN` in
            `facenb.snapshots.scene`) or look at it through clear glass. False where hair, rims and dark lenses of
            glasses, hands, hats, scarves or microphones cover it, in an open mouth (teeth, tongue), and on ears, neck
            and the rest of the head, which the model has not.
        landmarks68, landmarks5: pixels, seen or not (order and definition: `metrics.five_points`).
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

    uv: Float[Tensor, "V 2"]
    landmarks68: Int[np.ndarray, " 68"]
    wet: Float[np.ndarray, " V"]
    shadow: Int[np.ndarray, "s 3"]


def render_snapshots(seed: int, indices: Iterable[int], size: int, framing: Framing) -> Iterator[Snapshot]:
    """Snapshots `indices` of `seed`, `size` × `size` pixels. Quickest for runs of numbers.

    Heads are shaped in blocks, because one matrix product for many costs little more than one for one. A block is
    shaped whole whichever of its heads are wanted: a product of another size may be rounded in another way.
    """
    waiting = {}
    for i in indices:
        if i not in waiting:
            block = range(i // BLOCK * BLOCK, i // BLOCK * BLOCK + BLOCK)
            waiting = dict(zip(block, _people(seed, block, framing), strict=True))
        dress, pose, streams = waiting.pop(i)  # streams can be drawn from only once
        yield photographed(dress(), pose, streams, size)


def render_snapshot(seed: int, index: int, size: int, framing: Framing) -> Snapshot:
    """Snapshot `index` of `seed`."""
    return next(render_snapshots(seed, [index], size, framing))


def _people(seed: int, block: range, framing: Framing) -> list[tuple[Callable[[], Head], Pose, Streams]]:
    # a stream of its own for each step: another number of hairs must not change the light
    streams = [[np.random.default_rng(s) for s in np.random.SeedSequence([seed, i]).spawn(6)] for i in block]
    poses = [random_pose(s[1], framing) for s in streams]
    # the chest follows the head half way, so that it faces the camera more than the head does
    turns = [s[2].normal([-p.yaw / 2, -p.pitch / 2, 0], CHEST_SD) for p, s in zip(poses, streams, strict=True)]
    heads = undressed_heads([s[0] for s in streams], turns=[tuple(turn) for turn in turns])
    return list(zip(heads, poses, [s[3:] for s in streams], strict=True))


def photographed(head: Head, pose: Pose, streams: Streams, size: int) -> Snapshot:
    """The snapshot of a given head in a given pose; light, background and camera are drawn from the three streams."""
    lit, behind, camera = streams
    face = _face()
    view = frame(pose, size, _five(head.parts[head.face].vertices[face.landmarks68]))
    light = random_light(lit)
    background = random_background(behind, size, head.parts[head.face].colour.mean(0))
    radiance, as_skin = expose_scene(build_scene(head, face.wet, face.shadow), view, light, background, size)
    truth = _truth(head, view, as_skin, size)
    return Snapshot(photograph(camera, radiance), truth, head.traits)


def expose_scene(
    scene: Scene, view: View, light: Light, background: np.ndarray, size: int
) -> tuple[Float[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """Linear light in each pixel, and where at least half of a pixel's samples count as the face."""
    S = SAMPLES * size
    P = np.empty((len(scene.V), 3), np.float32)
    K, R, t = (a.astype(np.float32) for a in (view.K, view.R, view.t))
    project(scene.V, K, R, t, np.float32(SAMPLES), P)
    triangle = np.full((S, S), -1, np.int32)
    barycentric = np.empty((S, S, 2), np.float32)
    nearest = np.zeros((S, S), np.float32)
    draw(P, scene.T, scene.part_of, scene.closed, scene.opacity, SAMPLES, triangle, barycentric, nearest)

    radiance, skin = np.empty((size, size, 3), np.float32), np.empty((size, size), np.int32)
    turn = np.array([[1], [-1], [-1]], np.float32) * R  # model → viewer
    eye = Eye(view.eye.astype(np.float32), np.float32(view.pixel), turn)
    behind = np.ascontiguousarray(LINEAR[(background * (len(LINEAR) - 1)).astype(np.int32)])
    lit = _cast_shadows(scene, light, turn)
    expose(
        triangle, barycentric, scene.T, scene.V, scene.part_of, scene.material, scene.as_skin, eye, lit, behind,
        radiance, skin,
    )  # fmt: skip
    return radiance, 2 * skin >= SAMPLES**2


def _cast_shadows(scene: Scene, light: Light, turn: Float[np.ndarray, "3 3"]) -> Lit:
    """The light of a scene whose head is turned: lamps in model coordinates, with their shadow maps."""
    directions = np.ascontiguousarray(light.directions @ turn)
    frames = np.stack([_frame(d) for d in directions]) if len(directions) else np.zeros((0, 3, 3), np.float32)
    maps = np.full((len(directions), SHADOW_MAP, SHADOW_MAP), -1e9, np.float32)
    for axes, depth in zip(frames, maps, strict=True):
        shadow_map(
            scene.V, scene.shadow_triangles, scene.shadow_part_of, scene.closed, scene.opacity, axes, AROUND,
            TEXELS_PER_MM, depth,
        )  # fmt: skip
    return Lit(light.sky, directions, light.colours, light.sizes, maps, frames, AROUND, TEXELS_PER_MM)


def _frame(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rows: two directions across the lamp's light, and the one towards it."""
    helper = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.8 else np.array([0, 1.0, 0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction]).astype(np.float32)


def _truth(head: Head, view: View, as_skin: Bool[np.ndarray, "H W"], size: int) -> SnapshotTruth:
    face = _face()
    P = (head.parts[head.face].vertices @ view.R.T + view.t) @ view.K.T  # V 3, float64
    P[:, :2] /= P[:, 2:]  # K's last row is (0, 0, 1): the depth is there already
    triangles = torch.from_numpy(head.parts[head.face].triangles)  # those of the open model, but half as many bytes
    seen = rasterise(torch.from_numpy(P)[None], triangles, size, size, cull="back")
    uv = interpolate(seen, triangles, face.uv)[0].numpy()
    covered = seen.mask[0].numpy()
    landmarks68 = P[face.landmarks68, :2]
    return SnapshotTruth(
        uv=uv.astype(np.float32, copy=False),
        depth=np.where(covered, seen.depth[0].numpy(), 0).astype(np.float32),
        mask=covered & as_skin,
        landmarks68=landmarks68,
        landmarks5=_five(landmarks68),
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


def _five(landmarks68: Float[np.ndarray, "68 d"]) -> Float[np.ndarray, "5 d"]:
    return five_points(torch.from_numpy(landmarks68)).numpy()


@cache
def _face() -> _Face:
    model = open_model()
    uv = flatten(model).uv[: model.n_vertices]
    wet = torch.maximum(model.regions["eyes"], WET_LIPS * model.regions["lips"])
    shadow = coarse_triangles(model.shape_mean.numpy(), model.triangles.numpy(), SHADOW_CELL)
    return _Face(uv, model.landmarks68.numpy(), wet.numpy(), shadow)
