"""Write a whole file or none: a reader never meets half of one, not even after Ctrl-C or a full disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path to write to in place of `path`, in the same folder and with the same ending.

    When the block ends the new file takes the place of the old one in one step; when it raises, the old file stays and
    the new one goes. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a folder rather than a file: the writer then makes the file itself, with the usual permissions
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        os.replace(unfinished, path)
