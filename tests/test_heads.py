"""Heads around the face: the regression, the seam, and random people with everything they wear."""

import numpy as np
import pytest
import torch

from facenb.heads import head_model, random_head, random_heads
from facenb.heads import people as people_module
from facenb.heads.cage import N_COLUMNS
from facenb.heads.hair import STYLES, end_heights, random_style
from facenb.heads.headwear import KINDS as HATS
from facenb.heads.headwear import headwear
from facenb.heads.mesh_tools import carried, normals_of, resampled, turned
from facenb.heads.occluders import _cup, _hand, _microphone, _phone, _surgical_mask
from facenb.heads.patterns import KINDS as PATTERNS
from facenb.heads.patterns import pattern
from facenb.heads.updo import tied_hair
from facenb.normals import vertex_normals
from facenb.open_model import open_model


@pytest.fixture(scope="module")
def model():
    return head_model(progress=False)


@pytest.fixture(scope="module")
def heads(model):
    return random_heads([np.random.default_rng(seed) for seed in range(50)], model)


def check(part):
    V = len(part.vertices)
    assert part.vertices.dtype == np.float32 and part.triangles.dtype == np.int32, part.name
    assert np.isfinite(part.vertices).all(), part.name
    assert np.abs(part.vertices).max() < 900, part.name
    assert part.triangles.size == 0 or (part.triangles.min() >= 0 and part.triangles.max() < V), part.name
    for values in (part.colour, part.occlusion, part.alpha):
        if values is not None:
            assert len(values) == V, part.name
            assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1, part.name
    if part.normals is not None:
        assert np.allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-4)


def test_fifty_random_people_are_made_of_sound_meshes(heads):
    for head in heads:
        assert head.parts[head.face].name == "face"
        for part in head.parts:
            check(part)


def test_the_face_is_the_open_models_own(heads):
    model = open_model(progress=False)
    for head in heads[:5]:
        X = model.vertices(torch.from_numpy(head.identity), torch.from_numpy(head.expression)).numpy()
        assert np.abs(head.parts[head.face].vertices - X).max() < 1e-2
        assert np.array_equal(head.parts[head.face].triangles, model.triangles.numpy())


def test_the_seam_closes_to_the_last_bit(model, heads):
    whole = model.whole
    for head in heads[:10]:
        face, body = head.parts[0], head.parts[1]
        assert np.array_equal(body.vertices[whole.rim], face.vertices[whole.face_rim])
        assert np.array_equal(body.normals[whole.rim], face.normals[whole.face_rim])


def test_the_regression_predicts_the_rim_before_it_is_corrected(model):
    """Coefficients beyond those the context follows are all that the prediction may miss along the cut."""
    whole, rng = model.whole, np.random.default_rng(0)
    m = rng.standard_normal((20, model.n_identity)).astype(np.float32)
    m[:, 60:] = 0
    still = np.zeros((20, model.n_expression), np.float32)
    face, _ = model.shapes(m, still)
    flat = (m[:, :60] @ whole.basis[:60].reshape(60, -1)).reshape(20, -1, 3)
    predicted = whole.mean[whole.rim] + flat[:, whole.rim]
    miss = np.linalg.norm(predicted - face[:, whole.face_rim], axis=-1)
    spread = np.linalg.norm(face[:, whole.face_rim] - model.face_mean[whole.face_rim], axis=-1)
    assert np.sqrt((miss**2).mean()) < 0.2 * np.sqrt((spread**2).mean())


def test_the_mean_surroundings_are_mirror_symmetric(model):
    for where in model.whole.part.values():
        X = model.whole.mean[where]
        mirrored = X * np.array([-1, 1, 1], np.float32)
        distance = (
            np.sqrt(((mirrored[:, None] - X[None]) ** 2).sum(-1).min(1)) if len(X) < 400 else _nearest(mirrored, X)
        )
        assert distance.max() < 0.05


def _nearest(a, b):
    from scipy.spatial import cKDTree

    return cKDTree(b).query(a)[0]


def test_body_edges_belong_to_one_or_two_triangles_and_the_rim_to_one(model):
    T = model.whole.triangles["body"]
    sides = np.concatenate([T[:, [0, 1]], T[:, [1, 2]], T[:, [2, 0]]])
    assert len(np.unique(sides, axis=0)) == len(sides)  # consistently oriented, no edge used twice the same way
    alone = {tuple(s) for s in sides} - {tuple(s[::-1]) for s in sides}
    boundary = {v for side in alone for v in side}
    assert set(model.whole.rim.tolist()) <= boundary
    low = model.whole.mean[[v for v in boundary if v not in set(model.whole.rim.tolist())]]
    assert low[:, 1].max() < -250  # the only other edge is where the chest ends: no cracks between coarse and fine


def test_the_same_seed_gives_the_same_head(model):
    a, b = (random_head(np.random.default_rng(7), model) for _ in range(2))
    assert a.traits == b.traits and len(a.parts) == len(b.parts)
    for p, q in zip(a.parts, b.parts, strict=True):
        assert np.array_equal(p.vertices, q.vertices) and np.array_equal(p.colour, q.colour)


def test_a_head_hardly_depends_on_its_company(model):
    """Heads are made a dozen at a time; only the rounding of the matrix product may differ."""
    alone = random_head(np.random.default_rng(3), model)
    second = random_heads([np.random.default_rng(1), np.random.default_rng(3)], model)[1]
    assert alone.traits == second.traits
    assert np.abs(alone.parts[0].vertices - second.parts[0].vertices).max() < 1e-3


def test_people_differ(heads):
    assert len({head.traits["hair"] for head in heads}) >= 5
    assert len({head.traits["clothes"] for head in heads}) >= 5
    tones = np.array([np.median(head.parts[0].colour, axis=0) for head in heads])
    assert tones.std(0).min() > 0.06


def test_the_chest_turns_and_the_head_does_not(model):
    straight, turned_chest = (
        random_heads([np.random.default_rng(5)], model, [turn])[0] for turn in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0))
    )
    assert np.array_equal(straight.parts[0].vertices, turned_chest.parts[0].vertices)
    moved = np.linalg.norm(straight.parts[1].vertices - turned_chest.parts[1].vertices, axis=1)
    assert moved[model.whole.turn == 0].max() < 1e-3
    assert np.median(moved[model.whole.turn > 0.99]) > 20


def test_the_body_takes_the_colours_of_the_face_at_the_cut(model):
    colours = model.colours(np.random.default_rng(0).standard_normal((1, model.n_albedo)))[0]
    from facenb.heads.complexion import body_colours, skin_tone

    body = body_colours(model, colours, skin_tone(model, colours), np.random.default_rng(0))
    plain = model.whole.rim[model.whole.ears[model.whole.rim] < 0.05]
    at_rim = colours[model.whole.face_rim[model.whole.ears[model.whole.rim] < 0.05]]
    assert np.abs(body[plain] - at_rim).max() < 0.03


@pytest.mark.parametrize("kind", HATS)
def test_every_hat_can_be_worn(model, kind):
    for seed in range(8):
        for part in headwear(kind, model.cage, np.zeros_like(model.cage.tight), np.random.default_rng(seed)):
            check(part)


def test_every_prop_can_be_held(model):
    rng = np.random.default_rng(0)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        place = ("chin", "cheek", "mouth", "jaw", "temple", "forehead", "nose")[seed % 7]
        check(_hand(model, place, np.array([0.7, 0.5, 0.4]), rng))
        for make in (_phone, _cup, _microphone):
            for part in make(model, rng):
                check(part)
    for part in _surgical_mask(model, np.zeros_like(model.cage.tight), rng):
        check(part)
    for kind in ("bun", "top knot", "ponytail"):
        check(tied_hair(kind, model.cage, np.zeros_like(model.cage.tight), np.full(3, 0.3), 0.2, rng))


def test_props_touch_the_face_but_do_not_swallow_it(model):
    """A phone laid on the mean face leaves all but a few percent of its own corners in front of it."""
    from facenb.heads.occluders import _cells

    for seed in range(10):
        (part,) = _phone(model, np.random.default_rng(seed))
        behind = part.vertices[:, 2] < model.heights[_cells(part.vertices)] - 1
        assert behind.mean() <= 0.05


@pytest.mark.parametrize("man", [0.0, 1.0])
def test_every_style_of_hair_appears_that_should(man):
    rng = np.random.default_rng(0)
    names = {random_style(man, 0.5, np.full(3, 0.2, np.float32), 0.3, rng).name for _ in range(600)}
    assert names >= {name for name, chances in STYLES.items() if chances[int(man)] > 0.02}


def test_hair_ends_join_at_the_front_and_at_the_back():
    style = random_style(0.0, 0.3, np.full(3, 0.2, np.float32), 0.3, np.random.default_rng(2))
    for a, b in ((-0.01, 0.01), (179.99, -179.99)):
        heights = end_heights(style, np.array([a, b]))
        assert abs(heights[0] - heights[1]) < 0.5


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns_are_standardised_and_close_around_the_head(kind):
    p = pattern(kind, np.random.default_rng(0))
    assert abs(p.mean()) < 1e-4 and abs(p.std() - 1) < 1e-3
    step = np.abs(np.diff(p, axis=1)).max()
    assert p.shape[1] == N_COLUMNS and np.abs(p[:, 0] - p[:, -1]).max() <= 1.5 * step


def test_normals_agree_with_the_packages():
    rng = np.random.default_rng(0)
    X, T = rng.standard_normal((30, 3)), rng.integers(0, 30, (50, 3))
    T = T[(T[:, 0] != T[:, 1]) & (T[:, 1] != T[:, 2]) & (T[:, 0] != T[:, 2])].astype(np.int32)
    used = np.unique(T)
    expected = vertex_normals(torch.from_numpy(X), torch.from_numpy(T).long()).numpy()
    assert np.allclose(normals_of(X, T)[used], expected[used], atol=1e-9)


def test_a_turn_by_the_whole_share_is_a_rotation():
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(1)
    X, pivot = rng.standard_normal((20, 3)).astype(np.float32), np.array([1, 2, 3], np.float32)
    R = Rotation.from_rotvec([0.2, 0.6, -0.1]).as_matrix()
    result = turned(X, np.ones(20, np.float32), (0.6, 0.2, -0.1), pivot)
    assert np.allclose(result, (X - pivot) @ R.T + pivot, atol=1e-5)
    assert np.array_equal(turned(X, np.zeros(20, np.float32), (0.6, 0.2, -0.1), pivot), X)


def test_resampling_in_place_keeps_smooth_values_and_carrying_is_a_weighted_sum():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 10, (300, 2)).astype(np.float32)
    values = (points @ np.array([[0.1], [0.05]])).astype(np.float32)
    assert np.abs(resampled(points, points, values, 0.3) - values).max() < 0.05
    D = rng.standard_normal((9, 3)).astype(np.float32)
    index, weight = rng.integers(0, 9, (5, 3)).astype(np.int32), rng.random((5, 3)).astype(np.float32)
    assert np.allclose(carried(D, index, weight), (D[index] * weight[..., None]).sum(1), atol=1e-6)


def test_chances_are_probabilities():
    assert all(0 <= chance <= 1 for chance in people_module.CHANCES.values())
