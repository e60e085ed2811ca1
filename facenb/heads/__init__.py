"""Heads: what surrounds the face in a photograph, driven by the open model's coefficients (book: *It learns*)."""

from facenb.heads.head_model import HeadModel, head_model
from facenb.heads.parts import Head, Part
from facenb.heads.people import random_head, random_heads, undressed_heads

__all__ = ["Head", "HeadModel", "Part", "head_model", "random_head", "random_heads", "undressed_heads"]
