"""The photometry layer: 5 images × 10,000 samples, 199 components, 320² map, sampling, forward and backward."""

import torch
from dense_least_squares import dense_photometry

from benchmarks.contenders import Contenders
from benchmarks.lsq_geometry import IMAGES, N_ALBEDO, SAMPLES, random_correspondence, random_tables
from facenb.photometry_layer import solve_photometry


def contenders() -> Contenders:
    g = torch.Generator().manual_seed(0)
    model = random_tables(g, shape=False)
    uv = random_correspondence(g).requires_grad_()
    weight = torch.rand(IMAGES, SAMPLES, generator=g).requires_grad_()
    colour = torch.rand(IMAGES, SAMPLES, 3, generator=g).requires_grad_()
    albedo_weight, light_weight = torch.full((N_ALBEDO,), 1e-3), torch.full((27,), 1e-6)

    def ours() -> None:
        answer = solve_photometry(model, uv, colour, weight)
        torch.autograd.grad(answer.l.sum() + answer.h.sum(), (uv, colour, weight))

    def peer() -> None:
        l, h = dense_photometry(model, uv, colour, weight, albedo_weight, light_weight)
        torch.autograd.grad(l.sum() + h.sum(), (uv, colour, weight))

    return Contenders(ours, peer, "grid_sample, dense matrices, LU and autograd")
