"""Where the browser for the browser tests is; as a script, prints it or fails with the remedy."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# no request of the browser's own may reach the network: the tests count requests
ARGUMENTS = [
    *("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--enable-unsafe-swiftshader",  # WebGL on machines without a graphics card
]


def chromium_path() -> str:
    """Path of a Chromium or Chrome of this machine, or else of the one that Playwright installed."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if not Path(path).exists():
        raise FileNotFoundError("no Chromium found; type 'make browser' or install one (Debian: apt install chromium)")
    return path


if __name__ == "__main__":
    try:
        print(chromium_path())
    except FileNotFoundError as error:
        sys.exit(str(error))
