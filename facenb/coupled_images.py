"""Several images of one person: one system with shared unknowns (book: *Two linear problems*).

A person has one identity and one albedo; every picture has its own camera, expression and light. Each image's normal
equations stay as they are; they are only added up at the right places of a larger system.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.least_squares import Adjoint, NormalEquations, Solver


def couple_images(
    equations: NormalEquations, person: Int[Tensor, " B"], n_camera: int, n_shared: int
) -> tuple[NormalEquations, Int[Tensor, "B n"]]:
    """One system for all images: those of one person share their first `n_shared` coefficients and own all else.

    Like finite elements: every image says which unknowns of the large system are its own, (B, n), and adds its matrix
    there. The large system starts with the n_camera unknowns of image 0, of image 1, …; the shared ones are its last.

    Args:
        person: images with the same number (any integers) show the same person.
        n_camera: 3C, the unknowns before the coefficients.
    """
    B, n = equations.r.shape
    n_own = n - n_camera - n_shared  # coefficients that each image keeps for itself
    _, person = torch.unique(person, return_inverse=True)
    image, end = torch.arange(B, device=person.device)[:, None], B * (n_camera + n_own)

    def numbers(start: Tensor | int, count: int) -> Tensor:
        return start + torch.arange(count, device=person.device)

    unknowns = torch.cat(
        [
            numbers(image * n_camera, n_camera),
            numbers(end + person[:, None] * n_shared, n_shared),
            numbers(B * n_camera + image * n_own, n_own),
        ],
        dim=1,
    )  # B n
    N = end + n_shared * int(person.max() + 1)
    H, r = equations.H.new_zeros(N, N), equations.r.new_zeros(N)
    H.index_put_((unknowns[:, :, None], unknowns[:, None, :]), equations.H, accumulate=True)
    r.index_put_((unknowns,), equations.r, accumulate=True)
    return NormalEquations(H[None], r[None], equations.precision), unknowns


def coupled(solver: Solver, person: Int[Tensor, " B"], n_camera: int, n_shared: int) -> Solver:
    """`solver` for several images of one person: solves the coupled system and hands every image its own unknowns."""

    def solve(equations: NormalEquations) -> tuple[Tensor, Adjoint]:
        large, unknowns = couple_images(equations, person, n_camera, n_shared)
        u, large_adjoint = solver(large)

        def adjoint(g: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
            total = torch.zeros_like(large.r[0]).index_put((unknowns,), g, accumulate=True)
            return large_adjoint(total[None])[0, unknowns]

        return u[0, unknowns], adjoint

    return solve


def shared_prior(
    prior: Float[Tensor, " K"], person: Int[Tensor, " B"] | None, n_images: int, n_shared: int
) -> Float[Tensor, "B K"]:
    """The prior's weights for every image: one that n images of a person share counts once, 1/n in each."""
    prior = prior.expand(n_images, -1)
    if person is None:
        return prior
    _, inverse, count = torch.unique(person, return_inverse=True, return_counts=True)
    shared = torch.arange(prior.shape[1], device=prior.device) < n_shared
    return torch.where(shared, prior / count[inverse, None], prior)
