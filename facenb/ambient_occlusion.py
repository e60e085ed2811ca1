"""How much of the sky each vertex sees (book: *Learning from residuals*).

Ambient light reaches the side of the nose, the sockets of the eyes and the throat only from some directions. The share

    a = Σ_d max(n·d, 0) V(d) / Σ_d max(n·d, 0),

with V(d) = 1 where nothing stands between the vertex and direction d, multiplies ambient light: graphics calls this
ambient occlusion. Whether something stands in between is asked of a depth map per direction, as the rasteriser makes
it.

Units mm; model coordinates.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from facenb.lighting import sphere_points
from facenb.normals import vertex_normals
from facenb.rasterise import rasterise

N_DIRECTIONS = 96
PIXELS = 256
AROUND = 24  # vertices of a ring of the neck
BIAS = 3.0  # mm that a vertex may lie behind the depth map and still count as seen
FAR = 2000.0


def sky_share(
    X: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"], n_directions: int = N_DIRECTIONS
) -> Float[np.ndarray, " V"]:
    """The share a of every vertex of a mesh (mm), in [0, 1]."""
    X = torch.as_tensor(X, dtype=torch.float32)
    T = torch.as_tensor(triangles, dtype=torch.int64)
    N = vertex_normals(X, T)
    lit, total = torch.zeros(len(X)), torch.full((len(X),), 1e-6)
    for d in sphere_points(n_directions).to(X):
        up = torch.tensor([0.0, 1.0, 0.0]) if abs(d[1]) < 0.9 else torch.tensor([1.0, 0.0, 0.0])
        right = torch.nn.functional.normalize(torch.linalg.cross(up, d), dim=0)
        frame = torch.stack([right, torch.linalg.cross(right, d), -d])  # x right, y down, z away from the light
        Y = X @ frame.T
        low, high = Y.amin(0), Y.amax(0)
        scale = (PIXELS - 3) / (high - low)[:2].max()
        pixels = (Y[:, :2] - low[:2]) * scale + 1
        depth = Y[:, 2] - low[2] + FAR
        seen = rasterise(torch.cat([pixels, depth[:, None]], 1)[None], T, PIXELS, PIXELS).depth[0]
        cosine = (N @ d).clamp(min=0)
        column, row = pixels.round().long().unbind(-1)
        lit += cosine * (depth < seen[row, column] + BIAS)
        total += cosine
    return (lit / total).clamp(0, 1).numpy()


def neck_and_chest(landmarks68: Float[np.ndarray, "68 3"]) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, "T 3"]]:
    """Vertices (mm) and triangles of a rough neck on a rough chest, for face models that end at the jaw.

    A mask alone sees the sky from under its chin. With what stands below, it is as dark there as in a photo.
    """
    half = np.abs(landmarks68[[0, 16], 0]).mean()  # of the face's width
    chin, mouth, back = landmarks68[8, 1], landmarks68[57, 1], landmarks68[[0, 16], 2].mean()
    y = [mouth, chin - 1.2 * half, chin - 1.6 * half, chin - 3 * half]
    width, length = np.array([0.9, 1, 2.6, 3.2]) * half, np.array([0.9, 1, 1.3, 1.6]) * half
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    x, z = np.outer(width, np.sin(angle)), np.outer(length, np.cos(angle)) + back - 0.9 * half
    X = np.stack([x, np.repeat(y, AROUND).reshape(x.shape), z], -1)
    above = np.arange(len(y) * AROUND).reshape(-1, AROUND)
    below, beside = above[1:], np.roll(above, -1, 1)
    quads = np.stack([above[:-1], below, beside[1:], beside[:-1]], -1).reshape(-1, 4)
    return X.reshape(-1, 3), np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
