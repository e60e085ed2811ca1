"""The warp Π of the restoration: 8 faces of 64 × 64 pixels in views of their own, forward and backward.

Gradients go to depth, texture and view. The peer draws the same mesh with PyTorch3D, whose depth is differentiable,
too; the rest is the same. Gradients agree but for triangles seen edge-on, where ours are bounded.
"""

import torch
from torch import Tensor

from benchmarks.contenders import Contenders
from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW, depth_to_points
from facenb.rasterise_cuda import rasterise_pytorch3d
from facenb.restore.depth_raster import grid_triangles
from facenb.restore.view import Viewpoint, to_view
from facenb.restore.warp import FAR, lookup, render_view, sample

FACES, SIZE = 8, 64
TURN, SHIFT = (0.4, 0.2, 0.05), 0.005  # standard deviations of the views: radians, and units of 1000 mm


def contenders() -> Contenders:
    g = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    hill = 1.06 - 0.1 * torch.exp(-1.5 * (x**2 + y**2))
    depth = hill.expand(FACES, -1, -1).clone().requires_grad_()
    texture = torch.rand(FACES, 3, SIZE, SIZE, generator=g).requires_grad_()
    angles = (torch.tensor(TURN) * torch.randn(FACES, 3, generator=g)).requires_grad_()
    view = Viewpoint(angles, (SHIFT * torch.randn(FACES, 3, generator=g)).requires_grad_())
    slope = torch.randn(FACES, 3, SIZE, SIZE, generator=g)
    K, triangles = intrinsics_from_fov(FIELD_OF_VIEW, SIZE, SIZE), grid_triangles(SIZE, SIZE)

    def gradients(image: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(image, (depth, texture, *view), slope)

    def peer() -> tuple[Tensor, ...]:
        X = to_view(depth_to_points(depth), view).flatten(1, 2)  # B V 3
        pixels = X[..., :2] / X[..., 2:] * K[0, 0] + K[:2, 2]
        z = rasterise_pytorch3d(torch.cat([pixels, X[..., 2:]], -1), triangles, SIZE, SIZE).depth
        return gradients(sample(texture, lookup(torch.where(z.isfinite(), z, FAR), view)))

    return Contenders(
        ours=lambda: gradients(render_view(depth, texture, view).image),
        peer=peer,
        peer_name="the same warp round PyTorch3D's rasterize_meshes on the CPU",
    )
