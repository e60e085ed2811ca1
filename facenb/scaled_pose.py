"""A pinhole camera in numbers that hardly depend on each other (book: *Learning from residuals*).

    U = R (X − X₀),   D = 1 + U_z / z₀,   x = s U_xy / D + c

with X₀ the middle of the face, s the scale there in px/mm, z₀ its distance in mm and c its image in px: the camera
K = [[s z₀, 0, c_x], [0, s z₀, c_y], [0, 0, 1]], t = −R X₀ + (0, 0, z₀). Focal length and distance, which one photo can
hardly tell apart, are here s, which it tells well, and z₀, which only bends the face a little.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.camera import Camera
from facenb.rotation import exponential

N_POSE = 7  # rotation 3, log s, c 2, log z₀
# Farthest that one step of an iteration may go: radians, log px/mm, px, log mm.
LARGEST_STEP = (0.25, 0.2, 4.0, 0.3)
NEAREST, FARTHEST = 200.0, 5000.0  # mm: nearer than any selfie, and where perspective is all but gone
NEAREST_POINT = 0.1  # smallest D


@dataclass(frozen=True)
class Pose:
    """R, log s, c and log z₀ of a batch.

    Attributes:
        R: model → camera axes, det +1.
        log_scale: of s in px/mm.
        centre: c, px.
        log_distance: of z₀ in mm.
    """

    R: Float[Tensor, "B 3 3"]
    log_scale: Float[Tensor, " B"]
    centre: Float[Tensor, "B 2"]
    log_distance: Float[Tensor, " B"]

    @property
    def offset(self) -> Float[Tensor, "B 3"]:
        """(0, 0, z₀), from the camera's centre to the face's middle."""
        z = self.log_distance.exp()
        return torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], -1)

    def project(self, X: Float[Tensor, "B K 3"]) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 3"]]:
        """Pixels x and camera coordinates U of points X − X₀ (mm)."""
        U = X @ self.R.mT
        return self._scale(U) * U[..., :2] + self.centre[:, None], U

    def _scale(self, U: Tensor) -> Float[Tensor, "B K 1"]:
        """s / D: px per mm at each point. A point nearer to the camera than a tenth of z₀, or behind it, is no face's:
        D stops there, so that nothing is divided by zero."""
        D = 1 + U[..., 2:] * (-self.log_distance).exp()[:, None, None]
        return self.log_scale.exp()[:, None, None] / D.clamp_min(NEAREST_POINT)

    def jacobian(
        self, U: Float[Tensor, "B K 3"], g: Float[Tensor, "B K C 2"]
    ) -> tuple[Float[Tensor, "B K C 7"], Float[Tensor, "B K C 3"]]:
        """g ∂x/∂(rotation, log s, c, log z₀) and g ∂x/∂X, for C row vectors g at each point.

        The rotation ω is applied on the left: R ← exp([ω]×) R.
        """
        scale = self._scale(U)  # B K 1
        p = (scale * U[..., :2])[..., None]  # B K 2 1
        g_s = (g @ p)[..., 0]  # B K C
        perspective = scale[..., 0] / self.log_scale.exp()[:, None]  # 1 / D
        per_z = perspective * (-self.log_distance).exp()[:, None]
        g_U = torch.cat([g * scale[..., None], -(g_s * per_z[..., None])[..., None]], -1)  # B K C 3
        g_rotation = torch.linalg.cross(U[:, :, None].expand_as(g_U), g_U, dim=-1)
        g_z = g_s * (1 - perspective)[..., None]
        return torch.cat([g_rotation, g_s[..., None], g, g_z[..., None]], -1), g_U @ self.R[:, None]

    def move(self, delta: Float[Tensor, "B 7"]) -> Pose:
        """The pose after a step, no farther than `LARGEST_STEP`."""
        turn, scale, shift, distance = LARGEST_STEP
        w = delta[:, :3]
        w = w * (turn / w.norm(dim=1, keepdim=True).clamp_min(turn))
        z = self.log_distance + delta[:, 6].clamp(-distance, distance)
        return Pose(
            exponential(w) @ self.R,
            self.log_scale + delta[:, 3].clamp(-scale, scale),
            self.centre + delta[:, 4:6].clamp(-shift, shift),
            z.clamp(torch.tensor(NEAREST).log().item(), torch.tensor(FARTHEST).log().item()),
        )

    def moved(self, theta: Float[Tensor, "B 2 3"]) -> Pose:
        """The same faces in the pictures that the similarities θ lead to (`facenb.augment`): x ← θ (x, 1).

        What θ turns, scales and shifts goes into R, s and c. Light and shape stay: they belong to the face.
        """
        A = theta[:, :, :2]
        scale = torch.linalg.det(A).sqrt()  # B
        turn = torch.eye(3).to(A).repeat(len(A), 1, 1)
        turn[:, :2, :2] = A / scale[:, None, None]
        centre = (A @ self.centre[..., None])[..., 0] + theta[:, :, 2]
        return Pose(turn @ self.R, self.log_scale + scale.log(), centre, self.log_distance)

    def repeated(self, n: int) -> Pose:
        """Every pose n times, one after the other."""
        return Pose(*(getattr(self, f.name).repeat_interleave(n, 0) for f in fields(self)))

    def camera(self, centre: Float[Tensor, " 3"]) -> Camera:
        """The same as K, R, t, for a face whose middle X₀ is `centre`."""
        z = self.log_distance.exp()
        K = torch.zeros_like(self.R)
        K[:, 0, 0] = K[:, 1, 1] = self.log_scale.exp() * z
        K[:, :2, 2], K[:, 2, 2] = self.centre, 1
        return Camera(K, self.R, self.offset - self.R @ centre)


def pose_of(camera: Camera, centre: Float[Tensor, " 3"]) -> Pose:
    """A pinhole camera with square pixels as a pose about `centre` (mm): the inverse of `Pose.camera`.

    Distances beyond sense are limited to [`NEAREST`, `FARTHEST`]; the face keeps its scale and its place in the
    picture. A camera that has the face behind it, which only a failed fit says, gives a pose that is finite and wrong.
    """
    middle = camera.R @ centre + camera.t  # B 3
    z = middle[:, 2].clamp(NEAREST, FARTHEST)
    in_front = torch.where(middle[:, 2] > 0, middle[:, 2], z)
    image = (camera.K @ middle[..., None])[..., 0]
    return Pose(camera.R, (camera.K[:, 0, 0] / in_front).log(), image[:, :2] / image[:, 2:], z.log())
