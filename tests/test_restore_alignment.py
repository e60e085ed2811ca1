"""Two surfaces are laid on each other as the formulas say."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facenb.restore.alignment import Similarity, Surface, align, fit_similarity


def random_similarity(rng, size=0.3, angle=0.3) -> Similarity:
    turn = Rotation.from_rotvec(angle * rng.standard_normal(3)).as_matrix()
    return Similarity(float(np.exp(size * rng.standard_normal())), turn, rng.standard_normal(3))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_similarity_is_found_again(seed):
    rng = np.random.default_rng(seed)
    X, truth = rng.standard_normal((20, 3)), random_similarity(rng, angle=2)
    found = fit_similarity(X, truth(X))
    np.testing.assert_allclose(found.scale, truth.scale, rtol=1e-9)
    np.testing.assert_allclose(found.R, truth.R, atol=1e-9)
    np.testing.assert_allclose(found(X), truth(X), atol=1e-9)
    np.testing.assert_allclose(found.inverse(found(X)), X, atol=1e-9)


def test_it_is_the_best_one_and_never_a_mirror():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 3))
    Y = X * [1, 1, -1] + 0.1 * rng.standard_normal((50, 3))
    best = fit_similarity(X, Y)
    assert np.linalg.det(best.R) > 0.99
    least = ((best(X) - Y) ** 2).sum()
    for _ in range(100):
        nudge = random_similarity(rng, 0.02, 0.02)
        other = Similarity(best.scale * nudge.scale, nudge.R @ best.R, best.t + 0.02 * nudge.t)
        assert ((other(X) - Y) ** 2).sum() >= least


def test_a_rigid_motion_has_no_scale():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((20, 3))
    assert fit_similarity(X, 2 * X, scale=False).scale == 1
    with pytest.raises(ValueError, match="at least three"):
        fit_similarity(X[:2], X[:2])


def test_the_closest_point_is_that_of_the_whole_mesh():
    ball = trimesh.creation.icosphere(subdivisions=3)
    points = 1.5 * np.random.default_rng(3).standard_normal((200, 3))
    surface = Surface(ball.vertices, ball.faces)
    everywhere = np.stack(
        [trimesh.triangles.closest_point(ball.triangles, np.tile(p, (len(ball.faces), 1))) for p in points]
    )
    least = np.linalg.norm(everywhere - points[:, None], axis=-1).min(1)
    far = np.linalg.norm(points, axis=1) > 0.7  # near the middle, all of the ball is close
    np.testing.assert_allclose(surface.distances(points)[far], least[far], atol=1e-9)


def test_icp_finds_a_surface_that_was_moved_and_forgives_a_tenth_of_it():
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    z = 0.6 * np.exp(-3 * (x**2 + 2 * y**2)) + 0.2 * np.sin(3 * x + y)
    X = np.stack([x, y, z], -1).reshape(-1, 3)
    quad = np.arange(900).reshape(30, 30)[:-1, :-1].ravel()
    T = np.concatenate([np.stack([quad, quad + 1, quad + 30], 1), np.stack([quad + 1, quad + 31, quad + 30], 1)])
    motion = Similarity(1.1, Rotation.from_rotvec([0.1, -0.05, 0.08]).as_matrix(), np.array([0.05, -0.1, 0.02]))
    points = motion(X[rng.choice(900, 400, replace=False)])
    points[:30] += [0, 0, 0.5]  # a beard
    start = Similarity(1.0, np.eye(3), np.zeros(3))
    found = align(Surface(X, T), points, start)
    np.testing.assert_allclose(found.scale, motion.scale, rtol=5e-3)
    np.testing.assert_allclose(found(X), motion(X), atol=5e-3)
    assert align(Surface(X, T), points, start, scale=False).scale == 1
