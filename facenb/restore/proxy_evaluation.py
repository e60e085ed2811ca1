"""What the proxy's depth is worth on faces whose depth is known (book: *Shape from one image by symmetry*)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from facenb.restore.depth_metrics import mad, relief_correlation, side, without_rim
from facenb.restore.proxy import Face, Proxy
from facenb.restore.studio import StudioFaces
from facenb.restore.view import Viewpoint
from facenb.restore.warp import view_depth


@dataclass(frozen=True)
class DepthErrors:
    """Errors of N depth maps.

    Attributes:
        side: SIDE × 100.
        mad: degrees.
        relief: correlation with the true depth; negative for a hollow face.
        yaw: estimated and true, radians; the truth twice where nothing was estimated.
    """

    side: Float[Tensor, " N"]
    mad: Float[Tensor, " N"]
    relief: Float[Tensor, " N"]
    yaw: Float[Tensor, "N 2"]

    @property
    def yaw_slope(self) -> float:
        """Slope of estimated over true yaw; 1 is right, less means a face too deep that turns too little."""
        estimate, truth = (self.yaw - self.yaw.mean(0)).unbind(1)
        return float((estimate * truth).sum() / (truth**2).sum())

    @property
    def inverted(self) -> int:
        """How many faces are hollow."""
        return int((self.relief < 0).sum())


def depth_errors(z: Float[Tensor, "N S S"], seen: Bool[Tensor, "N S S"], faces: StudioFaces) -> DepthErrors:
    """Errors of depth maps in the photos' own view."""
    where = without_rim(seen) & without_rim(faces.mask)
    yaw = faces.angles[:, :1].expand(-1, 2)
    truth = faces.depth.to(z.dtype)
    return DepthErrors(side(z, truth, where), mad(z, truth, where), relief_correlation(z, truth, where), yaw)


def canonical_errors(depth: Float[Tensor, "N S S"], view: Viewpoint, faces: StudioFaces) -> DepthErrors:
    """Errors of canonical depth maps in the views that are said to be the photos'."""
    errors = depth_errors(*view_depth(depth, view), faces)
    return DepthErrors(errors.side, errors.mad, errors.relief, torch.stack([view.angles[:, 0], faces.angles[:, 0]], 1))


@torch.no_grad()
def evaluate_proxy(network: Proxy, faces: StudioFaces, batch: int = 50) -> DepthErrors:
    """Errors of the network on faces that it has not seen."""
    answers = predict(network, faces.photos, batch)
    return canonical_errors(answers.depth, answers.view, faces)


@torch.no_grad()
def predict(network: nn.Module, photos: Float[Tensor, "N 3 S S"], batch: int = 50) -> Face:
    """What a proxy or a restorer, put into evaluation mode, says of many photos."""
    network.eval()
    return join_faces([network(photos[i : i + batch]) for i in range(0, len(photos), batch)])


def join_faces(parts: list[Face]) -> Face:
    """Several batches as one."""
    maps = ("depth", "albedo", "spread", "residual", "shared")
    joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in maps}
    light, view = (
        kind(*(torch.cat(column) for column in zip(*(getattr(p, name) for p in parts), strict=True)))
        for kind, name in ((type(parts[0].light), "light"), (Viewpoint, "view"))
    )
    return Face(light=light, view=view, **joined)


def mean_canonical_depth(faces: StudioFaces, border: float = 1.07) -> Float[Tensor, "S S"]:
    """The average of the true canonical depths, where most faces have one."""
    n = faces.canonical_mask.sum(0)
    mean = (faces.canonical_depth * faces.canonical_mask).sum(0) / n.clamp(min=1)
    return torch.where(2 * n > len(faces), mean, border)


def relief_gain(depth: Float[Tensor, "N S S"], faces: StudioFaces) -> float:
    """How many times too deep canonical faces are on average: the slope of their mean over the true mean.

    Over the pixels that nine tenths of the faces have; 1 is right, 0 is flat, below 0 is hollow.
    """
    where = faces.canonical_mask.float().mean(0) > 0.9
    ours, theirs = (d.mean(0)[where].double() for d in (depth, faces.canonical_depth))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    return float((ours * theirs).sum() / theirs.square().sum())
