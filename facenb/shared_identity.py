"""Refine several photos of one person together: one identity and one albedo (book: *Learning from residuals*).

Bones and skin stay from photo to photo; pose, expression and light do not. So the photos of a person have identity and
albedo in common, c, and each has unknowns of its own, o_b: pose 7, expression, light 27. The Gauss–Newton step for all
of them is one large system in the shape of an arrow, because photos meet in nothing but c:

    ⎡ A₁        C₁       ⎤ ⎡ o₁ ⎤   ⎡  a₁   ⎤     A_b, C_b, D_b: blocks of photo b's JᵀJ, with damping and with
    ⎢     A₂    C₂       ⎥ ⎢ o₂ ⎥ = ⎢  a₂   ⎥     the prior of its own unknowns. Λ, λ: prior of the common ones,
    ⎣ C₁ᵀ C₂ᵀ  Λ + Σ D_b ⎦ ⎣ c  ⎦   ⎣ λ + Σ d_b ⎦   once, however many photos there are.

Each photo's own unknowns are eliminated, what is left is summed and solved, and c is put back into every photo:

    (Λ + Σ τ_b (D_b − C_bᵀ A_b⁻¹ C_b)) c = λ + Σ τ_b (d_b − C_bᵀ A_b⁻¹ a_b),        o_b = A_b⁻¹ (a_b − C_b c).

τ_b in (0, 1] is the trust in a photo. Its points' robust weights forget what is hidden; but a photo that was started in
the wrong place, or shows no face, has nothing but wrong points, which agree on some face. See `_SamePerson.trust`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facenb.face_points import FacePoints
from facenb.refinement import (
    DEFAULTS,
    Refined,
    RefinementOptions,
    RefinementProblem,
    RefinementState,
    as_refined,
    solve_damped,
)
from facenb.scaled_pose import N_POSE, Pose

AT_A_TIME = 16  # photos whose Jacobians are in memory together, some 6 MB each
TINY = 1e-9  # on the diagonal, as in `refinement`, for what no point tells and no prior holds


@torch.no_grad()
def refine_together(
    points: FacePoints,
    image: Float[Tensor, "B 3 H W"],
    pose: Pose,
    m: Float[Tensor, "B Ns"],
    confidence: Float[Tensor, "B H W"],
    n_identity: int,
    options: RefinementOptions = DEFAULTS,
    trace: Callable[[int, Refined], None] | None = None,
    identity_prior: float | None = None,
    usual: Float[Tensor, "B Ns"] | None = None,
) -> Refined:
    """`refinement.refine` for B photos of one person: the same identity in all of m, the same h; the rest is theirs.

    A step is taken by all photos or by none. One photo gives what `refine` gives. Each photo's energy is that of its
    own fit, the common prior included, as `refine` would count it.

    Args:
        n_identity: leading coefficients of m that are identity; the others are expression.
        trace: called with the number of each step and the best faces so far.
        identity_prior: weight of a squared standard deviation of identity; None is `options.shape_prior`.
        usual: the shapes that the prior prefers, of equal identity; None is the model's mean for all.
    """
    problem = _SamePerson(points, image, confidence, n_identity, options, identity_prior, usual)
    m = torch.cat([_agreed(m[:, :n_identity]), m[:, n_identity:]], 1)
    return as_refined(problem.descend(pose, m, trace))


class _SamePerson(RefinementProblem):
    """All photos of a person as one problem. A state holds the common unknowns once for each photo, all equal."""

    def __init__(
        self,
        points: FacePoints,
        image: Tensor,
        confidence: Tensor,
        n_identity: int,
        options: RefinementOptions,
        identity_prior: float | None = None,
        usual: Tensor | None = None,
    ):
        super().__init__(points, image, confidence, options, usual)
        column, light = torch.arange(len(self.prior), device=image.device), N_POSE + points.n_shape
        identity = (column >= N_POSE) & (column < N_POSE + n_identity)
        common = identity | (column >= light + 27)
        self.common, self.own = column[common], column[~common]
        self.charged = column[~common & (column < light)]  # own unknowns whose prior has an energy: not the light
        if identity_prior is not None:
            self.prior[identity] = identity_prior

    def first_light(self, pose: Pose, m: Tensor) -> tuple[Tensor, Tensor]:
        l, h = super().first_light(pose, m)
        return l, _agreed(h)

    def trust(self, s: RefinementState) -> Float[Tensor, " B"]:
        """τ = (1 + x²)⁻² for a photo whose points are left with 1 + x times the usual squared residual; 1 if with less.

        Usual is the median photo's, the better one of two. A photo that was started beside its place is found out; a
        stranger's only by half: it, too, is explained rather well, by a light and an expression of its own.
        """
        e = s.data / s.total
        x = (e / e.median().clamp_min(TINY) - 1).clamp_min(0)
        return (1 + x.square()) ** -2

    def better(self, a: RefinementState, b: RefinementState) -> Bool[Tensor, " B"]:
        """Whether the joint energy falls from b to a, by the trust that b deserves."""
        trust = self.trust(b)
        return (self.joint_energy(a, trust) < self.joint_energy(b, trust)).expand(len(trust))

    def joint_energy(self, s: RefinementState, trust: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """What all photos leave, with their own priors, and the common prior once, per believed point of them all."""
        held = self.prior * self.away(s).square()  # B n
        each = s.data + held[:, self.charged].sum(1)
        return ((trust * each).sum() + held[0, self.common].sum()) / (trust * s.total).sum()

    def step(self, s: RefinementState, damping: Float[Tensor, " B"]) -> tuple[Pose, Tensor, Tensor, Tensor]:
        """One damped Gauss–Newton step for everything in all photos: the formula at the top of this module."""
        own, common, prior = self.own, self.common, self.prior.double()
        pull = prior * self.away(s)
        A, b = self._normal_equations(s)
        diagonal = A.diagonal(dim1=1, dim2=2)
        diagonal *= 1 + damping[:, None]
        diagonal[:, own] += prior[own] + TINY
        b[:, own] -= pull[:, own]

        L, _ = torch.linalg.cholesky_ex(A[:, own[:, None], own])
        right = torch.cat([A[:, own[:, None], common], b[:, own, None]], 2)  # [C | a]
        X = torch.cholesky_solve(right, L).nan_to_num(0.0)  # A⁻¹ [C | a]
        left = torch.cat([A[:, common[:, None], common], b[:, common, None]], 2) - A[:, common[:, None], own] @ X
        total = torch.einsum("b,bij->ij", self.trust(s).double(), left)[None]
        c = solve_damped(total[..., :-1], total[..., -1] - pull[:1, common], prior[None, common])[0]
        delta = torch.empty_like(b)
        delta[:, common] = c
        delta[:, own] = X[..., -1] - X[..., :-1] @ c
        return self.moved(s, delta.to(s.m))

    def _normal_equations(self, s: RefinementState) -> tuple[Float[Tensor, "B n n"], Float[Tensor, "B n"]]:
        """JᵀJ and −Jᵀr of each photo, float64; a folder's Jacobians would not fit into memory all at once."""
        A, b = [], []
        for rows in torch.arange(len(s.m)).split(AT_A_TIME):
            J, r = self.linearise(photos_of(s, rows))
            A.append((J.mT @ J).double())
            b.append(-(J.mT @ r[..., None])[..., 0].double())
        return torch.cat(A), torch.cat(b)


def photos_of(batch: Any, rows: slice | Int[Tensor, " n"]) -> Any:
    """Some photos of a dataclass of batched tensors, such as `Refined`."""
    if isinstance(batch, Tensor):
        return batch[rows]
    return type(batch)(*(photos_of(getattr(batch, f.name), rows) for f in fields(batch)))


def _agreed(x: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
    """What the photos say in the median, for each of them."""
    return x.quantile(0.5, dim=0).expand_as(x)
