"""Camera and shape from correspondence and depth: the first linear problem (book: *Two linear problems*).

Where each pixel lies on the model (u, v) and how far away it is (d) make the camera and the shape linear in the data:

    P (d_j x_j) + q = B_j m + a_j    for every pixel j, weighted by w_j    (33)–(35)

P and q are the *inverse* camera: they take a pixel at its depth to millimetres in model coordinates, and q is the
camera's centre. `facenb.camera.decompose` turns them into K, R, t. Pixels: x right, y down, integer at pixel centres;
depth along the optical axis in any scale.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.coupled_images import coupled, shared_prior
from facenb.known_calibration import known_calibration
from facenb.least_squares import (
    Basis,
    Problem,
    basis_of,
    check_samples,
    least_squares,
    solve_linear,
)
from facenb.uv_model import UVModel


@dataclass(frozen=True)
class Geometry:
    """The answer of the geometry problem: inverse camera and shape coefficients m = [identity; expression]."""

    P: Float[Tensor, "B 3 3"]  # mm per (px · depth unit)
    q: Float[Tensor, "B 3"]  # mm, camera centre in model coordinates
    m: Float[Tensor, "B Ns"]  # standard deviations


def solve_geometry(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    depth: Float[Tensor, "B S"],
    weight: Float[Tensor, "B S"],
    pixels: Float[Tensor, "B S 2"],
    *,
    shape_weight: float | Float[Tensor, " Ns"] = 1.0,
    centre_weight: float = 0.0,
    centre: Float[Tensor, "*B 3"] | Literal["axis"] | None = None,
    centre_distance: float = 600.0,
    K: Float[Tensor, "B 3 3"] | None = None,
    person: Int[Tensor, " B"] | None = None,
    n_identity: int | None = None,
) -> Geometry:
    """The weighted, regularised least-squares solution [P, q; m] of every image, equation (35).

    Differentiable once in uv, depth, weight, pixels and shape_weight by implicit differentiation. Zero-weight pixels
    are ignored.

    Args:
        uv: where each sampled pixel lies on the model, in [0, 1]²; beyond that the map's edge is read.
        depth: positive, in any unit; only the product of P and depth is determined.
        weight: w_j ≥ 0; one means a pixel in full.
        pixels: (x, y) in px.
        shape_weight: α of the rows [0 E], per component or the same for all. The maximum a-posteriori choice is the
            variance in mm² that the model point of a full pixel has; each coefficient has unit variance. Noise in depth
            and correspondence biases the face towards smallness however many pixels there are: against that the weight
            must grow with their number, by about 0.1 mm² each (the chapter measures it).
        centre_weight: α of the three q rows of [E₁₂ 0], in full pixels (the other nine rows have no weight): pulls the
            camera centre q to `centre`. For near-planar depth, where d x and 1 are collinear and q is undetermined.
        centre: target of q, mm; None is (0, 0, z₀) with z₀ = `centre_distance`, as in the paper. "axis" solves twice:
            first weakly, to see where the camera looks, then with the target −z₀ times that viewing axis,
            so that the prior does not oppose a turned head.
        K: known calibration: P is then a rotation times K⁻¹ up to scale, see `facenb.known_calibration`.
        person: images with the same number share their first `n_identity` coefficients; expression and camera
            stay their own.

    Degenerate input: with planar depth and no centre prior the answer fits the data but has a singular P. With all
    weights zero there is nothing to fit: m = 0, and P = 0, q = 0 unless the centre has weight. With fewer pixels than
    unknowns it is what the prior prefers among all fits.

    Raises ValueError for NaN or infinite input, negative weights, or depth ≤ 0 where there is weight.
    Source: Koizumi & Smith 2020, supplement B, F, R.
    """
    check_samples(uv=uv, depth=depth, weight=weight, pixels=pixels)
    if ((depth <= 0) & (weight > 0)).any():
        raise ValueError("depth must be positive where the weight is: a pixel cannot lie behind its camera")
    if person is not None and n_identity is None:
        raise ValueError("several images of one person share their identity: say how many coefficients, n_identity=…")

    B = len(uv)
    if isinstance(centre, str):
        centre = _centre_on_axis(uv_model, uv, depth, weight, pixels, shape_weight, centre_weight, centre_distance)
    elif centre is None:
        centre = uv.new_tensor([0.0, 0.0, centre_distance])
    g, frame = _normalise(depth, weight, pixels)  # B S 4, B 4 4
    to_q = frame[:, :, 3].to(uv.dtype)  # q_k = to_q · (p̃_k, q̃_k)
    ridge = 1e-2 * torch.finfo(uv.dtype).eps * weight.detach().sum(1)  # keeps planar depth solvable
    penalty = centre_weight * to_q[:, :, None] * to_q[:, None, :] + torch.diag_embed(ridge[:, None].expand(B, 4))
    pull = centre_weight * centre.expand(B, 3)[:, :, None] * to_q[:, None, :]  # B 3 4

    n_shared = n_identity or 0
    prior = torch.as_tensor(shape_weight, dtype=uv.dtype, device=uv.device).expand(uv_model.n_shape)
    problem = Problem(
        uv=uv,
        weight=weight,
        z=g[:, :, None].expand(-1, -1, 3, -1),
        penalty=penalty[:, None].expand(-1, 3, -1, -1),
        pull=pull,
        prior=shared_prior(prior, person, B, n_shared),
        project=True,
    )
    solver = solve_linear if K is None else known_calibration(K.double(), frame)
    if person is not None:
        solver = coupled(solver, person, n_camera=12, n_shared=n_shared)
    theta, m = least_squares(_basis(uv_model), problem, solver)
    Pq = (theta.double() @ frame).to(uv.dtype)  # B 3 4: undo the normalisation
    return Geometry(P=Pq[..., :3], q=Pq[..., 3], m=m)


def _basis(uv_model: UVModel) -> Basis:
    return basis_of(uv_model.shape, uv_model.mean[:, :3], uv_model.height, uv_model.width)


def _normalise(
    depth: Float[Tensor, "B S"], weight: Float[Tensor, "B S"], pixels: Float[Tensor, "B S 2"]
) -> tuple[Float[Tensor, "B S 4"], Float[Tensor, "B 4 4"]]:
    """g̃ = M (d x, d y, d, 1) and M: centred pixels, centred depth, all columns of size one (Hartley's remedy).

    Raw columns differ by a factor of a thousand and are nearly collinear. A change of variables changes neither the
    solution nor the meaning of the regularisation, which is expressed in the old ones; so M counts as a constant.
    """
    with torch.no_grad():
        w = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)  # B S
        x0 = (w[..., None] * pixels).sum(1, keepdim=True)  # B 1 2
        d0 = depth[:, :1] + (w * (depth - depth[:, :1])).sum(1, keepdim=True)  # B 1: exact where depth is constant
        scale = 1 / (d0 * (w[..., None] * (pixels - x0) ** 2).sum((1, 2))[:, None].sqrt().clamp_min(1e-3))
        depth_scale = 1 / torch.maximum((w * (depth - d0) ** 2).sum(1, keepdim=True).sqrt(), 1e-3 * d0.abs())
        M = depth.new_zeros(len(depth), 4, 4, dtype=torch.float64)
        M[:, 0, 0] = M[:, 1, 1] = scale[:, 0]
        M[:, :2, 2] = -scale.double() * x0[:, 0].double()
        M[:, 2, 2] = depth_scale[:, 0]
        M[:, 2, 3] = -(depth_scale.double() * d0.double())[:, 0]
        M[:, 3, 3] = 1
    xy = (depth * scale)[..., None] * (pixels - x0)  # differences before products: float32 loses nothing
    return torch.cat([xy, ((depth - d0) * depth_scale)[..., None], torch.ones_like(xy[..., :1])], dim=-1), M


def viewing_axis(P: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3"]:
    """Unit vector in model coordinates along which the camera looks: normal to the first two columns of P.

    These two span the image plane, and unlike the third they are well determined even when depth is nearly planar.
    """
    return torch.nn.functional.normalize(torch.linalg.cross(P[..., 0], P[..., 1]), dim=-1)


def _centre_on_axis(uv_model, uv, depth, weight, pixels, shape_weight, centre_weight, distance) -> Tensor:
    """First pass of centre="axis": a weak prior, every eighth pixel, no gradient."""
    with torch.no_grad():
        shape_weight = torch.as_tensor(shape_weight, device=uv.device) / 8
        few = [x[:, ::8] for x in (uv, depth, weight, pixels)]
        weak = solve_geometry(
            uv_model, *few, shape_weight=shape_weight, centre_weight=0.02 * centre_weight / 8, centre_distance=distance
        )
        return -distance * viewing_axis(weak.P)


def model_points(uv_model: UVModel, uv: Float[Tensor, "B S 2"], m: Float[Tensor, "B Ns"]) -> Float[Tensor, "B S 3"]:
    """B_j m + a_j in mm: what the shape model says lies at uv. Differentiable in uv and m."""
    return _basis(uv_model).points(uv, m)


def geometry_residual(
    uv_model: UVModel,
    uv: Float[Tensor, "B S 2"],
    depth: Float[Tensor, "B S"],
    pixels: Float[Tensor, "B S 2"],
    geometry: Geometry,
) -> Float[Tensor, "B S 3"]:
    """P (d x) + q − B m − a in mm, the residual that the solution minimises.

    As a training loss it has a trap: it is zero when all correspondences collapse to one point. Use `pixel_residual`
    there.
    """
    x = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)  # B S 3
    points = (depth[..., None] * x) @ geometry.P.mT + geometry.q[:, None]
    return points - model_points(uv_model, uv, geometry.m)


def pixel_residual(
    uv_model: UVModel, uv: Float[Tensor, "B S 2"], pixels: Float[Tensor, "B S 2"], geometry: Geometry
) -> Float[Tensor, "B S 2"]:
    """Where the camera sees the model point at uv, minus the pixel it was meant for, in px. Depth is not involved.

    Raises torch.linalg.LinAlgError if P is singular (planar depth without a prior on the camera centre).
    """
    rays = model_points(uv_model, uv, geometry.m) - geometry.q[:, None]  # B S 3
    seen = rays @ torch.linalg.inv(geometry.P).mT  # homogeneous
    return seen[..., :2] / seen[..., 2:] - pixels
