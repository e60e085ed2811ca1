"""How alive are the live figures? `python -m benchmarks.live_figures [--quick]`, with Chromium's software renderer.

The face explorer at 512 × 512 pixels, as a reader meets it: how long until its first picture, and how many pictures a
second while the head turns (one pass over the surface) and while the face changes (all passes), on the graphics
interface and, as the rival, with vertices computed by JavaScript, as on machines without float targets. There is no
graphics card in this measurement: what a real one does is arithmetic, see the book.
"""

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from facenb.widgets import FaceExplorer

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from chromium import ARGUMENTS, chromium_path

WITHOUT_FLOATS = (
    "const own = WebGL2RenderingContext.prototype.getExtension;"
    "WebGL2RenderingContext.prototype.getExtension = function (name) {"
    " return name === 'EXT_color_buffer_float' ? null : own.call(this, name); }"
)
FRAMES = """async ([name, seconds]) => {
  const figure = document.querySelector('.facenb-figure'), canvas = figure.querySelector('canvas');
  const move = (n) => figure.facenbModel.set(name, name === "pose" ? [0.5 * Math.sin(n / 10), 0, 0] : [2 * Math.sin(n / 10)]);
  const next = async (n) => {
    const before = canvas.dataset.drawn;
    move(n);
    while (canvas.dataset.drawn === before) await new Promise(requestAnimationFrame);
  };
  for (let n = 0; n < 3; n++) await next(n);
  const start = performance.now();
  let n = 3;
  while (performance.now() - start < 1000 * seconds) await next(n++);
  return (n - 3) / ((performance.now() - start) / 1000);
}"""  # noqa: E501 (a script)
FIRST = "document.querySelector('.facenb-live canvas')?.dataset.drawn > 0"


def measured(seconds: float) -> dict[str, float]:
    """First picture (s), pictures per second, and the page's bytes after gzip."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = FaceExplorer().save(Path(folder) / "explorer.html")
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        result = {"page_bytes": len(gzip.compress(path.read_bytes()))}
        for rival in (False, True):
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            if rival:
                page.add_init_script(WITHOUT_FLOATS)
            _open(page, path)
            name = "javascript_" if rival else ""
            if not rival:
                result["first_picture_s"] = page.evaluate("performance.now()") / 1000
                result["side"] = page.evaluate("document.querySelector('.facenb-live canvas').width")
                result["turning"] = page.evaluate(FRAMES, ["pose", seconds])
            result[f"{name}changing"] = page.evaluate(FRAMES, ["identity", seconds])
            page.close()
        browser.close()
    return result


def _open(page: Page, path: Path) -> None:
    page.goto(f"file://{path}")
    page.wait_for_function(FIRST, timeout=60_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_figures", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one second each instead of five")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args()
    result = measured(1 if options.quick else 5)
    print(f"first picture after {result['first_picture_s']:.2f} s, page {result['page_bytes'] / 2**20:.2f} MiB (gzip)")
    print(f"turning   {result['turning']:6.0f} pictures/s of {result['side']} × {result['side']} pixels")
    print(f"changing  {result['changing']:6.0f} pictures/s, by JavaScript {result['javascript_changing']:.0f}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
