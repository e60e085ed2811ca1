"""The geometry problem when the camera's calibration K is known (book: *Two linear problems*).

P = Q K⁻¹ with Q = s Rᵀ a scaled rotation: seven unknowns (scale, rotation, centre) instead of twelve. The problem is no
longer linear in them, but everything that the pixels have to say is already in the normal equations. So the shape is
eliminated (it stays linear) and a few Gauss–Newton steps on 12 × 12 matrices find the best scaled rotation; the
answer's gradient again follows from the implicit function theorem, now with the full second derivative.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.least_squares import Adjoint, NormalEquations, Solver, cholesky_solver

STEPS = 50  # far more than Gauss–Newton needs: it stops by itself


def known_calibration(K: Float[Tensor, "B 3 3"], frame: Float[Tensor, "B 4 4"]) -> Solver:
    """A solver for θ = [s Rᵀ K⁻¹, q] M⁻¹ (rows of the normalised inverse camera, M = `frame`) and m.

    Works on B separate systems or on one coupled system whose first 12 B unknowns are the cameras.
    """
    inverse_frame = torch.linalg.inv(frame)
    N_Q = torch.linalg.solve(K, inverse_frame[:, :3])  # B 3 4: θ = Q N_Q + q N_q
    N_q = inverse_frame[:, 3]  # B 4

    def solve(equations: NormalEquations) -> tuple[Tensor, Adjoint]:
        H, r = equations.H, equations.r
        G = len(H)  # systems; each holds B / G cameras
        C = 12 * len(K) // G
        free = cholesky_solver(H, equations.precision)(r)  # the answer without the constraint
        rest = cholesky_solver(H[:, C:, C:], equations.precision)
        H_cr = H[:, :C, C:]
        influence = rest(H_cr).mT  # (H_rr⁻¹ H_rc): how the coefficients answer to the cameras
        H_c = H[:, :C, :C] - H_cr @ influence  # G C C, the coefficients eliminated
        r_c = r[:, :C] - torch.einsum("gcr,gr->gc", H_cr, rest(r[:, C:]))

        def spread(J: Float[Tensor, "B i a"]) -> Tensor:
            """Per-camera blocks on the diagonal of each system's matrix."""
            return torch.stack([torch.block_diag(*blocks) for blocks in J.reshape(G, -1, *J.shape[1:])])

        Q, q = _start(free[:, :C].reshape(-1, 3, 4) @ frame, K)
        for _ in range(STEPS):
            theta, J = Q @ N_Q + q[:, :, None] * N_q[:, None, :], spread(_tangent(Q, N_Q, N_q))
            downhill = r_c - torch.einsum("gij,gj->gi", H_c, theta.reshape(G, C))
            step = cholesky_solver(J.mT @ H_c @ J, 1e-15)(torch.einsum("gia,gi->ga", J, downhill)).reshape(-1, 7)
            Q = Q @ torch.linalg.matrix_exp(torch.einsum("ba,aij->bij", step[:, :4], _generators(Q)))
            q = q + step[:, 4:]
            if (step[:, :4].abs() < 1e-14).all() and (step[:, 4:].abs() <= 1e-14 * q.abs().amax()).all():
                break

        theta = (Q @ N_Q + q[:, :, None] * N_q[:, None, :]).reshape(G, C)
        J = spread(_tangent(Q, N_Q, N_q))
        slope = torch.einsum("gij,gj->gi", H_c, theta) - r_c
        hessian = J.mT @ H_c @ J + spread(_curvature(Q, N_Q, slope.reshape(-1, 3, 4)))
        solve_hessian = cholesky_solver(hessian, 1e-15)

        def coefficients(theta: Tensor, r_rest: Tensor) -> Tensor:
            return rest(r_rest) - torch.einsum("grc,gc->gr", influence, theta)

        def adjoint(g: Tensor) -> Tensor:
            g_c = g[:, :C] - torch.einsum("gcr,gr->gc", H_cr, rest(g[:, C:]))
            v = torch.einsum("gia,ga->gi", J, solve_hessian(torch.einsum("gia,gi->ga", J, g_c)))
            return torch.cat([v, coefficients(v, g[:, C:])], dim=1)

        return torch.cat([theta, coefficients(theta, r[:, C:])], dim=1), adjoint

    return solve


def _start(Pq: Float[Tensor, "B 3 4"], K: Tensor) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
    """The scaled rotation next to P K, from its first two columns, which even planar depth determines; and q."""
    A = Pq[..., :3] @ K
    size = A[..., :2].square().sum((-2, -1)).div(2).sqrt().clamp_min(1e-300)  # B
    third = torch.linalg.cross(A[..., 0], A[..., 1]) / size[:, None]
    U, S, Vh = torch.linalg.svd(torch.cat([A[..., :2], third[..., None]], dim=-1))
    return S.mean(-1)[:, None, None] * torch.det(U @ Vh)[:, None, None] * (U @ Vh), Pq[..., 3]


def _generators(like: Tensor) -> Float[Tensor, "4 3 3"]:
    """Directions in which a scaled rotation can move: growth, and turns about the three axes."""
    eta = torch.zeros(4, 3, 3, dtype=like.dtype, device=like.device)
    eta[0] = torch.eye(3)
    for a in range(3):
        i, j = (a + 1) % 3, (a + 2) % 3
        eta[1 + a, i, j], eta[1 + a, j, i] = -1, 1
    return eta


def _tangent(Q: Tensor, N_Q: Tensor, N_q: Tensor) -> Float[Tensor, "B 12 7"]:
    """∂θ/∂(growth, turns, q) at Q exp(η): Q η N_Q for the first four, N_q in its row for the others."""
    turn = torch.einsum("bij,ajk,bkl->bila", Q, _generators(Q), N_Q)  # B 3 4 4
    move = torch.einsum("ia,bl->bila", torch.eye(3, dtype=Q.dtype, device=Q.device), N_q)  # B 3 4 3
    return torch.cat([turn, move], dim=-1).reshape(-1, 12, 7)


def _curvature(Q: Tensor, N_Q: Tensor, slope: Float[Tensor, "B 3 4"]) -> Float[Tensor, "B 7 7"]:
    """slope · ∂²θ: exp has the second derivative ½(η_a η_b + η_b η_a); q moves straight."""
    eta = _generators(Q)
    pairs = torch.einsum("aij,cjk->acik", eta, eta)
    second = torch.einsum("bij,acjk,bkl,bil->bac", Q, (pairs + pairs.transpose(0, 1)) / 2, N_Q, slope)
    return torch.nn.functional.pad(second, (0, 3, 0, 3))
