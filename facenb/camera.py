"""Perspective cameras: forwards, inverse, and from the inverse back to K, R, t (book: *Cameras*).

Conventions: model points in mm (x to the subject's left, y up, z out of the face). Camera axes as in OpenCV: x right,
y down, z forward, so a point in front has positive depth. Pixels: x right, y down, whole numbers at pixel *centres*,
(0, 0) the centre of the top-left pixel; an image W wide reaches from −½ to W − ½.

    z (x, y, 1)ᵀ = K (R X + t)    camera: model point → pixel, depth z (mm)
    X = P (d x) + q               inverse camera: pixel x, depth d → model point

The inverse camera is linear in its unknowns P and q, which is why it can be solved for; `decompose` turns it into the
camera that everybody knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Intrinsics K (px), rotation R (det +1) and translation t (mm), with any leading batch dimensions.

    K = [[k1, k2, k3], [0, k4, k5], [0, 0, 1]]: focal lengths k1 and k4, skew k2, principal point (k3, k5).
    """

    K: Float[Tensor, "*batch 3 3"]
    R: Float[Tensor, "*batch 3 3"]
    t: Float[Tensor, "*batch 3"]

    @property
    def centre(self) -> Float[Tensor, "*batch 3"]:
        """Where the camera stands, in model coordinates (mm), so that K (R X + t) is zero there: q = −Rᵀ t."""
        return -_apply(self.R.mT, self.t)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Camera:
        """Copy on another device or in another floating-point type."""
        return Camera(*(x.to(device=device, dtype=dtype) for x in (self.K, self.R, self.t)))

    def __getitem__(self, index) -> Camera:
        """The camera(s) at `index` of the batch."""
        return Camera(self.K[index], self.R[index], self.t[index])


def project(
    camera: Camera, X: Float[Tensor, "*batch N 3"]
) -> tuple[Float[Tensor, "*batch N 2"], Float[Tensor, "*batch N"]]:
    """Pixels and camera depths (mm) of model points X (mm).

    A point behind the camera has depth < 0 and still gets the pixel of its
    line of sight: look at the depth. Batch dimensions broadcast, so one face
    can be seen by many cameras.
    """
    camera_X = X @ camera.R.mT + camera.t[..., None, :]  # … N 3, R X + t
    x = camera_X @ camera.K.mT  # … N 3, homogeneous
    depth = x[..., 2]  # K's last row is (0, 0, 1)
    return x[..., :2] / depth[..., None], depth


def unproject(
    camera: Camera, pixels: Float[Tensor, "*batch N 2"], depth: Float[Tensor, "*batch N"]
) -> Float[Tensor, "*batch N 3"]:
    """Model points (mm) at the given pixels and camera depths (mm): the inverse of `project`."""
    P, q = inverse_camera(camera)
    return (depth[..., None] * homogeneous(pixels)) @ P.mT + q[..., None, :]


def homogeneous(pixels: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """(x, y) → (x, y, 1)."""
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)


def inverse_camera(
    camera: Camera,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """P = Rᵀ K⁻¹ and q = −Rᵀ t, such that X = P (d x) + q.

    d is the depth in mm (γ = 1 in equation 19).
    """
    # P K = Rᵀ, and K is triangular: back-substitution, from the right
    K, R = camera.K, camera.R
    P = torch.linalg.solve_triangular(K, R.mT, upper=True, left=False)  # … 3 3
    return P, camera.centre


def depth_scale(P: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """γ of equation (19), with its sign: a pixel whose depth is d (arbitrary unit) lies d / γ millimetres deep.

    The supplement takes γ = ‖p3‖ (21), p3 the last row of P⁻¹. Its sign is that of det P, or R would come out as a
    reflection. γ < 0 marks a *mirrored* camera: d > 0 puts its points behind it.
    """
    p3 = torch.linalg.cross(P[..., :, 0], P[..., :, 1])  # the last row of P⁻¹, times det P
    det = (p3 * P[..., :, 2]).sum(-1)
    return torch.linalg.vector_norm(p3, dim=-1) / det


def decompose(P: Float[Tensor, "*batch 3 3"], q: Float[Tensor, "*batch 3"], strict: bool = True) -> Camera:
    """The camera K, R, t of an inverse camera X = P (d x) + q: equations (19)–(32) of the supplement, section Q.

    It is the RQ decomposition of P⁻¹, written out. P may carry any scale (the unit of d): K has last row (0, 0, 1), k1
    and k4 are positive and det R = +1, always. `depth_scale(P)` converts d to millimetres.

    The data can demand the impossible, and `strict` says what happens then:

    * *mirrored* (det P < 0): no camera with positive depths explains them, as when the depth map is inside out. Strict:
      ValueError. Otherwise the camera that reprojects every point to its pixel, with the points *behind* it.
    * *degenerate* (P singular to working precision, or not finite): there is no camera. Strict: ValueError. Otherwise
      NaN for that member of the batch only.

    Differentiable in P and q. Source: Koizumi & Smith 2020, supplement Q.
    """
    regular = _is_regular(P)  # …
    if strict:
        _raise_where(~regular, "P is singular or not finite: there is no camera. Is the depth map constant zero?")
        _raise_where(
            torch.det(P) < 0, "P is mirrored (det P < 0): points with d > 0 would lie behind it. Is depth inside out?"
        )
    # invert something harmless in place of a singular P, so that neither values nor gradients of the others suffer
    P = torch.where(regular[..., None, None], P, torch.eye(3, dtype=P.dtype, device=P.device))

    P_inv = torch.linalg.inv(P)  # (19): γ K R
    γ = depth_scale(P)  # (21): ± ‖p3‖, the sign makes det R = +1
    p1, p2, p3 = (P_inv / γ[..., None, None]).unbind(-2)  # the rows of K R
    r3 = p3  # (22), because K's last row is (0, 0, 1)
    k5 = _dot(p2, r3)  # (23)
    rest = p2 - k5[..., None] * r3
    k4 = torch.linalg.vector_norm(rest, dim=-1)  # (24)
    r2 = rest / k4[..., None]  # (25)
    k3 = _dot(p1, r3)  # (26)
    k2 = _dot(p1, r2)  # (27)
    rest = p1 - k2[..., None] * r2 - k3[..., None] * r3
    k1 = torch.linalg.vector_norm(rest, dim=-1)  # (28)
    r1 = rest / k1[..., None]  # (29)
    o, one = torch.zeros_like(k1), torch.ones_like(k1)
    entries = torch.stack([k1, k2, k3, o, k4, k5, o, o, one], dim=-1)
    K = entries.unflatten(-1, (3, 3))  # (30)
    R = torch.stack([r1, r2, r3], dim=-2)  # (31)
    t = -_apply(R, q)  # (32): −P⁻¹ q = γ K t (20), with P⁻¹ = γ K R
    nan = torch.where(regular, 0.0, torch.nan).to(K.dtype)
    return Camera(K + nan[..., None, None], R + nan[..., None, None], t + nan[..., None])


def look_at(
    K: Float[Tensor, "*batch 3 3"],
    centre: Float[Tensor, "*batch 3"],
    target: Float[Tensor, "*batch 3"],
    up: Float[Tensor, " 3"] | None = None,
) -> Camera:
    """The camera at `centre` (mm) whose optical axis goes through `target` (mm), upright: `up` (default +y) is up.

    Raises ValueError if target and centre coincide or the line of sight is parallel to `up`.
    """
    up = centre.new_tensor([0.0, 1.0, 0.0]) if up is None else up
    forward = torch.nn.functional.normalize(target - centre, dim=-1)  # … 3
    right = torch.linalg.cross(forward, up.expand_as(forward))
    size = torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    if (size < 1e-6).any():
        raise ValueError("look_at: target and centre coincide, or the line of sight is parallel to `up`")
    right = right / size
    down = torch.linalg.cross(forward, right)
    R = torch.stack([right, down, forward], dim=-2)  # rows: the camera's axes in model coordinates
    return Camera(K.expand(*R.shape[:-2], 3, 3), R, -_apply(R, centre))


def intrinsics(
    focal: float | Float[Tensor, "*batch"], width: int, height: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "*batch 3 3"]:
    """K of square pixels without skew, focal length in px, principal point in the image's middle ((W−1)/2, (H−1)/2)."""
    focal = torch.as_tensor(focal, dtype=dtype or (None if torch.is_tensor(focal) else torch.get_default_dtype()))
    K = focal.new_tensor([[0.0, 0.0, (width - 1) / 2], [0.0, 0.0, (height - 1) / 2], [0.0, 0.0, 1.0]])
    return K + focal[..., None, None] * focal.new_tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]])


def intrinsics_from_fov(
    fov: float | Float[Tensor, "*batch"], width: int, height: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "*batch 3 3"]:
    """K of a camera whose field of view across the image's *height* is `fov` radians, in (0, π)."""
    return intrinsics(focal_from_fov(fov, height), width, height, dtype)


def focal_from_fov(fov: float | Float[Tensor, "*batch"], size: int) -> Float[Tensor, "*batch"]:
    """Focal length (px) that sees `fov` radians across `size` pixels; ValueError unless 0 < fov < π."""
    fov = torch.as_tensor(fov)
    if not ((fov > 0) & (fov < torch.pi)).all():
        raise ValueError(f"a field of view lies strictly between 0 and π radians, got {fov.tolist()} (degrees?)")
    return size / 2 / torch.tan(fov / 2)


def fov_from_focal(focal: float | Float[Tensor, "*batch"], size: int) -> Float[Tensor, "*batch"]:
    """Field of view (radians) across `size` pixels of a focal length in px: the inverse of `focal_from_fov`."""
    return 2 * torch.atan(size / 2 / torch.as_tensor(focal))


def focal_from_35mm(millimetres: float, width: int, height: int) -> float:
    """Focal length (px) of a "35 mm equivalent" lens, the number in a photo's EXIF data, matched along the diagonal."""
    return millimetres * hypot(width, height) / hypot(36, 24)


def crop(camera: Camera, left: float, top: float) -> Camera:
    """The camera of the part of the image whose top-left pixel was (left, top): only the principal point moves."""
    shift = camera.K.new_tensor([[1.0, 0, -left], [0, 1.0, -top], [0, 0, 1.0]])
    return replace(camera, K=shift @ camera.K)


def resize(camera: Camera, old: tuple[int, int], new: tuple[int, int]) -> Camera:
    """The camera of the image resized from `old` to `new` = (width, height).

    The image's borders coincide, not the pixel centres: x' + ½ = s (x + ½).
    """
    sx, sy = new[0] / old[0], new[1] / old[1]
    scale = camera.K.new_tensor([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])
    return replace(camera, K=scale @ camera.K)


def dolly_zoom(
    camera: Camera,
    factor: float | Float[Tensor, "*batch"],
    subject: Float[Tensor, "*batch 3"] | None = None,
) -> Camera:
    """Step back to `factor` times the distance and zoom in by as much.

    `subject` (mm, default the model's origin) keeps its pixel and its scale;
    all else changes perspective. As factor → ∞ the camera becomes
    orthographic: see `project_orthographic`.
    """
    like = {"dtype": camera.t.dtype, "device": camera.t.device}
    factor = torch.as_tensor(factor, **like)
    depth = _subject_depth(camera, subject)
    one = torch.ones_like(factor)
    zoom = torch.stack([factor, factor, one], -1)
    K = camera.K * zoom[..., None, :]  # columns 1 and 2: focal lengths and skew
    axis = camera.t.new_tensor([0.0, 0.0, 1.0])
    t = camera.t + ((factor - 1) * depth)[..., None] * axis
    return Camera(K, camera.R.expand(K.shape), t)


def project_orthographic(
    camera: Camera, X: Float[Tensor, "*batch N 3"], subject: Float[Tensor, "*batch 3"] | None = None
) -> Float[Tensor, "*batch N 2"]:
    """Pixels of X under weak perspective: every point is projected as if it were as deep as `subject` (mm).

    The limit of `dolly_zoom`, affine in X. It errs by the factor (depth − subject's depth) / depth.
    """
    camera_X = X @ camera.R.mT + camera.t[..., None, :]  # … N 3
    flat = camera_X[..., :2] / _subject_depth(camera, subject)[..., None, None]
    return homogeneous(flat) @ camera.K[..., :2, :].mT


def to_pytorch3d(camera: Camera, width: int, height: int):
    """The same camera as `pytorch3d.renderer.PerspectiveCameras`, for (B,) cameras or a single one.

    PyTorch3D's camera axes point left, up and forward, its rotation multiplies row vectors, and its normalised device
    coordinates grow to the left and up, ±1 at the borders of the image's shorter side. Its screen coordinates put the
    top-left pixel's centre at (½, ½): subtract ½ to get ours. Always float32: its cameras take nothing else.
    """
    from pytorch3d.renderer import PerspectiveCameras  # here, because it takes a second to import

    camera = camera.to(dtype=torch.float32)
    K, R, t = camera.K.reshape(-1, 3, 3), camera.R.reshape(-1, 3, 3), camera.t.reshape(-1, 3)
    s = min(width, height)
    ndc = torch.zeros(len(K), 4, 4, dtype=K.dtype, device=K.device)
    ndc[:, :2, :2] = 2 * K[:, :2, :2] / s  # turning both axes round turns numerator and pixel alike: signs cancel
    ndc[:, 0, 2] = (width - 1 - 2 * K[:, 0, 2]) / s
    ndc[:, 1, 2] = (height - 1 - 2 * K[:, 1, 2]) / s
    ndc[:, 2, 3] = ndc[:, 3, 2] = 1
    turn = R.new_tensor([-1.0, -1.0, 1.0])  # right, down → left, up
    return PerspectiveCameras(
        R=(turn[:, None] * R).mT, T=turn * t, K=ndc, in_ndc=True, image_size=((height, width),), device=K.device
    )


def _apply(A: Float[Tensor, "*batch 3 3"], x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return (A @ x[..., None])[..., 0]


def _dot(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    return (a * b).sum(-1)


def _subject_depth(camera: Camera, subject: Float[Tensor, "*batch 3"] | None) -> Float[Tensor, "*batch"]:
    return camera.t[..., 2] if subject is None else (_apply(camera.R, subject) + camera.t)[..., 2]


def _is_regular(P: Float[Tensor, "*batch 3 3"]) -> Tensor:
    """True where P is finite and, its columns brought to unit length, not singular to working precision.

    Columns first: the third one answers to "1" and the others to hundreds of pixels, which says nothing about rank.
    """
    P = P.detach()
    finite = P.isfinite().all(-1).all(-1)
    unit = torch.nn.functional.normalize(torch.where(finite[..., None, None], P, 0.0), dim=-2)
    s = torch.linalg.svdvals(unit)  # … 3, descending
    return finite & (s[..., -1] > 10 * torch.finfo(P.dtype).eps * s[..., 0])


def _raise_where(bad: Tensor, message: str) -> None:
    if bad.any():
        where = f" (batch index {bad.nonzero().tolist()})" if bad.ndim else ""
        raise ValueError(f"decompose: {message}{where}")
