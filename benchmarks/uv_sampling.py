"""Sampling the UV-3DMM: 50,000 points, all 3 (299 + 199 + 2 means) channels, forward and backward in (u, v)."""

import torch
from torch.nn.functional import grid_sample

from benchmarks.contenders import Contenders
from facenb.uv_model import sample_table

POINTS, SIZE = 50_000, 320
CHANNELS = (3 * (199 + 100 + 1), 3 * (199 + 1))  # shape and albedo, each with its mean


def contenders() -> Contenders:
    g = torch.Generator().manual_seed(0)
    tables = [torch.randn(SIZE * SIZE, channels, generator=g) for channels in CHANNELS]
    pictures = [table.T.contiguous().reshape(1, -1, SIZE, SIZE) for table in tables]
    slope = [torch.randn(POINTS, channels, generator=g) for channels in CHANNELS]
    slope_for_grid = [s.T.contiguous().reshape(1, -1, 1, POINTS) for s in slope]
    uv = (0.15 + 0.7 * torch.rand(POINTS, 2, generator=g)).requires_grad_()  # a face in the middle of the square

    def ours() -> None:
        samples = [sample_table(table, SIZE, SIZE, uv) for table in tables]
        torch.autograd.grad(samples, uv, slope)

    def peer() -> None:
        grid = (2 * uv - 1)[None, None]  # 1 1 S 2
        samples = [grid_sample(p, grid, padding_mode="border", align_corners=False) for p in pictures]
        torch.autograd.grad(samples, uv, slope_for_grid)

    return Contenders(ours, peer, "grid_sample, channels first")
