"""Faces whose colours are their (u, v), hidden in noisy pictures, and a stand-in network that reads them."""

import math

import torch

from facenb.augment import invert, warp
from facenb.face_finder import crop_similarity
from facenb.metrics import five_points
from facenb.networks import Maps

FACE = 160  # px, side of the pictures of faces that are pasted


class ReadsColours:
    """Confident where blue is full; red is u, green is v. Like a trained network it knows faces that are nearly upright
    and nearly of the trained size only, which it tells from the slope of u."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += len(image)
        u = image[:, 0]
        dx = (u[:, 1:-1, 2:] - u[:, 1:-1, :-2]) / 2
        dy = (u[:, 2:, 1:-1] - u[:, :-2, 1:-1]) / 2
        upright = (dx > 0.008) & (dx < 0.06) & (dy.abs() < 0.8 * dx)
        face = torch.nn.functional.pad(upright, (1, 1, 1, 1)) & (image[:, 2] > 0.9)
        return Maps(image[:, :2], torch.ones_like(u), torch.where(face, 6.0, -6.0))


def hidden(faces, i, centre, side, degrees, size=(500, 640)):
    """A noisy picture with face i in a square of `side` px about `centre`, turned; and where its five points are."""
    g = torch.Generator().manual_seed(i)
    coloured = torch.cat([faces.maps.uv[i], faces.mask[i][None].float()])
    picture = torch.rand(3, *size, generator=g) * torch.tensor([1.0, 1.0, 0.6])[:, None, None]
    theta = crop_similarity(torch.tensor([centre]), torch.tensor([side]), torch.tensor([math.radians(degrees)]), FACE)
    five = five_points(faces.landmarks68[i]) @ theta[0, :, :2].T + theta[0, :, 2]
    pasted = warp(coloured[None], invert(theta), size, fill=picture[None])[0]
    return pasted, five
