"""Heads: what surrounds the face in a photograph, driven by the open model's coefficients (book: *It learns*)."""

from facenb.heads.parts import Head, Part

__all__ = ["Head", "Part"]
