"""facenb: from one photograph to a 3D face without landmarks or labels. The package behind the book."""

from facenb.version import __version__

__all__ = ["__version__"]
