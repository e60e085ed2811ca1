"""Six pictures that tell what the network saw and what became of it (section O of the supplement; *Your own photos*).

Input, reconstruction and geometry; correspondence, confidence and depth. The upper row is drawn from the fitted face,
the lower one is what the network said, pixel by pixel: its coarse pixels are shown as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from facenb.camera import Camera, resize
from facenb.fit_result import PortraitFit
from facenb.morphable_model import MorphableModel
from facenb.pictures import DARK_MOUTH, overlay, render_face, shaded_picture

if TYPE_CHECKING:
    from facenb.networks import Maps

PANELS = ("Input", "Reconstruction", "Geometry", "Correspondence", "Confidence", "Depth")
SIDE = 384  # px of a panel
PAPER = 0.93  # grey behind the geometry
LINES = 10  # of equal u and of equal v, each way


def six_panels(
    crop: Float[Tensor, "3 S S"], maps: Maps, fit: PortraitFit, camera: Camera, model: MorphableModel
) -> dict[str, Float[Tensor, "3 SIDE SIDE"]]:
    """The six pictures by name.

    Args:
        crop: what was reconstructed, display values; a sharper one than the network saw looks better.
        maps: what the network said of it, a batch of one, of any size.
        fit: coefficients and inverse light.
        camera: of the crop, in its pixels.
    """
    size = (crop.shape[2], crop.shape[1])
    camera = resize(camera, size, (SIDE, SIDE))
    photo = _enlarged(crop)
    face, _ = render_face(
        model,
        camera,
        SIDE,
        SIDE,
        identity=fit.identity,
        expression=fit.expression,
        albedo=fit.albedo,
        light=fit.lighting,
        inverse=True,
        background=photo,
        antialias=2,
    )
    face = overlay(photo, face, _enlarged(maps.confidence[:1], mode="bilinear")[0])  # what is in front stays in front
    X = model.vertices(fit.identity, fit.expression)
    clay, _ = shaded_picture(X, model.triangles, camera, SIDE, SIDE, mouth=DARK_MOUTH, background=PAPER)
    return dict(
        zip(
            PANELS,
            (photo, face, clay, correspondence_picture(photo, maps), confidence_picture(maps), depth_picture(maps)),
            strict=True,
        )
    )


def correspondence_picture(photo: Float[Tensor, "3 S S"], maps: Maps) -> Float[Tensor, "3 S S"]:
    """(u, v) as colours over the greyed photo, with lines of equal u and v: a warped sheet of graph paper."""
    S = photo.shape[-1]
    uv = _enlarged(maps.uv[0], S, "bilinear").clamp(0, 1)
    w = _enlarged(maps.confidence[:1], S, "bilinear").clamp(0, 1)
    u, v = uv
    colour = torch.stack([0.25 + 0.7 * u, 0.35 + 0.45 * (1 - v), 0.25 + 0.65 * v + 0.1 * (1 - u)])
    cells = LINES * uv
    slope = torch.stack(torch.gradient(cells, dim=(1, 2))).square().sum(0).sqrt().clamp_min(1e-6)
    distance = (cells - cells.round()).abs() / slope  # px, to the nearest line
    line = (1.4 - distance).clamp(0, 1).amax(0) * (w[0] > 0.5)
    grey = photo.mean(0, keepdim=True).expand_as(photo) * 0.5 + 0.4
    return overlay(overlay(grey, colour, w[0], 0.8), (1.0, 1.0, 1.0), line, 0.7).clamp(0, 1)


def confidence_picture(maps: Maps) -> Float[Tensor, "3 SIDE SIDE"]:
    """Confidence from dark (0) to light (1)."""
    return _coloured(_enlarged(maps.confidence[:1], SIDE, "nearest")[0], "magma")


def depth_picture(maps: Maps) -> Float[Tensor, "3 SIDE SIDE"]:
    """Depth where the face is, near light and far dark over the face's own range; elsewhere paper."""
    depth = maps.depth[0]
    inside = maps.confidence[0] > 0.5
    if not inside.any():
        return torch.full((3, SIDE, SIDE), PAPER)
    low, high = depth[inside].quantile(0.02), depth[inside].quantile(0.98)
    near = (1 - (depth - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    mask = _enlarged(inside[None].float(), SIDE, "nearest")[0]
    coloured = _coloured(_enlarged(near[None], SIDE, "nearest")[0], "viridis")
    return coloured * mask + PAPER * (1 - mask)


def panel_sheet(panels: dict[str, Float[Tensor, "3 S S"]], title: str | None = None) -> Float[Tensor, "3 H W"]:
    """The pictures in two rows of three with their names above them, on white."""
    top = 0.4 if title else 0.0  # inches
    width, height = 9.6, 6.6 + top
    figure = Figure(figsize=(width, height), dpi=120, layout="none")  # whatever the caller's style says
    canvas = FigureCanvasAgg(figure)
    for i, (name, picture) in enumerate(panels.items()):  # by hand: a layout engine takes half a second
        left, bottom = 0.1 + 3.15 * (i % 3), 0.1 + 3.3 * (1 - i // 3)
        axes = figure.add_axes((left / width, bottom / height, 3.1 / width, 2.9 / height))
        axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=13)
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=14)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3]).permute(2, 0, 1) / 255


def _enlarged(picture: Float[Tensor, "C h w"], size: int = SIDE, mode: str = "bicubic") -> Float[Tensor, "C size size"]:
    options = {} if mode == "nearest" else {"align_corners": False, "antialias": picture.shape[-1] > size}
    return interpolate(picture[None].float(), size=(size, size), mode=mode, **options)[0]


def _coloured(values: Float[Tensor, "H W"], name: str) -> Float[Tensor, "3 H W"]:
    return torch.from_numpy(colormaps[name](values.cpu().numpy())[..., :3]).float().movedim(-1, 0)
