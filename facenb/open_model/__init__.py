"""The open morphable face model, built on first use from MakeHuman's public-domain files (book: *Morphable models*)."""

from facenb.open_model.build import cache_dir, named_expressions, open_model

__all__ = ["cache_dir", "named_expressions", "open_model"]
