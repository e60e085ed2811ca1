"""Camera and face from 68 points in a photo (book: *From a photograph to a face*).

Someone has marked the eyes, brows, nose, mouth and jaw; their pixels y_i and the model's landmark vertices a_i + B_i m
give camera and shape together, by minimising

    Σ_i ρ(‖x_i(K, R, t, m) − y_i‖) / σ²  +  ‖m‖²  +  (log f − log f₀)² / s_f²

σ is the noise of the points in pixels, ‖m‖² is the model's own prior (unit variance), ρ is Geman and McClure's robust
cost, which stops counting a point that lies far off, and the last term says how long lenses usually are. A linear
camera starts it; damped Gauss–Newton finishes it, camera and shape in one step, since alternating the two zigzags.

Pixels as everywhere: x right, y down, whole numbers at pixel centres. Millimetres and model axes as in `camera`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facenb.camera import Camera, focal_from_35mm, project
from facenb.morphable_model import MorphableModel
from facenb.rotation import exponential

JAW = slice(0, 17)  # of the 68 Multi-PIE points, from the subject's right ear over the chin to the left ear
LENS_MM = 50.0  # f₀: a "normal" lens, as 35 mm equivalent …
LENS_SPREAD = 0.5  # … give or take a factor of e^0.5 ≈ 1.6
WORKING_DISTANCE_MM = 1000.0  # f₀ when nothing is known of the image: as if the face were a metre away
ROBUST_CUTOFF = 3.0  # Geman–McClure: a point this many noise levels off counts a quarter
RAYLEIGH_MEDIAN = 1.1774  # median length of a 2D normal vector of unit variance per axis: √(2 ln 2)


@dataclass(frozen=True)
class LandmarkFit:
    """What 68 points tell about a photo.

    Attributes:
        vertices68: the vertex that stood for each landmark; differs from the model's for jaw points that slid.
        predicted: where the fitted landmarks fall (px); `residual` is their distance to the given ones (px).
        weight: in [0, 1], how much each point counted at the end; near 0 for outliers.
        noise: the σ that was used (px).
    """

    camera: Camera
    identity: Float[Tensor, " Nid"]
    expression: Float[Tensor, " Nex"]
    vertices68: Int[Tensor, " 68"]
    predicted: Float[Tensor, "68 2"]
    residual: Float[Tensor, " 68"]
    weight: Float[Tensor, " 68"]
    noise: float


def fit_landmarks(
    model: MorphableModel,
    landmarks: Float[Tensor, "68 2"],
    width: int | None = None,
    height: int | None = None,
    *,
    focal: float | None = None,
    noise: float | None = None,
    confidence: Float[Tensor, " 68"] | None = None,
    contour: bool = True,
    rounds: int = 12,
) -> LandmarkFit:
    """Camera, identity and expression that explain 68 landmarks (px); tolerates a few gross outliers.

    Args:
        width, height: size of the image (px), which places the principal point and suggests a focal length. Without
            them the principal point is the points' middle and the face stands about a metre away.
        focal: focal length (px), if known; otherwise it is estimated, with a prior, because 68 points hardly tell it.
        noise: standard deviation σ of the points (px), per axis. Small trusts the points, large trusts the mean face.
            Default: 2 % of the points' spread, about two pixels for a face 250 px wide.
        confidence: in [0, 1]; 0 ignores a point (its coordinates must still be finite).
        contour: let jaw points slide to the visible outline of a turned head (`visible_landmarks`).
        rounds: of outline, robust scale and Gauss–Newton, at most; ends earlier when nothing moves.

    Raises ValueError: not 68 finite points, points on a line or all equal, mirrored points (left and right swapped,
    y up), a model without landmarks.
    """
    y, spread = _checked(model, landmarks, confidence)
    σ = 0.02 * spread if noise is None else float(noise)
    if not σ > 0:
        raise ValueError(f"the landmarks' noise must be positive (px), got {σ}")
    model64 = model.to("cpu", torch.float64)
    trust = torch.ones(68, dtype=torch.float64) if confidence is None else confidence.detach().to("cpu", torch.float64)

    middle = y.mean(0) if width is None or height is None else y.new_tensor([(width - 1) / 2, (height - 1) / 2])
    camera, px_per_mm = _linear_camera(model64.shape_mean[model64.landmarks68], y, trust, middle)
    if focal is not None:
        expected_focal = float(focal)
    elif width is None or height is None:
        expected_focal = px_per_mm * WORKING_DISTANCE_MM
    else:
        expected_focal = focal_from_35mm(LENS_MM, width, height)
    camera = _at_focal(camera, expected_focal, px_per_mm)

    problem = _Problem(model64, y, trust, σ, expected_focal, fixed_focal=focal is not None)
    candidates = contour_candidates(model64) if contour else None
    m = torch.zeros(model.n_shape, dtype=torch.float64)
    vertices68 = model64.landmarks68
    for round_ in range(rounds):
        if contour:
            X = _shape(model64, m)
            vertices68 = visible_landmarks(model64, X, camera, candidates)
        problem.look_at_vertices(vertices68, camera, m)
        before, _ = problem.predict(camera, m)
        camera, m = problem.gauss_newton(camera, m, steps=5, with_shape=round_ > 0)
        predicted, _ = problem.predict(camera, m)
        if round_ > 0 and (predicted - before).abs().max() < 1e-3 * σ:
            break

    residual = torch.linalg.vector_norm(predicted - y, dim=-1)
    dtype, device = model.shape_mean.dtype, model.shape_mean.device

    def out(x: Tensor) -> Tensor:
        return x.to(device, dtype)

    return LandmarkFit(
        camera=camera.to(device, dtype),
        identity=out(m[: model.n_identity]),
        expression=out(m[model.n_identity :]),
        vertices68=vertices68.to(device),
        predicted=out(predicted),
        residual=out(residual),
        weight=out(problem.robust_weight(residual)),
        noise=σ,
    )


# --- the outline


def contour_candidates(model: MorphableModel) -> list[Int[Tensor, " C"]]:
    """For each of the 17 jaw landmarks the vertices it may slide to, its own first.

    They lie on the spoke from the middle of the face to the jaw vertex, as seen from the front: as near to that line as
    a typical edge is long, in its outer two thirds. None lies beyond the jaw vertex: a frontal face keeps its jaw.
    """
    X, jaw = model.shape_mean[:, :2], model.landmarks68[JAW]
    centre = model.shape_mean[model.landmarks68[17:], :2].mean(0)
    edges = model.triangles[:, [0, 1]]
    width = (model.shape_mean[edges[:, 0]] - model.shape_mean[edges[:, 1]]).norm(dim=-1).median()
    spokes = X[jaw] - centre  # 17 2
    length = spokes.norm(dim=-1, keepdim=True)
    out, across = spokes / length, (spokes / length).flip(-1) * spokes.new_tensor([-1.0, 1.0])
    along, off = (X - centre) @ out.T, (X - centre) @ across.T  # V 17
    inside = (along > length[:, 0] / 3) & (along < length[:, 0]) & (off.abs() < width)
    return [torch.cat([jaw[i : i + 1], inside[:, i].nonzero()[:, 0]]) for i in range(len(jaw))]


def visible_landmarks(
    model: MorphableModel, X: Float[Tensor, "V 3"], camera: Camera, candidates: list[Int[Tensor, " C"]]
) -> Int[Tensor, " 68"]:
    """The vertex to which each landmark belongs in this view of the face X (mm).

    Who marks the jaw of a turned head marks its outline: the far jaw is hidden behind the cheek. So each jaw landmark
    moves to the candidate that stands out farthest in the picture along its own spoke; on the near side that is the jaw
    vertex itself. This is the landmark marching of Zhu et al. 2015, with spokes in place of horizontal lines.
    """
    pixels, _ = project(camera, X)
    centre = pixels[model.landmarks68[17:]].mean(0)
    spokes = X[model.landmarks68[JAW]] - X[model.landmarks68[17:]].mean(0)  # 17 3
    spokes = spokes * spokes.new_tensor([1.0, 1.0, 0.0])  # outwards as the face sees it, so depth does not turn it
    out = spokes @ camera.R[:2].T  # 17 2, as the picture sees it
    farthest = [c[((pixels[c] - centre) @ o).argmax()] for c, o in zip(candidates, out, strict=True)]
    return torch.cat([torch.stack(farthest), model.landmarks68[17:]])


# --- the start


def _linear_camera(
    X: Float[Tensor, "68 3"], y: Float[Tensor, "68 2"], trust: Float[Tensor, " 68"], middle: Float[Tensor, " 2"]
) -> tuple[Camera, float]:
    """Weak perspective y ≈ M X + b by least absolute distances, as a camera of focal length 1 and its px per mm."""
    A = torch.cat([X, torch.ones_like(X[:, :1])], dim=-1)  # 68 4
    weight = trust
    for _ in range(30):  # iteratively reweighted: 1/distance turns squares into distances, which outliers cannot bend
        root = weight.sqrt()[:, None]
        affine = torch.linalg.lstsq(root * A, root * y, driver="gelsd").solution  # 4 2
        distance = torch.linalg.vector_norm(A @ affine - y, dim=-1)
        weight = trust / distance.clamp(min=1e-3 * distance.max() + 1e-9)
    M, b = affine[:3].T, affine[3]
    U, s, Vh = torch.linalg.svd(M, full_matrices=False)
    px_per_mm = s.mean().item()
    rows = U @ Vh  # the nearest orthonormal pair
    R = torch.cat([rows, torch.linalg.cross(rows[0], rows[1])[None]])
    if R[2, 2] > 0:
        raise ValueError(
            "the landmarks show the face from behind: are left and right swapped (index 0 is the subject's right jaw, "
            "at the left of the picture), or does y point up?"
        )
    K = torch.eye(3, dtype=X.dtype)
    K[:2, 2] = middle
    return Camera(K, R, torch.cat([(b - middle) / px_per_mm, b.new_ones(1)])), px_per_mm


def _at_focal(camera: Camera, focal: float, px_per_mm: float) -> Camera:
    """Place the weak-perspective camera so far away that `focal` gives the same scale."""
    K, t = camera.K.clone(), camera.t.clone()
    K[0, 0] = K[1, 1] = focal
    t[2] = focal / px_per_mm
    return Camera(K, camera.R, t)


# --- the refinement


class _Problem:
    """The robust cost of the module's first lines at the current landmark vertices, and steps that lower it."""

    def __init__(
        self, model: MorphableModel, y: Tensor, trust: Tensor, noise: float, expected_focal: float, fixed_focal: bool
    ):
        self.model, self.y, self.trust, self.σ = model, y, trust, noise
        self.log_f0 = torch.tensor(expected_focal, dtype=y.dtype).log()
        self.fixed_focal = fixed_focal

    def look_at_vertices(self, vertices68: Tensor, camera: Camera, m: Tensor) -> None:
        """Take these vertices for the landmarks, and set the robust cutoff from how far off they are."""
        bases = self.model.identity_basis, self.model.expression_basis
        self.a, self.B = self.model.shape_mean[vertices68], torch.cat([b[vertices68] for b in bases], -1)  # 68 3 (Ns)
        residual = torch.linalg.vector_norm(self.predict(camera, m)[0] - self.y, dim=-1)
        level = residual[self.trust > 0].median() / RAYLEIGH_MEDIAN  # the noise that the middle point suggests
        self.cutoff = ROBUST_CUTOFF * level.clamp(min=self.σ)

    def predict(self, camera: Camera, m: Tensor) -> tuple[Tensor, Tensor]:
        return project(camera, self.a + self.B @ m)

    def robust_weight(self, residual: Tensor) -> Tensor:
        """ρ'(r) / 2r of Geman–McClure's ρ(r) = r² c² / (r² + c²)."""
        return self.trust * (1 + (residual / self.cutoff) ** 2) ** -2

    def cost(self, camera: Camera, m: Tensor) -> Tensor:
        x, depth = self.predict(camera, m)
        if (depth <= 0).any():
            return torch.tensor(torch.inf, dtype=x.dtype)
        r2 = ((x - self.y) ** 2).sum(-1)
        ρ = r2 / (1 + r2 / self.cutoff**2)
        lens = ((camera.K[0, 0].log() - self.log_f0) / LENS_SPREAD) ** 2
        return (self.trust * ρ).sum() / self.σ**2 + m @ m + lens

    def gauss_newton(self, camera: Camera, m: Tensor, steps: int, with_shape: bool) -> tuple[Camera, Tensor]:
        """Levenberg–Marquardt steps on [ω, t, log f, m]; R moves as exp(ω) R."""
        damping, cost = 1e-3, self.cost(camera, m)
        for _ in range(steps):
            H, g = self.normal_equations(camera, m)
            if not with_shape:
                H, g = H[:7, :7], g[:7]
            step = torch.linalg.solve(H + damping * H.diagonal().diag_embed(), -g)
            moved, m_moved = self.move(camera, m, step)
            moved_cost = self.cost(moved, m_moved)
            if moved_cost < cost:
                camera, m, cost, damping = moved, m_moved, moved_cost, damping / 10
            else:
                damping = damping * 10
        return camera, m

    def normal_equations(self, camera: Camera, m: Tensor) -> tuple[Tensor, Tensor]:
        """JᵀJ and Jᵀr of all residuals, prior included, at weights fixed to the current ones."""
        turned = (self.a + self.B @ m) @ camera.R.T  # 68 3, R X
        x, z = self.predict(camera, m)
        # x = (K X_cam)_12 / z  ⇒  ∂x/∂X_cam = (K_12 − x K_3) / z
        dx = (camera.K[:2] - x[..., None] * camera.K[2]) / z[:, None, None]  # 68 2 3
        cross = torch.linalg.cross(torch.eye(3, dtype=x.dtype)[None], turned[:, None], dim=-1)  # 68 3 3, rows e_k × R X
        dω = dx @ cross.mT  # exp(ω) R X ≈ R X + ω × R X
        df = (x - camera.K[:2, 2])[..., None] * (0.0 if self.fixed_focal else 1.0)  # log f scales about the middle
        J = torch.cat([dω, dx, df, dx @ (camera.R @ self.B)], dim=-1)  # 68 2 (7 + Ns)
        r = x - self.y
        root = (self.robust_weight(torch.linalg.vector_norm(r, dim=-1)).sqrt() / self.σ)[:, None]
        J, r = (root[..., None] * J).flatten(0, 1), (root * r).flatten()  # 136 (7 + Ns), 136
        H, g = J.T @ J, J.T @ r
        prior = torch.ones(len(H), dtype=x.dtype)
        prior[:6] = 0  # any pose is as likely as any other
        prior[6] = LENS_SPREAD**-2
        at = torch.cat([x.new_zeros(6), (camera.K[0, 0].log() - self.log_f0)[None], m])
        return H + prior.diag(), g + prior * at

    def move(self, camera: Camera, m: Tensor, step: Tensor) -> tuple[Camera, Tensor]:
        K = camera.K.clone()
        K[0, 0] = K[1, 1] = camera.K[0, 0] * step[6].exp()
        moved = Camera(K, exponential(step[:3]) @ camera.R, camera.t + step[3:6])
        return moved, m + step[7:] if len(step) > 7 else m


def _shape(model: MorphableModel, m: Tensor) -> Tensor:
    return model.vertices(m[: model.n_identity], m[model.n_identity :])


def _checked(model: MorphableModel, landmarks: Tensor, confidence: Tensor | None) -> tuple[Tensor, float]:
    """The landmarks in float64, and their RMS distance to their middle (px)."""
    if model.landmarks68.shape != (68,):
        raise ValueError(f"{model.name} has no 68 landmark vertices: choose another model or set `landmarks68`")
    if landmarks.shape != (68, 2):
        raise ValueError(f"expected 68 landmarks of (x, y), shape (68, 2), got {tuple(landmarks.shape)}")
    y = landmarks.detach().to("cpu", torch.float64)
    if not y.isfinite().all():
        bad = (~y.isfinite().all(-1)).nonzero()[:, 0].tolist()
        raise ValueError(f"landmarks {bad} are not finite: give unknown ones any coordinates and confidence 0")
    if confidence is not None and (
        confidence.shape != (68,) or not ((confidence >= 0) & (confidence <= 1)).all() or (confidence > 0).sum() < 8
    ):
        raise ValueError("confidence must be 68 numbers in [0, 1], at least eight of them above 0")
    spread = torch.linalg.svdvals(y - y.mean(0)) / 68**0.5
    if spread[1] <= 1e-2 * spread[0] or spread[0] == 0:
        raise ValueError("the landmarks lie on a line or in one point: they do not show a face")
    return y, spread.norm().item()
