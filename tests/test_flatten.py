"""Tutte embeddings: no fold on any mesh, the equations they solve, symmetry, and every refusal."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from basel_file import write_basel
from conftest import random_model
from hypothesis import given, settings
from hypothesis import strategies as st

from facenb.bfm import load_bfm
from facenb.flatten import check_bijective, flatten, signed_areas, square_rim
from facenb.mesh_topology import MeshError, boundary_loops, edges, vertex_adjacency
from facenb.morphable_model import MorphableModel
from facenb.open_model import open_model
from facenb.tutte import level_areas, mean_value_weights, triangle_areas, tutte_embedding
from facenb.uv_model import texels_per_region, uv_model

WEIGHTS = ("uniform", "mean-value", "stretch")


def bare_model(X: torch.Tensor, triangles: torch.Tensor) -> MorphableModel:
    """A model with a mean shape and nothing else."""
    X = X.double()
    none = X.new_zeros(len(X), 3, 0)
    return MorphableModel(X, none, none, X * 0, none, triangles, torch.zeros(0, dtype=torch.int64))


def grid_model(rows: int, columns: int, cross: bool = True) -> MorphableModel:
    """A bulging sheet, mirror-symmetric about x = 0 in shape; in its triangles too if `cross`."""
    y, x = torch.meshgrid(torch.linspace(-90, 90, rows), torch.linspace(-70, 70, columns), indexing="ij")
    x = (x - x.flip(1)) / 2  # symmetric to the last bit
    X = torch.stack([x, y, 60 - x**2 / 100 - y**2 / 200], -1).reshape(-1, 3)
    a = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).reshape(-1)
    b, c, d = a + 1, a + columns + 1, a + columns
    falling = ((torch.arange(len(a)) % (columns - 1)) < (columns - 1) // 2)[:, None] & cross
    T1 = torch.where(falling, torch.stack([a, b, d], -1), torch.stack([a, b, c], -1))
    T2 = torch.where(falling, torch.stack([b, c, d], -1), torch.stack([a, c, d], -1))
    return bare_model(X, torch.cat([T1, T2]))


def cut_holes(model: MorphableModel, triangles: list[int]) -> MorphableModel:
    keep = torch.ones(len(model.triangles), dtype=torch.bool)
    keep[triangles] = False
    return replace(model, triangles=model.triangles[keep])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_square_is_covered_once_and_the_mouth_is_closed(tiny_model, weights):
    """Section A: one auxiliary vertex, joined to all vertices of the mouth's rim; the areas sum to 1."""
    flat = flatten(tiny_model, weights)
    area = signed_areas(flat)
    assert (area > 0).all() and abs(area.sum() - 1) < 1e-12
    (mouth,) = flat.parents
    assert sorted(mouth.tolist()) == list(range(24)) and len(flat.uv) == tiny_model.n_vertices + 1
    fan = flat.triangles[flat.source < 0]
    assert (fan == tiny_model.n_vertices).sum(-1).eq(1).all() and len(fan) == 24
    assert [len(loop) for loop in boundary_loops(flat.triangles)] == [24]  # only the outer rim is left


def test_the_auxiliary_vertex_is_the_mean_of_the_mouth_in_every_component(tiny_model):
    flat = flatten(tiny_model, "uniform")
    B = tiny_model.shape_basis
    assert torch.equal(flat.extend(B)[:-1], B)
    assert torch.allclose(flat.extend(B)[-1], B[:24].mean(0), atol=1e-14)


@pytest.mark.parametrize("weights", ["uniform", "mean-value"])
def test_every_inner_vertex_is_the_weighted_mean_of_its_neighbours(tiny_model, weights):
    """Tutte's equations Σ_j w_ij (u_j − u_i) = 0, and the rim on the square's sides."""
    flat = flatten(tiny_model, weights)
    T = flat.triangles.numpy()
    X = flat.extend(tiny_model.shape_mean).numpy()
    W = (vertex_adjacency(flat.triangles) if weights == "uniform" else mean_value_weights(X, T)).toarray()
    inner = np.setdiff1d(np.arange(len(X)), flat.outer.numpy())
    uv = flat.uv.numpy()
    assert np.abs((W @ uv) / W.sum(1, keepdims=True) - uv)[inner].max() < 1e-13
    rim = flat.uv[flat.outer]
    assert (((rim == 0) | (rim == 1)).any(-1)).all()
    for corner in ([0, 0], [0, 1], [1, 0], [1, 1]):
        assert (rim == torch.tensor(corner)).all(-1).any()


def test_a_plane_mesh_is_reproduced_by_mean_value_weights():
    """Floater 2003, property of linear precision: mean value coordinates reproduce affine maps, uniform ones do not."""
    g = torch.Generator().manual_seed(1)
    sheet = grid_model(7, 7)
    X = sheet.shape_mean.clone()
    X[:, 2] = 0
    on_rim = (X[:, :2].abs() == X[:, :2].abs().amax(0)).any(-1)
    X[~on_rim, :2] += 8 * (torch.rand((~on_rim).sum(), 2, generator=g, dtype=X.dtype) - 0.5)
    fixed = on_rim.nonzero()[:, 0].numpy()
    T = sheet.triangles
    there = X[:, :2].numpy()
    assert np.abs(tutte_embedding(mean_value_weights(X.numpy(), T.numpy()), fixed, there[fixed]) - there).max() < 1e-10
    assert np.abs(tutte_embedding(vertex_adjacency(T), fixed, there[fixed]) - there).max() > 1


def test_mean_value_weights_agree_with_the_formula_on_one_fan():
    """w_ij = (tan(α/2) + tan(β/2)) / r_ij at the middle of a regular hexagon of radius 2: 2 tan(30°) / 2."""
    angle = np.arange(6) * np.pi / 3
    X = np.concatenate([np.zeros((1, 3)), 2 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)])
    T = np.array([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    W = mean_value_weights(X, T).toarray()
    assert np.allclose(W[0, 1:], np.tan(np.pi / 6))
    assert np.allclose(W[1, 0], 2 * np.tan(np.pi / 6) / 2) and np.isclose(W[1, 2], np.tan(np.pi / 6) / 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(0, 2**31), st.sampled_from(WEIGHTS), st.floats(0.0, 30.0))
def test_no_mesh_folds_however_crumpled(rows, columns, seed, weights, crumple):
    """Tutte's theorem: positive weights and a convex rim are enough, whatever the shape in space."""
    sheet = grid_model(rows, columns, cross=False)
    g = torch.Generator().manual_seed(seed)
    noise = crumple * torch.randn(sheet.shape_mean.shape, generator=g, dtype=torch.float64)
    noise[:, 0] *= sheet.shape_mean[:, 0].abs() / 70 / 10  # keep the rim astride x = 0
    flat = flatten(replace(sheet, shape_mean=sheet.shape_mean + noise), weights)
    assert (signed_areas(flat) > 0).all()


def test_a_mirror_symmetric_face_has_a_mirror_symmetric_map():
    """x → −x in the model is u → 1 − u in the square; the mirror plane lies on u = ½."""
    sheet = grid_model(11, 9)
    keep = torch.arange(99) != 49  # the middle vertex leaves a hole
    new = keep.cumsum(0) - 1
    holes = bare_model(sheet.shape_mean[keep], new[sheet.triangles[(sheet.triangles != 49).all(-1)]])
    eyes = torch.exp(-((holes.shape_mean.abs() - torch.tensor([30.0, 40, 60])) ** 2).sum(-1) / 400)
    holes = replace(holes, regions={"eyes": eyes})
    partner = new.reshape(11, 9).flip(1).reshape(-1)[keep]
    for weights in WEIGHTS:
        uv = flatten(holes, weights).uv
        mirrored = torch.stack([1 - uv[:98, 0], uv[:98, 1]], -1)[partner]
        assert (mirrored - uv[:98]).abs().max() < 1e-9, weights
        assert (uv[:98][holes.shape_mean[:, 0] == 0, 0] - 0.5).abs().max() < 1e-9
        assert uv[98, 0] == pytest.approx(0.5, abs=1e-9)  # the hole's middle vertex


def test_several_holes_are_all_closed():
    flat = flatten(cut_holes(grid_model(12, 12, cross=False), [14, 40, 90]), "stretch")
    assert sum(len(p) == 3 for p in flat.parents) == 3 and (flat.source < 0).sum() == 9
    assert len(flat.outer) == 44 and (signed_areas(flat) > 0).all()


def test_a_hole_with_more_vertices_than_the_rim_is_still_a_hole():
    """Which loop is the rim is decided in mm."""
    model = random_model(rings=4, spokes=24)
    # contract pairs of outer vertices: 12 vertices of long edges remain
    merge = torch.arange(model.n_vertices)
    outer = torch.arange(72, 96)
    merge[outer] = outer - (outer % 2)
    T = merge[model.triangles]
    T = T[(T[:, 0] != T[:, 1]) & (T[:, 1] != T[:, 2]) & (T[:, 2] != T[:, 0])]
    used = T.unique()
    T = torch.searchsorted(used, T)
    flat = flatten(bare_model(model.shape_mean[used], T), "mean-value")
    assert len(flat.outer) == 12 and len(flat.parents[0]) == 24


def test_ears_and_bridges_on_the_rim_do_not_collapse():
    """An inner edge between two rim vertices may come to lie in a side of the square: it is split, nothing else."""
    strip = grid_model(2, 9)  # no inner vertex at all
    flat = flatten(strip, "uniform")
    assert (signed_areas(flat) > 0).all() and abs(signed_areas(flat).sum() - 1) < 1e-12
    assert all(len(p) == 2 for p in flat.parents) and len(flat.parents) == len(edges(strip.triangles)) - len(flat.outer)
    X = flat.extend(strip.shape_mean).numpy()
    area = torch.from_numpy(triangle_areas(X, flat.triangles.numpy()))
    per_source = torch.zeros(len(strip.triangles), dtype=area.dtype).index_add(0, flat.source, area)
    assert np.allclose(per_source, triangle_areas(strip.shape_mean.numpy(), strip.triangles.numpy()))


def test_stretch_levels_the_areas_and_boost_gives_the_features_more(tiny_model):
    model = replace(tiny_model, landmarks68=tiny_model.landmarks68[:0])  # then regions say where the features are
    X = flatten(model, "uniform").extend(model.shape_mean).numpy()

    def spread(flat):  # standard deviation of log(area in the square / area on the face)
        area = signed_areas(flat).numpy()
        return np.log(area / triangle_areas(X, flat.triangles.numpy())).std()

    def eyes(flat):
        T = flat.triangles
        weight = flat.extend(model.regions["eyes"])[T].mean(-1)
        return float((weight * signed_areas(flat)).sum())

    mean_value, level, boosted = flatten(model, "mean-value"), flatten(model, boost=0.0), flatten(model, boost=3.0)
    assert spread(level) < 0.6 * spread(mean_value)
    assert eyes(boosted) > 1.4 * eyes(level)


def test_levelling_with_no_rounds_is_the_plain_embedding(tiny_model):
    assert torch.equal(flatten(tiny_model, "stretch", rounds=0).uv, flatten(tiny_model, "mean-value").uv)


def test_levelling_never_makes_the_areas_worse():
    sheet = grid_model(6, 6)
    X, T = sheet.shape_mean.numpy(), sheet.triangles.numpy()
    (outer,) = boundary_loops(sheet.triangles)
    rim = square_rim(X[outer])
    target = np.linspace(1, 20, len(T))

    def error(uv):
        off = np.log(triangle_areas(uv, T) / target)
        return np.average((off - np.average(off, weights=target)) ** 2, weights=target)

    W = mean_value_weights(X, T)
    errors = [error(level_areas(W, T, outer.numpy(), rim, target, rounds)) for rounds in range(6)]
    assert all(b <= a + 1e-12 for a, b in pairwise(errors)) and errors[-1] < 0.7 * errors[0]


def test_arc_length_runs_evenly_on_each_side_of_the_rim():
    """On a square curve with x = 0 in its middle every vertex comes to lie where it is."""
    side = np.linspace(-1, 1, 9)
    one = np.ones(8)
    P = np.concatenate(  # counterclockwise from the top right corner, y up
        [
            np.stack([-side[:-1], one], -1),
            np.stack([-one, -side[:-1]], -1),
            np.stack([side[:-1], -one], -1),
            np.stack([one, side[:-1]], -1),
        ]
    )
    uv = square_rim(np.concatenate([P, 0 * P[:, :1]], -1))
    assert np.allclose(uv, np.stack([(P[:, 0] + 1) / 2, (1 - P[:, 1]) / 2], -1), atol=1e-14)


def test_a_flipped_triangle_is_reported_with_its_number(tiny_model):
    flat = flatten(tiny_model)
    uv = flat.uv.clone()
    uv[60] = uv[80] + (uv[80] - uv[60])
    with pytest.raises(MeshError, match=r"[1-9]\d* of 312 triangles lie flipped"):
        check_bijective(replace(flat, uv=uv))


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    """The mean of the open model."""
    return open_model(progress=False).truncate(0, 0, 0)


@pytest.mark.parametrize(
    ("weights", "boost"), [("uniform", 0.0), ("mean-value", 0.0), ("stretch", 0.0), ("stretch", 3.0)]
)
def test_the_open_model_lies_flat_without_a_fold_and_mirror_symmetric(face, weights, boost):
    """The mean is exactly symmetric, so its map must be; only the mouth is closed, no edge of the rim is split."""
    flat = flatten(face, weights, boost)
    assert (signed_areas(flat) > 0).all() and len(flat.parents) == 1
    a = uv_model(face, flat, 128).mean[:, :3].reshape(128, 128, 3)  # mm
    assert (a.flip(1) * torch.tensor([-1.0, 1, 1]) - a).abs().max() < 1e-3


def test_uniform_weights_lose_the_eyes_and_the_default_finds_them(face):
    """Texels of 320² in both eyes: a handful with uniform weights, hundreds with mean value, thousands by default."""
    eyes = {weights: texels_per_region(face, flatten(face, weights))["eyes"] for weights in WEIGHTS}
    assert eyes["uniform"] < 20 and 150 < eyes["mean-value"] < 500 and eyes["stretch"] > 1500


def test_a_basel_file_is_flattened_like_any_other_model(tiny_model, tmp_path):
    """float32 vertices from a file, the same closed mouth, no fold."""
    write_basel(tmp_path / "basel.h5", tiny_model)
    model = load_bfm(tmp_path / "basel.h5")
    flat = flatten(model)
    assert (signed_areas(flat) > 0).all() and sorted(flat.parents[0].tolist()) == list(range(24))
    tables = uv_model(model, flat, 32)
    assert tables.shape.dtype == torch.float32 and tables.shape.isfinite().all() and tables.albedo.isfinite().all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: replace(m, triangles=torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])), "no triangle"),
        (
            lambda m: bare_model(m.shape_mean[:4], torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])),
            "no boundary",
        ),
        (
            lambda m: bare_model(torch.cat([m.shape_mean] * 2), torch.cat([m.triangles, m.triangles + m.n_vertices])),
            "2 pieces",
        ),
        (lambda m: replace(m, shape_mean=m.shape_mean + torch.tensor([500.0, 0, 0])), "mirror plane"),
        (lambda m: replace(m, shape_mean=m.shape_mean * float("nan")), "not finite"),
        (lambda m: replace(m, triangles=torch.cat([m.triangles, m.triangles[:1, [1, 0, 2]]])), "same side"),
        (lambda m: bare_model(m.shape_mean[[0, 6, 12]], torch.tensor([[0, 1, 2]])), "corners"),
        (lambda m: replace(m, triangles=m.triangles[:0]), "no triangles"),
    ],
)
def test_a_mesh_that_cannot_be_flattened_is_refused_in_one_line_with_a_remedy(tiny_model, spoil, message):
    with pytest.raises(MeshError, match=message) as e:
        flatten(spoil(tiny_model))
    assert "\n" not in str(e.value) and ":" in str(e.value)


def test_a_torus_with_a_boundary_has_a_handle():
    n = 6
    i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")

    def p(a, b):
        return (a % n) * n + b % n

    quad = torch.stack([p(i, j), p(i + 1, j), p(i + 1, j + 1), p(i, j + 1)], -1).reshape(-1, 4)
    T = torch.cat([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])[1:]
    a, b = 2 * torch.pi * i.reshape(-1) / n, 2 * torch.pi * j.reshape(-1) / n
    X = torch.stack([(3 + b.cos()) * a.cos(), (3 + b.cos()) * a.sin(), b.sin()], -1)
    with pytest.raises(MeshError, match="1 handles"):
        flatten(bare_model(X, T))


def test_unknown_weights_and_a_negative_boost_are_refused(tiny_model):
    with pytest.raises(ValueError, match="uniform, mean-value, stretch; got 'cotangent'"):
        flatten(tiny_model, "cotangent")
    with pytest.raises(ValueError, match="negative"):
        flatten(tiny_model, boost=-1.0)
