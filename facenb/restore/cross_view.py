"""Does a shape from one photo hold when the head turns? (book: *Does geometry survive a change of view?*)

The experiment of Zhang et al. 2022, supplement, section 2: each subject is photographed at −45°, 0° and +45°, three
times each. From one photo a face is reconstructed, and measured where the *other two* poses see it. Errors are
averaged.

    input view    pixels that predicted and true depth share give a first similarity; trimmed ICP on the vertices that
                  this view sees improves it (`facenb.restore.alignment`)
    other views   mean distance, mm, of the true vertices that the other view sees to the aligned surface

The alignment must not look at the other views: a shape would then be excused for lying wrong where it was not seen. And
depth maps of the other view are not compared as they are: a harmless 2 cm towards the camera would count for more than
a wrong nose. SIDE and MAD in the other view, after the same alignment, stand beside the millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.depth_light import depth_to_points
from facenb.restore.alignment import Similarity, Surface, align, fit_similarity
from facenb.restore.depth_metrics import mad, side, without_rim
from facenb.restore.depth_raster import grid_triangles, rasterise_depth
from facenb.restore.studio import (
    BEHIND,
    PITCH,
    UNIT,
    Studio,
    StudioFaces,
    Subject,
    draw,
    photograph,
    random_lamp,
    random_subject,
    turn,
)
from facenb.restore.view import Viewpoint, from_view, to_view
from facenb.restore.warp import FAR, view_depth

POSES = (-45.0, 0.0, 45.0)  # yaw, degrees
RENDERINGS = 3  # of each
NOD = PITCH / 4  # the photos' pitch varies by as much, radians: nobody holds his head exactly upright
SEEN_AT = 256  # pixels of the picture that decides which vertices a pose sees
POINTS = 500  # vertices that an alignment looks at, about
FINE = 2  # points of the predicted surface to a pixel
MATCHED = 0.9  # share of the shared pixels that decide the first alignment


@dataclass(frozen=True)
class Sitting:
    """One subject and his nine photos.

    Attributes:
        photos: pose after pose, as many of each, with the truth about each.
    """

    subject: Subject
    photos: StudioFaces


@dataclass(frozen=True)
class CrossViewErrors:
    """What was measured for N photos, each the mean over the two poses that the photo does not show.

    Attributes:
        distance: true vertices to the surface after a similarity, mm.
        rigid: the same after a rigid motion, which does not excuse a wrong size.
        side, mad: of the depth maps in the other poses after the similarity; × 100, and degrees.
        pose: index in `POSES` of the photo's own pose.
        subject: index of the sitting.
    """

    distance: Float[np.ndarray, " N"]
    rigid: Float[np.ndarray, " N"]
    side: Float[np.ndarray, " N"]
    mad: Float[np.ndarray, " N"]
    pose: Int[np.ndarray, " N"]
    subject: Int[np.ndarray, " N"]


Guess = Callable[[StudioFaces], tuple[Float[Tensor, "N S S"], Viewpoint]]  # photos → canonical depth and view of each


def hold_sitting(studio: Studio, seed: int, number: int, size: int = 64) -> Sitting:
    """Subject `number` of `seed` of the morphable model, sitting for his nine photos."""
    rng = np.random.default_rng([seed, number])
    return photograph_poses(random_subject(studio, rng), rng, size)


def photograph_poses(subject: Subject, rng: np.random.Generator, size: int = 64) -> Sitting:
    """The photos of a subject, each in a light of its own."""
    photos = []
    for yaw in POSES:
        for _ in range(RENDERINGS):
            view = pose_view(yaw, float(rng.uniform(-NOD, NOD)))
            photos.append(photograph(subject, view, random_lamp(rng), rng, size))
    return Sitting(subject, StudioFaces.joined(photos))


def pose_view(yaw: float, pitch: float = 0.0) -> Viewpoint:
    """The view of a pose: yaw in degrees, pitch in radians."""
    return Viewpoint(torch.tensor([[np.radians(yaw), pitch, 0.0]], dtype=torch.float32), torch.zeros(1, 3))


def measure(sittings: Iterable[Sitting], guess: Guess) -> CrossViewErrors:
    """Errors of what `guess` makes of every photo. It is given the truth, too; a method looks at `photos` only."""
    rows = []
    for number, sitting in enumerate(sittings):
        depth, view = guess(sitting.photos)
        poses = [_Pose.of(sitting.subject, pose_view(yaw), depth.shape[-1]) for yaw in POSES]
        for i in range(len(sitting.photos)):
            one, own = slice(i, i + 1), i * len(POSES) // len(sitting.photos)
            others = [pose for k, pose in enumerate(poses) if k != own]
            guessed = _Guessed(depth[one], Viewpoint(view.angles[one], view.shift[one]))
            errors = _photo_errors(sitting.subject, sitting.photos[one], guessed, others)
            rows.append((*errors, own, number))
    *errors, pose, subject = np.array(rows).T
    return CrossViewErrors(*errors, pose.astype(int), subject.astype(int))


@dataclass(frozen=True)
class _Pose:
    view: Viewpoint
    seen: Int[np.ndarray, " M"]  # vertices
    depth: Float[Tensor, "1 S S"]

    @staticmethod
    def of(subject: Subject, view: Viewpoint, size: int) -> _Pose:
        X = turn(subject.X, view)
        fragments = draw(X, subject.triangles, size)
        depth = torch.where(fragments.mask, fragments.depth, BEHIND).float()
        return _Pose(view, seen_vertices(subject, X), depth)


@dataclass(frozen=True)
class _Guessed:
    depth: Float[Tensor, "1 S S"]
    view: Viewpoint

    @property
    def points(self) -> Float[Tensor, "1 S S 3"]:
        """In the photo's camera."""
        return to_view(depth_to_points(self.depth.double()), _double(self.view))

    @property
    def surface(self) -> Surface:
        """In the photo's camera, with points between the pixels' centres."""
        n = FINE * (self.depth.shape[-1] - 1) + 1
        fine = interpolate(self.points.movedim(-1, 1), size=(n, n), mode="bilinear", align_corners=True)
        return Surface(fine[0].movedim(0, -1).reshape(-1, 3).numpy(), grid_triangles(n, n).numpy())


def seen_vertices(subject: Subject, X: Float[Tensor, "V 3"]) -> Int[np.ndarray, " M"]:
    """The vertices that a camera sees of a subject moved to X: corners of the triangles in its picture, skin only."""
    fragments = draw(X, subject.triangles, SEEN_AT)
    corners = subject.triangles[fragments.triangle[fragments.mask].unique()].unique()
    return corners[subject.skin[corners]].numpy()


def aligned_surface(
    subject: Subject, photo: StudioFaces, depth: Float[Tensor, "1 S S"], view: Viewpoint, scale: bool = True
) -> tuple[Surface, Similarity]:
    """The surface that was made of one photo, and the motion that lays it on the truth *as this photo sees it*.

    Both in the photo's camera, units of 1000 mm.
    """
    guessed = _Guessed(depth, view)
    X = turn(subject.X, photo.view)
    here = X[seen_vertices(subject, X)].double().numpy()
    here = here[:: max(len(here) // POINTS, 1)]
    surface = guessed.surface
    return surface, align(surface, here, _first_alignment(*_shared_pixels(guessed, photo), scale), scale)


def _photo_errors(
    subject: Subject, photo: StudioFaces, guessed: _Guessed, others: list[_Pose]
) -> tuple[float, float, float, float]:
    """Distance, rigid distance, SIDE and MAD of one photo's surface."""
    X = turn(subject.X, photo.view).double().numpy()  # V 3: the truth, in the photo's camera
    distances = []
    for scale in (False, True):
        surface, motion = aligned_surface(subject, photo, guessed.depth, guessed.view, scale)
        distances.append(UNIT * np.mean([_distances(surface, motion, X[pose.seen]).mean() for pose in others]))
    rigid, distance = distances
    maps = [_depth_errors(torch.from_numpy(motion(guessed.points.numpy())), photo.view, pose) for pose in others]
    return (distance, rigid, *np.mean(maps, axis=0))


def _distances(surface: Surface, motion: Similarity, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    """From points to the moved surface."""
    return motion.scale * surface.distances(motion.inverse(points))


def _shared_pixels(guessed: _Guessed, photo: StudioFaces) -> tuple[np.ndarray, np.ndarray]:
    """Points of the guessed and of the true depth map where both see the face."""
    z, seen = view_depth(guessed.depth, guessed.view)
    both = (without_rim(seen) & without_rim(photo.mask))[0]
    return tuple(depth_to_points(d)[0][both].double().numpy() for d in (z, photo.depth))


def _first_alignment(ours: np.ndarray, theirs: np.ndarray, scale: bool) -> Similarity:
    if len(ours) < 10:  # the face was put somewhere else altogether: let the closest points decide
        return Similarity(1.0, np.eye(3), np.zeros(3))
    first = fit_similarity(ours, theirs, scale)
    off = np.linalg.norm(first(ours) - theirs, axis=1)
    kept = off <= np.quantile(off, MATCHED)
    return fit_similarity(ours[kept], theirs[kept], scale)


def _depth_errors(points: Float[Tensor, "1 S S 3"], photo: Viewpoint, pose: _Pose) -> tuple[float, float]:
    """SIDE and MAD of points of the photo's camera where another pose sees the face."""
    z, seen = rasterise_depth(to_view(from_view(points, _double(photo)), _double(pose.view)).float())
    where = without_rim(seen) & without_rim(pose.depth < BEHIND)
    z = torch.where(seen, z, FAR)
    return side(z, pose.depth, where).item(), mad(z, pose.depth, where).item()


def _double(view: Viewpoint) -> Viewpoint:
    return Viewpoint(view.angles.double(), view.shift.double())
