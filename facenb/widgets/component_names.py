"""What the leading components of a model do, by the names of the parts that they move most."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from facenb.morphable_model import MorphableModel

LEAVE_OUT = ("face", "beard", "nostrils")  # too large to say anything, or too small to be told from the nose
SECOND = 0.8  # a second part is named if it stands out by so much of the first
NAMED = 12


def component_names(model: MorphableModel, n: int = NAMED) -> dict[str, list[str]]:
    """Names of the first n components by "identity", "expression" and "albedo"; none for a model without regions.

    Named is the part that a component moves most *compared with what the others do to it*: chins move in all of them.
    """
    parts = {name: w for name, w in model.regions.items() if name not in LEAVE_OUT and w.sum() > 0}
    if not parts:
        return {}
    bases = {"identity": model.identity_basis, "expression": model.expression_basis, "albedo": model.albedo_basis}
    return {what: _names(parts, basis[..., :n]) for what, basis in bases.items() if basis.shape[-1]}


def _names(parts: dict[str, Float[Tensor, " V"]], basis: Float[Tensor, "V 3 K"]) -> list[str]:
    square = basis.square().sum(1)  # V K
    size = {name: ((w[:, None] * square).sum(0) / w.sum()).sqrt() for name, w in parts.items()}  # root mean square, K
    typical = {name: s.square().mean().sqrt().clamp_min(1e-12) for name, s in size.items()}
    overall = square.mean(0).sqrt()  # K
    names = []
    for k in range(basis.shape[-1]):
        stands_out = {name: (size[name][k] / typical[name] / overall[k]).item() for name in parts}
        first, second = sorted(stands_out, key=stands_out.get, reverse=True)[:2]
        names.append(f"{first}, {second}" if stands_out[second] > SECOND * stands_out[first] else first)
    return names
