"""Normals of a mesh: values, gradient, degenerate input."""

import torch
from torch.autograd import gradcheck

from facenb.normals import triangle_normals, vertex_normals


def sphere(rings: int = 40, spokes: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere without caps, triangles counterclockwise from outside."""
    theta = torch.linspace(0.3, torch.pi - 0.3, rings, dtype=torch.float64)[:, None].expand(rings, spokes)
    phi = (2 * torch.pi * torch.arange(spokes, dtype=torch.float64) / spokes).expand(rings, spokes)
    X = torch.stack([theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], -1).reshape(-1, 3)
    i = torch.arange((rings - 1) * spokes)
    right = i - i % spokes + (i + 1) % spokes
    return X, torch.cat([torch.stack([i, i + spokes, right + spokes], -1), torch.stack([i, right + spokes, right], -1)])


def test_normals_of_a_sphere_point_along_its_radius():
    X, T = sphere()
    interior = slice(60, -60)
    assert ((vertex_normals(X, T)[interior] * X[interior]).sum(-1) > 0.9999).all()


def test_a_triangle_normal_is_twice_its_area_long_and_points_to_whoever_sees_it_counterclockwise():
    X = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
    assert torch.equal(triangle_normals(X, torch.tensor([[0, 1, 2]])), torch.tensor([[0.0, 0, 6]]))


def test_the_face_looks_forward(tiny_model):
    assert vertex_normals(tiny_model.shape_mean, tiny_model.triangles)[:, 2].median() > 0.3


def test_a_batch_gives_what_its_members_give(tiny_model):
    X = torch.stack([tiny_model.shape_mean, 2 * tiny_model.shape_mean.flip(-1)])[:, None]  # 2 1 V 3
    N = vertex_normals(X, tiny_model.triangles)
    assert torch.equal(N[1, 0], vertex_normals(X[1, 0], tiny_model.triangles))
    assert torch.allclose(N.norm(dim=-1), torch.ones(2, 1, tiny_model.n_vertices, dtype=torch.float64))


def test_gradient_of_the_normals(tiny_model):
    T = tiny_model.triangles[:8]
    used, corner = T.unique(return_inverse=True)
    X = tiny_model.shape_mean[used].clone().requires_grad_()
    assert gradcheck(lambda X: vertex_normals(X, corner), (X,))


def test_vertices_without_an_area_have_zero_normals_and_no_nan_gradient():
    X = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]], requires_grad=True)  # a sliver, and a lone vertex
    N = vertex_normals(X, torch.tensor([[0, 1, 2]]))
    N.sum().backward()
    assert torch.equal(N, torch.zeros(4, 3)) and torch.isfinite(X.grad).all()
