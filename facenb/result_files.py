"""Where a command's results go: one set of files for each photo, named after it, and never in a photo's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facenb.config import ConfigError


def demand_free_names(photos: Iterable[Path], out: Path, endings: Iterable[str], others: Iterable[Path] = ()) -> None:
    """Raises ConfigError if results STEM + ending in `out` would meet each other, a photo, or one of the other inputs.

    Said before anything is written.
    """
    photos = list(photos)
    stems = [photo.stem for photo in photos]
    folded = [stem.casefold() for stem in stems]  # some file systems do not tell A from a
    for stem in stems:
        if folded.count(stem.casefold()) > 1:
            raise ConfigError(f"two photos are called {stem}: their results would overwrite each other; rename one")
    results = {(out / f"{stem}{ending}").resolve() for stem in stems for ending in endings}
    for path in (*photos, *others):
        if path.resolve() in results:
            raise ConfigError(f"{path}: a result in {out} would replace it; choose another --out")


def make_folder(out: Path) -> None:
    """The folder for results, with all above it. Raises ConfigError where none can be."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """What the block cannot write becomes a ConfigError that names the folder."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: cannot write there ({error.strerror}); choose another folder with --out") from error
