"""Where the camera stands and what it frames: random K, R, t for the two kinds of picture.

"aligned" is what a face data set of roughly aligned photos looks like, "wild" is the network's test: a random similarity.
In both the camera points at the head and the picture is a square cut out of its image, so K has square pixels, no skew,
and a principal point that the cut has moved.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from facenb.rotation import angles_from_rotation, rotation_from_angles

Framing = Literal["aligned", "wild"]
CENTRE = np.array([0.0, -5.0, -10.0])  # mm, what the camera points at: between the eyes and the mouth, under the skin


@dataclass(frozen=True)
class View:
    """Camera of a snapshot (conventions of `facenb.camera`) and the angles (radians) that `facenb.rotation` reads off R.

    The angles include the turn of the picture: a head that is turned by 40° in a picture that is tilted by 30° has
    another yaw than 40°, because R has.
    """

    K: Float[np.ndarray, "3 3"]
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    yaw: float
    pitch: float
    roll: float

    @property
    def eye(self) -> Float[np.ndarray, " 3"]:
        """The camera in model coordinates (mm)."""
        return -self.R.T @ self.t


def random_view(rng: np.random.Generator, framing: Framing, size: int, five: Float[np.ndarray, "5 3"]) -> View:
    """A random camera for a picture of `size` pixels; `five` are the head's five landmarks (mm).

    aligned: 100 mm at the face are 0.40 size · exp(N(0, 0.06)), turned by N(0, 0.06), shifted by N(0, 0.02) size;
    wild: 0.48 size · exp(U(±0.25)), turned by U(±30°), shifted by U(±0.1) size. Shifts are of the five landmarks' mean
    from the picture's centre. Yaw: six in ten uniform in ±45°, else N(0, 12°), within ±50°; pitch N(0, 9°) within ±25°;
    distance 350 to 2,000 mm, even in its logarithm.
    """
    if framing == "aligned":
        scale, turn, shift = 0.40 * np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.06), rng.normal(0, 0.02, 2)
    else:
        scale, turn = 0.48 * np.exp(rng.uniform(-0.25, 0.25)), np.radians(rng.uniform(-30, 30))
        shift = rng.uniform(-0.1, 0.1, 2)
    yaw = rng.uniform(-45, 45) if rng.random() < 0.6 else rng.normal(0, 12)
    pitch = rng.normal(0, 9)
    yaw, pitch = np.radians(np.clip(yaw, -50, 50)), np.radians(np.clip(pitch, -25, 25))
    distance = np.exp(rng.uniform(np.log(350), np.log(2000)))
    upright = rotation_from_angles(yaw, pitch, dtype=torch.float64).numpy()
    c, s = np.cos(turn), np.sin(turn)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ upright
    t = np.array([0, 0, distance]) - R @ CENTRE
    focal = scale * size / 100 * distance
    seen = five @ R.T + t
    middle = (focal * seen[:, :2] / seen[:, 2:]).mean(0)
    principal = (size - 1) / 2 + shift * size - middle
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    angles = (float(a) for a in angles_from_rotation(torch.from_numpy(R)))
    return View(K, R, t, *angles)
