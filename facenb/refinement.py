"""Refine a face on the photo itself: Gauss–Newton on the photometric error (book: *Learning from residuals*).

Least squares turn a network's maps into camera, shape, light and albedo. How good they are the photo itself can tell:
project fixed points of the model into it and compare colours, in image units,

    r_k = i(x_k) − (c_k + D_k h) / (F_k l),        x_k = projection of a_k + B_k m.

The unknowns are pose, shape m, inverse light l and albedo h together, some hundred and fifty numbers. Each step solves
one small linear system for all of them, so that light and albedo never have to absorb what a better pose would explain.
Robust weights forget what the model cannot explain: hair, glasses, cast shadows.

No label enters. This is the teacher of `facenb.distil_task`, and what `facenb reconstruct --refine` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from facenb.face_points import FacePoints
from facenb.lighting import SH_CONSTANTS, sh_basis, sh_gradient
from facenb.pixel_sampling import sample_between
from facenb.scaled_pose import N_POSE, Pose
from facenb.softplus_clamp import softplus_clamp

DARKEST = 0.3  # reciprocal shading below which a point would be brighter than any photo
RISE = 0.3  # cosine over which a point that turns into sight comes to count in full
EASIER, HARDER, DAMPING = 0.4, 6.0, (1e-4, 1e3)  # damping's factor after a good step and after a bad one; its limits
FARTHEST_M, STEP_M, STEP_H = 3.0, 1.0, 2.0  # standard deviations: of m ever, of m and of h in a step


@dataclass(frozen=True)
class RefinementOptions:
    """How far the refinement trusts the model, the network and the photo.

    Attributes:
        steps: of Gauss–Newton.
        noise: standard deviation of a fully believed point's residual, colours.
        misplaced: px; where the picture is steep a point that is misplaced by so much errs by that much more.
        outlier: standard deviations at which a point's weight has fallen to a quarter.
        shape_prior, albedo_prior: weight of a squared standard deviation of m or h, where a point counts one.
        light_prior: weight, per point, that holds the light near the start's constant white one.
        distance, distance_spread: the camera is this many mm away, give or take that factor.
        believe: what a point outside the network's confident region counts.
        grazing: cosine between surface and line of sight below which a point is not seen.
        damping: of Levenberg–Marquardt at the start, relative to the diagonal.
    """

    steps: int = 8
    noise: float = 0.03
    misplaced: float = 0.6
    outlier: float = 5.0
    shape_prior: float = 6.0
    albedo_prior: float = 3.0
    light_prior: float = 1e-3
    distance: float = 900.0
    distance_spread: float = 1.3
    believe: float = 0.05
    grazing: float = 0.05
    damping: float = 1e-2


DEFAULTS = RefinementOptions()


@dataclass(frozen=True)
class Refined:
    """A face and how well it explains the photo.

    Attributes:
        l, h: inverse light and albedo of the softplus-clamped picture.
        pixels: where the points fall, px.
        residual: root mean square over the channels at each point, colours.
        weight: how much each point counts, in [0, 1].
        energy: what is minimised, per believed point.
    """

    pose: Pose
    m: Float[Tensor, "B Ns"]
    l: Float[Tensor, "B 3 9"]
    h: Float[Tensor, "B Na"]
    pixels: Float[Tensor, "B K 2"]
    residual: Float[Tensor, "B K"]
    weight: Float[Tensor, "B K"]
    energy: Float[Tensor, " B"]


@dataclass(frozen=True)
class RefinementState:
    """A face with all that its linearisation needs."""

    pose: Pose
    m: Float[Tensor, "B Ns"]
    l: Float[Tensor, "B 3 9"]
    h: Float[Tensor, "B Na"]
    pixels: Float[Tensor, "B K 2"]
    U: Float[Tensor, "B K 3"]  # camera coordinates about the face's centre, mm
    colour: Float[Tensor, "B K 3"]
    slope: Float[Tensor, "B K 3 2"]  # of the picture, per px
    N: Float[Tensor, "B K 3"]  # unit normals
    F: Float[Tensor, "B K 9"]
    albedo: Float[Tensor, "B K 3"]
    inverse: Float[Tensor, "B K 3"]  # reciprocal shading F l
    residual: Float[Tensor, "B K 3"]
    sigma: Float[Tensor, "B K"]
    weight: Float[Tensor, "B K"]
    data: Float[Tensor, " B"]  # robust sum of squared residuals
    total: Float[Tensor, " B"]  # what all points would count if they were explained
    energy: Float[Tensor, " B"]


@torch.no_grad()
def refine(
    points: FacePoints,
    image: Float[Tensor, "B 3 H W"],
    pose: Pose,
    m: Float[Tensor, "B Ns"],
    confidence: Float[Tensor, "B H W"],
    options: RefinementOptions = DEFAULTS,
    trace: Callable[[int, Refined], None] | None = None,
    usual: Float[Tensor, "*#B Ns"] | None = None,
) -> Refined:
    """The face that explains `image` best, near the given pose and shape; batched, without gradient.

    A step that would raise the energy is not taken, and the next one is shorter. From finite input the answer is
    finite, for a black picture and a face outside the frame as well.

    Args:
        image: in the colour space of the model's albedo, [0, 1].
        pose, m: where to start; two pixels beside the truth is near enough.
        confidence: of the network that each pixel shows the face; 1 everywhere if there is no network.
        usual: the shape that the prior prefers, for all or for each; None is the model's mean, which smiles too little.
        trace: called with the number of each step and the best face so far.
    """
    return as_refined(RefinementProblem(points, image, confidence, options, usual).descend(pose, m, trace))


class RefinementProblem:
    """One batch of photos, and what is asked of them."""

    def __init__(self, points: FacePoints, image: Tensor, confidence: Tensor, options: RefinementOptions, usual=None):
        self.points, self.options = points, options
        self.usual = image.new_zeros(points.n_shape) if usual is None else usual
        picture = softplus_clamp(image)
        self.H, self.W = image.shape[-2:]
        self.stack = torch.cat([picture, *_slopes(picture), confidence[:, None]], 1)  # B 10 H W
        self.turned = torch.cat([points.shape, points.normal_basis], 1)  # K 6 Ns, what m does to place and normal
        self.white = image.new_zeros(len(image), 3, 9)  # target of the light's prior
        self.prior_distance = math.log(options.distance_spread) ** -2
        light = options.light_prior / options.noise**2 * points.n
        weights = (0.0, options.shape_prior * self.prior_distance, options.shape_prior, light, options.albedo_prior)
        sizes = (N_POSE - 1, 1, points.n_shape, 27, points.n_albedo)
        self.prior = torch.cat([image.new_full((n,), w) for n, w in zip(sizes, weights, strict=True)])

    def descend(self, pose: Pose, m: Tensor, trace: Callable[[int, Refined], None] | None) -> RefinementState:
        """The best state of all that the steps lead to."""
        state = self.evaluate(pose, m, *self.first_light(pose, m))
        damping = self.white.new_full((len(m),), self.options.damping)
        for step in range(self.options.steps + 1):
            if step > 0:
                proposed = self.evaluate(*self.step(state, damping))
                better = self.better(proposed, state)
                damping = torch.where(better, damping * EASIER, damping * HARDER).clamp(*DAMPING)
                state = _choose(better, proposed, state)
            if trace is not None:
                trace(step, as_refined(state))
        return state

    def better(self, a: RefinementState, b: RefinementState) -> Bool[Tensor, " B"]:
        return a.energy < b.energy

    def _seen(self, pose: Pose, m: Tensor) -> tuple[Tensor, ...]:
        """x, U, colour, slope, N, F and weight, not yet robust, of points; those at the picture's rim have no slope."""
        X = self.points.at(m) - self.points.centre  # B K 3
        x, U = pose.project(X)
        values = sample_between(self.stack, x)  # B K 10
        colour, slope = values[..., :3], values[..., 3:9].unflatten(-1, (2, 3)).mT
        N = self.points.normals(m)
        facing = ((N @ pose.R.mT) * -normalize(U + pose.offset[:, None], dim=-1)).sum(-1)
        inside = ((x > 0.5) & (x < x.new_tensor([self.W - 1.5, self.H - 1.5]))).all(-1)
        visible = ((facing - self.options.grazing) / RISE).clamp(0, 1) * inside
        return x, U, colour, slope, N, sh_basis(N), visible * (values[..., 9] + self.options.believe)

    def first_light(self, pose: Pose, m: Tensor) -> tuple[Tensor, Tensor]:
        """Light and albedo by linear least squares: one round with white light, two in image units."""
        o, points = self.options, self.points
        _, _, i, _, _, F, weight = self._seen(pose, m)
        w = weight[..., None]
        gain = (w * points.albedo_mean).sum((1, 2)) / (w * i).sum((1, 2)).clamp_min(1e-6)
        self.white[..., 0] = (gain / SH_CONSTANTS[0])[:, None]
        inverse = gain[:, None, None].expand_as(i)
        prior = self.prior[N_POSE + points.n_shape :]
        for _ in range(2):
            row = weight.sqrt()[..., None] / inverse / o.noise  # B K 3
            J = self._colour_columns(i * row, F, row)
            b = (points.albedo_mean * row).flatten(1)  # B 3K
            pull = torch.cat([self.white.flatten(1), i.new_zeros(len(i), points.n_albedo)], 1) * prior
            answer = solve_damped(J.mT @ J, (J.mT @ b[..., None])[..., 0] + pull, prior.expand(len(i), -1))
            l, h = answer[:, :27].unflatten(1, (3, 9)), answer[:, 27:]
            inverse = (F @ l.mT).clamp_min(DARKEST)
            residual = (i - points.colours(h).clamp_min(0) / inverse).square().mean(-1)
            weight = weight / (1 + residual / (o.outlier * o.noise) ** 2) ** 2
        return l, h

    def _colour_columns(self, light: Tensor, F: Tensor, albedo: Tensor) -> Float[Tensor, "B 3K 27+Na"]:
        """Rows (k, c) of ∂/∂l and ∂/∂h: light_kc F_k in channel c's nine columns, and −albedo_kc D_kc."""
        B, K, _ = light.shape
        J = light.new_zeros(B, K, 3, 27 + self.points.n_albedo)
        for c in range(3):
            J[:, :, c, 9 * c : 9 * c + 9] = light[..., c, None] * F
        torch.mul(self.points.albedo, -albedo[..., None], out=J[..., 27:])
        return J.flatten(1, 2)

    def evaluate(self, pose: Pose, m: Tensor, l: Tensor, h: Tensor) -> RefinementState:
        """Residuals, robust weights and energy of a face. The light's prior, weak, steers steps but has no energy."""
        o = self.options
        x, U, colour, slope, N, F, weight = self._seen(pose, m)
        albedo = self.points.colours(h).clamp_min(0)
        inverse = (F @ l.mT).clamp_min(DARKEST)
        residual = colour - albedo / inverse
        sigma = (o.noise**2 + o.misplaced**2 * slope.square().sum(-1).mean(-1)).sqrt()
        t = residual.square().mean(-1) / sigma.square()  # B K
        cut = o.outlier**2
        total = weight.sum(1) + 1e-6
        data = 3 * (weight * t / (1 + t / cut)).sum(1)  # Geman and McClure's robust function
        prior = o.shape_prior * (m - self.usual).square().sum(1) + o.albedo_prior * h.square().sum(1)
        prior = prior + o.shape_prior * self.prior_distance * (pose.log_distance - math.log(o.distance)).square()
        weight = weight / (1 + t / cut) ** 2
        now = (x, U, colour, slope, N, F, albedo, inverse, residual, sigma, weight, data, total, (data + prior) / total)
        return RefinementState(pose, m, l, h, *now)

    def linearise(self, s: RefinementState) -> tuple[Float[Tensor, "B 3K n"], Float[Tensor, "B 3K"]]:
        """J and r, rows weighted; columns: pose 7, m, l 27, h. m moves a point and turns it in the light."""
        row = s.weight.sqrt() / s.sigma  # B K
        g = s.slope * row[..., None, None]  # B K 3 2
        J_pose, J_point = s.pose.jacobian(s.U, g)  # B K 3 7, B K 3 3
        light = s.albedo / s.inverse.square() * row[..., None]
        J_normal = self.points.normal_gradient(s.m, light[..., None] * (s.l[:, None] @ sh_gradient(s.N)))  # B K 3 3
        J_shape = torch.einsum("bkcj,kjn->bkcn", torch.cat([J_point, J_normal], -1), self.turned)
        J_colour = self._colour_columns(light, s.F, row[..., None] / s.inverse)
        J = torch.cat([J_pose.flatten(1, 2), J_shape.flatten(1, 2), J_colour], -1)  # B 3K n
        return J, (s.residual * row[..., None]).flatten(1)

    def away(self, s: RefinementState) -> Float[Tensor, "B n"]:
        """How far every unknown is from what the prior prefers."""
        distance = s.pose.log_distance[:, None] - math.log(self.options.distance)
        shape, light = s.m - self.usual, (s.l - self.white).flatten(1)
        return torch.cat([s.m.new_zeros(len(s.m), N_POSE - 1), distance, shape, light, s.h], 1)

    def step(self, s: RefinementState, damping: Tensor) -> tuple[Pose, Tensor, Tensor, Tensor]:
        """One damped Gauss–Newton step for everything."""
        J, r = self.linearise(s)
        A = J.mT @ J
        b = -(J.mT @ r[..., None])[..., 0] - self.prior * self.away(s)
        return self.moved(s, solve_damped(A, b, self.prior + damping[:, None] * A.diagonal(dim1=1, dim2=2)))

    def moved(self, s: RefinementState, delta: Float[Tensor, "B n"]) -> tuple[Pose, Tensor, Tensor, Tensor]:
        """Pose, m, l and h after a step, no unknown farther than a step may go."""
        d_m, d_l, d_h = delta[:, N_POSE:].split([self.points.n_shape, 27, self.points.n_albedo], 1)
        return (
            s.pose.move(delta[:, :N_POSE]),
            (s.m + d_m.clamp(-STEP_M, STEP_M)).clamp(-FARTHEST_M, FARTHEST_M),
            s.l + d_l.unflatten(1, (3, 9)),
            s.h + d_h.clamp(-STEP_H, STEP_H),
        )


def solve_damped(
    A: Float[Tensor, "B n n"], b: Float[Tensor, "B n"], ridge: Float[Tensor, "B n"]
) -> Float[Tensor, "B n"]:
    """(A + diag ridge)⁻¹ b in float64, columns scaled to unit length first."""
    A = A.double() + torch.diag_embed(ridge.double() + 1e-9)
    size = A.diagonal(dim1=1, dim2=2).rsqrt()
    L, _ = torch.linalg.cholesky_ex(A * size[:, :, None] * size[:, None, :])
    x = torch.cholesky_solve((b.double() * size)[..., None], L)[..., 0] * size
    return x.to(b.dtype).nan_to_num(0.0)


def _slopes(i: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 3 H W"]]:
    """Scharr's derivatives along x and y, per px."""
    p = pad(i, (1, 1, 1, 1), mode="replicate")
    dx, dy = (p[..., 2:] - p[..., :-2]) / 2, (p[..., 2:, :] - p[..., :-2, :]) / 2
    gx = (3 * dx[..., :-2, :] + 10 * dx[..., 1:-1, :] + 3 * dx[..., 2:, :]) / 16
    gy = (3 * dy[..., :-2] + 10 * dy[..., 1:-1] + 3 * dy[..., 2:]) / 16
    return gx, gy


def _choose(take: Tensor, a: RefinementState, b: RefinementState) -> RefinementState:
    def pick(x, y):
        if isinstance(x, Pose):
            return Pose(*(pick(getattr(x, f.name), getattr(y, f.name)) for f in fields(Pose)))
        return torch.where(take.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return RefinementState(*(pick(getattr(a, f.name), getattr(b, f.name)) for f in fields(RefinementState)))


def as_refined(s: RefinementState) -> Refined:
    return Refined(s.pose, s.m, s.l, s.h, s.pixels, s.residual.square().mean(-1).sqrt(), s.weight.clamp(0, 1), s.energy)
