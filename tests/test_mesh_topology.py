"""The topology of meshes whose answer is known by counting on the fingers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.mesh_topology import (
    MeshError,
    boundary_edges,
    boundary_loops,
    check_manifold,
    connected_components,
    edges,
    euler_characteristic,
    half_edges,
    loop_length,
    vertex_adjacency,
)

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
# two triangles of a unit square: 3 2
#                                  0 1
SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])


def grid(rows: int, columns: int) -> torch.Tensor:
    """Triangles of a grid of vertices, row-major, counterclockwise with rows upwards."""
    a = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).reshape(-1)
    b, c, d = a + 1, a + columns + 1, a + columns
    return torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])


def test_a_tetrahedron_is_closed():
    check_manifold(TETRAHEDRON)
    assert len(half_edges(TETRAHEDRON)) == 12 and len(edges(TETRAHEDRON)) == 6
    assert boundary_loops(TETRAHEDRON) == [] and len(boundary_edges(TETRAHEDRON)) == 0
    assert euler_characteristic(TETRAHEDRON) == 2


def test_the_rim_of_a_square_runs_counterclockwise_from_its_smallest_vertex():
    (loop,) = boundary_loops(SQUARE)
    assert loop.tolist() == [0, 1, 2, 3]
    X = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert loop_length(loop, X) == 4


def test_the_face_with_a_mouth_has_two_loops_and_euler_characteristic_zero(tiny_model):
    """A disc with one hole, the topology of the open model (outer loop and mouth)."""
    outer, mouth = sorted(boundary_loops(tiny_model.triangles), key=lambda p: -loop_length(p, tiny_model.shape_mean))
    assert outer.tolist() == list(range(6 * 24, 7 * 24))
    assert sorted(mouth.tolist()) == list(range(24))
    assert euler_characteristic(tiny_model.triangles) == 0

    def turn(loop):  # twice the signed area seen from +z
        p, q = tiny_model.shape_mean[loop, :2], tiny_model.shape_mean[loop.roll(-1), :2]
        return (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()

    assert turn(outer) > 0 and turn(mouth) < 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.randoms(use_true_random=False))
def test_any_grid_is_a_disc_whatever_the_order_of_its_triangles(rows, columns, random):
    T = grid(rows, columns).tolist()
    random.shuffle(T)
    T = torch.tensor([t[k:] + t[:k] for t in T for k in [random.randrange(3)]])
    check_manifold(T)
    assert euler_characteristic(T) == 1
    (loop,) = boundary_loops(T)
    assert len(loop) == 2 * (rows + columns) - 4 and int(loop[0]) == 0 and int(loop[1]) == 1
    A = vertex_adjacency(T)
    assert (A != A.T).nnz == 0 and A.nnz == 2 * len(edges(T)) and A.diagonal().sum() == 0


def test_components_are_counted_and_lone_vertices_are_one_each():
    two = torch.cat([SQUARE, SQUARE + 4])
    assert connected_components(two, 9).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("triangles", "message"),
    [
        ([[0, 1, 2], [0, 1, 3]], "same side"),  # second triangle turned over
        ([[0, 1, 2], [1, 0, 3], [0, 1, 4]], "same side"),  # three triangles on one edge
        ([[0, 1, 1]], "uses a vertex twice"),
        ([[0, 1, 2], [0, 3, 4]], "touch in a point"),  # bow tie
    ],
)
def test_surfaces_that_are_none_are_refused_in_one_line(triangles, message):
    with pytest.raises(MeshError, match=message) as e:
        check_manifold(torch.tensor(triangles))
    assert "\n" not in str(e.value)


def test_no_triangles_and_a_boundary_that_touches_itself_are_refused():
    with pytest.raises(MeshError, match="no triangles"):
        check_manifold(torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(MeshError, match="touches itself at vertex 0"):
        boundary_loops(torch.tensor([[0, 1, 2], [0, 3, 4]]))


def test_two_closed_surfaces_that_share_one_vertex_are_found():
    """No edge is wrong here and there is no boundary: only the fans around the common vertex tell."""
    other = torch.where(TETRAHEDRON == 0, 0, TETRAHEDRON + 3)
    with pytest.raises(MeshError, match="vertex 0 "):
        check_manifold(torch.cat([TETRAHEDRON, other]))
