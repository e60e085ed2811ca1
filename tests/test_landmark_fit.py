"""Camera and face from 68 points: recovery under noise and outliers, the sliding jaw, and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import facenb
from facenb.camera import Camera, intrinsics, project
from facenb.landmark_fit import JAW, _Problem, contour_candidates, fit_landmarks, visible_landmarks
from facenb.open_model import open_model
from facenb.rotation import angles_from_rotation, exponential, rotation_distance, rotation_from_angles

F64 = torch.float64
WIDTH, HEIGHT = 640, 480


def camera_of(yaw=0.0, pitch=0.0, roll=0.0, focal=900.0) -> Camera:
    t = torch.tensor([20.0, -10.0, 800.0], dtype=F64)
    return Camera(intrinsics(focal, WIDTH, HEIGHT, F64), rotation_from_angles(yaw, pitch, roll, F64), t)


def photographed(model, generator, yaw=0.0, noise=0.0, n_outliers=0):
    """A random face of the model, turned, and its 68 points: (camera, m, clean points, marked points, outliers)."""
    identity, expression, _ = model.sample(1, generator)
    camera = camera_of(yaw, 0.1, -0.1)
    X = model.vertices(identity[0], expression[0])
    clean, _ = project(camera, X[visible_landmarks(model, X, camera, contour_candidates(model))])
    marked = clean + noise * torch.randn(68, 2, generator=generator, dtype=F64)
    bad = torch.randperm(68, generator=generator)[:n_outliers]
    direction = torch.nn.functional.normalize(torch.randn(n_outliers, 2, generator=generator, dtype=F64), dim=-1)
    marked[bad] += 60 * direction
    return camera, torch.cat([identity[0], expression[0]]), clean, marked, bad


@pytest.fixture(scope="module")
def jawed_model(tiny_model):
    """The tiny model with its jaw landmarks where jaws are: on the outer ring, from right over chin to left."""
    spokes, rings = 24, tiny_model.n_vertices // 24
    around = (torch.arange(17) * 12 // 16 + 12) % spokes  # from −x over −y to +x, four of them twice
    landmarks = tiny_model.landmarks68.clone()
    landmarks[JAW] = (rings - 1) * spokes + around
    return replace(tiny_model, landmarks68=landmarks)


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.3, 0.6])
def test_clean_points_give_the_pose_and_reproject_to_a_hundredth_of_a_pixel(jawed_model, generator, yaw):
    camera, m, _, marked, _ = photographed(jawed_model, generator, yaw)
    fit = fit_landmarks(jawed_model, marked, WIDTH, HEIGHT, noise=0.001, rounds=20)
    assert fit.residual.max() < 0.01  # px
    assert rotation_distance(fit.camera.R, camera.R) < 2e-3  # rad
    assert (torch.cat([fit.identity, fit.expression]) - m).abs().max() < 0.02  # standard deviations
    assert fit.camera.K[0, 0] == pytest.approx(900, rel=0.01)
    assert torch.equal(torch.linalg.vector_norm(fit.predicted - marked, dim=-1), fit.residual)


@pytest.mark.parametrize("n_outliers", [0, 6])
def test_noise_and_six_gross_outliers_do_little_harm(jawed_model, n_outliers):
    """Points with 1 px of noise, six of them 60 px off: the face lies nearer to the truth than the points do."""
    error, angle = [], []
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        camera, _, clean, marked, bad = photographed(jawed_model, g, 0.2 * seed - 0.5, 1.0, n_outliers)
        fit = fit_landmarks(jawed_model, marked, WIDTH, HEIGHT, noise=1.0)
        error.append(torch.linalg.vector_norm(fit.predicted - clean, dim=-1).median())
        angle.append(rotation_distance(fit.camera.R, camera.R))
        good = torch.ones(68, dtype=torch.bool)
        good[bad] = False
        assert (fit.weight[bad] < 0.05).all()
        assert fit.weight[good].median() > 0.6
    assert torch.stack(error).median() < 0.8  # px
    assert torch.stack(angle).max() < 0.08  # rad, 4.6°


def test_a_loud_noise_level_keeps_the_face_average(jawed_model, generator):
    """The unit-variance prior: points that are not trusted leave the mean face, and never a caricature."""
    _, _, _, marked, _ = photographed(jawed_model, generator, noise=6.0)
    size = [
        torch.cat([fit.identity, fit.expression]).square().mean().sqrt().item()
        for fit in (fit_landmarks(jawed_model, marked, WIDTH, HEIGHT, noise=σ) for σ in (0.5, 6.0, 60.0))
    ]
    assert size[0] > size[1] > size[2]
    assert size[1] < 1.2 and size[2] < 0.1


def test_the_same_points_in_a_larger_picture_give_the_same_face(jawed_model, generator):
    _, _, _, y, _ = photographed(jawed_model, generator, 0.3, 1.0)
    small = fit_landmarks(jawed_model, y, WIDTH, HEIGHT)
    large = fit_landmarks(jawed_model, 3 * (y + 0.5) - 0.5, 3 * WIDTH, 3 * HEIGHT)
    assert torch.allclose(small.identity, large.identity, atol=1e-4)
    assert torch.allclose(small.camera.R, large.camera.R, atol=1e-4)
    assert large.camera.K[0, 0] == pytest.approx(3 * small.camera.K[0, 0].item(), rel=1e-3)
    assert large.noise == pytest.approx(3 * small.noise)


def test_a_known_focal_length_is_kept_and_an_unknown_image_size_still_works(jawed_model, generator):
    camera, _, _, y, _ = photographed(jawed_model, generator, 0.3)
    fit = fit_landmarks(jawed_model, y, WIDTH, HEIGHT, focal=900.0)
    assert fit.camera.K[0, 0] == pytest.approx(900)
    assert torch.allclose(fit.camera.t, camera.t, rtol=0.05, atol=5)
    fit = fit_landmarks(jawed_model.to(dtype=torch.float32), y.float())
    assert fit.residual.median() < 1 and fit.camera.K.dtype == fit.identity.dtype == torch.float32
    assert torch.allclose(fit.camera.K[:2, 2], y.mean(0).float())


def test_points_without_confidence_are_ignored(jawed_model, generator):
    _, _, clean, y, _ = photographed(jawed_model, generator)
    confidence = torch.ones(68)
    confidence[40:50] = 0
    fit = fit_landmarks(jawed_model, torch.where(confidence[:, None] > 0, y, 0.0), WIDTH, HEIGHT, confidence=confidence)
    assert torch.linalg.vector_norm(fit.predicted - clean, dim=-1).max() < 4  # px, even where nothing was marked
    assert (fit.weight[40:50] == 0).all()


def test_the_normal_equations_hold_the_gradient_of_the_cost(jawed_model, generator):
    """Jᵀ r (with prior) is half the gradient that autograd finds for the robust cost, at exp(0) R."""
    camera, m, _, y, _ = photographed(jawed_model, generator, 0.3, 2.0, 4)
    problem = _Problem(jawed_model, y, torch.ones(68, dtype=F64), 1.5, 1200.0, fixed_focal=False)
    problem.look_at_vertices(jawed_model.landmarks68, camera, m)
    _, g = problem.normal_equations(camera, m)
    step = torch.zeros(7 + len(m), dtype=F64, requires_grad=True)
    moved, m_moved = problem.move(camera, m, step)
    # `move` writes log f into a clone of K, so autograd follows it
    problem.cost(Camera(moved.K, exponential(step[:3]) @ camera.R, moved.t), m_moved).backward()
    assert torch.allclose(step.grad, 2 * g, rtol=1e-8, atol=1e-8)


def test_a_frontal_jaw_stays_and_a_turned_one_slides_on_the_far_side_only(jawed_model):
    candidates, X = contour_candidates(jawed_model), jawed_model.shape_mean
    own = jawed_model.landmarks68
    assert torch.equal(visible_landmarks(jawed_model, X, camera_of(), candidates), own)

    camera = camera_of(yaw=0.8)  # to its left: its left cheek (+x, the last jaw points) is the far side
    slid = visible_landmarks(jawed_model, X, camera, candidates)
    assert torch.equal(slid[17:], own[17:])
    assert torch.equal(slid[:6], own[:6])
    assert (slid[14:17] != own[14:17]).all()
    pixels, _ = project(camera, X)
    assert (pixels[slid[14:17], 0] > pixels[own[14:17], 0]).all()  # farther out in the picture


def test_faces_that_cannot_be_are_refused_in_a_line(jawed_model, generator):
    _, _, _, y, _ = photographed(jawed_model, generator)

    def refuses(landmarks, match, model=jawed_model, **options):
        with pytest.raises(ValueError, match=match):
            fit_landmarks(model, landmarks, WIDTH, HEIGHT, **options)

    refuses(y[:5], r"68 landmarks .* got \(5, 2\)")
    refuses(y.T, "68 landmarks")
    refuses(torch.where(torch.arange(68)[:, None] == 7, torch.nan, y), r"landmarks \[7\] are not finite")
    refuses(torch.ones(68, 2), "one point")
    refuses(torch.linspace(0, 99, 68)[:, None] * torch.tensor([1.0, 2.0]), "line")
    refuses(y * torch.tensor([-1.0, 1.0]), "left and right swapped")
    refuses(y * torch.tensor([1.0, -1.0]), "y point up")
    refuses(y, "noise must be positive", noise=0.0)
    refuses(y, "at least eight", confidence=torch.zeros(68))
    refuses(y, "no 68 landmark vertices", model=replace(jawed_model, landmarks68=torch.zeros(0, dtype=torch.int64)))


# --- on the open model


@pytest.fixture(scope="module")
def face_model():
    return open_model(progress=False)


@pytest.mark.parametrize("yaw", [0.7, -0.7])
def test_a_turned_face_with_six_outliers_is_found_on_the_open_model(face_model, generator, yaw):
    """1 px of noise on a face 160 px wide; the jaw of a head turned by 40° is its outline, and sliding helps."""
    model = face_model.to(dtype=F64)
    camera, _, clean, marked, bad = photographed(model, generator, yaw, 1.0, 6)
    fit = fit_landmarks(model, marked, WIDTH, HEIGHT, noise=1.0)
    stiff = fit_landmarks(model, marked, WIDTH, HEIGHT, noise=1.0, contour=False)
    error, stiff_error = (torch.linalg.vector_norm(f.predicted - clean, dim=-1).median() for f in (fit, stiff))
    assert error < 0.9 and error < stiff_error  # px
    assert rotation_distance(fit.camera.R, camera.R) < 0.06  # rad
    assert (fit.weight[bad] < 0.05).all()


def test_a_real_portrait_is_explained_to_three_percent_of_the_distance_of_the_eyes(face_model):
    """NASA's portrait of Eileen Collins, who looks nearly straight into the lens; hand-placed points."""
    path = Path(facenb.__file__).parent / "data" / "astronaut_landmarks68.json"
    y = torch.tensor(json.loads(path.read_text())["landmarks68"])
    fit = fit_landmarks(face_model, y, 512, 512)
    between_eyes = torch.linalg.vector_norm(y[36:42].mean(0) - y[42:48].mean(0))
    assert fit.residual.median() < 0.03 * between_eyes
    assert all(abs(angle) < 0.15 for angle in angles_from_rotation(fit.camera.R))
    assert torch.cat([fit.identity, fit.expression]).square().mean().sqrt() < 1  # no caricature
    assert 500 < torch.linalg.vector_norm(fit.camera.centre) < 3000  # mm
