"""The book's own Sphinx extension: pages that need no network, and results that are never stale.

* Live figures are html that needs no kernel, not widgets that wait for one.
* MathJax and plotly.js are copied once per site out of their Python packages.
* jupyter-cache looks at a notebook's code only; an edit in `facenb/` or a new version of a dependency would re-execute
  nothing. Here the cache's folder carries a hash of the package, the requirements and the Python version.
* Chapters that must be executed are executed side by side, one per core; the build then finds their results.
* The theme declares one inline script twice, which browsers report as an error; the second copy goes.
* The package's pages outlive the build that wrote them, so that a second build finds them, too.
* Formulas in docstrings keep their lines on the package's pages.
* Chapters are written as text notebooks; the page offers each of them as .ipynb, too.
"""

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from importlib.util import find_spec
from logging import WARNING, getLogger
from pathlib import Path

import jupytext
import plotly
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from myst_nb.core.read import create_nb_reader
from sphinx.util import logging

LOG = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
EXECUTED_WITH = ["facenb/**/*.py", "facenb/**/*.js", "facenb/data/**/*", "requirements.txt"]


def environment_hash() -> str:
    """Hash of everything besides a chapter's own text that its results depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(path for pattern in EXECUTED_WITH for path in ROOT.glob(pattern) if path.is_file()):
        digest.update(file.relative_to(ROOT).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def choose_cache(app, config):
    os.environ["FACENB_BOOK"] = "1"  # the kernels that execute the chapters inherit it
    caches = ROOT / "_build" / "executed"
    current = caches / environment_hash()
    for stale in caches.glob("*"):
        if stale != current:
            shutil.rmtree(stale)
    config.nb_execution_cache_path = str(current)


def execute_side_by_side(app, env, docnames):
    """Executes what the cache lacks before Sphinx reads the chapters one after the other.

    A chapter that fails here is executed again by the build, which then says why.
    """
    cache = get_cache(app.config.nb_execution_cache_path)
    wanted = []
    for path in map(Path, map(env.doc2path, sorted(docnames))):
        text = path.read_text()
        reader = create_nb_reader(path, env.myst_config, env.mystnb_config, text)
        if reader is None:
            continue
        with suppress(KeyError):
            cache.match_cache_notebook(reader.read(text))
            continue
        wanted.append(cache.add_nb_to_project(str(path), read_data=reader.read_fmt).pk)
    if len(wanted) > 1:
        LOG.info("executing %s chapters on %s cores ...", len(wanted), os.cpu_count())
        quiet = getLogger("facenb.chapters")
        quiet.setLevel(WARNING)  # else multiprocessing tells the story of its life
        executor = load_executor("local-parallel", cache, quiet)
        executor.run_and_cache(filter_pks=wanted, timeout=app.config.nb_execution_timeout)


def keep_package_pages(app, config):
    """What the build before wrote into book/_api is not in _toc.yml either, but belongs to the book."""
    config.exclude_patterns[:] = [p for p in config.exclude_patterns if not p.startswith("book/_api/")]


def offer_notebook(app, page, template, context, doctree):
    """Adds a .ipynb of the chapter to the download menu."""
    source = ROOT / f"{page}.md"
    if not source.is_file() or "jupytext:" not in source.read_text()[:40]:
        return
    name = f"{page}.ipynb"
    target = Path(app.outdir) / "_sources" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(jupytext.read(source), target)
    context["ipynb_source"] = name


def keep_formulas_as_written(app, what, name, obj, options, lines):
    """An indented paragraph of a docstring is a formula or an example: its line breaks matter."""
    written = []
    for i, line in enumerate(lines):
        if line.startswith("    ") and i > 0 and not lines[i - 1]:
            before = next((text for text in reversed(written) if text), "")
            if not before.startswith(" "):
                written += ["::", ""]
        written.append(line)
    lines[:] = written


def drop_repeated_scripts(app, page, template, context, doctree):
    seen = set()
    scripts = []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            scripts.append(script)
        seen.add(body)
    context["script_files"][:] = scripts


def copy_scripts(app, exception):
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    fonts = Path("output", "chtml", "fonts", "woff-v2")
    shutil.copytree(mathjax / fonts, static / "mathjax" / fonts, dirs_exist_ok=True)
    shutil.copy(mathjax / "tex-chtml-full.js", static / "mathjax")
    shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", static)


def setup(app):
    app.connect("config-inited", choose_cache)
    app.connect("config-inited", keep_package_pages, priority=950)  # after _toc.yml has excluded the rest (900)
    app.connect("env-before-read-docs", execute_side_by_side)
    app.connect("autodoc-process-docstring", keep_formulas_as_written, priority=400)  # before napoleon (500)
    app.connect("html-page-context", offer_notebook, priority=400)  # before the theme builds its buttons (501)
    app.connect("html-page-context", drop_repeated_scripts, priority=900)  # after everyone has added theirs
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
