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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on the small book, configured as `make lab` configures it."""
    folder = tmp_path_factory.mktemp("lab")
    small_book.write_sources(folder)
    environment = {
        **os.environ,
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


def test_a_chapter_opens_as_a_notebook_and_runs(lab):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{lab}/lab/tree/book?reset&token={TOKEN}")
        page.locator(".jp-DirListing-item", has_text="small.md").dblclick(timeout=90_000)
        page.wait_for_selector(".jp-NotebookPanel", timeout=90_000)
        page.wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=90_000,
        )
        assert page.locator(".jp-Dialog").count() == 0, "the reader is asked something before the chapter runs"
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
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
        browser.close()
