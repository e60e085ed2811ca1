"""The live figures in a real browser: the same picture as the package's own renderer, alive under mouse and keyboard."""

import base64
import functools
import http.server
import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import ARGUMENTS, chromium_path
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.ndimage import binary_erosion

from facenb.widgets import FaceExplorer
from facenb.widgets.live_figure import COMPONENTS

DRAWN = "document.querySelector('.facenb-live canvas')?.dataset.drawn > 0"
PIXELS = """async (state) => {
  const figure = document.querySelector('.facenb-figure'), canvas = figure.querySelector('canvas');
  const before = canvas.dataset.drawn;
  for (const [name, value] of Object.entries(state)) figure.facenbModel.set(name, value);
  while (canvas.dataset.drawn === before) await new Promise(requestAnimationFrame);
  return canvas.toDataURL();
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    FaceExplorer().save(folder / "explorer.html")
    return folder


@pytest.fixture(scope="module")
def home(pages):
    """The pages over http."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=pages))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


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
    data = page.evaluate(PIXELS, state).split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(float)


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


def test_the_page_and_the_package_draw_the_same_face(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/explorer.html")
    errors = []
    for seed in range(10):
        state = random_state(seed)
        pixels = shown(page, **state)
        picture, coverage = FaceExplorer(**state).picture(pixels.shape[1], pixels.shape[0], antialias=3)
        inside = binary_erosion(coverage.numpy() > 0.999, iterations=2) & (pixels[..., 3] == 255)
        assert inside.mean() > 0.1
        ours = 255 * picture.permute(1, 2, 0).numpy()
        errors.append(np.abs(pixels[..., :3] - ours)[inside].mean())
        off = np.logical_xor(coverage.numpy() > 0.5, pixels[..., 3] > 127).mean()
        assert off < 0.004, "another outline"
    assert max(errors) <= 2 and not wrong, (errors, wrong)
    page.close()
