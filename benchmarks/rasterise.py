"""The rasteriser: one face-sized dome of 17,298 triangles, 256 × 256 pixels, ids, barycentrics and depth."""

import torch

from benchmarks.contenders import Contenders
from facenb.rasterise import rasterise
from facenb.rasterise_cuda import rasterise_pytorch3d

SIZE, SIDE = 256, 94  # 94² = 8,836 vertices and 2 · 93² triangles: the open model has 8,763 and 17,310
FOCAL, DISTANCE = 800.0, 700.0  # px, mm


def dome(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A face's rough shape with a millimetre of noise, (V, 3) in mm; triangles counterclockwise from the front."""
    v, u = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")
    X = torch.stack([70 * u, -95 * v, 60 * (1 - (u**2 + v**2) / 2)], -1).reshape(-1, 3)
    X = X + 0.3 * torch.randn(X.shape, generator=generator)
    i = torch.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (k.reshape(-1) for k in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return X, torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)])


def contenders() -> Contenders:
    X, T = dome(torch.Generator().manual_seed(0))
    z = DISTANCE - X[:, 2]
    middle = (SIZE - 1) / 2
    P = torch.stack([middle + FOCAL * X[:, 0] / z, middle - FOCAL * X[:, 1] / z, z], -1)[None]  # 1 V 3
    rasterise_pytorch3d(P, T[:1], 8, 8)  # imports PyTorch3D, which is nobody's speed
    return Contenders(
        ours=lambda: rasterise(P, T, SIZE, SIZE),
        peer=lambda: rasterise_pytorch3d(P, T, SIZE, SIZE),
        peer_name="PyTorch3D rasterize_meshes on the CPU",
    )
