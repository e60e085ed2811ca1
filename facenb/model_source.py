"""One door to every face model: the open one by name, any other by its path (book: *Morphable models*)."""

from pathlib import Path

from facenb.bfm import HDF5_MAGIC, bfm_landmarks, load_bfm
from facenb.ict import load_ict
from facenb.landmark_transfer import BASEL_TO_MULTI_PIE, FEWEST, complete_landmarks68
from facenb.model_files import ModelFileError, readable_file
from facenb.model_io import load_saved
from facenb.morphable_model import MorphableModel

OPEN = "open"


def load_model(source: str | Path = OPEN) -> MorphableModel:
    """The face model that `source` names, float32, in mm.

    "open" is our own free model, built once and then cached. A file is told by its first bytes, not by its name: HDF5
    is a Basel Face Model, safetensors one of `save_model`. A folder is ICT-FaceKit. A Basel Face Model without a file
    of landmarks beside it gets those that it does not name from the open model.

    Raises ModelFileError, naming the path and the remedy, if it is none of these.
    """
    if source == OPEN:
        return _open_model()
    path = Path(source).expanduser()
    if path.is_dir():
        return load_ict(path)
    if not path.exists():
        raise ModelFileError(f'{path}: no such file; a model is "open", or the path of its file or folder')
    with readable_file(path).open("rb") as file:
        start = file.read(9)
    if start.startswith(HDF5_MAGIC):
        return _with_landmarks(load_bfm(path), path)
    if start[8:9] == b"{":  # eight bytes of length, then the JSON header
        return load_saved(path)
    raise ModelFileError(
        f"{path}: no face model that facenb knows; give a Basel Face Model (.h5), an ICT-FaceKit folder, "
        'a model of save_model (.safetensors) or "open"'
    )


def _open_model() -> MorphableModel:
    from facenb.open_model import open_model  # its builder takes a while to import, and other sources do without

    return open_model()


def _with_landmarks(model: MorphableModel, path: Path) -> MorphableModel:
    """A Basel Face Model with 68 landmarks, if it has them or names enough points to find them."""
    if len(model.landmarks68):
        return model
    known = {BASEL_TO_MULTI_PIE[n]: v for n, v in bfm_landmarks(path).items() if n in BASEL_TO_MULTI_PIE}
    return complete_landmarks68(model, known, _open_model()) if len(known) >= FEWEST else model
