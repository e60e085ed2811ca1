"""Snapshots: the truth fits the picture, and picture i of seed s is the same whoever asks for it."""

import numpy as np
import pytest
import torch

from facenb.camera import Camera, project
from facenb.colour import to_linear
from facenb.flatten import flatten
from facenb.heads import Head, Part
from facenb.metrics import five_points
from facenb.open_model import open_model
from facenb.rotation import angles_from_rotation
from facenb.snapshots import BLOCK, render_snapshot, render_snapshots
from facenb.snapshots.light import Light
from facenb.snapshots.pose import Pose, frame, random_pose
from facenb.snapshots.scene import build_scene, coarse_triangles
from facenb.snapshots.snapshot import expose_scene, photographed
from facenb.snapshots.visibility import draw, lot

SIZE = 64


@pytest.fixture(scope="module")
def wild():
    return list(render_snapshots(7, range(2 * BLOCK), SIZE, "wild"))


@pytest.fixture(scope="module")
def model():
    return open_model()


def same(a, b) -> bool:
    return (a.image == b.image).all() and all(
        np.array_equal(x, y) for x, y in zip(vars(a.truth).values(), vars(b.truth).values(), strict=True)
    )


def test_a_snapshot_depends_on_seed_and_number_alone(wild):
    """Not on the numbers asked for with it, their order, or whether they are asked for one by one."""
    assert same(render_snapshot(7, 11, SIZE, "wild"), wild[11])
    asked = [13, 2, BLOCK, BLOCK]
    others = list(render_snapshots(7, asked, SIZE, "wild"))
    assert all(same(a, wild[i]) for a, i in zip(others, asked, strict=True))


def test_another_seed_or_number_is_another_picture(wild):
    images = [s.image.tobytes() for s in wild]
    assert len(set(images)) == len(images)
    assert render_snapshot(8, 0, SIZE, "wild").image.tobytes() != images[0]


def test_landmarks_are_the_models_seen_through_the_camera(wild, model):
    for snapshot in wild:
        T = snapshot.truth
        X = model.vertices(torch.from_numpy(T.identity), torch.from_numpy(T.expression))[model.landmarks68].double()
        camera = Camera(*(torch.from_numpy(a) for a in (T.K, T.R, T.t)))
        pixels, _ = project(camera, X)
        assert np.abs(pixels.numpy() - T.landmarks68).max() < 1e-3
        np.testing.assert_array_equal(T.landmarks5, five_points(torch.from_numpy(T.landmarks68)).numpy())


def test_uv_names_the_point_that_the_pixel_sees(wild, model):
    """The point of the face at (u, v) of a visible pixel lies on the pixel's ray, at its depth.

    Exact location: in which triangle of the flattening does (u, v) lie, and where.
    """
    flat = flatten(model)
    uv, corners = flat.uv.numpy(), flat.triangles.numpy()[flat.source.numpy() >= 0]
    for snapshot in wild[:4]:
        T = snapshot.truth
        X = model.vertices(torch.from_numpy(T.identity), torch.from_numpy(T.expression)).double()
        X = flat.extend(X).numpy()
        rows, columns = np.nonzero(T.mask)
        pick = np.random.default_rng(0).choice(len(rows), 60, replace=False)
        rows, columns = rows[pick], columns[pick]
        p = T.uv[rows, columns].astype(np.float64)
        a, b, c = (uv[corners[:, i]] for i in range(3))
        M = np.linalg.inv(np.stack([b - a, c - a], -1))  # T 2 2
        l = np.einsum("tij,ntj->nti", M, p[:, None] - a)  # n T 2
        weight = np.concatenate([1 - l.sum(-1, keepdims=True), l], -1)
        best = weight.min(-1).argmax(1)
        weight = np.take_along_axis(weight, best[:, None, None], 1)[:, 0]
        assert weight.min() > -1e-3
        point = np.einsum("ni,nic->nc", weight, X[corners[best]])
        camera = point @ T.R.T + T.t
        pixel = camera @ T.K.T
        pixel = pixel[:, :2] / pixel[:, 2:]
        assert np.abs(pixel - np.stack([columns, rows], -1)).max() < 0.01
        assert np.abs(camera[:, 2] - T.depth[rows, columns]).max() < 0.05


def test_truth_agrees_with_itself(wild):
    for snapshot in wild:
        T = snapshot.truth
        covered = T.depth > 0
        assert (T.mask <= covered).all()
        assert (T.uv[~covered] == 0).all() and (T.uv >= 0).all() and (T.uv <= 1).all()
        angles = angles_from_rotation(torch.from_numpy(T.R))
        np.testing.assert_allclose([T.yaw, T.pitch, T.roll], [float(a) for a in angles], atol=1e-9)
        np.testing.assert_allclose(T.R @ T.R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(T.R) > 0
        assert T.K[0, 0] == T.K[1, 1] and T.K[0, 1] == T.K[1, 0] == 0


def test_pictures_show_the_face_where_the_truth_says(wild):
    """Inside the mask neighbouring pixels differ less than across its border: the outline is where it should be."""
    inside, across = [], []
    for snapshot in wild:
        grey = snapshot.image.astype(float).mean(-1)
        step, m = np.abs(np.diff(grey, axis=1)), snapshot.truth.mask
        inside += [step[m[:, 1:] & m[:, :-1]].mean()]
        across += [step[m[:, 1:] != m[:, :-1]].mean()]
    assert np.median(across) > 1.5 * np.median(inside)


@pytest.mark.parametrize("framing", ["aligned", "wild"])
def test_framings_have_their_published_statistics(framing):
    rng = np.random.default_rng(1)
    poses = [random_pose(rng, framing) for _ in range(4000)]
    factor = np.log([p.scale / (0.40 if framing == "aligned" else 0.48) for p in poses])
    turns, shifts = np.array([p.turn for p in poses]), np.stack([p.shift for p in poses])
    yaw, pitch = (np.degrees([getattr(p, name) for p in poses]) for name in ("yaw", "pitch"))
    if framing == "aligned":
        assert factor.std() == pytest.approx(0.06, rel=0.1)
        assert turns.std() == pytest.approx(0.06, rel=0.1)
        assert shifts.std() == pytest.approx(0.02, rel=0.1)
    else:
        assert np.abs(factor).max() == pytest.approx(0.25, rel=0.01)
        assert np.degrees(np.abs(turns).max()) == pytest.approx(30, rel=0.01)
        assert np.abs(shifts).max() == pytest.approx(0.1, rel=0.01)
    assert np.abs(yaw).max() <= 50 and np.abs(pitch).max() <= 25
    spread = np.sqrt(0.6 * 45**2 / 3 + 0.4 * 12**2)
    assert yaw.std() == pytest.approx(spread, rel=0.05)
    assert pitch.std() == pytest.approx(9, rel=0.1)
    assert min(p.distance for p in poses) >= 350 and max(p.distance for p in poses) <= 2000


def test_a_hundred_millimetres_at_the_head_have_the_length_that_was_asked_for(model):
    rng = np.random.default_rng(2)
    five = five_points(model.shape_mean[model.landmarks68].double()).numpy()
    for _ in range(20):
        pose = random_pose(rng, "wild")
        view = frame(pose, 80, five)
        assert 100 / view.pixel == pytest.approx(80 * pose.scale)
        seen = (five @ view.R.T + view.t) @ view.K.T
        centre = (seen[:, :2] / seen[:, 2:]).mean(0)
        np.testing.assert_allclose(centre, 39.5 + 80 * pose.shift, atol=1e-9)


def sheet(name: str, opacity: float = 1.0) -> Part:
    """A square in front of the right half of the face."""
    X = np.array([[-100, -120, 60], [0, -120, 60], [0, 120, 60], [-100, 120, 60]], np.float32)
    T = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Part(name, X, T, np.full((4, 3), 0.3, np.float32), np.ones(4, np.float32), opacity=opacity)


def mask_behind(model, *parts: Part) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the mean face alone, and with these parts before it."""
    X = model.shape_mean.numpy()
    face = Part("face", X, model.triangles.numpy().astype(np.int32), model.colours().numpy(), np.ones(len(X), "f4"))
    pose = random_pose(np.random.default_rng(3), "aligned")
    masks = []
    for others in ((), parts):
        head = Head([face, *others], 0, np.zeros(199, "f4"), np.zeros(100, "f4"), np.zeros(199, "f4"), {})
        streams = [np.random.default_rng(i) for i in range(3)]
        masks.append(photographed(head, pose, streams, SIZE).truth.mask)
    return masks[0], masks[1]


@pytest.mark.parametrize("part", [sheet("hair"), sheet("glasses"), sheet("hand"), sheet("lenses", 0.9), sheet("mask")])
def test_what_covers_the_face_is_not_face(model, part):
    alone, covered = mask_behind(model, part)
    hidden = alone.sum() - covered.sum()
    assert 0.3 * alone.sum() < hidden < 0.7 * alone.sum()
    assert (covered <= alone).all()


@pytest.mark.parametrize("part", [sheet("beard"), sheet("lenses", 0.1)])
def test_beards_and_clear_glass_leave_it_a_face(model, part):
    alone, covered = mask_behind(model, part)
    assert (alone == covered).mean() > 0.995


def test_fewer_triangles_cover_the_same_surface(model):
    """A coarse face keeps its orientation and nearly its area, in a quarter of the triangles."""
    X, T = model.shape_mean.double().numpy(), model.triangles.numpy()
    coarse = coarse_triangles(X, T, 5.0)
    assert len(coarse) < len(T) / 3

    def vector_area(T):
        return np.cross(X[T[:, 1]] - X[T[:, 0]], X[T[:, 2]] - X[T[:, 0]]).sum(0) / 2

    np.testing.assert_allclose(vector_area(coarse), vector_area(T), atol=0.02 * np.linalg.norm(vector_area(T)))


def test_a_part_covers_its_opacity_share_of_every_pixel():
    """Nine samples, opacity α: within one of 9 α are covered, and on average just as many."""
    for opacity in (0.1, 0.35, 0.5, 0.8):
        covered = np.array([[lot(x, y, 3, 2) < opacity for x in range(90)] for y in range(90)])
        counts = covered.reshape(30, 3, 30, 3).sum((1, 3))
        assert np.abs(counts - 9 * opacity).max() < 1
        assert counts.mean() == pytest.approx(9 * opacity, abs=0.06)


def test_no_triangle_is_skipped_that_a_sample_sees():
    """The nearest of the triangles around each sample, by the definition; among them slivers, clear and ragged ones."""
    rng = np.random.default_rng(4)
    n, side, k = 60, 21, 3
    corners = rng.uniform(-8, side + 8, (n, 1, 2)) + rng.normal(0, 1, (n, 3, 2)) * rng.choice([1, 4, 12], (n, 1, 1))
    corners[::7, 2] = corners[::7, :2].mean(1) + 1e-3  # slivers
    depth = rng.uniform(700, 715, (n, 1, 1)) + rng.uniform(0, 2, (n, 3, 1))  # mm
    P = np.concatenate([corners, 1 / depth], -1).reshape(-1, 3).astype(np.float32)
    alpha = np.repeat(rng.choice([0.0, 0.6, 1.0], n, p=[0.1, 0.2, 0.7]), 3).astype(np.float32)
    T, part = np.arange(3 * n, dtype=np.int32).reshape(n, 3), (np.arange(n, dtype=np.int32) % 5)
    triangle, nearest = np.full((side, side), -1, np.int32), np.zeros((side, side), np.float32)
    draw(P, T, part, np.zeros(5, bool), alpha, k, triangle, np.zeros((side, side, 2), np.float32), nearest)

    X = P.astype(np.float64).reshape(n, 3, 3)
    for y in range(side):
        for x in range(side):
            d = X[:, :, :2] - [x, y]
            b = np.stack([np.linalg.det(d[:, [i, j]]) for i, j in ((1, 2), (2, 0), (0, 1))], -1)
            b /= b.sum(1, keepdims=True)
            w = (b * X[:, :, 2]).sum(1)  # 1/z
            there = (b >= 0).all(1) & np.array([lot(x, y, k, p) < a for p, a in zip(part, alpha[::3], strict=True)])
            seen = np.where(there, w, 0).argmax() if there.any() else -1
            assert triangle[y, x] == seen
            assert nearest[y, x] == pytest.approx(w[seen] if there.any() else 0, rel=1e-4)


def test_a_lamp_lights_by_the_cosine_and_throws_a_shadow():
    """A wall lit at 45° has radiance albedo · cos 45°, and none where a board 80 mm before it keeps the lamp off."""
    T = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    wall, board = 120 * corners, 20 * corners + np.array([0, 0, 80], np.float32)
    parts = [
        Part(name, X, T, np.full((4, 3), 0.6, "f4"), np.ones(4, "f4")) for name, X in (("wall", wall), ("b", board))
    ]
    head = Head(parts, 0, np.zeros(199, "f4"), np.zeros(100, "f4"), np.zeros(199, "f4"), {})
    lamp = np.array([[-1, 0, 1]], np.float32) / np.sqrt(np.float32(2))  # at the left of the picture
    light = Light(np.zeros((3, 9), "f4"), lamp, np.array([[1.0, 0.5, 0.25]], "f4"), np.ones(1, "f4"))
    view = frame(Pose(0.0, 0.0, 0.0, 2000.0, 0.4, np.zeros(2)), 64, np.zeros((5, 3)))
    scene = build_scene(head, np.zeros(4, "f4"), T)
    radiance, _ = expose_scene(scene, view, light, np.zeros((64, 64, 3), "f4"), 64)

    def at(x: float, y: float) -> np.ndarray:
        """Radiance of the wall's point (x, y), in mm."""
        pixel = view.K @ (view.R @ [x, y, 0] + view.t)
        column, row = np.round(pixel[:2] / pixel[2]).astype(int)
        return radiance[row, column]

    albedo = float(to_linear(torch.tensor(0.6)))
    for place in ((-60, 0), (70, 70), (40, -60)):
        np.testing.assert_allclose(at(*place), albedo * np.sqrt(0.5) * light.colours[0], rtol=0.01)
    for place in ((80, 0), (70, 10), (90, -10)):  # 80 mm to the side of the board, by the lamp's slope
        np.testing.assert_allclose(at(*place), 0, atol=0.01)
