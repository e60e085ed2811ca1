"""How much of the sky vertices see: shapes whose answer is known, and a neck below a mask."""

import numpy as np
import pytest
import torch

from facenb.ambient_occlusion import neck_and_chest, sky_share
from facenb.face_points import HOLLOW, as_photographed, vertices_as_points
from facenb.flatten import flatten
from facenb.normals import vertex_normals


def grid(n: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A square of n × n vertices in z = 0, facing +z, `size` mm wide."""
    x, y = np.meshgrid(np.linspace(-1, 1, n) * size / 2, np.linspace(-1, 1, n) * size / 2)
    X = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel()
    return X, np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])


def test_a_plane_sees_all_of_its_half_of_the_sky():
    X, T = grid(9, 100)
    assert sky_share(X, T).min() > 0.97


def test_beside_a_tall_wall_half_of_it_is_hidden():
    """Of the cosine-weighted half sphere an endless wall takes one half; this one is 60 cm wide and 30 cm high."""
    X, T = grid(11, 100)
    flat, its = grid(3, 600)
    wall = np.stack([flat[:, 0], np.full(len(flat), 52.0), flat[:, 1]], -1)  # stands on y = 52, half of it below z = 0
    share = sky_share(np.concatenate([X, wall]), np.concatenate([T, its + len(X)]))[: len(X)]
    middle = np.abs(X[:, 0]) < 20
    assert share[middle & (np.abs(X[:, 1] - 35) < 7)].mean() == pytest.approx(0.5, abs=0.07)
    assert share[middle & (X[:, 1] < -45)].mean() > 0.55


def landmarks() -> np.ndarray:
    """68 points of which those that matter are where a face has them (mm)."""
    L = np.zeros((68, 3))
    L[0], L[16], L[8], L[57] = (-62, 26, -29), (62, 26, -29), (0, -80, -1), (0, -51, 10)
    return L


def test_the_neck_is_a_tube_with_its_outside_out_behind_and_below_the_chin():
    X, T = neck_and_chest(landmarks())
    corner = X[T]
    outward = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    axis = np.array([0, 0, -29 - 0.9 * 62])
    assert (outward * (corner.mean(1) - axis) * [1, 0, 1]).sum(1).min() > 0
    neck = X[:24]  # at the height of the mouth
    assert neck[:, 2].max() < -1 and np.abs(neck[:, 0]).max() < 62
    assert X[:, 1].max() == -51 and X[:, 1].min() < -250
    edges = np.sort(np.concatenate([T[:, [0, 1]], T[:, [1, 2]], T[:, [2, 0]]]), 1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert set(count) == {1, 2} and (count == 1).sum() == 2 * 24  # open at both ends, closed around


def test_it_takes_the_sky_from_what_looks_down():
    """A small patch in the place of the skin under the chin."""
    X, T = grid(5, 30)
    patch = np.stack([X[:, 0], np.full(len(X), -82.0), X[:, 1] - 15], -1)  # faces down
    assert (vertex_normals(torch.from_numpy(patch), torch.from_numpy(T))[:, 1] < 0).all()
    neck, its = neck_and_chest(landmarks())
    alone = sky_share(patch, T)
    below = sky_share(np.concatenate([patch, neck]), np.concatenate([T, its + len(patch)]))[: len(patch)]
    assert alone.min() > 0.95 and below.max() < 0.75


def test_albedo_is_darker_in_the_hollows_and_nothing_else_changes(tiny_model):
    flattening = flatten(tiny_model)
    plain, seen = vertices_as_points(tiny_model, flattening), as_photographed(tiny_model, flattening, blur=0)
    ratio = seen.albedo_mean / plain.albedo_mean
    share = (ratio[:, 0] ** (1 / HOLLOW)).clamp(0, 1)
    assert torch.allclose(ratio, ratio[:, :1].expand(-1, 3)) and ratio.max() <= 1 + 1e-6
    assert share.max() > 0.9  # somewhere the dome stands free
    torch.testing.assert_close(seen.albedo, plain.albedo * ratio[..., None])
    for name in ("mean", "shape", "normal", "normal_basis", "uv"):
        assert torch.equal(getattr(seen, name), getattr(plain, name)), name
    bright = as_photographed(tiny_model, flattening, blur=0, hollow=0)
    assert torch.equal(bright.albedo_mean, plain.albedo_mean)
