"""Where the camera stands and what it frames: random K, R, t for the two kinds of picture.

"aligned" is what a set of roughly aligned photos looks like, "wild" is the network's test: a random similarity. In both
the camera points at the head and the picture is a square cut out of its image, so K has square pixels, no skew, and a
principal point that the cut has moved.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from facenb.rotation import FRONTAL

Framing = Literal["aligned", "wild"]
CENTRE = np.array([0.0, -5.0, -10.0])  # mm, what the camera points at: between the eyes and the mouth, under the skin


@dataclass(frozen=True)
class View:
    """Camera of a snapshot (as in `facenb.camera`) and the angles (radians) that `facenb.rotation` reads off R.

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

    @property
    def pixel(self) -> float:
        """Length (mm) of a pixel's side at the head."""
        return float((self.R @ CENTRE + self.t)[2] / self.K[0, 0])


@dataclass(frozen=True)
class Pose:
    """How a head is turned to the camera, and the similarity that frames it.

    yaw, pitch: of the head, before the picture is turned; turn: of the picture; all in radians. distance: mm. scale:
    length of 100 mm at the head, as a share of the picture. shift: of the face from the picture's centre, likewise.
    """

    yaw: float
    pitch: float
    turn: float
    distance: float
    scale: float
    shift: Float[np.ndarray, " 2"]


def random_pose(rng: np.random.Generator, framing: Framing) -> Pose:
    """A random pose.

    aligned: scale 0.40 exp(N(0, 0.06)), turn N(0, 0.06), shift N(0, 0.02);
    wild: scale 0.48 exp(U(±0.25)), turn U(±30°), shift U(±0.1).
    Yaw: six in ten uniform in ±45°, else N(0, 12°), within ±50°; pitch N(0, 9°) within ±25°; distance 350 to 2,000 mm,
    even in its logarithm.
    """
    if framing == "aligned":
        scale, turn, shift = 0.40 * np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.06), rng.normal(0, 0.02, 2)
    else:
        scale, turn = 0.48 * np.exp(rng.uniform(-0.25, 0.25)), np.radians(rng.uniform(-30, 30))
        shift = rng.uniform(-0.1, 0.1, 2)
    yaw = rng.uniform(-45, 45) if rng.random() < 0.6 else np.clip(rng.normal(0, 12), -50, 50)
    pitch = np.clip(rng.normal(0, 9), -25, 25)
    distance = np.exp(rng.uniform(np.log(350), np.log(2000)))
    return Pose(np.radians(yaw), np.radians(pitch), turn, distance, scale, shift)


def frame(pose: Pose, size: int, five: Float[np.ndarray, "5 3"]) -> View:
    """The camera of a picture of `size` pixels; the mean of the head's five landmarks (mm) comes to its centre."""
    upright = np.diag(FRONTAL) @ Rotation.from_euler("YX", [pose.yaw, pose.pitch]).as_matrix()
    R = Rotation.from_euler("Z", pose.turn).as_matrix() @ upright
    t = np.array([0, 0, pose.distance]) - R @ CENTRE
    focal = pose.scale * size / 100 * pose.distance
    seen = five @ R.T + t
    middle = (focal * seen[:, :2] / seen[:, 2:]).mean(0)
    principal = (size - 1) / 2 + pose.shift * size - middle
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    angles = Rotation.from_matrix(np.diag(FRONTAL) @ R).as_euler("YXZ")
    return View(K, R, t, *(float(angle) for angle in angles))
