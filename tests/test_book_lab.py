"""`make lab`'s promise: a chapter opens as a notebook on a double click, and runs there, with its figures alive."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import small_book
from chromium import ARGUMENTS, chromium_path
from playwright.sync_api import sync_playwright

BIN = Path(sys.executable).parent
TOKEN = "test"
HEADER = small_book.CHAPTER.split("(ch-small)=")[0]
CELLS = {  # a figure in a cell of its own, by the name of its variable
    "zoom": "from facenb.widgets import CameraFigure\nzoom = CameraFigure()\nzoom",
    "flat": "from facenb.widgets import FlatteningFigure\nflat = FlatteningFigure()\nflat",
    "lit": "from facenb.widgets import LightFigure\nlit = LightFigure()\nlit",
    "hand": "from facenb.widgets import LeastSquaresByHand\nhand = LeastSquaresByHand(points=30)\nhand",
    "replay": "import torch\nfrom facenb.widgets import TrainingReplay\ngrey = torch.rand(3, 2, 3, 8, 8)\n"
    "replay = TrainingReplay([0, 5, 9], grey[0], {'overlay': grey}, [(0, 1.0), (9, 0.5)])\nreplay",
    "depths": "from test_live_depth_faces import figure\ndepths = figure()\ndepths",
    "someone": """from test_live_figures import rendered_portrait
from facenb.widgets import Portrait
someone = rendered_portrait()
someone""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on the small book, configured as `make lab` configures it."""
    folder = tmp_path_factory.mktemp("lab")
    small_book.write_sources(folder)
    cells = "\n\n".join(f"```{{code-cell}} ipython3\n{code}\n```" for code in CELLS.values())
    (folder / "book" / "figures.md").write_text(f"{HEADER}# Figures\n\n{cells}\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "JUPYTER_CONFIG_PATH": str(small_book.ROOT / "book" / "_lab"),  # as `make lab` does
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": TOKEN,
        "LabApp.expose_app_in_browser": True,
    }
    command = [BIN / "jupyter", "lab", "--no-browser", "--allow-root", *(f"--{k}={v}" for k, v in options.items())]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    home = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{home}/api?token={TOKEN}", timeout=2)
            break
        except OSError:
            assert server.poll() is None, (folder / "lab.log").read_text()
            time.sleep(0.25)
    yield home
    os.killpg(server.pid, signal.SIGTERM)
    server.wait()


ASK = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const run = kernel.requestExecute({ code });
  let text = "";
  run.onIOPub = (m) => { text += m.content.text ?? m.content.evalue ?? ""; };
  await run.done;
  return text.trim();
}"""


def picture_of(page, differs_from: str | None = None) -> str:
    """The live figure's picture, once it is another one than that given."""
    page.wait_for_function(
        "old => { const c = document.querySelector('.facenb-live canvas');"
        " return c?.dataset.drawn && c.toDataURL() !== old; }",
        arg=differs_from,
        timeout=60_000,
    )
    return page.evaluate("document.querySelector('.facenb-live canvas').toDataURL()")


@pytest.fixture
def page(lab):
    """JupyterLab with its files shown."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{lab}/lab/tree/book?reset&token={TOKEN}")
        yield page
        browser.close()


def open_and_run(page, name: str) -> None:
    """Double-click a chapter, wait for its kernel and run all cells."""
    page.locator(".jp-DirListing-item", has_text=name).dblclick(timeout=90_000)
    page.wait_for_selector(".jp-NotebookPanel", timeout=90_000)
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=90_000
    )
    assert page.locator(".jp-Dialog").count() == 0, "the reader is asked something before the chapter runs"
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")


def test_a_chapter_opens_as_a_notebook_and_runs(page):
    open_and_run(page, "small.md")
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=90_000)
    page.locator(".jp-RenderedImage img").first.wait_for(timeout=90_000)
    answer = page.locator(".jp-OutputArea-output pre", has_text="42")
    answer.last.wait_for(timeout=90_000)
    assert page.locator("[data-mime-type*=stderr]").count() == 0

    page.locator(".facenb-live canvas").first.scroll_into_view_if_needed(timeout=90_000)
    picture = picture_of(page)
    slider = page.locator(".facenb-live input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    picture = picture_of(page, picture)
    assert page.evaluate(ASK, "print(face.identity)") == "[1.1]", "Python does not see what the hand did"
    page.evaluate(ASK, "face.pose = (0.5, 0, 0); face.identity = [-2]")
    picture_of(page, picture)
    assert slider.input_value() == "-2", "the page does not see what Python did"


# variable: a control, the key that moves it, what Python prints then; an assignment, a control and its value then
BOUND = {
    "zoom": ("distance", "ArrowRight", "round(zoom.camera[1])", "710",
             "zoom.hold = False", "keep the face's size", False),
    "flat": ("texels along a side", "ArrowLeft", "flat.texels", "304",
             "flat.weights = 'uniform'", "weights", "uniform"),
    "lit": ("l₁ · 1", "End", "round(sum(r[0] for r in lit.light) / 3)", "6",
            "lit.light = [[3.0] + [0.0] * 8] * 3", "l₁ · 1", "3"),
    "hand": ("noise of pixels", "ArrowRight", "round(hand.noise, 1) > 1 and len(hand.solved) == 70", "True",
             "hand.points = 12", "points", "12"),
    "replay": ("moment", "ArrowLeft", "replay.moment", "1",
               "replay.picture = 1", "photo", "1"),
    "depths": ("relief", "Home", "round(depths.relief)", "0",
               "depths.relief = 1.5", "relief", "1.5"),
}  # fmt: skip


def test_every_figure_is_bound_both_ways(page):
    wrong = []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    open_and_run(page, "figures.md")
    cells = page.locator(".jp-CodeCell")
    for k, variable in enumerate(CELLS):
        cell = cells.nth(k)
        cell.scroll_into_view_if_needed(timeout=90_000)
        canvas = cell.locator(".facenb-live canvas").first
        canvas.scroll_into_view_if_needed(timeout=120_000)
        page.wait_for_function("c => c.dataset.drawn > 0", arg=canvas.element_handle(), timeout=60_000)
        if variable == "someone":
            canvas = cell.locator(".facenb-live canvas[tabindex='0']").first  # beside the photo
            canvas.focus()
            before = page.evaluate(ASK, "print(someone.pose[0])")
            page.keyboard.press("ArrowRight")
            assert float(page.evaluate(ASK, "print(someone.pose[0])")) > float(before) + 0.05
            seen = canvas.evaluate("c => c.toDataURL()")
            page.evaluate(ASK, "someone.pose = (-0.4, 0, 0)")
            changed = "([c, old]) => c.toDataURL() !== old"
            page.wait_for_function(changed, arg=[canvas.element_handle(), seen], timeout=20_000)
            continue
        control, key, ask, answer, assign, other, value = BOUND[variable]
        cell.locator(f'[data-name="{control}"]').focus()
        page.keyboard.press(key)
        assert page.evaluate(ASK, f"print({ask})") == answer, f"Python does not see what the hand did: {variable}"
        page.evaluate(ASK, assign)
        shown = "([e, v]) => (e.type === 'checkbox' ? e.checked : e.value) === v"
        handle = cell.locator(f'[data-name="{other}"]').element_handle()
        page.wait_for_function(shown, arg=[handle, value], timeout=20_000)
    assert page.locator("[data-mime-type*=stderr]").count() == 0
    assert not wrong, wrong
