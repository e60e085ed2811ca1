"""Light and albedo from colour and correspondence: the second linear problem (book: *Two linear problems*).

A pixel is albedo times shading, a product of two unknowns. But the *reciprocal* of shading is nearly a spherical
harmonic of the normal too, and it multiplies the known pixel:

    i_j ⊙ (F_j l) = D_j h + c_j        for every pixel j, with weight w_j        (39)–(41)

Colours in [0, 1], in the colour space of the model's albedo; normals of the mean face in model coordinates; l (3, 9):
red's nine inverse-light coefficients first, in the order of `facenb.lighting`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from facenb.coupled_images import coupled, shared_prior
from facenb.least_squares import (
    Basis,
    Problem,
    basis_of,
    check_samples,
    least_squares,
    solve_linear,
)
from facenb.lighting import sh_basis
from facenb.uv_model import UVModel, sample_table


@dataclass(frozen=True)
class Photometry:
    """The answer of the photometry problem: inverse light and albedo coefficients."""

    l: Float[Tensor, "B 3 9"]
    h: Float[Tensor, "B Nal"]  # standard deviations


def solve_photometry(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    colour: Float[Tensor, "B S 3"],
    weight: Float[Tensor, "B S"],
    *,
    normals: Float[Tensor, "B S 3"] | None = None,
    albedo_weight: float | Float[Tensor, " Nal"] = 1e-3,
    light_weight: float = 1e-6,
    light_target: Float[Tensor, "B 3 9"] | None = None,
    person: Int[Tensor, " B"] | None = None,
) -> Photometry:
    """The weighted, regularised least-squares solution [l; h] of every image, equation (41).

    Differentiable once in uv (through D, c and the normal), colour, weight, normals and albedo_weight.

    Args:
        colour: i_j, after `facenb.softplus_clamp` where dark pixels occur.
        weight: w_j ≥ 0; one means a pixel in full.
        normals: of the surface at each pixel, in model coordinates, any length; None reads those of the mean face at
        uv. albedo_weight: ξ of the rows [0 E], per component or the same for all. The maximum a-posteriori choice is
            the variance of the albedo (in squared colours) at a full pixel; each coefficient has unit variance.
        light_weight: γ of the rows [E₂₇ 0].
        light_target: where those rows pull the light, instead of to zero: a guess of the inverse light.
        person: images with the same number share their albedo; each keeps its own light.

    Degenerate input: with all weights zero l = 0 and h = 0; with fewer pixels than unknowns the answer is what the
    prior prefers among all fits. A black picture leaves l = 0, and then h paints the albedo that comes nearest to
    black.

    Raises ValueError for NaN or infinite input or negative weights.
    Source: Koizumi & Smith 2020, supplement R.
    """
    check_samples(uv=uv, colour=colour, weight=weight)
    B = len(uv)
    prior = torch.as_tensor(albedo_weight, dtype=uv.dtype, device=uv.device).expand(uv_model.n_albedo)
    problem = Problem(
        uv=uv,
        weight=weight,
        z=colour[..., None] * _harmonics(uv_model, uv, normals)[:, :, None, :],  # i_jk F_j
        penalty=light_weight * torch.eye(9, dtype=uv.dtype, device=uv.device).expand(B, 3, 9, 9),
        pull=uv.new_zeros(B, 3, 9) if light_target is None else light_weight * light_target,
        prior=shared_prior(prior, person, B, uv_model.n_albedo),
    )
    solver = solve_linear if person is None else coupled(solve_linear, person, 27, n_shared=uv_model.n_albedo)
    return Photometry(*least_squares(_basis(uv_model), problem, solver))


def _basis(uv_model: UVModel) -> Basis:
    return basis_of(uv_model.albedo, uv_model.mean[:, 3:], uv_model.height, uv_model.width)


def _harmonics(uv_model: UVModel, uv: Tensor, normals: Tensor | None) -> Float[Tensor, "B S 9"]:
    if normals is None:
        normals = sample_table(uv_model.normal.to(uv.dtype), uv_model.height, uv_model.width, uv)
    else:
        check_samples(normals=normals)
    return sh_basis(normalize(normals, dim=-1))


def model_albedo(uv_model: UVModel, uv: Float[Tensor, "B S 2"], h: Float[Tensor, "B Nal"]) -> Float[Tensor, "B S 3"]:
    """D_j h + c_j: the albedo of the skin at uv. Differentiable in uv and h."""
    return _basis(uv_model).points(uv, h)


def inverse_shading(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    l: Float[Tensor, "B 3 9"],
    normals: Float[Tensor, "B S 3"] | None = None,
) -> Float[Tensor, "B S 3"]:
    """F_j l: what each channel of a pixel is multiplied by to give albedo."""
    return torch.einsum("bsi,bki->bsk", _harmonics(uv_model, uv, normals), l)


def photometry_residual(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    colour: Float[Tensor, "B S 3"],
    photometry: Photometry,
    *,
    units: Literal["albedo", "image"] = "albedo",
    normals: Float[Tensor, "B S 3"] | None = None,
    floor: float = 0.05,
) -> Float[Tensor, "B S 3"]:
    """How far the model's picture is from the photo, in colours.

    "albedo": i ⊙ (F l) − D h − c, the residual that the solution minimises. "image": i − (D h + c) / (F l), what the
    eye compares; a training loss needs this one, since the other shrinks when l does. Where F l is below `floor` it is
    replaced by `floor`, so that a light with no reciprocal gives a large finite residual.
    """
    inverse = inverse_shading(uv_model, uv, photometry.l, normals)
    albedo = model_albedo(uv_model, uv, photometry.h)
    return colour * inverse - albedo if units == "albedo" else colour - albedo / inverse.clamp_min(floor)
