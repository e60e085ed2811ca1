"""The two linear problems written out as in the supplement of Koizumi & Smith 2020: slow, dense, easy to check.

Every zero of (33) and (34) is stored, autograd differentiates through the sampling, the matrices and the solve. It is
the twin that the tests hold the fast layers to, and the peer that the benchmarks race them against.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from facenb.lighting import sh_basis


def sample_map(table: Tensor, height: int, width: int, uv: Tensor) -> Tensor:
    """(B, S, 3, K+1) of a texel-major map at uv (B, S, 2), by PyTorch's own bilinear sampling."""
    B, S, _ = uv.shape
    picture = table.T.reshape(1, -1, height, width).expand(B, -1, -1, -1)
    grid = 2 * uv[:, :, None] - 1  # texel centres at (c + ½) / W: align_corners=False
    X = grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)  # B C S 1
    return X[..., 0].transpose(1, 2).reshape(B, S, 3, -1)


def weighted_solution(Phi: Tensor, omega: Tensor, a: Tensor) -> Tensor:
    """(ΦᵀΩΦ)⁻¹ ΦᵀΩ a of (35) and (41), Ω = diag(omega), by LU."""
    PhiT_Omega = Phi.mT * omega[:, None, :]
    return torch.linalg.solve(PhiT_Omega @ Phi, (PhiT_Omega @ a[..., None])[..., 0])


def Psi(depth: Tensor, pixels: Tensor) -> Tensor:
    """(33): three rows for every pixel, twelve columns in the order p1 q1 p2 q2 p3 q3."""
    B, S = depth.shape
    x = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    g = torch.cat([depth[..., None] * x, torch.ones_like(depth[..., None])], dim=-1)  # B S 4
    psi = g.new_zeros(B, S, 3, 12)
    for k in range(3):
        psi[:, :, k, 4 * k : 4 * k + 4] = g
    return psi


def dense_geometry(uv_model, uv, depth, weight, pixels, shape_weight, camera_weight, target):
    """[P, q; m] by (33)–(35).

    shape_weight (Ns,), camera_weight (12,), target (12,): the right side of the rows [E₁₂ 0].
    """
    X = sample_map(uv_model.shape, uv_model.height, uv_model.width, uv)  # B S 3 Ns+1
    B, S, _, Ns = X[..., :-1].shape
    Phi = torch.cat([Psi(depth, pixels), -X[..., :-1]], dim=-1).reshape(B, 3 * S, 12 + Ns)
    Phi = torch.cat([Phi, torch.eye(12 + Ns, dtype=uv.dtype).expand(B, -1, -1)], dim=1)  # (34)
    weights = torch.cat([camera_weight, shape_weight]).expand(B, -1)
    omega = torch.cat([weight.repeat_interleave(3, dim=1), weights], dim=1)
    a = torch.cat([X[..., -1].reshape(B, -1), target.expand(B, -1), uv.new_zeros(B, Ns)], dim=1)
    solution = weighted_solution(Phi, omega, a)
    Pq = solution[:, :12].reshape(B, 3, 4)
    return Pq[..., :3], Pq[..., 3], solution[:, 12:]


def Lambda_rows(colour: Tensor, normals: Tensor) -> Tensor:
    """i_j F_j of (39): three rows for every pixel, 27 columns, the nine of red first."""
    B, S, _ = colour.shape
    F = sh_basis(normalize(normals, dim=-1))  # B S 9
    rows = F.new_zeros(B, S, 3, 27)
    for k in range(3):
        rows[:, :, k, 9 * k : 9 * k + 9] = colour[:, :, k, None] * F
    return rows


def dense_photometry(uv_model, uv, colour, weight, albedo_weight, light_weight):
    """[l; h] by (39)–(41). albedo_weight (Nal,), light_weight (27,)."""
    X = sample_map(uv_model.albedo, uv_model.height, uv_model.width, uv)  # B S 3 Nal+1
    normals = sample_map(uv_model.normal, uv_model.height, uv_model.width, uv)[..., 0]
    B, S, _, Nal = X[..., :-1].shape
    Lambda = torch.cat([Lambda_rows(colour, normals), -X[..., :-1]], dim=-1).reshape(B, 3 * S, 27 + Nal)
    Lambda = torch.cat([Lambda, torch.eye(27 + Nal, dtype=uv.dtype).expand(B, -1, -1)], dim=1)
    weights = torch.cat([light_weight, albedo_weight]).expand(B, -1)
    pi = torch.cat([weight.repeat_interleave(3, dim=1), weights], dim=1)
    c = torch.cat([X[..., -1].reshape(B, -1), uv.new_zeros(B, 27 + Nal)], dim=1)
    solution = weighted_solution(Lambda, pi, c)
    return solution[:, :27].reshape(B, 3, 9), solution[:, 27:]
