"""The code of the chapters: what a reader copies must not carry names that nobody uses or defines."""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = [path for path in sorted(BOOK.glob("*.md")) if "{code-cell}" in path.read_text(encoding="utf-8")]


def code(chapter: Path) -> str:
    """All code cells as one module; a shell line counts as a string that is formatted with what stands in braces."""
    cells = [cell.source for cell in jupytext.read(chapter).cells if cell.cell_type == "code"]
    shell = re.compile(r"^(\s*)!(.*)$", re.MULTILINE)
    return "\n\n".join(shell.sub(lambda line: f'{line[1]}f"""{line[2]}"""', cell) for cell in cells)


def complaints(source: str) -> list[str]:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--ignore", "F541"]
    result = subprocess.run(
        [*command, "--output-format", "concise", "--stdin-filename", "chapter.py", "-"],
        input=source,
        capture_output=True,
        text=True,
    )
    assert result.returncode in (0, 1), result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith("chapter.py:")]


def test_unused_and_unknown_names_are_found():
    assert CHAPTERS  # or nothing would be asked below
    assert len(complaints("import os\nprint(unknown)\n")) == 2 and complaints('import os\nf"""{os.sep}"""\n') == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_name_of_a_chapter_is_defined_and_used(chapter):
    assert complaints(code(chapter)) == []
