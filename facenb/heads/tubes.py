"""Tubes, boxes, cups: the simple solids of glasses and props (book: *It learns*).

Units mm. Triangles counterclockwise seen from outside.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from facenb.heads.mesh_tools import unit

Mesh = tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "T 3"]]


def tube(
    path: Float[np.ndarray, "n 3"],
    radius: float | tuple[float, float],
    closed: bool = False,
    sides: int = 6,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> Mesh:
    """A tube along a path; two radii: along `up` and across."""
    n = len(path)
    before = np.roll(path, 1, 0) if closed else np.concatenate([2 * path[:1] - path[1:2], path[:-1]])
    after = np.roll(path, -1, 0) if closed else np.concatenate([path[1:], 2 * path[-1:] - path[-2:-1]])
    along = unit(after - before)
    across = unit(np.cross(along, np.array(up)))
    other = np.cross(across, along)
    a, b = radius if isinstance(radius, tuple) else (radius, radius)
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = b * np.cos(angle)[:, None, None] * across + a * np.sin(angle)[:, None, None] * other  # sides n 3
    X = (path + ring).transpose(1, 0, 2).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(n if closed else n - 1), np.arange(sides), indexing="ij")
    p, q = i * sides + j, i * sides + (j + 1) % sides
    r, s = ((i + 1) % n) * sides + j, ((i + 1) % n) * sides + (j + 1) % sides
    T = np.stack([p, q, s, p, s, r], -1).reshape(-1, 3)
    if not closed:
        fan = np.arange(1, sides - 1)
        first = np.stack([np.zeros_like(fan), fan + 1, fan], -1)
        last = (n - 1) * sides + np.stack([np.zeros_like(fan), fan, fan + 1], -1)
        T = np.concatenate([T, first, last])
    return X.astype(np.float32), T.astype(np.int32)


def box(size: tuple[float, float, float]) -> Mesh:
    """A box around the origin; every face has its own corners, so that it is shaded flat."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    X, T = [], []
    for axis in range(3):
        for sign in (1, -1):
            P = np.insert(corners if sign > 0 else corners[::-1], axis, sign / 2, axis=1)
            if axis == 1:
                P = P[::-1]
            T += [[len(X) + k for k in t] for t in ((0, 1, 2), (0, 2, 3))]
            X += list(P * size)
    return np.array(X, np.float32), np.array(T, np.int32)


def lathe(profile: Float[np.ndarray, "n 2"], sides: int = 20) -> Mesh:
    """A solid of revolution about y; the profile lists (radius, y) from bottom to top."""
    angle = 2 * np.pi * np.arange(sides) / sides
    r, y = profile.T
    X = np.stack([r[:, None] * np.sin(angle), np.repeat(y[:, None], sides, 1), r[:, None] * np.cos(angle)], -1)
    i, j = np.meshgrid(np.arange(len(profile) - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    T = np.stack([a, b, b + sides, a, b + sides, a + sides], -1).reshape(-1, 3)
    return X.reshape(-1, 3).astype(np.float32), T.astype(np.int32)


def joined(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one."""
    start = np.cumsum([0] + [len(X) for X, _ in meshes])
    return (
        np.concatenate([X for X, _ in meshes]).astype(np.float32),
        np.concatenate([T + s for (_, T), s in zip(meshes, start, strict=False)]).astype(np.int32),
    )
