"""A book of three pages with the project's own configuration: fast to build, and it has one of everything."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
(ch-small)=
# A small chapter

A formula that needs every font of the formula set:

$$
\\mathcal L(\\boldsymbol\\Phi) = \\sum_{j=1}^{S}
\\left\\| \\mathbf P\\,(d_j \\mathbf x_j) + \\mathbf q - \\mathbf a_j \\right\\|^2 \\in \\mathbb R
$$ (eq-small)

```{code-cell} ipython3
from facenb.plotting import book_style, face_3d, show_images

book_style()
face_3d([[0, 0, 0], [50, 0, 0], [0, 60, 0], [10, 10, 40]], [[0, 1, 3], [1, 2, 3], [2, 0, 3]])
```

```{code-cell} ipython3
:mystnb: {"figure": {"name": "fig-small", "caption": "Noise."}, "image": {"alt": "a square of noise"}}
import numpy as np

show_images([np.random.default_rng(0).random((16, 16, 3))])
```

```{code-cell} ipython3
from facenb.widgets import FaceExplorer

face = FaceExplorer(identity=[1.0])
face
```

See {eq}`eq-small`, {numref}`fig-small` and {cite:t}`tutte1963`.

:::{exercise}
:label: ex-small
What is the answer?
:::

:::{solution-start} ex-small
:class: dropdown
:::

```{code-cell} ipython3
from pathlib import Path

with Path("executions.txt").open("a") as file:
    file.write("once more\\n")
print(6 * 7)
```

:::{solution-end}
:::
"""

CONTENTS = """format: jb-book
root: book/index
chapters:
  - file: book/small
  - file: book/bibliography
"""


def write_sources(folder: Path) -> None:
    """The project's configuration, styles and extension, and the chapter above."""
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("*.md", "_api"))
    shutil.copy(ROOT / "book" / "bibliography.md", folder / "book")
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "requirements.txt", folder)
    (folder / "_toc.yml").write_text(CONTENTS)
    (folder / "book" / "index.md").write_text("# Small\n\nA book for {ref}`one chapter <ch-small>`.\n")
    (folder / "book" / "small.md").write_text(CHAPTER)
    (folder / "facenb").mkdir()
    (folder / "facenb" / "module.py").write_text('"""Stands for the package."""\n')


def build(folder: Path) -> subprocess.CompletedProcess:
    """`make book`'s own command, without its installation."""
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", ".", "--warningiserror", "--keep-going"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)
