"""Principal components of mirror pairs, against the plain singular value decomposition of all 2N faces."""

import numpy as np
import pytest

from facenb.open_model.components import mirrored, principal_components

MIRROR = np.array([1, 0, 3, 2, 4, 5, 7, 6])  # three pairs and two vertices on the midline


@pytest.fixture(scope="module")
def faces():
    """Twenty random faces of eight vertices whose variances differ from axis to axis, about a crooked mean."""
    rng = np.random.default_rng(3)
    size = np.linspace(0.5, 3, 24).reshape(8, 3)
    return rng.normal(0, 5, (8, 3)) + size * rng.standard_normal((20, 8, 3))


@pytest.mark.parametrize("centred", [True, False])
def test_components_are_those_of_all_faces_and_their_mirror_images(faces, centred):
    """The readable twin: stack both, subtract the mean, one SVD."""
    n = 10
    c = principal_components(faces, MIRROR, n, centred=centred)
    both = np.concatenate([faces, mirrored(faces, MIRROR)]).reshape(40, -1)
    mean = both.mean(0) if centred else np.zeros(24)
    _, s, Vt = np.linalg.svd(both - mean, full_matrices=False)
    sd = s / np.sqrt(40)
    assert np.allclose(c.mean.ravel(), mean)
    assert np.allclose(np.linalg.norm(c.basis.reshape(24, n), axis=0), sd[:n])
    overlap = np.abs((c.basis.reshape(24, n) / sd[:n] * Vt[:n].T).sum(0))
    assert np.allclose(overlap, 1)
    assert np.isclose(c.explained, (sd[:n] ** 2).sum() / (sd**2).sum())


def test_coefficients_have_unit_second_moment_over_faces_and_mirror_images(faces):
    """What "unit variance" means: section A of the supplement of Koizumi & Smith 2020 scales every basis like this."""
    c = principal_components(faces, MIRROR, 10)
    reflected = c.coefficients * np.where(c.is_symmetric, 1, -1)
    both = np.concatenate([c.coefficients, reflected])
    assert np.allclose(both.T @ both / 40, np.eye(10), atol=1e-9)
    assert np.allclose(both.mean(0), 0, atol=1e-9)


def test_coefficients_and_basis_give_the_faces_back(faces):
    c = principal_components(faces, MIRROR, 24)
    assert c.explained == pytest.approx(1)
    assert np.allclose(c.mean + np.tensordot(c.coefficients, c.basis, (1, 2)), faces)


def test_mean_and_components_are_exactly_symmetric_or_antisymmetric(faces):
    c = principal_components(faces, MIRROR, 10)
    assert (mirrored(c.mean, MIRROR) == c.mean).all()
    sign = np.where(c.is_symmetric, 1, -1)
    assert (mirrored(np.moveaxis(c.basis, 2, 0), MIRROR) == np.moveaxis(c.basis * sign, 2, 0)).all()
    assert 0 < c.is_symmetric.sum() < 10


def test_components_are_orthogonal(faces):
    B = principal_components(faces, MIRROR, 10).basis.reshape(24, 10)
    gram = B.T @ B
    assert np.allclose(gram, np.diag(np.diag(gram)), atol=1e-9)
    assert (np.diff(np.diag(gram)) < 0).all()


def test_the_sign_of_a_component_does_not_depend_on_the_order_of_the_faces(faces):
    one, two = (principal_components(f, MIRROR, 5).basis for f in (faces, faces[::-1]))
    assert np.allclose(one, two)
