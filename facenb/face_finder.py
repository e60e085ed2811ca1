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
from torch.nn.functional import avg_pool2d, interpolate

from facenb.augment import warp
from facenb.correspondence_fit import weak_perspective
from facenb.metrics import five_points
from facenb.steadiness import steadiness
from facenb.uv_model import UVModel

if TYPE_CHECKING:
    from facenb.networks import Maps

TRAINED_SCALE = 0.48  # of the crop's side, that 100 mm at the face measure in training, on average
BOX_SHARE = 0.62  # of the crop's side, that the box around the 68 landmarks takes then, roughly


@dataclass(frozen=True)
class FinderOptions:
    """How thoroughly a photo is searched.

    Attributes:
        size: of the crops, px; the network's own.
        scales: sides of the windows, in longer sides of the photo.
        full_circle: down to this scale all of `angles` are tried, below it `upright` only: small windows are many, and
            whoever stands far from the camera stands upright.
        angles, upright: in-plane turns, degrees; the network knows ±30 about each.
        stride: of the windows, px of the crop.
        candidates: how many windows are looked at again, properly cut out.
        rounds: of cutting out anew where the last crop says that the face is.
        threshold: score below which there is no face.
        closeness: mm by which points may miss their pixels; the mean face explains nobody better than that.
    """

    size: int = 64
    scales: tuple[float, ...] = (1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.177, 0.125)
    full_circle: float = 0.35
    angles: tuple[float, ...] = (0, 45, -45, 90, -90, 135, -135, 180)
    upright: tuple[float, ...] = (0,)
    stride: int = 16
    candidates: int = 12
    rounds: int = 2
    threshold: float = 0.3
    closeness: float = 6.0


DEFAULTS = FinderOptions()


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


@dataclass(frozen=True)
class Sightings:
    """What windows think of the face in them: score in [0, 1], and its pose by the weak-perspective fit.

    `centre` is the mean of the five landmarks (px of the window), `scale` in px/mm, `angle` the picture's turn that
    would make the face upright (radians, see `crop_similarity`).
    """

    score: Float[Tensor, " N"]
    centre: Float[Tensor, "N 2"]
    scale: Float[Tensor, " N"]
    angle: Float[Tensor, " N"]


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
        thetas, seen = thetas[keep], _take(seen, keep)
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


class FaceJudge:
    """Scores windows of a network's maps, see the module's text."""

    def __init__(self, uv_model: UVModel, options: FinderOptions = DEFAULTS):
        self.tables, self.options = uv_model, options
        self.landmarks = uv_model.sample(uv_model.mean[:, :3], uv_model.landmarks_uv)  # 68 3
        self.five = five_points(self.landmarks).mean(0)
        self.area = _area_vectors(uv_model)  # T 3, mm²

    def __call__(self, maps: Maps) -> Sightings:
        """One window per image, fitted twice: the second time without the pixels that the first could not explain."""
        B, _, H, W = maps.uv.shape
        X, w = self._points(maps), maps.confidence.flatten(1)  # B HW 3, B HW
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        pixels = torch.stack([x, y], -1).to(X).reshape(1, -1, 2).expand(B, -1, -1)
        trust = w
        for _ in range(2):
            share = trust / trust.sum(1, keepdim=True).clamp_min(1e-6)
            R, log_s, c = weak_perspective(X, share, pixels)
            s = log_s.exp()
            off = s[:, None, None] * (X @ R[:, :2].mT) + c[:, None] - pixels
            near = torch.exp(-off.square().sum(-1) / (2 * (s[:, None] * self.options.closeness) ** 2))
            trust = w * near
        total = w.sum(1).clamp_min(1e-6)
        sharp, fits = w.square().sum(1) / total, trust.sum(1) / total
        return self._sightings(R, s, c, sharp, fits, total, (H, W))

    def windows(self, maps: Maps) -> tuple[Sightings, Float[Tensor, "N 3"]]:
        """All windows of `options.size` in larger maps, and for each (image, left, top).

        The least squares need nothing but second moments, and the moments of all windows are box filters.
        """
        o = self.options
        B, _, H, W = maps.uv.shape
        X = self._points(maps).mT.unflatten(-1, (H, W))  # B 3 H W
        w = maps.confidence[:, None]
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        p = torch.stack([x - W / 2, y - H / 2]).to(X).expand(B, -1, -1, -1)
        Z = torch.cat([torch.ones_like(w), p, X], 1)  # B 6 H W
        rows, columns = torch.triu_indices(6, 6)
        moments = torch.cat([w * Z[:, rows] * Z[:, columns], w * w], 1)
        pooled = avg_pool2d(moments, o.size, o.stride) * o.size**2  # B 22 h w
        h, v = pooled.shape[2:]
        flat = pooled.movedim(1, -1).reshape(-1, 22)
        M = flat.new_zeros(len(flat), 6, 6)
        M[:, rows, columns] = M[:, columns, rows] = flat[:, :21]
        total = M[:, 0, 0].clamp_min(1e-6)
        M = M / total[:, None, None]
        R, log_s, c = _weak_perspective_of_moments(M)
        s = log_s.exp()
        # Σ w |s R X + c − p|² from the moments: the row (c, −1, s R) on both sides
        rows_of_fit = flat.new_zeros(len(flat), 2, 6)
        rows_of_fit[:, :, 0], rows_of_fit[:, 0, 1], rows_of_fit[:, 1, 2] = c, -1, -1
        rows_of_fit[:, :, 3:] = s[:, None, None] * R[:, :2]
        misfit = (rows_of_fit @ M @ rows_of_fit.mT).diagonal(dim1=1, dim2=2).sum(1).clamp_min(0)
        fits = torch.exp(-misfit / (2 * (2 * s * o.closeness) ** 2))  # not robust, so twice as patient
        image, top, left = torch.meshgrid(*(torch.arange(n) for n in (B, h, v)), indexing="ij")
        corner = torch.stack([image, left * o.stride, top * o.stride], -1).reshape(-1, 3).to(X)
        c = c + c.new_tensor([W / 2, H / 2]) - corner[:, 1:]
        return self._sightings(R, s, c, flat[:, 21] / total, fits, total, (o.size, o.size)), corner

    def _points(self, maps: Maps) -> Float[Tensor, "B HW 3"]:
        return self.tables.sample(self.tables.mean[:, :3], maps.uv.flatten(2).mT.contiguous())

    def _sightings(self, R, s, c, sharp, fits, total, size: tuple[int, int]) -> Sightings:
        facing = (self.area @ -R[:, 2].mT).clamp(min=0).sum(0)  # N, mm² that the camera sees
        expected = (s**2 * facing).clamp_min(1e-6)
        fills = (torch.minimum(total, expected) / torch.maximum(total, expected) / 0.6).clamp(max=1)
        side = 100 * s / min(size)
        plausible = (R[:, 2, 2] < -0.2) & (side > 0.2) & (side < 1.2)
        centre = s[:, None] * (R[:, :2] @ self.five) + c
        inside = ((centre > 0) & (centre < centre.new_tensor([size[1], size[0]]))).all(-1)
        up = R[:, :2, 1]  # where the face's up points in the picture; the picture's own is (0, −1)
        angle = -torch.atan2(up[:, 0], -up[:, 1])
        score = sharp * fits * fills * plausible * inside
        return Sightings(score.nan_to_num(0), centre, s, angle)


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
                seen = _take(seen, good.nonzero()[:, 0])
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


def _take(seen: Sightings, index: Tensor) -> Sightings:
    return Sightings(seen.score[index], seen.centre[index], seen.scale[index], seen.angle[index])


def _area_vectors(uv_model: UVModel) -> Float[Tensor, "T 3"]:
    """Normals times area of some 40² patches of the mean face, mm²: from the differences of its map."""
    X = uv_model.mean[:, :3].reshape(uv_model.height, uv_model.width, 3)
    k = max(1, uv_model.height // 40)
    X = X[::k, ::k]
    right, down = X[:-1, 1:] - X[:-1, :-1], X[1:, :-1] - X[:-1, :-1]
    return torch.linalg.cross(down, right).reshape(-1, 3)  # v grows downwards


def _weak_perspective_of_moments(M: Float[Tensor, "N 6 6"]) -> tuple[Tensor, Tensor, Tensor]:
    """`weak_perspective` from the weighted moments of (1, x, y, X, Y, Z), each divided by the sum of weights."""
    mean_p, mean_X = M[:, 0, 1:3], M[:, 0, 3:]
    S = M[:, 3:, 3:] - mean_X[:, :, None] * mean_X[:, None]
    C = M[:, 3:, 1:3] - mean_X[:, :, None] * mean_p[:, None]
    ridge = (1e-4 * S.diagonal(dim1=1, dim2=2).sum(1) + 1e-3)[:, None, None] * torch.eye(3).to(S)
    A = torch.linalg.solve(S + ridge, C).mT  # N 2 3
    A = torch.where((A.abs().amax((1, 2)) > 1e-6)[:, None, None], A, A.new_tensor([[0.1, 0, 0], [0, -0.1, 0]]))
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    rows = U @ Vh
    R = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = s.mean(-1)
    return R, scale.log(), mean_p - scale[:, None] * (R[:, :2] @ mean_X[..., None])[..., 0]
