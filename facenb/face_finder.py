"""Where is the face? Ask the network everywhere and believe the best answer (book: *Your own photos*).

No detector: the network that reconstructs a face also knows one when it sees one. The photo is shown to it at several
sizes and turned by several angles; wherever its maps agree with a face, in a window of the size it was trained on,
stands a candidate. The best candidates are cut out as in training, upright and centred, 100 mm being 0.48 of the side,
and judged again; what they say about their own place gives the next, better crop.

Confidence alone is a poor witness: a wall of the colour of skin can have it, too. So the score of a window is a product
of factors in [0, 1]: is the confidence sharp; do the points (u, v), seen by *one* camera, lie where their pixels are
(the residual of a least-squares fit of the mean face); is as much of the picture confident as that face would cover;
and, for the last few candidates, does the face stay where it is when the frame around it is moved (`steadiness`).

A crop is θ (2, 3) as in `augment`: it takes pixels of the crop to pixels of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.augment import warp
from facenb.face_judge import DEFAULTS, FaceJudge, FinderOptions, Sightings, taken
from facenb.steadiness import steadiness
from facenb.uv_model import UVModel

if TYPE_CHECKING:
    from facenb.networks import Maps

TRAINED_SCALE = 0.48  # of the crop's side, that 100 mm at the face measure in training, on average
BOX_SHARE = 0.62  # of the crop's side, that the box around the 68 landmarks takes then, roughly


@dataclass(frozen=True)
class FoundFace:
    """Where a face was found: θ takes the `size` × `size` pixels of its crop to those of the photo; score in [0, 1]."""

    theta: Float[Tensor, "2 3"]
    score: float
    size: int

    @property
    def side(self) -> float:
        """Of the crop, px of the photo."""
        return self.size * float(torch.linalg.det(self.theta[:, :2]).sqrt())


def find_face(
    net: Callable[[Tensor], Maps],
    uv_model: UVModel,
    photo: Float[Tensor, "3 H W"],
    options: FinderOptions = DEFAULTS,
) -> FoundFace | None:
    """The crop of the best face in the photo, in the network's training frame; None if nothing scores enough.

    Deterministic; some five hundred crops' worth of network at the default options, whatever the photo's size.
    """
    judge = FaceJudge(uv_model, options)
    with torch.inference_mode():
        thetas = _strongest(_search(net, judge, photo, options), options)
    best = improve_crops(net, judge, photo, thetas)
    return best if best is not None and best.score >= options.threshold else None


@torch.inference_mode()
def improve_crops(
    net: Callable[[Tensor], Maps], judge: FaceJudge, photo: Float[Tensor, "3 H W"], thetas: Float[Tensor, "N 2 3"]
) -> FoundFace | None:
    """Cut out, judge, cut out anew around what the crops show; then the best of those that stay when they are moved.

    None if no crop looks like a face at all; otherwise look at the score.
    """
    o = judge.options

    def look(thetas: Tensor) -> Sightings:
        return judge(net(cut_out(photo, thetas, o.size)))

    for round_ in range(o.rounds + 1):
        if len(thetas) == 0:
            return None
        seen = look(thetas)
        keep = seen.score.argsort(descending=True)
        keep = keep[seen.score[keep] > 0]
        thetas, seen = thetas[keep], taken(seen, keep)
        if round_ < o.rounds:
            thetas = _recentred(thetas, seen, o.size)
    if len(thetas) == 0:
        return None
    score = seen.score * steadiness(look, thetas, o.size).score
    best = int(score.argmax())
    return FoundFace(thetas[best].clone(), float(score[best]), o.size)


def crop_similarity(
    centre: Float[Tensor, "N 2"], side: Float[Tensor, " N"], angle: Float[Tensor, " N"], size: int
) -> Float[Tensor, "N 2 3"]:
    """θ of crops about `centre` (px of the photo), `side` px wide, which turn the photo clockwise by `angle`."""
    scale = side / size
    c, s = scale * angle.cos(), scale * angle.sin()
    A = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)
    middle = A.new_full((2,), (size - 1) / 2)
    return torch.cat([A, (centre - A @ middle)[..., None]], -1)


def box_similarities(
    x: float, y: float, width: float, height: float, options: FinderOptions = DEFAULTS
) -> Float[Tensor, "N 2 3"]:
    """Crops about a box that holds a face from brow to chin, as wide as in training, at each of `options.angles`."""
    angles = torch.tensor(options.angles).deg2rad()
    side = torch.full_like(angles, max(width, height) / BOX_SHARE)
    centre = torch.tensor([[x + (width - 1) / 2, y + (height - 1) / 2]]).expand(len(angles), 2)
    return crop_similarity(centre, side, angles, options.size)


def cut_out(photo: Float[Tensor, "3 H W"], thetas: Float[Tensor, "N 2 3"], size: int) -> Float[Tensor, "N 3 size size"]:
    """The crops θ of a photo, averaged over areas where they shrink it; beyond its borders its mean colour."""
    return torch.cat([_view(photo, theta, size, size) for theta in thetas])


def _search(net, judge: FaceJudge, photo: Tensor, o: FinderOptions) -> list[tuple[Tensor, Tensor]]:
    """Scores and recentred θ of all windows at all scales and angles."""
    longer = max(photo.shape[1:])
    found = []
    for scale in o.scales:
        shrink = scale * longer / o.size  # photo px per px of the picture that the network sees
        angles = o.angles if scale >= o.full_circle - 1e-6 else o.upright
        H, W = (n / shrink for n in photo.shape[1:])
        for angle in angles:
            a = math.radians(angle)
            h = abs(H * math.cos(a)) + abs(W * math.sin(a))
            w = abs(W * math.cos(a)) + abs(H * math.sin(a))
            h, w = (max(o.size, 16 * math.ceil(n / 16)) for n in (h, w))
            centre = photo.new_tensor([[(photo.shape[2] - 1) / 2, (photo.shape[1] - 1) / 2]])
            theta = crop_similarity(centre, photo.new_tensor([shrink]), photo.new_tensor([a]), 1)[0]
            theta[:, 2] -= theta[:, :2] @ theta.new_tensor([(w - 1) / 2, (h - 1) / 2])
            seen, corner = judge.windows(net(_view(photo, theta, h, w)))
            good = seen.score > 0.02
            if good.any():
                place = corner[good, 1:]  # where the window begins
                window = theta.expand(int(good.sum()), 2, 3).clone()
                window[:, :, 2] += (theta[:, :2] @ place[..., None])[..., 0]
                seen = taken(seen, good.nonzero()[:, 0])
                found.append((seen.score, _recentred(window, seen, o.size)))
    return found


def _view(photo: Tensor, theta: Float[Tensor, "2 3"], height: int, width: int) -> Float[Tensor, "1 3 height width"]:
    """The photo seen through θ without flicker: shrunk as a whole first, then sampled twice each way."""
    step = float(torch.linalg.det(theta[:, :2]).abs().sqrt())  # photo px per px of the view
    half = max(1.0, step / 2)
    small = interpolate(photo[None], scale_factor=1 / half, mode="area") if half > 1 else photo[None]
    ratio = theta.new_tensor([small.shape[3] / photo.shape[2], small.shape[2] / photo.shape[1]])
    moved = torch.cat([theta[:, :2], theta[:, 2:] + 0.5], 1) * ratio[:, None]  # borders coincide, not pixel centres
    moved = torch.cat([moved[:, :2], moved[:, 2:] - 0.5], 1)
    fill = photo.mean((1, 2))[None, :, None, None].expand(1, 3, height, width)
    return warp(small, moved[None], (height, width), fill=fill, samples=2 if step > 1.2 else 1)


def _strongest(found: list[tuple[Tensor, Tensor]], o: FinderOptions) -> Float[Tensor, "N 2 3"]:
    """The best crops that are not nearly the same as a better one."""
    if not found:
        return torch.zeros(0, 2, 3)
    score, theta = (torch.cat(part) for part in zip(*found, strict=True))
    order = score.argsort(descending=True)[: 40 * o.candidates]
    kept: list[Tensor] = []
    for t in theta[order]:
        if all(_differ(t, k, o.size) for k in kept):
            kept.append(t)
        if len(kept) == o.candidates:
            break
    return torch.stack(kept)


def _differ(a: Tensor, b: Tensor, size: int) -> bool:
    """Whether two crops' corners lie further apart than a fifth of a side."""
    corners = a.new_tensor([[0, 0, 1], [size, 0, 1], [size, size, 1], [0, size, 1]])
    side = size * float(torch.linalg.det(b[:, :2]).sqrt())
    return float((corners @ (a - b).T).norm(dim=-1).max()) > 0.2 * side


def _recentred(theta: Float[Tensor, "N 2 3"], seen: Sightings, size: int) -> Float[Tensor, "N 2 3"]:
    """θ of the training frame about what was seen in the crops θ: upright, centred, at the trained scale."""
    side = 100 * seen.scale / TRAINED_SCALE  # px of the old crop
    middle = crop_similarity(seen.centre, side, seen.angle, size)  # new crop → old crop
    A = theta[:, :2, :2]
    return torch.cat([A @ middle[:, :, :2], A @ middle[:, :, 2:] + theta[:, :, 2:]], -1)
