"""Points of a face model: they are where the model says, and drawn evenly."""

from dataclasses import replace

import pytest
import torch

from facenb.face_points import blurred, inner_face, random_points, vertices_as_points
from facenb.flatten import flatten
from facenb.normals import triangle_normals, vertex_normals

F64 = torch.float64


@pytest.fixture(scope="module")
def surface(tiny_model):
    return vertices_as_points(tiny_model, flatten(tiny_model))


@pytest.fixture(scope="module")
def drawn(surface, tiny_model):
    return random_points(surface, tiny_model.triangles, 20_000, torch.Generator().manual_seed(0))


def draw(n, *, size=1.0, seed=0, batch=3):
    return size * torch.randn(batch, n, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_vertices_are_where_the_model_has_them_and_coloured_as_there(surface, tiny_model):
    m, h = draw(tiny_model.n_shape), draw(tiny_model.n_albedo, seed=1)
    X, colours = surface.at(m), surface.colours(h)
    for i in range(len(m)):
        identity, expression = m[i].split([tiny_model.n_identity, tiny_model.n_expression])
        torch.testing.assert_close(X[i], tiny_model.vertices(identity, expression))
        torch.testing.assert_close(colours[i], tiny_model.colours(h[i]))
    assert (surface.n, surface.n_shape, surface.n_albedo) == (
        tiny_model.n_vertices,
        tiny_model.n_shape,
        tiny_model.n_albedo,
    )
    torch.testing.assert_close(surface.centre, tiny_model.shape_mean.mean(0))


def test_normals_are_right_to_first_order_in_the_shape(surface, tiny_model):
    """Exact for the mean face; the error is quadratic: at half the shape it is a quarter."""
    T = tiny_model.triangles
    torch.testing.assert_close(surface.normals(draw(tiny_model.n_shape, size=0.0))[0], vertex_normals(surface.mean, T))

    def error(size):
        m = draw(tiny_model.n_shape, size=size)
        return (surface.normals(m) - vertex_normals(surface.at(m), T)).norm(dim=-1).mean()

    turned = (surface.normals(draw(tiny_model.n_shape, size=0.4)) - surface.normal).norm(dim=-1).mean()
    assert error(0.4) < 0.2 * turned  # not just small because nothing turns
    assert 3.4 < error(0.4) / error(0.2) < 4.6


def test_normals_have_length_one(surface, drawn):
    for points in (surface, drawn):
        m = draw(points.n_shape)
        torch.testing.assert_close(points.normals(m).norm(dim=-1), torch.ones(3, points.n, dtype=F64))
        torch.testing.assert_close(points.normal.norm(dim=-1), torch.ones(points.n, dtype=F64))


def test_the_gradient_of_normals_is_autograds(drawn):
    points, m = replace(drawn, **{k: v[:40] for k, v in vars(drawn).items()}), draw(drawn.n_shape)
    g = torch.randn(3, 40, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    slow = torch.stack([torch.func.jacrev(lambda z: points.normals(z[None])[0])(z) for z in m])  # B K 3 Ns
    fast = points.normal_gradient(m, g) @ points.normal_basis
    torch.testing.assert_close(fast, g @ slow)


def test_random_points_lie_on_the_surface(surface, tiny_model):
    """Each lies in the plane of its triangle and inside it: its barycentrics there, solved for anew, are positive and
    reproduce all its other tables."""
    T = tiny_model.triangles
    points = random_points(surface, T, 300, torch.Generator().manual_seed(3))
    corner, N = surface.mean[T], triangle_normals(surface.mean, T)  # T 3 3, T 3
    away = ((points.mean[:, None] - corner[None, :, 0]) * N).sum(-1)  # 300 T, mm
    A = torch.cat([corner.mT, torch.ones_like(corner[:, :1])], 1)  # T 4 3
    x = torch.cat([points.mean, torch.ones_like(points.mean[:, :1])], 1)  # 300 4
    b = torch.einsum("tij,kj->kti", torch.linalg.pinv(A), x)  # 300 T 3
    inside = (away.abs() < 1e-9) & (b > -1e-9).all(-1)
    assert inside.any(1).all()
    k = torch.arange(len(x))
    t = inside.double().argmax(1)
    weight = b[k, t]
    torch.testing.assert_close(points.shape, torch.einsum("ki,kijn->kjn", weight, surface.shape[T[t]]))
    torch.testing.assert_close(points.albedo_mean, torch.einsum("ki,kij->kj", weight, surface.albedo_mean[T[t]]))
    torch.testing.assert_close(points.uv, torch.einsum("ki,kij->kj", weight, surface.uv[T[t]]))


def test_random_points_are_even_over_the_area(drawn, surface, tiny_model):
    """Shares of 20,000 points in eight rings of equal slant height of the dome agree with their shares of the area.

    Counted with a finely divided mesh: its pieces' middles and areas. Four standard deviations are allowed.
    """
    corner = surface.mean[tiny_model.triangles]
    fine = 24
    s = (torch.arange(fine, dtype=F64) + 0.5) / fine
    u, v = (t.flatten() for t in torch.meshgrid(s, s, indexing="ij"))
    b = torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], -1)  # even in a triangle
    place = torch.einsum("qi,tij->tqj", b, corner)
    area = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]).norm(dim=-1)
    area = area[:, None].expand(-1, len(b)) / area.sum() / len(b)

    def cell(X):  # ring by height, half by side
        return (X[..., 2] / 60 * 8).long().clamp(0, 7) * 2 + (X[..., 0] > 0).long()

    expected = torch.zeros(16, dtype=F64).index_add(0, cell(place).flatten(), area.flatten())
    found = torch.bincount(cell(drawn.mean), minlength=16) / drawn.n
    tolerance = 4 * (expected * (1 - expected) / drawn.n).sqrt() + 5e-4  # and the pieces on a ring's edge
    assert expected.max() > 1.5 * expected.min()  # even by number of vertices would be something else
    assert ((found - expected).abs() <= tolerance).all()


def test_random_points_are_even_within_a_triangle(surface, tiny_model):
    """Two points of one triangle: mean of the barycentrics ⅓ each, variance 1/18, covariance −1/36."""
    triangle = tiny_model.triangles[40:41]
    X = random_points(surface, triangle, 20_000, torch.Generator().manual_seed(6)).mean
    A = torch.cat([surface.mean[triangle[0]].T, torch.ones(1, 3, dtype=F64)])
    b = torch.linalg.lstsq(A, torch.cat([X, torch.ones_like(X[:, :1])], 1).T).solution.T  # 20000 3
    torch.testing.assert_close(b.mean(0), torch.full((3,), 1 / 3, dtype=F64), atol=0.01, rtol=0)
    expected = torch.full((3, 3), -1 / 36, dtype=F64) + torch.eye(3, dtype=F64) * (1 / 18 + 1 / 36)
    torch.testing.assert_close(torch.cov(b.T), expected, atol=0.002, rtol=0)


def test_the_same_seed_draws_the_same_points_and_another_one_others(surface, tiny_model):
    a, b, c = (
        random_points(surface, tiny_model.triangles, 50, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(a.mean, b.mean) and torch.equal(a.normal_basis, b.normal_basis)
    assert not torch.equal(a.mean, c.mean)


def test_tables_move_to_another_type_together(surface):
    single = surface.to(dtype=torch.float32)
    assert {getattr(single, name).dtype for name in surface.__dataclass_fields__} == {torch.float32}
    torch.testing.assert_close(single.mean, surface.mean.float())


def test_a_blurred_albedo_is_the_average_of_its_neighbourhood(tiny_model):
    surface = vertices_as_points(tiny_model, flatten(tiny_model))
    soft = blurred(surface, tiny_model.triangles, 12.0)
    X, T = surface.mean, tiny_model.triangles
    area = torch.zeros(len(X), dtype=X.dtype)
    for a, b, c in T.tolist():
        area[[a, b, c]] += torch.linalg.cross(X[b] - X[a], X[c] - X[a]).norm() / 6
    distance = torch.cdist(X, X)
    weight = torch.exp(-((distance / 12.0) ** 2) / 2) * (distance <= 36.0) * area
    weight = weight / weight.sum(1, keepdim=True)
    assert torch.allclose(soft.albedo_mean, weight @ surface.albedo_mean)
    assert torch.allclose(soft.albedo, torch.einsum("vw,wck->vck", weight, surface.albedo))
    assert torch.equal(soft.mean, surface.mean) and torch.equal(soft.shape, surface.shape)


def test_the_inner_face_keeps_away_from_hair_and_silhouette(tiny_model):
    """Landmarks placed by hand on the tiny dome: jaw at ±65 mm, brows at 40, chin at −80."""
    X = tiny_model.shape_mean.clone()
    landmarks = tiny_model.landmarks68.clone()
    X[landmarks[[0, 16]], 0] = torch.tensor([-65.0, 65.0], dtype=X.dtype)
    X[landmarks[17:27], 1] = 40.0
    X[landmarks[8], 1] = -80.0
    placed = replace(tiny_model, shape_mean=X)
    kept = inner_face(placed)
    assert (X[kept, 0].abs() < 0.8 * 65).all() and (X[kept, 1] < 40 + 0.06 * 120).all()
    assert kept.sum() > 20 and (~kept).sum() > 20
    triangles = tiny_model.triangles
    points = random_points(
        vertices_as_points(placed, flatten(tiny_model)), triangles, 200, torch.Generator().manual_seed(0), kept
    )
    assert (points.mean[:, 0].abs() < 0.8 * 65).all()
    assert inner_face(replace(tiny_model, landmarks68=landmarks[:0])).all()
