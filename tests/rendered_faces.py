"""Rendered faces with true maps: what a perfect network would say, and variations of it, for tests."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facenb.camera import Camera, intrinsics, project
from facenb.flatten import Flattening
from facenb.metrics import five_points
from facenb.morphable_model import MorphableModel
from facenb.networks import Maps
from facenb.normals import vertex_normals
from facenb.pictures import lit_colours, see
from facenb.portrait_fit import face_map
from facenb.rasterise import interpolate
from facenb.rotation import rotation_from_angles


@dataclass(frozen=True)
class RenderedFaces:
    """B faces with everything that is true of them; depth in maps is mm / distance."""

    image: Tensor  # B 3 S S
    maps: Maps
    mask: Tensor  # B S S
    depth: Tensor  # B S S, mm
    camera: Camera
    X: Tensor  # B V 3
    m: Tensor
    albedo: Tensor
    light: Tensor
    landmarks68: Tensor  # B 68 2

    @property
    def five(self) -> Tensor:
        return five_points(self.landmarks68)


def rendered_faces(
    model: MorphableModel,
    flattening: Flattening,
    n: int,
    generator: torch.Generator,
    size: int = 64,
    yaw: float = 0.5,
    roll: float = 0.5,
    strength: float = 0.7,
    background: float = 0.35,
) -> RenderedFaces:
    """n random people in random poses: 100 mm at the face are 0.48 of the side, give or take a quarter."""

    def uniform(*shape, low=-1.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    identity, expression, albedo = model.sample(n, generator, strength)
    X = model.vertices(identity, expression)
    angles = torch.stack([yaw * uniform(n), 0.25 * uniform(n), roll * uniform(n)])
    R = rotation_from_angles(*angles, dtype=X.dtype)
    distance = uniform(n, low=500, high=1200)
    focal = 0.0048 * size * (0.25 * uniform(n)).exp() * distance
    K = intrinsics(focal, size, size)
    K[:, :2, 2] += 0.08 * size * uniform(n, 2)
    middle = R @ model.shape_mean[model.landmarks68].mean(0)
    t = torch.stack([torch.zeros(n), torch.zeros(n), distance], -1) - middle
    camera = Camera(K.to(X), R, t.to(X))
    light = torch.zeros(n, 3, 9)
    light[..., 0] = 4.2
    light[..., 1:4] = 0.35 * torch.randn(n, 1, 3, generator=generator)
    image, uv, depth, mask = [], [], [], []
    for i in range(n):
        colours = lit_colours(model.colours(albedo[i]), vertex_normals(X[i], model.triangles), light[i], inverse=True)
        face = face_map(X[i], model, flattening, camera[i], size, size)
        fragments = see(X[i], model.triangles, camera[i], size, size, 1)
        picture = interpolate(fragments, model.triangles, colours)[0].movedim(-1, 0)
        image.append(torch.where(face.mask, picture, background).clamp(0, 1))
        uv.append(face.uv.movedim(-1, 0)), depth.append(face.depth), mask.append(face.mask)
    depth, mask = torch.stack(depth), torch.stack(mask)
    landmarks = project(camera, X[:, model.landmarks68])[0]
    said = torch.where(mask, depth / distance[:, None, None], 1.0)
    maps = Maps(uv=torch.stack(uv), depth=said, logit=torch.where(mask, 9.0, -9.0))
    m = torch.cat([identity, expression], -1)
    return RenderedFaces(torch.stack(image), maps, mask, depth, camera, X, m, albedo, light, landmarks)
