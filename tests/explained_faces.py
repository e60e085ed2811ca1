"""Pictures that a face model explains exactly: drawn as `facenb.refinement` draws, with an inverse light.

Softplus-clamped, their colours are albedo / (F l) at every vertex, so that a right answer leaves next to nothing.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from facenb.camera import project
from facenb.flatten import flatten
from facenb.image_sets import ImageSet
from facenb.lessons import FaceTables, face_tables
from facenb.lighting import SH_CONSTANTS, sh_basis
from facenb.morphable_model import MorphableModel
from facenb.networks import Maps, read_outputs
from facenb.rasterise import interpolate, rasterise
from facenb.rotation import rotation_from_angles
from facenb.scaled_pose import Pose
from facenb.softplus_clamp import softplus_unclamp

F64 = torch.float64
SIZE = 48
PX_PER_MM = 0.21  # the tiny model is 180 mm high: 38 px


@dataclass(frozen=True)
class Explained:
    """Photos, the faces they show, and what a perfect network would say of them."""

    image: torch.Tensor  # B 3 S S
    pose: Pose
    m: torch.Tensor
    l: torch.Tensor
    h: torch.Tensor
    maps: Maps
    covered: torch.Tensor  # B S S


def tiny_faces(model, n_points: int = 300, texels: int = 96) -> FaceTables:
    return face_tables(model, flatten(model), n_points, texels, inner=False)


def explained(faces: FaceTables, n: int = 3, seed: int = 0, size: int = SIZE) -> Explained:
    """n random faces, turned by up to 0.3 rad, under lights that differ by colour and direction."""
    g = torch.Generator().manual_seed(seed)

    def lot(*shape):
        return 2 * torch.rand(*shape, generator=g, dtype=F64) - 1

    pose = Pose(
        rotation_from_angles(*(0.3 * lot(3, n))),
        math.log(PX_PER_MM * size / SIZE) + 0.05 * lot(n),
        (size - 1) / 2 + 2 * lot(n, 2),
        math.log(700) + 0.1 * lot(n),
    )
    m, h = 0.7 * lot(n, faces.points.n_shape), 0.7 * lot(n, faces.points.n_albedo)
    l = torch.zeros(n, 3, 9, dtype=F64)
    l[..., 0] = (1 + 0.1 * lot(n, 3)) / SH_CONSTANTS[0]
    l[..., 1:4] = 0.25 * lot(n, 1, 3) + 0.03 * lot(n, 3, 3)
    return draw(faces, pose, m, l, h, size)


def draw(faces: FaceTables, pose: Pose, m, l, h, size: int = SIZE, background: float = 0.8) -> Explained:
    """The picture of given faces on a plain background, and the maps that belong to it."""
    pixels, depth = project(pose.camera(faces.points.centre), faces.surface.at(m))
    seen = rasterise(torch.cat([pixels, depth[..., None]], -1), faces.triangles, size, size, cull="back")
    shading = sh_basis(faces.surface.normals(m)) @ l.mT
    colours = faces.surface.colours(h) / shading
    assert shading.min() > 0.3 and colours.min() > 0.2, "the model cannot draw this exactly"
    uv = faces.surface.uv.expand(len(m), -1, -1)
    values = interpolate(seen, faces.triangles, torch.cat([uv, colours], -1)).movedim(-1, 1)  # B 5 S S
    photo = softplus_unclamp(values[:, 2:].clamp_min(0.2))
    photo = torch.where(seen.mask[:, None], photo, background)
    depth = torch.where(seen.mask, seen.depth, 700.0)
    maps = Maps(values[:, :2], depth / 700, torch.where(seen.mask, 8.0, -8.0).to(F64))
    return Explained(photo, pose, m, l, h, maps, seen.mask)


def freckled(model: MorphableModel) -> MorphableModel:
    """The model with dots of some 30 mm on its skin: what is smooth all over looks the same wherever it is."""
    x, y, z = (model.shape_mean / 12).unbind(-1)
    dots = torch.stack([torch.sin(x) * torch.cos(y), torch.cos(0.8 * x + y), torch.sin(x - 0.7 * y + z)], -1)
    return replace(model, albedo_mean=0.55 + 0.12 * dots)


def photos(scene: Explained, count: int = 6) -> ImageSet:
    """The pictures as the trainer reads them."""
    pixels = (scene.image.clamp(0, 1) * 255).round().to(torch.uint8)
    return ImageSet(names=[str(i) for i in range(count)], read=lambda i: pixels[i % len(pixels)], size=SIZE)


def single_images(scene: Explained) -> torch.Tensor:
    """The pictures as a task gets them."""
    return scene.image.float().clamp(0, 1)


class TinyNet(nn.Module):
    """A network of 140 numbers; batch norm, so that a resumed run must restore more than weights."""

    kind = "tiny"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.layers = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, padding=1))
            nn.init.normal_(self.layers[1].weight, std=0.1)

    def forward(self, image):
        return read_outputs(self.layers(image))
