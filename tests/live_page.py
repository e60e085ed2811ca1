"""A page with a live figure in a browser: opened, asked for its pixels, put into a state."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from facenb.widgets.live_figure import COMPONENTS

DRAWN = "document.querySelector('.facenb-live canvas')?.dataset.drawn > 0"
PIXELS = """async (state) => {
  const figure = document.querySelector('.facenb-figure'), canvas = [...figure.querySelectorAll('canvas')].at(-1);
  const before = canvas.dataset.drawn, end = performance.now() + 20000;
  for (const [name, value] of Object.entries(state)) figure.facenbModel.set(name, value);
  const waiting = () => canvas.dataset.drawn === before || canvas.dataset.fine !== "true";
  while (waiting() && performance.now() < end) await new Promise(requestAnimationFrame);
  return canvas.toDataURL();
}"""


def visit(browser, url: str, **options):
    """The page with its figure drawn, and all that went wrong, which grows."""
    page = browser.new_page(viewport={"width": 1000, "height": 900}, **options)
    wrong = []
    page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or wrong.append(f"leaves: {r.url}"))
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
    page.goto(url)
    page.wait_for_function(DRAWN, timeout=60_000)
    return page, wrong


def shown(page, **state) -> np.ndarray:
    """The canvas (H, W, 4) in [0, 255] after the state was set."""
    return _decoded(page.evaluate(PIXELS, state))


def pixels_of(canvas) -> np.ndarray:
    """A canvas (a Playwright locator) as it is now, (H, W, 4) in [0, 255]."""
    return _decoded(canvas.evaluate("c => c.toDataURL()"))


def trait(page, name: str):
    """A trait of the page's first figure."""
    return page.evaluate("name => document.querySelector('.facenb-figure').facenbModel.get(name)", name)


def _decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA")).astype(float)


def random_state(seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    light = 0.35 * normal(3, 9)
    light[:, 0] += 2.6
    yaw, pitch, roll = (normal(3) * torch.tensor([0.5, 0.25, 0.2])).tolist()
    focal = 2.5 + 1.5 * torch.rand(1, generator=generator).item()
    return {
        "identity": normal(COMPONENTS[0]).tolist(),
        "expression": (0.7 * normal(COMPONENTS[1])).tolist(),
        "albedo": normal(COMPONENTS[2]).tolist(),
        "light": light.tolist(),
        "pose": [yaw, pitch, roll],
        "camera": [focal, 300 * focal, *(0.05 * normal(2)).tolist()],
    }
