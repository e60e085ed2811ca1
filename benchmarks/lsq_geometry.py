"""The geometry layer: 5 images × 10,000 samples, 199 + 100 components, 320² map, sampling, forward and backward."""

from types import SimpleNamespace

import torch
from dense_least_squares import dense_geometry

from benchmarks.contenders import Contenders
from facenb.geometry_layer import solve_geometry
from facenb.uv_model import UVModel

IMAGES, SAMPLES, SIZE = 5, 10_000, 320
N_SHAPE, N_ALBEDO = 199 + 100, 199


def random_tables(generator: torch.Generator, shape: bool, size: int = SIZE) -> UVModel:
    """What the layers read of a `UVModel`, filled with noise: times depend on the sizes, not on the faces."""

    def noise(columns: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(size * size, columns, generator=generator)

    if shape:
        own = {"shape": noise(3 * (N_SHAPE + 1), 3.0)}
        own["mean"] = torch.cat([own["shape"].unflatten(1, (3, -1))[..., -1], noise(3, 0.1)], dim=1)
    else:
        own = {"albedo": noise(3 * (N_ALBEDO + 1), 0.1)}
        own["mean"] = torch.cat([noise(3, 3.0), own["albedo"].unflatten(1, (3, -1))[..., -1]], dim=1)
    normal = torch.nn.functional.normalize(noise(3, 1.0), dim=-1)
    return SimpleNamespace(**own, normal=normal, height=size, width=size, n_shape=N_SHAPE, n_albedo=N_ALBEDO)


def random_correspondence(generator: torch.Generator) -> torch.Tensor:
    """(B, S, 2): random samples of a face in the middle of the square."""
    return 0.15 + 0.7 * torch.rand(IMAGES, SAMPLES, 2, generator=generator)


def contenders() -> Contenders:
    g = torch.Generator().manual_seed(0)
    model = random_tables(g, shape=True)
    uv = random_correspondence(g).requires_grad_()
    depth = (1 + 0.05 * torch.randn(IMAGES, SAMPLES, generator=g)).requires_grad_()
    weight = torch.rand(IMAGES, SAMPLES, generator=g).requires_grad_()
    pixels = 256 * torch.rand(IMAGES, SAMPLES, 2, generator=g)
    pixels_for_dense = pixels / 128 - 1  # plain LU in float32 needs them scaled
    camera_weight, target = torch.full((12,), 1e-3), torch.zeros(12)

    def ours() -> None:
        answer = solve_geometry(model, uv, depth, weight, pixels)
        torch.autograd.grad(answer.P.sum() + answer.q.sum() + answer.m.sum(), (uv, depth, weight))

    def peer() -> None:
        P, q, m = dense_geometry(model, uv, depth, weight, pixels_for_dense, torch.ones(N_SHAPE), camera_weight, target)
        torch.autograd.grad(P.sum() + q.sum() + m.sum(), (uv, depth, weight))

    return Contenders(ours, peer, "grid_sample, dense matrices, LU and autograd")
