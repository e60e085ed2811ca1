"""The average face where faces are on average (book: *Pretraining from an average face*).

Section F of the supplement of Koizumi & Smith 2020: about a thousand roughly aligned images get all the *same*
supervision. The model's mean shape is laid onto the average position of five landmarks over the set, by a similarity,
and drawn: that gives the map of uv and the confidence, and depth is constant. It is wrong for every single image and
right on average, which is enough to start from.

The average position is one set of five points, eyes, nose and corners of the mouth, for the whole set. It belongs to
the frame, not to any image: whoever cut the images to one size has fixed it, and for our rendered images and CelebA's
it is known.

Pixels: x right, y down, integers at pixel centres. Five points are in the order of `metrics.five_points`, the subject's
right eye first; "in sides" means pixel (x, y) of a square of side s written as ((x + ½)/s, (y + ½)/s).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from facenb.augment import warp
from facenb.flatten import Flattening
from facenb.image_sets import ImageSet, celeba_landmarks5
from facenb.metrics import five_points
from facenb.morphable_model import MorphableModel
from facenb.rasterise import interpolate, rasterise

ALIGNED_SCALE = 0.40  # sides of the picture per 100 mm at the face: the frame of our rendered training images
BROWS, NOSE_BASE = slice(17, 27), 33  # of the 68 landmarks
FAR = 1e5  # mm; from so far away everything is seen in parallel


@dataclass(frozen=True)
class Supervision:
    """What a pixel should say: uv, and whether it shows the face. Depth is 1 everywhere.

    Outside the face uv repeats the nearest value inside, so that a warp has something sane to interpolate with.
    """

    uv: Float[Tensor, "*n 2 H W"]
    face: Bool[Tensor, "*n H W"]

    def moved(self, theta: Float[Tensor, "n 2 3"], size: int) -> Supervision:
        """The supervision of n pictures that were moved by θ to size × size (`augment.warp`); needs no batch axis."""
        maps = torch.cat([self.uv, self.face[None].to(self.uv)]).expand(len(theta), -1, -1, -1)  # n 3 H W
        uv = warp(maps, theta, size, fill=0.0)
        return Supervision(uv[:, :2], uv[:, 2] > 0.5)

    def to(self, device: torch.device | str) -> Supervision:
        """Copy on another device."""
        return Supervision(self.uv.to(device), self.face.to(device))


def aligned_landmarks5(model: MorphableModel, scale: float = ALIGNED_SCALE) -> Float[Tensor, "5 2"]:
    """The five points, in sides, of the frame of our rendered training images: known because we cut them so.

    The mean face seen from the front and from far away, 100 mm being `scale` sides, the five points' mean in the
    middle. Turned heads bring the average of such images a few percent closer together across; that is not modelled.
    """
    flat = five_points(model.shape_mean[_landmarks(model)])[:, :2] * model.shape_mean.new_tensor([1.0, -1.0])
    return 0.5 + scale * (flat - flat.mean(0)) / 100


def average_landmarks5(images: ImageSet, model: MorphableModel) -> Float[Tensor, "5 2"]:
    """The average five points of a set of images, in sides; known if the set's frame is.

    Raises ValueError for other sets: somebody must look where their faces are.
    """
    if images.frame == "aligned":
        return aligned_landmarks5(model)
    if images.frame == "celeba":
        return celeba_landmarks5()
    raise ValueError(
        f"{images.names[0]} and the others: it is not known where their faces are on average; pretrain on images "
        "of facenb render (--framing aligned), on CelebA's aligned ones, or say where eyes, nose and mouth lie"
    )


def similarity_onto(
    source: Float[Tensor, "k 2"], target: Float[Tensor, "k 2"]
) -> tuple[Float[Tensor, "2 2"], Float[Tensor, " 2"]]:
    """(A, t) of the similarity that brings A source + t closest to `target` in the least-squares sense.

    A = scale · rotation, never a reflection. With the points as complex numbers about their means, A is the number
    ``a = Σ s̄ t / Σ |s|²``. Raises ValueError where all source points are one.
    """
    s, t = source - source.mean(0), target - target.mean(0)
    size = s.square().sum()
    if not size > 0:
        raise ValueError("a similarity needs two different points at least")
    real = (s * t).sum() / size
    imaginary = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum() / size
    A = torch.stack([torch.stack([real, -imaginary]), torch.stack([imaginary, real])])
    return A, target.mean(0) - A @ source.mean(0)


def mean_supervision(
    model: MorphableModel, flattening: Flattening, landmarks5: Float[Tensor, "5 2"], size: int
) -> Supervision:
    """The supervision of section F for size × size pictures whose average five landmarks lie at `landmarks5` (pixels).

    The mean face is turned, scaled and shifted in the picture's plane to fit the five points and seen in parallel. As
    face counts what is bare on most people: all of the model up to a third of the way from the brows to the height at
    which a hairline is expected, as far above them as the base of the nose is below (`forehead_limit`).
    """
    X = flattening.extend(model.shape_mean)  # W 3
    flat = X[:, :2] * X.new_tensor([1.0, -1.0])  # y down
    five = five_points(model.shape_mean[_landmarks(model)])[:, :2] * X.new_tensor([1.0, -1.0])
    A, t = similarity_onto(five, landmarks5.to(X))
    scale = torch.linalg.det(A).sqrt()
    vertices = torch.cat([flat @ A.T + t, FAR - scale * X[:, 2:]], -1)  # W 3: px, px, depth
    fragments = rasterise(vertices[None], flattening.triangles.to(X.device), size, size)
    attributes = torch.cat([flattening.uv.to(X), X[:, 1:2]], -1)  # W 3: u, v, y
    values = interpolate(fragments, flattening.triangles.to(X.device), attributes[None])[0]  # H W 3
    seen = fragments.mask[0]
    if not seen.any():
        raise ValueError(
            f"the mean face lies outside the picture: are the five landmarks in pixels of {size} × {size}?"
        )
    uv = _spread(values[..., :2].permute(2, 0, 1), seen)
    return Supervision(uv.float(), seen & (values[..., 2] < forehead_limit(model)))


def forehead_limit(model: MorphableModel) -> float:
    """Height (mm) up to which a forehead is usually bare.

    The three parts of a face from the chin to the base of the nose, to the brows, to the hairline are about equal, as
    painters know; fringes leave a third of the last one.
    """
    P = model.shape_mean[_landmarks(model)]
    brows, nose_base = P[BROWS, 1].amax(), P[NOSE_BASE, 1]
    return float(brows + (brows - nose_base) / 3)


def to_pixels(points: Float[Tensor, "*n 2"], size: int) -> Float[Tensor, "*n 2"]:
    """Points in sides as pixels of a size × size picture."""
    return points * size - 0.5


def _landmarks(model: MorphableModel) -> Tensor:
    if len(model.landmarks68) != 68:
        raise ValueError(f"model {model.name!r} has no landmarks: pretraining must know where its eyes and mouth are")
    return model.landmarks68


def _spread(values: Float[Tensor, "C H W"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """The values where they are known, elsewhere those of the nearest pixel where they are."""
    row, column = distance_transform_edt(~known.cpu().numpy(), return_distances=False, return_indices=True)
    return values[:, torch.from_numpy(row), torch.from_numpy(column)]
