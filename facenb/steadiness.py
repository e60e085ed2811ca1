"""Does the network see a face, or imagine one? (book: *Your own photos*)

A network that was shown nothing but faces finds one in a wall, too, and places it where faces have always been: upright
in the middle of its frame. That betrays it. Turn the frame, enlarge it, shift it: a face that is in the photo stays
where it is in the photo, while one that is only imagined goes with the frame. So the same place is looked at through
several frames, and what they say is compared in the photo's own pixels. No label is needed, and nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from facenb.augment import similarity

if TYPE_CHECKING:
    from facenb.face_judge import Sightings

# How the frame is moved: degrees, sides, and shifts in sides, within what the network was trained on.
FRAMES = (
    (20, 1.2, 0.08, 0.08),
    (-20, 1.2, -0.08, 0.08),
    (20, 0.85, 0.08, -0.08),
    (-20, 0.85, -0.08, -0.08),
    (12, 1.0, -0.1, 0.0),
    (-12, 1.0, 0.1, 0.0),
    (0, 1.25, 0.0, 0.08),
    (0, 0.8, 0.0, -0.08),
)
# Median deviations that count as one: of the place (in 100 mm at the face), the logarithm of its size, its turn (rad).
PLACE, SIZE, TURN = 0.02, 0.04, 0.03


@dataclass(frozen=True)
class Steadiness:
    """Median deviations of what several frames say of each of N faces; units as above.

    `score` is in [0, 1], and 1 where all agree.
    """

    place: Float[Tensor, " N"]
    size: Float[Tensor, " N"]
    turn: Float[Tensor, " N"]

    @property
    def score(self) -> Float[Tensor, " N"]:
        parts = torch.stack([self.place / PLACE, self.size / SIZE, self.turn / TURN])
        return torch.exp(-parts.square().sum(0) / 2)


def moved_frames(thetas: Float[Tensor, "N 2 3"], size: int) -> Float[Tensor, "N F 2 3"]:
    """Each crop θ (to pixels of the photo) through each of `FRAMES`."""
    degrees, side, x, y = torch.tensor(FRAMES).to(thetas).unbind(1)
    frame = similarity(degrees.deg2rad(), size * side, torch.stack([x, y], 1), size, size)  # F 2 3: to the crop
    whole = torch.cat([frame, frame.new_tensor([[[0, 0, 1]]]).expand(len(frame), 1, 3)], 1)
    return thetas[:, None] @ whole


def steadiness(
    look: Callable[[Float[Tensor, "M 2 3"]], Sightings], thetas: Float[Tensor, "N 2 3"], size: int
) -> Steadiness:
    """How steadily faces stay in place when their crops are moved.

    `look` says where the face is in each crop of the photo (see `face_judge.Sightings`).
    """
    frames = moved_frames(thetas, size)
    N, F = frames.shape[:2]
    flat = frames.flatten(0, 1)
    seen = look(flat)
    A = flat[:, :, :2]
    centre = (A @ seen.centre[..., None])[..., 0] + flat[:, :, 2]  # px of the photo
    log_scale = (seen.scale * torch.linalg.det(A).sqrt()).log()  # photo px per mm
    angle = seen.angle + torch.atan2(A[:, 0, 1], A[:, 0, 0])
    centre, log_scale, angle = (v.unflatten(0, (N, F)) for v in (centre, log_scale, angle))

    def middle(v: Tensor) -> Tensor:
        return v.median(1, keepdim=True).values

    unit = 100 * middle(log_scale).exp()  # px that 100 mm measure
    turned = angle - torch.atan2(middle(angle.sin()), middle(angle.cos()))
    deviations = (
        (centre - middle(centre)).norm(dim=-1) / unit,
        (log_scale - middle(log_scale)).abs(),
        torch.atan2(turned.sin(), turned.cos()).abs(),
    )
    return Steadiness(*(d.nan_to_num(torch.inf).median(1).values for d in deviations))
