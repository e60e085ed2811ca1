"""Light on a depth map: the lighting Λ of the second system, t = Λ(d, a, l) (book: *Light on a face*).

Zhang et al. 2022 (equation 1 of the supplement) and Unsup3D before them have no mesh and no harmonics. A face is a
depth map seen from the front, and its light is one lamp plus an ambient term:

    points X = d K⁻¹ x  →  normals n  →  shading S = ambient + diffuse · max(0, n·l)  →  texture t = S ⊙ a

Conventions: the canonical camera is a pinhole with a field of view of 10° over the picture's height. Depth d runs along
the optical axis, in units of the distance to the face: about 1, in [0.9, 1.1]. *Points* are in camera coordinates (x
right, y down, z away). *Normals and the lamp's direction are in model coordinates* (x to the subject's left, which is
the picture's right, y up, z out of the face), as everywhere else in this package: the same vector means the same lamp
here and in `lighting`. The direction (x, y, 1)/‖·‖ points towards the lamp: x > 0 is a lamp at the picture's right,
y > 0 one above. Normals point out of the face, so n_z > 0 on a surface that squarely faces the camera.
"""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from facenb.camera import homogeneous, intrinsics_from_fov
from facenb.rotation import FRONTAL

FIELD_OF_VIEW = radians(10)


class DepthLight(NamedTuple):
    """One lamp and an ambient term for each picture of a batch.

    Attributes:
        ambient: shading everywhere, in [0, 1].
        diffuse: what the lamp adds to a surface that faces it, in [0, 1].
        xy: the lamp stands in the direction (x, y, 1)/‖·‖, model coordinates.
    """

    ambient: Float[Tensor, " B"]
    diffuse: Float[Tensor, " B"]
    xy: Float[Tensor, "B 2"]

    @property
    def direction(self) -> Float[Tensor, "B 3"]:
        """Unit vector towards the lamp; always in front of the face, which is what makes it learnable."""
        return normalize(homogeneous(self.xy), dim=-1)


class LitTexture(NamedTuple):
    """The canonical texture t = S ⊙ a and, for whoever wants to look inside, S and the normals."""

    texture: Float[Tensor, "B C H W"]
    shading: Float[Tensor, "B H W"]
    normals: Float[Tensor, "B H W 3"]


def depth_to_points(depth: Float[Tensor, "B H W"], fov: float = FIELD_OF_VIEW) -> Float[Tensor, "B H W 3"]:
    """The 3D point X = d K⁻¹ (x, y, 1) behind each pixel, camera coordinates, in the unit of the depth.

    Raises ValueError unless depth is (B, H, W), at least 2 × 2, positive and not NaN.
    """
    if depth.ndim != 3 or min(depth.shape[1:]) < 2:
        raise ValueError(f"a depth map has shape (B, H, W) with H, W ≥ 2; this one has {tuple(depth.shape)}")
    if not (depth > 0).all():
        raise ValueError("depth must be positive everywhere (in front of the camera) and not NaN")
    H, W = depth.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    x = homogeneous(torch.stack([columns, rows], -1).to(depth))  # H W 3, pixel centres are whole numbers
    K = intrinsics_from_fov(fov, W, H, dtype=depth.dtype).to(depth.device)
    return depth[..., None] * torch.linalg.solve_triangular(K, x.reshape(-1, 3).T, upper=True).T.reshape(H, W, 3)


def depth_normals(depth: Float[Tensor, "B H W"], fov: float = FIELD_OF_VIEW) -> Float[Tensor, "B H W 3"]:
    """Unit normals of a depth map, model coordinates, pointing out of the face.

    The cross product of the two tangents. Tangents are central differences of the points, one-sided at the border, so
    every pixel has its own normal. They are exact on a plane. On a curved surface the error falls with the square of
    the pixel size, at the border with the pixel size. Across a jump in depth the normal is that of the ramp between.

    Raises ValueError as `depth_to_points` does.
    """
    X = depth_to_points(depth, fov)  # B H W 3
    down, right = torch.gradient(X, dim=(1, 2))  # B H W 3 each
    outwards = torch.linalg.cross(down, right)  # the other order points away
    model_axes = X.new_tensor(FRONTAL)  # camera → model: half a turn about x
    return normalize(outwards, dim=-1) * model_axes


def lambertian(normals: Float[Tensor, "B H W 3"], light: DepthLight) -> Float[Tensor, "B H W"]:
    """S = ambient + diffuse · max(0, n·l): Lambert's law with the lamp's shadow side left to the ambient term."""
    cosine = torch.einsum("bhwi,bi->bhw", normals, light.direction).clamp(min=0)
    return light.ambient[:, None, None] + light.diffuse[:, None, None] * cosine


def light_depth(
    depth: Float[Tensor, "B H W"], albedo: Float[Tensor, "B C H W"], light: DepthLight, fov: float = FIELD_OF_VIEW
) -> LitTexture:
    """Λ: the canonical texture t = S ⊙ a of depth map, albedo and light. Differentiable in all of them.

    Raises ValueError if the sizes of depth, albedo and light do not belong together, or for a bad depth map.
    Source: Zhang et al. 2022, supplement, equation (1); the form of f_lam follows Wu et al. 2020.
    """
    B, H, W = depth.shape if depth.ndim == 3 else (0, 0, 0)  # depth_to_points says what is wrong
    normals = depth_normals(depth, fov)  # B H W 3
    if albedo.ndim != 4 or (albedo.shape[0], *albedo.shape[2:]) != (B, H, W):
        raise ValueError(f"albedo {tuple(albedo.shape)} does not match depth {(B, H, W)}: it should be (B, C, H, W)")
    if light.ambient.shape != (B,) or light.diffuse.shape != (B,) or light.xy.shape != (B, 2):
        shapes = ", ".join(str(tuple(part.shape)) for part in light)
        raise ValueError(f"light of shapes {shapes}; {B} depth maps need ({B},), ({B},), ({B}, 2)")
    shading = lambertian(normals, light)  # B H W
    return LitTexture(shading[:, None] * albedo, shading, normals)
