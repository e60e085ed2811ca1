"""How far off: every number of *Does it work?*, each with its exact definition.

All are per image (a leading batch dimension stays), in the units of their docstrings, and no batch can hide a failure:
an answer that is not finite is a *failure*, its error is infinite, and the summaries say what that costs.

Conventions: pixels and millimetres as everywhere; the 68 landmarks in Multi-PIE order; percent, not fractions, where a
docstring says %. Truth has to be finite (ValueError), answers need not be.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facenb.rotation import angles_from_rotation, rotation_distance

UV_TEXELS = 320  # the map of the paper, in whose texels correspondence errors are counted
FAILURE_COST = 100.0  # what a failure counts in a mean, at least: an error of a whole inter-ocular distance


def five_points(landmarks68: Float[Tensor, "*batch 68 D"]) -> Float[Tensor, "*batch 5 D"]:
    """Right eye, left eye (the subject's), tip of the nose, right and left corner of the mouth, from 68 landmarks.

    An eye is the mean of its six points, 36–41 and 42–47; the others are 30, 48 and 54. MAFL and AFLW count these
    five, in this order, since the subject's right eye is on the left of the picture.
    """
    right, left = landmarks68[..., 36:42, :].mean(-2), landmarks68[..., 42:48, :].mean(-2)
    return torch.stack([right, left, *landmarks68[..., [30, 48, 54], :].unbind(-2)], dim=-2)


def inter_ocular(five: Float[Tensor, "*batch 5 D"]) -> Float[Tensor, "*batch"]:
    """Distance of the first two of the five points, in their unit."""
    return torch.linalg.vector_norm(five[..., 0, :] - five[..., 1, :], dim=-1)


def landmark_error(
    predicted: Float[Tensor, "*batch N 2"], truth: Float[Tensor, "*batch N 2"], size: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Mean distance of N points to the true ones, in % of `size` (px). Infinite if a predicted point is not finite."""
    _check_finite(truth=truth, size=size)
    if (size <= 0).any():
        raise ValueError("a size of 0 px cannot normalise an error: do two true points coincide?")
    distance = torch.linalg.vector_norm(predicted - truth, dim=-1).mean(-1)
    return (100 * distance / size).nan_to_num(nan=torch.inf, posinf=torch.inf)


def five_point_error(
    predicted: Float[Tensor, "*batch 5 2"], truth: Float[Tensor, "*batch 5 2"]
) -> Float[Tensor, "*batch"]:
    """Mean distance of the five points in % of the true inter-ocular distance: the number of Table 2 of the paper."""
    return landmark_error(predicted, truth, inter_ocular(truth))


def box_side(landmarks68: Float[Tensor, "*batch 68 2"]) -> Float[Tensor, "*batch"]:
    """√(w h) of the tight box around the 68 landmarks, px: the size of a face that a turned head hardly shrinks."""
    w, h = (landmarks68.amax(-2) - landmarks68.amin(-2)).unbind(-1)
    return (w * h).sqrt()


def five_point_box_error(
    predicted: Float[Tensor, "*batch 5 2"], truth68: Float[Tensor, "*batch 68 2"]
) -> Float[Tensor, "*batch"]:
    """Mean distance of the five points in % of `box_side` of the true landmarks."""
    return landmark_error(predicted, five_points(truth68), box_side(truth68))


def seen_points(points: Float[Tensor, "*batch N 2"], mask: Bool[Tensor, "*batch H W"]) -> Bool[Tensor, "*batch N"]:
    """Whether the pixel nearest to each point (px) is in the mask; points outside the picture are not."""
    H, W = mask.shape[-2:]
    x, y = points.round().long().unbind(-1)
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    index = y.clamp(0, H - 1) * W + x.clamp(0, W - 1)
    return mask.flatten(-2).gather(-1, index) & inside


def seen_point_error(
    predicted: Float[Tensor, "*batch 5 2"], truth: Float[Tensor, "*batch 5 2"], seen: Bool[Tensor, "*batch 5"]
) -> Float[Tensor, "*batch"]:
    """`five_point_error` over the points that are seen: where a mask covers the mouth, nobody can know where it is.

    Infinite if one of them is not finite, NaN where none is seen.
    """
    _check_finite(truth=truth)
    distance = torch.linalg.vector_norm(predicted - truth, dim=-1)  # *batch 5
    total = torch.where(seen, distance, 0.0).sum(-1)
    error = 100 * total / seen.sum(-1) / inter_ocular(truth)
    failed = (~distance.isfinite() & seen).any(-1)
    return torch.where(failed, torch.inf, torch.where(seen.any(-1), error, torch.nan))


def direct_landmarks(
    uv: Float[Tensor, "B 2 H W"],
    confidence: Float[Tensor, "B H W"],
    landmarks_uv: Float[Tensor, "N 2"],
    *,
    subpixel: bool = True,
    threshold: float = 0.5,
    radius: int = 2,
) -> Float[Tensor, "B N 2"]:
    """Landmarks straight from the correspondence map ("Direct" of the paper), no least squares over the face.

    A landmark is the pixel, of those with confidence > `threshold`, whose predicted (u, v) is nearest to its own. With
    `subpixel` the map around that pixel is linearised, uv ≈ c + A (x − x₀) by least squares over the confident pixels
    at most `radius` away, and inverted there, x = x₀ + A⁻¹ (uv_landmark − c). The step is at most `radius` px each way,
    and none is taken where there are fewer than six pixels or A is singular. A pixel grid alone costs 0.38 px on
    average: 2 % of the inter-ocular distance of a face in 64 pixels.

    Pixels (x, y). NaN where no pixel is confident, or uv or confidence not finite: see `landmark_error`.
    """
    B, _, H, W = uv.shape
    bad = ~(uv.isfinite().all(1) & confidence.isfinite())  # B H W
    usable = (confidence > threshold) & ~bad
    uv = torch.where(bad[:, None], 0.0, uv)
    flat = uv.flatten(2).mT  # B HW 2
    distance = torch.cdist(landmarks_uv.to(uv).expand(B, -1, -1), flat)  # B N HW
    index = torch.where(usable.flatten(1)[:, None], distance, torch.inf).argmin(-1)  # B N
    pixels = torch.stack([index % W, index // W], -1).to(uv.dtype)  # B N 2
    if subpixel:
        pixels = pixels + _inverse_step(flat, usable.flatten(1), index, landmarks_uv.to(uv), H, W, radius)
    return torch.where(usable.flatten(1).any(1)[:, None, None], pixels, torch.nan)


def _inverse_step(uv, usable, index, target, H: int, W: int, radius: int) -> Float[Tensor, "B N 2"]:
    """A⁻¹ (target − c) of the affine map fitted around each pixel `index`, see `direct_landmarks`."""
    r = torch.arange(-radius, radius + 1, device=uv.device)
    dy, dx = (d.flatten() for d in torch.meshgrid(r, r, indexing="ij"))  # n
    x, y = (index % W)[..., None] + dx, (index // W)[..., None] + dy  # B N n
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    near = y.clamp(0, H - 1) * W + x.clamp(0, W - 1)  # B N n
    B, N, n = near.shape
    w = (inside & usable.gather(1, near.flatten(1)).reshape(B, N, n)).to(uv)
    count, w = w.sum(-1), w * torch.exp(-(dx**2 + dy**2) / 2)
    values = uv.gather(1, near.reshape(B, N * n, 1).expand(-1, -1, 2)).reshape(B, N, n, 2)
    Z = torch.stack([dx, dy, torch.ones_like(dx)], -1).to(uv)  # n 3
    H3 = torch.einsum("bnk,ki,kj->bnij", w, Z, Z) + 1e-6 * torch.eye(3, dtype=uv.dtype, device=uv.device)
    fit = torch.linalg.solve(H3, torch.einsum("bnk,ki,bnkc->bnic", w, Z, values))  # B N 3 2: rows ∂x, ∂y, c
    A, c = fit[..., :2, :].mT, fit[..., 2, :]
    det = torch.linalg.det(A)
    size = torch.linalg.matrix_norm(A).square()
    regular = (count >= 6) & (det.abs() > 0.05 * size) & (size > 0)
    A = torch.where(regular[..., None, None], A, torch.eye(2, dtype=uv.dtype, device=uv.device))
    step = torch.linalg.solve(A, (target - c)[..., None])[..., 0]
    return torch.where(regular[..., None], step.clamp(-radius, radius), 0.0)


def mask_iou(predicted: Bool[Tensor, "*batch H W"], truth: Bool[Tensor, "*batch H W"]) -> Float[Tensor, "*batch"]:
    """Pixels in both masks over pixels in either, in [0, 1]; 1 if both are empty. Threshold the confidence at ½."""
    both = (predicted & truth).sum((-2, -1))
    either = (predicted | truth).sum((-2, -1))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def uv_error(
    predicted: Float[Tensor, "*batch 2 H W"], truth: Float[Tensor, "*batch 2 H W"], mask: Bool[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch"]:
    """Mean distance of predicted to true (u, v) over the pixels of the *true* mask, in texels of a 320² map.

    Infinite if a prediction there is not finite. ValueError if an image has no such pixel.
    """
    _check_mask(mask)
    distance = torch.linalg.vector_norm(predicted - truth, dim=-3)
    return (UV_TEXELS * _masked_mean(distance, mask)).nan_to_num(nan=torch.inf, posinf=torch.inf)


def depth_error(
    predicted: Float[Tensor, "*batch H W"], truth: Float[Tensor, "*batch H W"], mask: Bool[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch"]:
    """Mean relative depth error over the true mask in %, with each image's scale s that makes Σ (s d / d* − 1)² least.

    Depth is predicted in an arbitrary unit, so a scale is free: s = Σ ρ / Σ ρ² with ρ = d / d*. Infinite if a
    prediction there is not finite or not positive. ValueError if an image has no pixel, or true depth ≤ 0 in the mask.
    """
    _check_mask(mask)
    if (truth[mask] <= 0).any():
        raise ValueError("true depth must be positive inside the mask")
    ratio = predicted / torch.where(mask, truth, 1.0)
    s = _masked_mean(ratio, mask) / _masked_mean(ratio.square(), mask)
    error = 100 * _masked_mean((s[..., None, None] * ratio - 1).abs(), mask)
    behind = ((predicted <= 0) & mask).any(-1).any(-1)
    return torch.where(behind, torch.inf, error).nan_to_num(nan=torch.inf, posinf=torch.inf)


@dataclass(frozen=True)
class PoseError:
    """Errors of estimated rotations, degrees; inf where the estimate is not finite.

    `rotation` is the angle between the two rotations; `yaw`, `pitch` and `roll` are absolute differences of Euler
    angles, taken round the circle. `yaw_correlation` (Pearson's) and `yaw_spread_ratio` (standard deviation of the
    estimates over that of the truth: below 1 the network does not dare to turn) are over the batch; a failure enters
    them as yaw 0, the answer of someone who thinks that every face is frontal.
    """

    rotation: Float[Tensor, " B"]
    yaw: Float[Tensor, " B"]
    pitch: Float[Tensor, " B"]
    roll: Float[Tensor, " B"]
    yaw_correlation: float
    yaw_spread_ratio: float


def pose_error(R: Float[Tensor, "B 3 3"], truth: Float[Tensor, "B 3 3"]) -> PoseError:
    """Compare rotations (model → camera), see `PoseError`. The two batch numbers are NaN where nothing varies."""
    _check_finite(truth=truth)
    failed = ~R.isfinite().all(-1).all(-1)  # B
    R = torch.where(failed[:, None, None], torch.diag(R.new_tensor([1.0, -1.0, -1.0])), R)
    angles, true = torch.stack(angles_from_rotation(R)), torch.stack(angles_from_rotation(truth))  # 3 B
    difference = torch.remainder(angles - true + torch.pi, 2 * torch.pi) - torch.pi
    errors = torch.cat([difference.abs(), rotation_distance(R, truth)[None]]).rad2deg()
    yaw, pitch, roll, rotation = torch.where(failed, torch.inf, errors)
    x, y = angles[0].double(), true[0].double()
    x, y = x - x.mean(), y - y.mean()
    return PoseError(
        rotation=rotation,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        yaw_correlation=((x * y).sum() / (x.norm() * y.norm())).item(),
        yaw_spread_ratio=(x.norm() / y.norm()).item(),
    )


def vertex_error(
    predicted: Float[Tensor, "*batch V 3"], truth: Float[Tensor, "*batch V 3"], align: bool = True
) -> Float[Tensor, "*batch"]:
    """Mean distance of corresponding vertices in mm; infinite for a prediction that is not finite.

    With `align` after the best rigid motion (rotation and translation, no scale: a face of the wrong size stays wrong).
    """
    _check_finite(truth=truth)
    failed = ~predicted.isfinite().all(-1).all(-1)
    predicted = torch.where(failed[..., None, None], 0.0, predicted)
    if align:
        predicted = rigid_alignment(predicted, truth)
    return torch.where(failed, torch.inf, torch.linalg.vector_norm(predicted - truth, dim=-1).mean(-1))


def rigid_alignment(X: Float[Tensor, "*batch V 3"], Y: Float[Tensor, "*batch V 3"]) -> Float[Tensor, "*batch V 3"]:
    """X moved rigidly so that Σ ‖x − y‖² is least (Kabsch 1976): singular vectors of the cross-covariance, det +1."""
    x, y = X.mean(-2, keepdim=True), Y.mean(-2, keepdim=True)
    U, _, Vh = torch.linalg.svd((X - x).mT @ (Y - y))
    sign = torch.det(U @ Vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (X - x) @ (U * flip[..., None, :]) @ Vh + y


def cumulative_error(errors: Float[Tensor, " B"], thresholds: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """The share of images whose error is at most each threshold, in [0, 1]. A failure is never below any."""
    errors = errors.nan_to_num(nan=torch.inf, posinf=torch.inf)
    return ((errors[:, None] <= thresholds) & errors.isfinite()[:, None]).to(torch.get_default_dtype()).mean(0)


@dataclass(frozen=True)
class Summary:
    """One column of errors in five numbers.

    A failure (not finite) counts in `mean` as the worst finite error or `FAILURE_COST`, whichever is larger, so that it
    never pays to fail; in the median and the 90th percentile as larger than anything (inf, if it comes to that).
    """

    mean: float
    median: float
    percentile90: float
    failures: int
    count: int


def summarise(errors: Float[Tensor, " B"], failure_cost: float = FAILURE_COST) -> Summary:
    """Mean, median, 90th percentile (the smallest error that 90 % of the images reach), failures and count.

    Raises ValueError for an empty batch, of which nothing can be said.
    """
    if len(errors) == 0:
        raise ValueError("no image, no mean: the set is empty")
    errors = errors.double()
    good = errors.isfinite()
    errors = torch.where(good, errors, torch.inf)
    worst = max(errors[good].max().item(), failure_cost) if good.any() else failure_cost
    ordered = errors.sort().values
    n = len(errors)
    return Summary(
        mean=torch.where(good, errors, worst).mean().item(),
        median=((ordered[(n - 1) // 2] + ordered[n // 2]) / 2).item(),
        percentile90=ordered[-(-9 * n // 10) - 1].item(),
        failures=int((~good).sum()),
        count=n,
    )


def _masked_mean(values: Float[Tensor, "*batch H W"], mask: Bool[Tensor, "*batch H W"]) -> Float[Tensor, "*batch"]:
    return torch.where(mask, values, 0.0).sum((-2, -1)) / mask.sum((-2, -1))


def _check_mask(mask: Tensor) -> None:
    if not mask.any(-1).any(-1).all():
        raise ValueError("an image without a single pixel of face in its true mask has no error: leave it out")


def _check_finite(**truth: Tensor) -> None:
    for name, x in truth.items():
        if not x.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite entries: an error needs a truth")
