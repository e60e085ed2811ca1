"""What all figures have in common: state that Python and the page both read and write (book: *Live figures*).

In a chapter of the rendered book a figure is html that needs no kernel. In a notebook with a kernel it is an anywidget
over the same script, and its traits follow the reader's hand.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets
from torch import Tensor

from facenb.atomic import atomic_path
from facenb.widgets.bundle import script
from facenb.widgets.page import Shared, figure_html, page_html

IN_BOOK = "FACENB_BOOK"  # environment variable: figures are pages, whatever kernel runs

_shared = Shared()
_number = itertools.count(1)


class Numbers(traitlets.TraitType):
    """Numbers of a given shape, with −1 for any length, kept as (nested) lists. Takes tensors, arrays and sequences."""

    def __init__(self, default: Any, shape: tuple[int, ...], **kwargs: Any):
        super().__init__(default, **kwargs)
        self.shape = shape
        self.info_text = f"finite numbers of shape {shape}"

    def validate(self, obj: Any, value: Any) -> list:
        try:
            array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, np.float64)
        except (TypeError, ValueError):
            self.error(obj, value)
        fits = array.ndim == len(self.shape) and all(s in (-1, n) for s, n in zip(self.shape, array.shape, strict=True))
        if not fits or not np.isfinite(array).all():
            self.error(obj, value)
        return array.tolist()


class PageFigure(traitlets.HasTraits):
    """A figure that lives in the page and in the notebook. Base class; its traits may be assigned and observed.

    Raises traitlets.TraitError for a trait of the wrong shape or an unknown one.
    """

    figure: ClassVar[str]  # its name among the scripts
    alt: ClassVar[str]

    def __init__(self, **state: Any):
        unknown = sorted(set(state) - set(self.trait_names()))
        if unknown:
            raise traitlets.TraitError(
                f"{type(self).__name__} has no {unknown[0]!r}; it has {', '.join(self.trait_names())}"
            )
        super().__init__(**state)
        self._widget: anywidget.AnyWidget | None = None

    @property
    def file(self) -> tuple[str, bytes] | None:
        """Name and content of a face model that the browser needs, if it needs one."""
        return None

    @property
    def widget(self) -> anywidget.AnyWidget:
        """The anywidget that stands for this figure in a notebook; its traits and the figure's are the same."""
        if self._widget is None:
            self._widget = _widget_for(self)
        return self._widget

    def state(self) -> dict[str, Any]:
        """All that the page needs besides the face file."""
        return {"figure": self.figure} | {name: getattr(self, name) for name in self.trait_names()}

    def html(self, shared: Shared | None = None) -> str:
        """The figure as html without a kernel; `shared` knows what the page has already."""
        scripts = (shared or Shared()).scripts(dict([self.file] if self.file else []))
        return figure_html(f"facenb-{next(_number)}", self.state(), self._still(), self.alt, scripts)

    def save(self, path: str | Path) -> Path:
        """Write a page that shows the figure, in one file that may be sent to anybody."""
        path = Path(path)
        with atomic_path(path) as unfinished:
            unfinished.write_text(page_html(self.alt, [self.html()]), encoding="utf-8")
        return path

    def _still(self) -> bytes:
        """What stands in the page before the first touch, JPEG."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if os.environ.get(IN_BOOK):
            return {"text/html": self.html(_shared), "text/plain": repr(self)}
        return self.widget._repr_mimebundle_()


def _widget_for(figure: PageFigure) -> anywidget.AnyWidget:
    fixed: dict[str, Any] = {"_esm": script()}
    if figure.file:
        fixed["_face_file"] = traitlets.Bytes(figure.file[1]).tag(sync=True)
    for key, value in figure.state().items():
        trait = figure.traits().get(key)
        numbers = isinstance(trait, Numbers)
        fixed[key] = (Numbers(value, trait.shape) if numbers else traitlets.Any(value)).tag(sync=True)
    widget = type(type(figure).__name__, (anywidget.AnyWidget,), fixed)()
    for key in figure.trait_names():
        traitlets.link((figure, key), (widget, key))
    return widget
