"""Light and albedo in the photo's own units (book: *A photograph*).

The linear problem (39)–(41) compares i ⊙ (F l) with the albedo, so its residual is measured after the light has been
taken off, and is cheap in the dark. What the eye compares is

    e_j = i_j − (c_j + D_j h) / (F_j l).

To weight the linear problem by the last round's 1/(F l)² is the obvious way there and not a safe one: the weight
follows l, its derivative is forgotten, and where the face fits badly the rounds run away into the dark. Gauss–Newton
has the right derivative and needs no more than the linear answer to start from:

    ∂e/∂l = (c + D h) / (F l)² · F,      ∂e/∂h = −D / (F l).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.lighting import SH_CONSTANTS
from facenb.photometry_layer import Photometry

EXPOSURE = 0.9  # shading of a well-exposed face: white paper in its place would be just short of white in the photo
DARKEST = 0.2  # reciprocal shading F l below which a pixel would be five times as bright as its albedo


def painted(
    answer: Photometry, F: Float[Tensor, "B S 9"], c: Float[Tensor, "B S 3"], D: Float[Tensor, "B S 3 Nal"]
) -> tuple[Float[Tensor, "B S 3"], Float[Tensor, "B S 3"]]:
    """Albedo c + D h and reciprocal shading F l, not below `DARKEST`; their quotient is the picture."""
    return c + (D @ answer.h[:, None, :, None])[..., 0], (F @ answer.l.mT).clamp_min(DARKEST)


@torch.no_grad()
def image_step(
    answer: Photometry,
    F: Float[Tensor, "B S 9"],
    c: Float[Tensor, "B S 3"],
    D: Float[Tensor, "B S 3 Nal"],
    colour: Float[Tensor, "B S 3"],
    weight: Float[Tensor, "B S"],
    *,
    albedo_weight: Float[Tensor, " B"],
    light_weight: Float[Tensor, " B"],
    light_target: Float[Tensor, "B 3 9"],
) -> Photometry:
    """One Gauss–Newton step for Σ w ‖e‖² + albedo_weight ‖h‖² + light_weight ‖l − target‖², from `answer`.

    Args:
        F, c, D: harmonics, mean albedo and its basis at the pixels.
        colour, weight: as in `solve_photometry`.
    """
    B, S, _, n = D.shape
    albedo, inverse = painted(answer, F, c, D)
    root = weight.sqrt()[..., None]  # B S 1
    e = (colour - albedo / inverse) * root
    slope = albedo / inverse.square() * root  # of e by F l
    J = D.new_zeros(B, S, 3, 27 + n)
    for k in range(3):
        J[:, :, k, 9 * k : 9 * k + 9] = slope[..., k, None] * F
    torch.mul(D, -(root / inverse)[..., None], out=J[..., 27:])
    J = J.flatten(1, 2)  # B 3S 27+n
    prior = torch.cat([light_weight[:, None].expand(B, 27), albedo_weight[:, None].expand(B, n)], 1)
    away = torch.cat([(answer.l - light_target).flatten(1), answer.h], 1)
    A = (J.mT @ J).double() + torch.diag_embed(prior.double() + 1e-9)
    b = -(J.mT @ e.flatten(1)[..., None])[..., 0].double() - prior * away
    delta = torch.linalg.solve(A, b).to(c)
    return Photometry(answer.l + delta[:, :27].unflatten(1, (3, 9)), answer.h + delta[:, 27:])


def white_light(
    F: Float[Tensor, "B S 9"], weight: Float[Tensor, "B S"], l: Float[Tensor, "B 3 9"]
) -> Float[Tensor, "B 3 9"]:
    """The white light nearest to l that exposes the pixels as usual: weighted mean of F l is 1 / EXPOSURE."""
    grey = l.mean(1)  # B 9
    mean_F = (weight[..., None] * F).sum(1) / weight.sum(1, keepdim=True)  # B 9
    missing = 1 / EXPOSURE - (mean_F * grey).sum(-1, keepdim=True)
    grey = torch.cat([grey[:, :1] + missing / SH_CONSTANTS[0], grey[:, 1:]], -1)
    return grey[:, None].expand(-1, 3, 9)
