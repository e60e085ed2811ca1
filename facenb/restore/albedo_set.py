"""Canonical albedos to learn a prior from: faces of the studio from the front, without light (book: *A prior for
faces*)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from facenb.image_sets import ImageSet
from facenb.rasterise import interpolate
from facenb.restore.studio import SAMPLES, Studio, Subject, draw, random_subject


def albedo_set(studio: Studio, seed: int, count: int, size: int = 64) -> ImageSet:
    """Albedos 0 … count − 1 of `seed`, drawn when they are asked for, then kept."""

    def read(i: int) -> UInt8[Tensor, "3 S S"]:
        return studio_albedos(studio, seed, [i], size)[0]

    return ImageSet([f"{i:06d}" for i in range(count)], read, size)


def studio_albedos(studio: Studio, seed: int, indices: Iterable[int], size: int = 64) -> UInt8[Tensor, "N 3 S S"]:
    """Canonical albedos of subjects `indices` of `seed`; the subjects that `studio_faces` shows, too."""
    pictures = [albedo_picture(random_subject(studio, np.random.default_rng([seed, i])), size) for i in indices]
    return (255 * torch.stack(pictures)).round().to(torch.uint8)


def albedo_picture(subject: Subject, size: int = 64) -> Float[Tensor, "3 S S"]:
    """A subject's skin from the front; around the face its mean colour, or the outline would be what a prior learns."""
    fragments = draw(subject.X, subject.triangles, size * SAMPLES)
    colours = interpolate(fragments, subject.triangles, subject.colours)[0]  # 2S 2S 3
    seen = fragments.mask[0]
    skin = colours[seen].mean(0)
    filled = torch.where(seen[..., None], colours, skin)
    return filled.reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3)).permute(2, 0, 1).clamp(0, 1).float()
