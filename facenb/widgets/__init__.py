"""Live figures: faces that the reader turns, lights and changes, in the page and in JupyterLab.

    from facenb.widgets import FaceExplorer
    face = FaceExplorer(identity=[1.5, -1.0])
    face  # the last line of a cell shows it

In a notebook with a kernel the figure's traits are bound both ways: `face.identity` follows the sliders, and
`face.pose = (0.4, 0, 0)` turns the head. `face.save("face.html")` writes a page that lives without Python.
"""

from facenb.widgets.by_hand import LeastSquaresByHand
from facenb.widgets.camera import CameraFigure
from facenb.widgets.depth_faces import DepthFaces
from facenb.widgets.explorer import FaceExplorer
from facenb.widgets.flattening import FlatteningFigure
from facenb.widgets.light import LightFigure
from facenb.widgets.live_figure import LiveFigure
from facenb.widgets.page_figure import PageFigure
from facenb.widgets.portrait import Portrait
from facenb.widgets.replay import TrainingReplay

__all__ = [
    "CameraFigure",
    "DepthFaces",
    "FaceExplorer",
    "FlatteningFigure",
    "LeastSquaresByHand",
    "LightFigure",
    "LiveFigure",
    "PageFigure",
    "Portrait",
    "TrainingReplay",
]
