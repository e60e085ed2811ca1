"""Samples of a face whose camera, shape, light and albedo are known, for the tests of the two linear problems."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facenb.geometry_layer import model_points
from facenb.photometry_layer import inverse_shading, model_albedo
from facenb.uv_model import UVModel


@dataclass(frozen=True)
class Truth:
    """Ground truth and the samples it makes: B images of S pixels, float64."""

    uv: Tensor
    depth: Tensor  # z / 600 mm: any scale will do
    weight: Tensor
    pixels: Tensor
    colour: Tensor
    K: Tensor
    R: Tensor
    t: Tensor
    m: Tensor
    l: Tensor
    h: Tensor

    @property
    def centre(self) -> Tensor:
        """Camera centres −Rᵀ t, model coordinates, mm."""
        return -torch.einsum("bji,bj->bi", self.R, self.t)


def synthetic_truth(model: UVModel, images: int, samples: int, generator: torch.Generator) -> Truth:
    """Random turned faces about 600 mm away, seen by a camera of 900 px focal length in 256 px pictures."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    uv = 0.02 + 0.96 * torch.rand(images, samples, 2, generator=generator, dtype=torch.float64)
    K = torch.tensor([[900.0, 1.5, 130.0], [0.0, 890.0, 125.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    turn = 0.3 * normal(images, 3)
    skew = torch.zeros(images, 3, 3, dtype=torch.float64)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -turn[:, 2], turn[:, 1], -turn[:, 0]
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)) @ torch.matrix_exp(skew - skew.mT)
    t = torch.tensor([0.0, 0.0, 600.0], dtype=torch.float64) + 20 * normal(images, 3)
    m, h = normal(images, model.n_shape), normal(images, model.n_albedo)
    X = model_points(model, uv, m) @ R.mT + t[:, None]
    projected = X @ K.T
    l = 0.15 * normal(images, 3, 9)
    l[..., 0] += 1.2 * (4 * torch.pi) ** 0.5
    colour = model_albedo(model, uv, h) / inverse_shading(model, uv, l)
    return Truth(
        uv=uv,
        depth=X[..., 2] / 600,
        weight=torch.rand(images, samples, generator=generator, dtype=torch.float64),
        pixels=projected[..., :2] / projected[..., 2:],
        colour=colour,
        K=K.expand(images, 3, 3),
        R=R,
        t=t,
        m=m,
        l=l,
        h=h,
    )
