"""A hand and forearm that can be posed (book: *It learns*).

MakeHuman's left hand with its skeleton: fifteen finger joints that bend and a wrist. Hands come near faces in many
photographs, and a network that has never seen one takes it for a cheek.

Units mm. Frame of the hand: the wrist at the origin, the fingers towards +y, the back of the hand towards +z (so the
palm looks along −z), the thumb towards −x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.anatomy import bone_weights, read_groups
from facenb.open_model.identity import average_adult
from facenb.open_model.makehuman import read_base_mesh

FINGERS, JOINTS = 5, 3


@dataclass(frozen=True)
class HandModel:
    """The left hand, relaxed.

    Attributes:
        vertices: mm.
        triangles: of hand and forearm.
        weight: of each finger bone (finger-major), rows sum to at most one; the rest follows the wrist.
        joint: mm, where each bone begins; axis: unit, about which it bends.
    """

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    weight: Float[np.ndarray, "V 15"]
    joint: Float[np.ndarray, "15 3"]
    axis: Float[np.ndarray, "15 3"]


def build_hand_model() -> HandModel:
    """Cut out of the base mesh at the middle of the forearm."""
    base = read_base_mesh()
    adult = average_adult(base.vertices)
    groups, bones = read_groups(), bone_weights()

    def joint(name: str) -> np.ndarray:
        return adult[np.unique(groups[f"joint-l-{name}"])].mean(0)

    wrist, knuckles = joint("hand"), [joint(f"finger-{f}-1") for f in range(2, 6)]
    up = np.mean(knuckles, axis=0) - wrist
    up /= np.linalg.norm(up)
    across = knuckles[3] - knuckles[0]  # from the index to the little finger: away from the thumb
    back = np.cross(across, up)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    R = np.stack([right, up, back])  # base frame → hand frame

    local = (adult - wrist) @ R.T
    c = local[base.quads].mean(1)
    near = (c[:, 1] > -150) & (np.abs(c[:, 0]) < 130) & (np.abs(c[:, 2]) < 130)
    quads = base.quads[near]
    rows, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4)
    weight = np.zeros((len(adult), FINGERS * JOINTS))
    for f in range(FINGERS):
        for j in range(JOINTS):
            pairs = bones[f"finger{f + 1}-{j + 1}.L"]
            weight[pairs[:, 0].astype(int), f * JOINTS + j] = pairs[:, 1]
    joints = np.array([(joint(f"finger-{f + 1}-{j + 1}") - wrist) @ R.T for f in range(FINGERS) for j in range(JOINTS)])
    ends = np.array([(joint(f"finger-{f + 1}-{j + 2}") - wrist) @ R.T for f in range(FINGERS) for j in range(JOINTS)])
    along = ends - joints
    axis = np.cross(along, [0.0, 0.0, 1.0])  # a positive turn about it bends towards the palm
    axis[:JOINTS] = np.cross(along[:JOINTS], [0.5, 0.0, 0.8])  # the thumb bends across the palm
    axis = -axis / np.linalg.norm(axis, axis=1, keepdims=True)
    return HandModel(
        vertices=local[rows].astype(np.float32),
        triangles=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32),
        weight=weight[rows].astype(np.float32),
        joint=joints.astype(np.float32),
        axis=axis.astype(np.float32),
    )
