"""One door to every face model: the open one by name, any other by its path (book: *Morphable models*)."""

from pathlib import Path

from facenb.bfm import HDF5_MAGIC, load_bfm
from facenb.ict import load_ict
from facenb.model_files import ModelFileError, readable_file
from facenb.model_io import load_saved
from facenb.morphable_model import MorphableModel

OPEN = "open"


def load_model(source: str | Path = OPEN) -> MorphableModel:
    """The face model that `source` names, float32, in mm.

    "open" is our own free model, built once and then cached. A file is told by its first bytes, not by its name: HDF5
    is a Basel Face Model, safetensors one of `save_model`. A folder is ICT-FaceKit.

    Raises ModelFileError, naming the path and the remedy, if it is none of these.
    """
    if source == OPEN:
        from facenb.open_model import open_model  # its builder takes a second to import, and most paths do without

        return open_model()
    path = Path(source).expanduser()
    if path.is_dir():
        return load_ict(path)
    with readable_file(path).open("rb") as file:
        start = file.read(9)
    if start.startswith(HDF5_MAGIC):
        return load_bfm(path)
    if start[8:9] == b"{":  # eight bytes of length, then the JSON header
        return load_saved(path)
    raise ModelFileError(
        f"{path}: no face model that facenb knows; give a Basel Face Model (.h5), an ICT-FaceKit folder, "
        'a model of save_model (.safetensors) or "open"'
    )
