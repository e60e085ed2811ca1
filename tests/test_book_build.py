"""The book's tool chain: warnings fail, results are never stale, every chapter comes as a notebook, too."""

import shutil

import jupytext
import pytest
import small_book


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    small_book.write_sources(folder)
    result = small_book.build(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def executions(folder) -> int:
    return len((folder / "book" / "executions.txt").read_text().splitlines())


def test_a_chapter_is_executed_again_when_the_package_changes_and_only_then(book):
    assert executions(book) == 1
    index = book / "book" / "index.md"
    index.write_text(index.read_text() + "\nOne more line.\n")
    assert small_book.build(book).returncode == 0
    assert executions(book) == 1, "an unchanged chapter was executed again"

    (book / "facenb" / "module.py").write_text('"""Stands for the package, edited."""\n')
    assert small_book.build(book).returncode == 0
    assert executions(book) == 2, "the package changed, but the chapter's results did not"

    requirements = book / "requirements.txt"
    requirements.write_text(requirements.read_text() + "# a new version\n")
    assert small_book.build(book).returncode == 0
    assert executions(book) == 3, "the requirements changed, but the chapter's results did not"
    assert len(list((book / "_build" / "executed").iterdir())) == 1, "stale results are kept"


def test_every_chapter_can_be_downloaded_as_a_notebook(book):
    page = (book / "_build" / "html" / "book" / "small.html").read_text()
    assert "_sources/book/small.ipynb" in page
    notebook = jupytext.read(book / "_build" / "html" / "_sources" / "book" / "small.ipynb")
    assert [c.cell_type for c in notebook.cells].count("code") == 4


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("See {eq}`eq-missing`.", "eq-missing"),
        ("```{code-cell} ipython3\nraise RuntimeError('the sky fell')\n```", "the sky fell"),
    ],
    ids=["dangling reference", "failing cell"],
)
def test_a_broken_chapter_fails_the_build_and_is_named(book, tmp_path, broken, complaint):
    folder = tmp_path / "broken"
    shutil.copytree(book, folder, ignore=shutil.ignore_patterns("_build"))
    chapter = folder / "book" / "small.md"
    chapter.write_text(chapter.read_text() + "\n" + broken + "\n")
    result = small_book.build(folder)
    assert result.returncode != 0
    assert complaint in result.stdout + result.stderr and "small" in result.stdout + result.stderr


def test_chapters_are_executed_side_by_side(book, tmp_path):
    folder = tmp_path / "two"
    shutil.copytree(book, folder, ignore=shutil.ignore_patterns("_build"))
    head = small_book.CHAPTER.partition("(ch-small)=")[0]
    for me, other in (("one", "two"), ("two", "one")):
        wait = f"""
import pathlib, time

pathlib.Path("{me}.here").touch()
for _ in range(600):
    if pathlib.Path("{other}.here").exists():
        break
    time.sleep(0.1)
else:
    raise TimeoutError("{other} is not being executed")
with open("executions-{me}.txt", "a") as file:
    file.write("once more\\\\n")
"""
        (folder / "book" / f"{me}.md").write_text(f"{head}# Chapter {me}\n\n```{{code-cell}} ipython3{wait}```\n")
    contents = small_book.CONTENTS.replace("  - file: book/small", "  - file: book/one\n  - file: book/two")
    (folder / "_toc.yml").write_text(contents)
    (folder / "book" / "index.md").write_text("# Small\n")
    result = small_book.build(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    for me in ("one", "two"):
        assert (folder / "book" / f"executions-{me}.txt").read_text().count("once") == 1, "executed again by the build"
