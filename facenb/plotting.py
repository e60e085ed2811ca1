"""How the book's figures look: one matplotlib style, rows of pictures, and plotly without a network.

Every chapter calls `book_style()` once. The palette is readable on the light and on the dark page, and distinguishable
with the common forms of colour blindness.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
from cycler import cycler
from matplotlib_inline.backend_inline import set_matplotlib_formats
from plotly.io._base_renderers import MimetypeRenderer
from torch import Tensor

CLAY = "#b5532f"
TEAL = "#1f6f78"
OCHRE = "#d99a2b"
PLUM = "#7a4069"
SLATE = "#5b6770"
PALETTE = (CLAY, TEAL, OCHRE, PLUM, SLATE)

Picture = Tensor | np.ndarray


def book_style() -> None:
    """Matplotlib and plotly defaults of the book; call it in the first cell of a chapter."""
    set_matplotlib_formats("retina")
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "axes.prop_cycle": cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        }
    )
    pio.renderers["facenb"] = _PageRenderer()
    pio.renderers.default = "plotly_mimetype+facenb"


def to_array(picture: Picture) -> np.ndarray:
    """A picture (3, H, W), (H, W, 3) or (H, W) as the array that `imshow` takes, colours clipped to [0, 1]."""
    array = picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else np.asarray(picture)
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[-1] not in (3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.dtype != np.uint8:
        array = array.clip(0, 1)
    return array


def show_images(
    pictures: Sequence[Picture],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    height: float = 2.6,
    **imshow,
) -> plt.Figure:
    """Pictures in rows, `height` inches each, `titles` above them. Returns the closed figure to display."""
    columns = min(columns or len(pictures), len(pictures))
    rows = -(-len(pictures) // columns)
    arrays = [to_array(p) for p in pictures]
    ratio = max(a.shape[1] / a.shape[0] for a in arrays)
    line = 0.28 if titles is not None else 0.0
    fig, axes = plt.subplots(rows, columns, figsize=(columns * height * ratio, rows * (height + line)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, array) in enumerate(zip(axes.flat, arrays, strict=False)):
        ax.imshow(array, **imshow)
        if titles is not None and i < len(titles):
            ax.set_title(titles[i])
    plt.close(fig)
    return fig


def face_3d(
    vertices: Picture,
    triangles: Picture,
    colours: Picture | None = None,
    height: int = 420,
    title: str | None = None,
) -> go.Figure:
    """A face that the reader turns: plotly mesh of vertices (V, 3) in mm, x to the subject's left, y up, z forward.

    `colours` (V, 3) are display values in [0, 1]; without them the face is of clay.
    """
    X, T = np.asarray(vertices, dtype=np.float32), np.asarray(triangles)
    look = {"color": "#c9a48f"} if colours is None else {"vertexcolor": _hex(np.asarray(colours))}
    mesh = go.Mesh3d(
        # plotly's z axis points up: (x, -z, y) lets the face stand upright and look at the reader
        x=X[:, 0].round(1),
        y=(-X[:, 2]).round(1),
        z=X[:, 1].round(1),
        i=T[:, 0],
        j=T[:, 1],
        k=T[:, 2],
        lighting={"ambient": 0.55, "diffuse": 0.6, "specular": 0.05, "roughness": 0.9},
        lightposition={"x": 200, "y": -900, "z": 500},
        hoverinfo="skip",
        flatshading=False,
        **look,
    )
    hidden = {"visible": False}
    return go.Figure(
        mesh,
        layout={
            "height": height,
            "title": title,
            "margin": {"l": 0, "r": 0, "t": 30 if title else 0, "b": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "scene": {
                "xaxis": hidden,
                "yaxis": hidden,
                "zaxis": hidden,
                "aspectmode": "data",
                "camera": {"eye": {"x": 0.35, "y": -1.6, "z": 0.15}, "projection": {"type": "perspective"}},
            },
        },
    )


def _hex(colours: np.ndarray) -> list[str]:
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in (colours.clip(0, 1) * 255).round().astype(np.uint8).tolist()]


class _PageRenderer(MimetypeRenderer):
    """Plotly for the static page: html that loads the one copy of plotly.js that the book's extension puts there."""

    _number = itertools.count()

    def to_mimebundle(self, fig_dict: dict) -> dict[str, str]:
        figure = pio.to_json(fig_dict, validate=False).replace("</", "<\\/")
        name = f"facenb-plotly-{next(self._number)}"
        height = fig_dict.get("layout", {}).get("height") or 450
        return {"text/html": _PAGE_HTML % {"name": name, "height": height, "figure": figure, "id": json.dumps(name)}}


_PAGE_HTML = """<div id="%(name)s" class="facenb-plotly" style="width:100%%;height:%(height)dpx"></div>
<script>(() => {
const figure = %(figure)s;
const draw = () => Plotly.newPlot(%(id)s, figure.data, figure.layout, {responsive: true, displaylogo: false});
if (window.Plotly) return draw();
let script = document.querySelector("script[data-facenb-plotly]");
if (!script) {
  script = document.createElement("script");
  script.dataset.facenbPlotly = "1";
  const root = new URL(document.documentElement.dataset.content_root ?? "./", document.baseURI);
  script.src = new URL("_static/plotly.min.js", root);
  document.head.append(script);
}
script.addEventListener("load", draw);
})()</script>"""
