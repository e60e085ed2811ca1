"""Every page of the book in a real browser: complete offline, drawn without error, readable on a phone.

By default these tests build and look at a small book; `--book _build/html` points them to the real one.
"""

import functools
import http.server
import threading
from pathlib import Path

import pytest
import small_book
from chromium import ARGUMENTS, chromium_path
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="module")
def html(request, tmp_path_factory) -> Path:
    if given := request.config.getoption("--book"):
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("pages")
    small_book.write_sources(folder)
    result = small_book.build(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="module")
def address(html):
    """The book over http, as a reader of a web site has it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield browser
        browser.close()


def pages(html: Path) -> list[str]:
    return sorted(p.relative_to(html).as_posix() for p in (html / "book").rglob("*.html"))


def visit(browser, url: str, home: str, **options):
    """Opens `url`; returns the page and all that went wrong: failed requests, requests that leave, errors."""
    page = browser.new_page(**options)
    wrong = []
    page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    page.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status}: {r.url}"))
    page.on("request", lambda r: r.url.startswith((home, "data:", "blob:")) or wrong.append(f"leaves: {r.url}"))
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
    page.goto(url)
    page.evaluate("window.MathJax?.startup?.promise")
    if page.locator(".facenb-plotly").count():
        page.wait_for_function(
            "[...document.querySelectorAll('.facenb-plotly')].every(e => e.querySelector('.main-svg'))"
        )
    return page, wrong


LOST_PICTURES = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => 'no picture: ' + i.src)"
NAMELESS_PICTURES = "[...document.querySelectorAll('main img')].filter(i => !i.alt).map(i => 'no alt: ' + i.src)"
BROKEN_TABLES = """[...document.querySelectorAll('main p')].filter(p => /\\|[-–—]+:?\\|/.test(p.innerText))
  .map(p => 'a table as text: ' + p.innerText.slice(0, 60))"""
TOO_WIDE = "document.scrollingElement.scrollWidth - window.innerWidth"


def test_every_page_is_whole_without_a_network_and_fits_a_phone(html, address, browser):
    problems = {}
    for name in pages(html):
        page, wrong = visit(browser, f"{address}/{name}", address)
        wrong += [f"formula error: {t}" for t in page.locator("mjx-merror").all_inner_texts()]
        wrong += page.evaluate(LOST_PICTURES) + page.evaluate(NAMELESS_PICTURES) + page.evaluate(BROKEN_TABLES)
        page.set_viewport_size({"width": 390, "height": 800})
        if (extra := page.evaluate(TOO_WIDE)) > 1:
            wrong.append(f"{extra} px wider than a phone")
        if wrong:
            problems[name] = wrong
        page.close()
    assert not problems


def test_chapters_are_whole_as_files_on_a_disk(html, browser):
    problems = {}
    for name in pages(html):
        if "_api/" not in name:
            page, wrong = visit(browser, f"file://{html}/{name}", f"file://{html}")
            if wrong := wrong + page.evaluate(LOST_PICTURES):
                problems[name] = wrong
            page.close()
    assert not problems


def test_formulas_are_typeset_with_the_copied_fonts(html, address, browser):
    name = next(n for n in pages(html) if 'class="math' in (html / n).read_text())
    page, _ = visit(browser, f"{address}/{name}", address)
    assert page.locator("mjx-container mjx-math").count() > 0
    assert page.evaluate("[...document.fonts].some(f => f.family.includes('MJX') && f.status === 'loaded')")


def test_figures_keep_their_paper_on_the_dark_page(html, address, browser):
    name = next(n for n in pages(html) if "<figure" in (html / n).read_text())
    page, _ = visit(browser, f"{address}/{name}", address, color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    picture = page.locator("main figure img").first
    assert picture.evaluate("e => getComputedStyle(e).filter") == "none", "the theme dims the picture"
    assert picture.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)", "dark ink on a dark page"


def test_solutions_are_folded_until_they_are_asked_for(html, address, browser):
    names = [n for n in pages(html) if "solution dropdown" in (html / n).read_text()]
    assert names, "no chapter has a hidden solution"
    page, _ = visit(browser, f"{address}/{names[0]}", address)
    solution = page.locator("div.solution").first
    output = solution.locator(".cell_output").first
    assert not output.is_visible()
    solution.locator("button").first.focus()
    page.keyboard.press("Enter")
    output.wait_for(state="visible")
