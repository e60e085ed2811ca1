"""Is this a face? What a network says of a picture, judged as a whole (book: *Your own photos*).

No detector was trained for it: a picture shows a face where correspondences are confident and agree with *one* camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facenb.correspondence_fit import weak_perspective
from facenb.metrics import five_points
from facenb.uv_model import UVModel


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
class Sightings:
    """What windows think of the face in them: score in [0, 1], and its pose by the weak-perspective fit.

    `centre` is the mean of the five landmarks (px of the window), `scale` in px/mm, `angle` the picture's turn that
    would make the face upright (radians, see `crop_similarity`).
    """

    score: Float[Tensor, " N"]
    centre: Float[Tensor, "N 2"]
    scale: Float[Tensor, " N"]
    angle: Float[Tensor, " N"]


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


def taken(seen: Sightings, index: Tensor) -> Sightings:
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
