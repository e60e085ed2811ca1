"""What a restoration is worth: shape, skin and picture, against the truth and against the clean photo (book: *Restoring
albedo and geometry*).

Whatever the method, it is asked for a `Face` of each degraded photo, and that is measured in the photo's own view:

    shape     SIDE, MAD (`facenb.restore.depth_metrics`)
    skin      PSNR and GMSD of the albedo after the best gain of each channel, where prediction and truth show the face
    picture   PSNR and GMSD of the face put together again, against the clean photo
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from skimage.restoration import denoise_nl_means
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.restore.depth_metrics import without_rim
from facenb.restore.picture_metrics import gmsd, psnr, with_gain
from facenb.restore.proxy import Face, reconstruct
from facenb.restore.proxy_evaluation import DepthErrors, canonical_errors
from facenb.restore.studio import StudioFaces
from facenb.restore.warp import sample

NOISE = 4.5 / 255  # standard deviation, as usual in `facenb.restore.degrade`


@dataclass(frozen=True)
class RestorationErrors:
    """Errors of N faces.

    Attributes:
        shape: SIDE, MAD and so on.
        albedo_psnr, albedo_gmsd: of the skin; dB, and 0 for equal.
        photo_psnr, photo_gmsd: of the picture.
    """

    shape: DepthErrors
    albedo_psnr: Float[Tensor, " N"]
    albedo_gmsd: Float[Tensor, " N"]
    photo_psnr: Float[Tensor, " N"]
    photo_gmsd: Float[Tensor, " N"]

    def means(self) -> dict[str, float]:
        """One number each, for a table."""
        columns = {"SIDE": self.shape.side, "MAD": self.shape.mad}
        columns |= {name: getattr(self, name) for name in ("albedo_psnr", "albedo_gmsd", "photo_psnr", "photo_gmsd")}
        return {name: float(column.mean()) for name, column in columns.items()} | {"yaw slope": self.shape.yaw_slope}


@torch.no_grad()
def restoration_errors(answer: Face, faces: StudioFaces) -> RestorationErrors:
    """Errors of what was said about degraded photos of `faces`."""
    picture = reconstruct(answer)
    where = without_rim(picture.mask) & without_rim(faces.mask)
    truth = faces.albedo.float() / 255
    albedo = with_gain(sample(answer.albedo, picture.lookup), truth, where).clamp(0, 1)
    return RestorationErrors(
        shape=canonical_errors(answer.depth, answer.view, faces),
        albedo_psnr=psnr(albedo, truth, where),
        albedo_gmsd=gmsd(albedo, truth, where),
        photo_psnr=psnr(picture.image, faces.photos, where),
        photo_gmsd=gmsd(picture.image, faces.photos, where),
    )


def restored_in_2d(photos: UInt8[Tensor, "N 3 S S"], factor: int = 4, amount: float = 0.8) -> UInt8[Tensor, "N 3 S S"]:
    """A classical restorer for comparison: non-local means (Buades et al. 2005), then an unsharp mask.

    Args:
        factor: how many times smaller the pictures once were; at that size their noise is taken away.
        amount: of the unsharp mask.
    """
    S = photos.shape[-1]
    small = interpolate(photos.float() / 255, size=(S // factor, S // factor), mode="area")
    calm = [
        denoise_nl_means(picture, patch_size=3, patch_distance=5, h=NOISE, sigma=NOISE, channel_axis=-1)
        for picture in small.permute(0, 2, 3, 1).numpy()
    ]
    calm = torch.from_numpy(np.stack(calm)).permute(0, 3, 1, 2)
    large = interpolate(calm, size=(S, S), mode="bicubic", align_corners=False)
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(large, (2,) * 4, mode="replicate"), 5, 1)
    return (255 * (large + amount * (large - soft)).clamp(0, 1)).round().to(torch.uint8)
