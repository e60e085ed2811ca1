"""A pinhole camera and a face from correspondence: the geometry problem without its freedom (book: *Your own photos*).

The linear problem of `geometry_layer` gives its camera twelve numbers, so that it stays linear; a real camera with
square pixels has seven, and the five others only follow noise. Here the error is counted where the eye sees it, in the
picture: a model point X = a_j + B_j m that the network points at from pixel x_j should be projected there,

    U = R (X − X₀),  D = 1 + U_z / z₀,  x = p + (s U_xy + c − p) / D,

with s in px/mm at the face's middle X₀, its distance z₀ (mm) and image c, and the principal point p. So K has the focal
length s z₀. Predicted depth has a say, too, a smaller one: z₀ (log D_j − log d_j − κ), in mm, for the best κ. A network
has learnt it from faces at usual distances, and knows no other; so where a known focal length tells the distance, depth
only says which point is how far in front of which: z₀ log D_j − λ log d_j − κ, for the best λ, too. Damped
Gauss–Newton over pose and shape together, from a weak-perspective start that needs no depth, with Tukey's weights.

Pixels, millimetres and model axes as in `camera`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.camera import Camera
from facenb.robust import GAUSSIAN_MAD, robust_scale, tukey_weight
from facenb.rotation import exponential
from facenb.uv_model import UVModel

RAYLEIGH_MEDIAN = 1.1774  # median length of a 2D normal vector of unit variance per axis: √(2 ln 2)
N_POSE = 7  # rotation 3, log s, c 2, log z₀


@dataclass(frozen=True)
class CorrespondenceFit:
    """Camera, shape and what is left.

    Attributes:
        camera: square pixels, no skew.
        m: shape coefficients, standard deviations.
        residual: distance of each projected point to its pixel, px.
        trust: in [0, 1], how much each pixel was believed at the end.
    """

    camera: Camera
    m: Float[Tensor, "B Ns"]
    residual: Float[Tensor, "B S"]
    trust: Float[Tensor, "B S"]


def fit_correspondence(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    depth: Float[Tensor, "B S"],
    weight: Float[Tensor, "B S"],
    pixels: Float[Tensor, "B S 2"],
    *,
    evidence: Float[Tensor, " B"] | None = None,
    depth_weight: float = 0.1,
    distance: float = 700.0,
    distance_spread: float = 1.4,
    focal: Float[Tensor, " B"] | None = None,
    principal_point: Float[Tensor, "B 2"] | None = None,
    steps: int = 4,
) -> CorrespondenceFit:
    """Minimise Σ_j w_j ρ(‖x − x_j‖²)/s² + depth + priors, see the text above; batched, without gradient.

    Args:
        depth: positive, any unit.
        weight: w_j ≥ 0; an image without any gets the mean face in the middle of its pixels.
        evidence: how many independent pixels the samples stand for; by default as many as have weight. The prior of m
            is the maximum a-posteriori one for the noise that the residuals show, so a sure network may bend the face
            further than a vague one.
        depth_weight: of a depth residual, relative to one of the same size across the line of sight.
        distance, distance_spread: prior of z₀, mm, give or take that factor; nearly planar faces do not tell it.
        focal: known focal length, px. Then s z₀ is fixed.
        principal_point: px; None is the face's middle c, as good as any where nothing is known of the whole photo.
    """
    with torch.no_grad():
        mean, basis = uv_model.sample_shape(uv)  # B S 3, B S 3 Ns
        total = weight.sum(1, keepdim=True).clamp_min(1e-6)
        X0 = (weight[..., None] * mean).sum(1) / total  # B 3
        share = weight / total  # B S
        R, log_s, c = weak_perspective(mean - X0[:, None], share, pixels)
        z = log_s.new_full(log_s.shape, distance) if focal is None else focal / log_s.exp()
        pose = _Pose(R, log_s, c, z.log())
        problem = _Problem(mean - X0[:, None], basis, pixels, depth.log(), focal, principal_point)
        size = share.new_zeros(N_POSE + basis.shape[-1])  # squared, of one standard deviation's worth of prior
        size[N_POSE:], size[N_POSE - 1] = 1, torch.tensor(distance_spread).log() ** -2
        target = torch.tensor(distance).log()
        evidence = total[:, 0] if evidence is None else evidence
        m = share.new_zeros(len(uv), basis.shape[-1])
        trust = torch.ones_like(share)
        for step in range(steps):
            x, D, U = problem.project(pose, m)
            r, r_depth, J = problem.linearise(pose, x, D, U, share)  # B S 2, B S, B S 3 n
            length = r.norm(dim=-1)
            scale = robust_scale(length, weight >= 0.5 * weight.amax(1, keepdim=True), 0.1)  # B 1, px
            if step > 0:
                trust = tukey_weight(length, scale.clamp(min=0.3))
            variance = (scale[:, 0] / GAUSSIAN_MAD / RAYLEIGH_MEDIAN / pose.log_s.exp()) ** 2  # mm², per axis
            prior = (variance / evidence.clamp_min(1))[:, None] * size  # B n
            w = share * trust
            w = torch.stack([w, w, depth_weight * w], -1)  # B S 3
            rest = torch.cat([r / pose.log_s.exp()[:, None, None], r_depth[..., None]], -1)  # mm
            J = J.flatten(1, 2)  # B 3S n
            weighted = J * w.flatten(1)[..., None]
            H = (weighted.mT @ J).double() + torch.diag_embed(prior)
            g = (weighted.mT @ rest.flatten(1)[..., None])[..., 0].double()
            g[:, N_POSE:] += prior[:, N_POSE:] * m
            g[:, N_POSE - 1] += prior[:, N_POSE - 1] * (pose.log_z - target)
            if step == 0:  # pose first: shape would bend to follow a pose that is still wrong
                H, g = H[:, :N_POSE, :N_POSE], g[:, :N_POSE]
            if focal is not None:  # no such unknown
                H[:, N_POSE - 1, :], H[:, :, N_POSE - 1], g[:, N_POSE - 1] = 0, 0, 0
            H = H + torch.diag_embed(1e-6 * H.diagonal(dim1=1, dim2=2) + 1e-9)
            delta = -torch.linalg.solve(H, g).to(m.dtype)
            pose = pose.move(delta[:, :N_POSE], focal)
            if step > 0:
                m = m + delta[:, N_POSE:]
        x, _, _ = problem.project(pose, m)
        return CorrespondenceFit(pose.camera(X0, principal_point), m, (x - pixels).norm(dim=-1), trust)


def weak_perspective(
    X: Float[Tensor, "B S 3"], share: Float[Tensor, "B S"], pixels: Float[Tensor, "B S 2"]
) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, " B"], Float[Tensor, "B 2"]]:
    """R, log s and c of x ≈ s (R X)_xy + c, with weights that sum to one: the affine fit and the rotation next to it.

    Never mirrored: two orthonormal rows determine the third.
    """
    x0, X0 = (share[..., None] * pixels).sum(1), (share[..., None] * X).sum(1)
    weighted = share[..., None] * (X - X0[:, None])
    S = weighted.mT @ (X - X0[:, None])  # B 3 3
    ridge = 1e-4 * S.diagonal(dim1=1, dim2=2).sum(1) + 1e-6  # B
    ridge = ridge[:, None, None] * torch.eye(3, dtype=X.dtype, device=X.device)
    M = torch.linalg.solve(S + ridge, weighted.mT @ (pixels - x0[:, None])).mT  # B 2 3
    # without a single good pixel M is zero: then a frontal face, 0.1 px per mm
    M = torch.where((M.abs().amax((1, 2)) > 1e-6)[:, None, None], M, M.new_tensor([[0.1, 0, 0], [0, -0.1, 0]]))
    U, s, Vh = torch.linalg.svd(M, full_matrices=False)
    rows = U @ Vh
    R = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = s.mean(-1)
    return R, scale.log(), x0 - scale[:, None] * (R[:, :2] @ X0[..., None])[..., 0]


@dataclass(frozen=True)
class _Pose:
    R: Float[Tensor, "B 3 3"]
    log_s: Float[Tensor, " B"]
    c: Float[Tensor, "B 2"]
    log_z: Float[Tensor, " B"]

    def move(self, delta: Float[Tensor, "B 7"], focal: Tensor | None) -> _Pose:
        """A step, none longer than 0.3 rad, a factor e^0.3 or 15 % of a face (20 mm)."""
        reach = 20 * self.log_s.exp()[:, None]
        log_s = self.log_s + delta[:, 3].clamp(-0.3, 0.3)
        log_z = self.log_z + delta[:, 6].clamp(-0.3, 0.3) if focal is None else focal.log() - log_s
        turn = delta[:, :3] * (0.3 / delta[:, :3].norm(dim=1, keepdim=True).clamp_min(0.3))
        return _Pose(exponential(turn) @ self.R, log_s, self.c + delta[:, 4:6].clamp(-reach, reach), log_z)

    def camera(self, X0: Float[Tensor, "B 3"], principal_point: Float[Tensor, "B 2"] | None) -> Camera:
        z = self.log_z.exp()
        f = self.log_s.exp() * z
        p = self.c if principal_point is None else principal_point
        K = torch.zeros_like(self.R)
        K[:, 0, 0] = K[:, 1, 1] = f
        K[:, :2, 2] = p
        K[:, 2, 2] = 1
        middle = torch.cat([(self.c - p) * (z / f)[:, None], z[:, None]], 1)  # X₀ in camera coordinates
        return Camera(K, self.R, middle - (self.R @ X0[..., None])[..., 0])


@dataclass(frozen=True)
class _Problem:
    X: Float[Tensor, "B S 3"]  # the mean's points − X₀
    basis: Float[Tensor, "B S 3 Ns"]
    pixels: Float[Tensor, "B S 2"]
    log_depth: Float[Tensor, "B S"]
    focal: Float[Tensor, " B"] | None
    principal_point: Float[Tensor, "B 2"] | None

    def project(self, pose: _Pose, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, S, 2), D (B, S) and U (B, S, 3)."""
        X = self.X + (self.basis @ m[:, None, :, None])[..., 0]
        U = X @ pose.R.mT
        D = (1 + U[..., 2] * (-pose.log_z).exp()[:, None]).clamp_min(0.05)
        p = (pose.c if self.principal_point is None else self.principal_point)[:, None]
        return p + (pose.log_s.exp()[:, None, None] * U[..., :2] + pose.c[:, None] - p) / D[..., None], D, U

    def linearise(self, pose: _Pose, x: Tensor, D: Tensor, U: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals in px and, along the line of sight, in mm; and the rows of the Jacobian, all in mm."""
        B, S, _, Ns = self.basis.shape
        s, z = pose.log_s.exp()[:, None], pose.log_z.exp()[:, None]  # B 1
        p = (pose.c if self.principal_point is None else self.principal_point)[:, None]
        seen = x - p  # B S 2
        dU = x.new_zeros(B, S, 3, 3)  # of (x, y)/s and z₀ log D, by U
        dU[..., 0, 0] = dU[..., 1, 1] = 1 / D
        dU[..., :2, 2] = -seen / (D * z * s)[..., None]
        dU[..., 2, 2] = 1 / D
        J = x.new_zeros(B, S, 3, N_POSE + Ns)
        J[..., :3] = torch.linalg.cross(U[:, :, None].expand_as(dU), dU, dim=-1)  # ω × U
        along = torch.cat([seen / s[..., None], x.new_full((B, S, 1), -1.0) * z[..., None]], -1)
        by_z = along * ((D - 1) / D)[..., None]
        J[..., :2, 3] = U[..., :2] / D[..., None]
        if self.focal is None:
            J[..., 6] = by_z
        else:
            by_z[..., 2] += z * D.log()  # of z₀ log D
            J[..., 3] -= by_z  # log z₀ = log f − log s
        shift = torch.ones_like(D) if self.principal_point is None else 1 / D
        J[..., 0, 4] = J[..., 1, 5] = shift / s
        J[..., N_POSE:] = (dU @ pose.R[:, None]) @ self.basis
        relief = z * D.log()  # B S, mm
        depth = self.log_depth - (share * self.log_depth).sum(1, keepdim=True)
        relief, stretch = relief - (share * relief).sum(1, keepdim=True), z
        if self.focal is not None:
            stretch = (share * relief * depth).sum(1, keepdim=True) / (share * depth**2).sum(1, keepdim=True)
            stretch = stretch.nan_to_num(0.0).clamp_min(0)
        # κ is solved for as well: take the mean out of its rows
        J[..., 2, :] -= (share[..., None] * J[..., 2, :]).sum(1, keepdim=True)
        return x - self.pixels, relief - stretch * depth, J
