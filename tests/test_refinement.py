"""Photometric Gauss–Newton: its Jacobian, its energy, and that it finds back to faces it can explain."""

from dataclasses import fields, replace

import pytest
import torch
from conftest import random_model
from explained_faces import F64, SIZE, explained, freckled, tiny_faces

from facenb.face_points import random_points, vertices_as_points
from facenb.flatten import flatten
from facenb.refinement import DARKEST, DEFAULTS, RefinementOptions, RefinementProblem, _slopes, refine, solve_damped
from facenb.rotation import exponential
from facenb.scaled_pose import N_POSE, Pose
from facenb.softplus_clamp import softplus_clamp, softplus_unclamp


@pytest.fixture(scope="module")
def faces():
    return tiny_faces(freckled(random_model(14, 48)))


@pytest.fixture(scope="module")
def scene(faces):
    return explained(faces, 3)


def perturbed(pose: Pose, seed: int = 1) -> Pose:
    """Some two pixels wrong: about 10°, 8 % of scale, 1.7 px and 10 % of distance."""
    turn = 0.12 * torch.randn(len(pose.R), 3, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return Pose(exponential(turn) @ pose.R, pose.log_scale + 0.08, pose.centre + 1.2, pose.log_distance + 0.1)


def pixel_error(faces, scene, face) -> torch.Tensor:
    """Mean distance between where the face has its points and where the picture shows them, px, of each image."""
    X0 = faces.points.centre
    found, _ = face.pose.project(faces.points.at(face.m) - X0)
    true, _ = scene.pose.project(faces.points.at(scene.m) - X0)
    return (found - true).norm(dim=-1).mean(1)


def refined(faces, scene, image=None, confidence=None, trace=None, **options):
    """From the perturbed pose and the mean shape."""
    image = scene.image if image is None else image
    confidence = scene.covered.to(F64) if confidence is None else confidence
    m = torch.zeros_like(scene.m)
    return refine(faces.points, image, perturbed(scene.pose), m, confidence, RefinementOptions(**options), trace)


def finite(face) -> bool:
    parts = [getattr(face, f.name) for f in fields(face) if f.name != "pose"]
    return all(x.isfinite().all() for x in parts + [getattr(face.pose, f.name) for f in fields(face.pose)])


def ramp(n: int, seed: int = 0) -> torch.Tensor:
    """Pictures whose clamped colours are linear in x and y: bilinear samples and Scharr's slopes are then exact."""
    g = torch.Generator().manual_seed(seed)
    a, b = 0.004 * (2 * torch.rand(2, n, 3, 1, 1, generator=g, dtype=F64) - 1)
    t = torch.arange(SIZE, dtype=F64) - SIZE / 2
    return softplus_unclamp(0.55 + a * t + b * t[:, None])


def test_scharr_is_exact_on_a_ramp_and_smooths_noise_across():
    clamped = softplus_clamp(ramp(2))
    gx, gy = _slopes(clamped)
    inner = (..., slice(1, -1), slice(1, -1))
    for slope, axis in ((gx, -1), (gy, -2)):
        torch.testing.assert_close(slope[inner], clamped.diff(dim=axis)[..., :1, :1].expand_as(slope[inner]))
    impulse = torch.zeros(1, 3, 5, 5, dtype=F64)
    impulse[:, :, 2, 2] = 1
    scharr = torch.tensor([[3.0, 0, -3], [10, 0, -10], [3, 0, -3]], dtype=F64) / 32
    gx, gy = _slopes(impulse)
    torch.testing.assert_close(gx[0, 0, 1:4, 1:4], scharr)
    torch.testing.assert_close(gy[0, 0, 1:4, 1:4], scharr.T)


def test_the_jacobian_is_the_derivative_of_the_residuals_in_every_unknown(faces, scene):
    """Against central differences of r_k = i(x_k) − (c + D h) / (F l): pose 7, m, l 27, h, at a random face.

    On a ramp, where the slope is exact; the shape also turns the normals, and with them the shading.
    """
    problem = RefinementProblem(faces.points, ramp(3), scene.covered.to(F64), DEFAULTS)
    state = problem.evaluate(scene.pose, scene.m, scene.l, scene.h)
    J, r = problem.linearise(state)
    row = (state.weight.sqrt() / state.sigma)[..., None]
    inside = (state.weight > 0) & (state.pixels.amin(-1) > 3) & (state.pixels.amax(-1) < SIZE - 4)
    assert inside.sum() > 400 and state.inverse.min() > DARKEST
    torch.testing.assert_close(r, (row * state.residual).flatten(1))
    Ns, Na = faces.points.n_shape, faces.points.n_albedo
    assert J.shape[-1] == N_POSE + Ns + 27 + Na

    def residual(step):  # B n → B K 3
        d, d_m, d_l, d_h = step.split([N_POSE, Ns, 27, Na], 1)
        pose = scene.pose.move(d)
        moved = problem.evaluate(pose, scene.m + d_m, scene.l + d_l.unflatten(1, (3, 9)), scene.h + d_h)
        return moved.residual

    largest = 0.0
    for i in range(J.shape[-1]):
        step = torch.zeros(3, J.shape[-1], dtype=F64)
        step[:, i] = 1e-5
        slope = row * (residual(step) - residual(-step)) / 2e-5
        found = J[..., i].unflatten(1, (-1, 3))
        torch.testing.assert_close(found[inside], slope[inside], rtol=1e-6, atol=1e-6, msg=lambda m, i=i: f"{i}: {m}")
        largest = max(largest, slope[inside].abs().max().item())
    assert largest > 1  # there was something to compare


def test_the_solution_is_that_of_the_system_however_badly_its_columns_are_scaled():
    g = torch.Generator().manual_seed(2)
    J = torch.randn(2, 30, 5, generator=g, dtype=F64) * torch.tensor([1e-3, 1.0, 1e4, 3.0, 1e-2], dtype=F64)
    ridge = torch.rand(2, 5, generator=g, dtype=F64)
    x = torch.randn(2, 5, generator=g, dtype=F64)
    A = J.mT @ J
    b = ((A + torch.diag_embed(ridge + 1e-9)) @ x[..., None])[..., 0]
    torch.testing.assert_close(solve_damped(A, b, ridge), x)


def test_it_comes_back_from_a_perturbed_pose(faces, scene):
    """Points are five times nearer to their pixels after eight steps, though the shape, too, had to be found."""
    start = refined(faces, scene, steps=0)
    end = refined(faces, scene)
    before, after = pixel_error(faces, scene, start), pixel_error(faces, scene, end)
    assert (before > 1.5).all()
    assert (after < before / 5).all()
    assert (end.residual.mean(1) < 0.02).all() and (start.residual.mean(1) > 0.03).all()


def test_light_and_albedo_are_found_in_one_go_when_the_face_is_known(faces, scene):
    """From the true pose and shape: the reciprocal shading F l of all points within 5 % at the median."""
    start = refine(faces.points, scene.image, scene.pose, scene.m, scene.covered.to(F64), RefinementOptions(steps=0))
    problem = RefinementProblem(faces.points, scene.image, scene.covered.to(F64), DEFAULTS)
    found = problem.evaluate(scene.pose, scene.m, start.l, start.h)
    true = problem.evaluate(scene.pose, scene.m, scene.l, scene.h)
    assert (found.inverse / true.inverse - 1).abs()[true.weight > 0.5].median() < 0.05
    assert start.residual.mean() < 0.03


def test_a_photo_that_shows_nothing_gets_the_usual_shape(faces, scene):
    """Without any believed point only the prior speaks."""
    usual = torch.linspace(-1, 1, scene.m.shape[1], dtype=F64)
    options = RefinementOptions(steps=12, believe=0.0)
    nothing = torch.zeros_like(scene.covered, dtype=F64)
    face = refine(faces.points, scene.image, scene.pose, 0 * scene.m, nothing, options, usual=usual)
    assert torch.allclose(face.m, usual.expand_as(face.m), atol=0.02)


def test_energies_never_rise(faces, scene):
    energies = []
    end = refined(faces, scene, steps=12, trace=lambda step, face: energies.append(face.energy))
    E = torch.stack(energies)
    assert (E[1:] <= E[:-1]).all() and (E[-1] < 0.3 * E[0]).all()
    assert torch.equal(E[-1], end.energy)


def test_the_trace_is_told_of_every_step_and_of_the_end(faces, scene):
    told = []
    end = refined(faces, scene, steps=3, trace=lambda step, face: told.append((step, face)))
    assert [step for step, _ in told] == [0, 1, 2, 3]
    torch.testing.assert_close(told[0][1].pose.centre, perturbed(scene.pose).centre)
    assert torch.equal(told[-1][1].m, end.m)


def with_patch(scene, colour) -> torch.Tensor:
    """A square of 10 × 10 px on the face, an eighth of it."""
    image = scene.image.clone()
    image[..., 10:20, 26:36] = torch.tensor(colour, dtype=F64)[:, None, None]
    return image


@pytest.mark.parametrize("colour", [(0.05, 0.02, 0.0), (1.0, 0.0, 1.0)], ids=["dark", "purple"])
def test_what_is_painted_over_hardly_matters(faces, colour):
    """Median over six faces, from the perturbed pose, with a tight limit: less than twice the error without the patch.
    Without robust weights it is three times as large. The default limit lies between the two.
    """
    scene = explained(faces, 6, seed=3)
    image = with_patch(scene, colour)

    def error(photo, **options):
        return pixel_error(faces, scene, refined(faces, scene, photo, **options)).median()

    tight = refined(faces, scene, image, outlier=2.0)
    robust, naive = pixel_error(faces, scene, tight).median(), error(image, outlier=1e6)
    assert robust < 2 * error(scene.image)
    assert naive > 3 * robust and robust < error(image) < naive
    x, y = tight.pixels.unbind(-1)
    under = (x > 27) & (x < 34) & (y > 11) & (y < 18)
    assert tight.weight[under].mean() < 0.2 * tight.weight[~under].mean()


def test_a_point_loses_three_quarters_of_its_weight_at_the_outlier_limit(faces, scene):
    """All weights by the formula (1 + t / cut)⁻², t the squared residual in standard deviations."""
    problem = RefinementProblem(faces.points, with_patch(scene, (0.0, 0.0, 0.0)), scene.covered.to(F64), DEFAULTS)
    state = problem.evaluate(scene.pose, scene.m, scene.l, scene.h)
    deviations = (state.residual.square().mean(-1).sqrt() / state.sigma)[state.weight > 0]
    full = problem._seen(scene.pose, scene.m)[-1][state.weight > 0]
    share = state.weight[state.weight > 0] / full
    torch.testing.assert_close(share, (1 + (deviations / DEFAULTS.outlier) ** 2) ** -2)
    assert share.min() < 0.25 < share.max()


def test_only_points_that_face_the_camera_inside_the_picture_count(faces, scene):
    turned = replace(scene.pose, R=exponential(torch.tensor([[0.0, 1.2, 0.0]], dtype=F64)) @ scene.pose.R)
    face = refine(faces.points, scene.image, turned, scene.m, torch.ones(3, SIZE, SIZE, dtype=F64), _no_steps())
    normals = faces.points.normals(scene.m) @ turned.R.mT
    away = normals[..., 2] > 0.3  # z points away from the camera: perspective changes this by less than 0.2
    assert away.any() and (face.weight[away] == 0).all()
    for axis, by in ((0, 20.0), (0, -20.0), (1, 20.0), (1, -20.0)):
        shift = torch.zeros(2, dtype=F64)
        shift[axis] = by
        shifted = replace(scene.pose, centre=scene.pose.centre + shift)
        face = refine(faces.points, scene.image, shifted, scene.m, torch.ones(3, SIZE, SIZE, dtype=F64), _no_steps())
        x = face.pixels[..., axis]
        outside = (x <= 0.5) | (x >= SIZE - 1.5)
        assert outside.any() and (face.weight[outside] == 0).all() and (face.weight[~outside] > 0).any()


def _no_steps():
    return RefinementOptions(steps=0)


def test_points_where_the_network_sees_no_face_hardly_count(faces, scene):
    left = torch.zeros(3, SIZE, SIZE, dtype=F64)
    left[..., : SIZE // 2] = 1
    face = refine(faces.points, scene.image, scene.pose, scene.m, left, RefinementOptions(steps=0, outlier=1e6))
    x = face.pixels[..., 0]
    believed, other = face.weight[x < SIZE / 2 - 1], face.weight[x > SIZE / 2]
    assert believed.max() == pytest.approx(1)
    assert other.max() == pytest.approx(DEFAULTS.believe)


@pytest.mark.parametrize("case", ["black", "white", "no confidence", "outside", "behind the limits"])
def test_whatever_the_picture_the_answer_is_finite(faces, scene, case):
    image, confidence, pose, m = scene.image, scene.covered.to(F64), perturbed(scene.pose), torch.zeros_like(scene.m)
    if case == "black":
        image = torch.zeros_like(image)
    elif case == "white":
        image = torch.ones_like(image)
    elif case == "no confidence":
        confidence = torch.zeros_like(confidence)
    elif case == "outside":
        pose = replace(pose, centre=pose.centre - 500)
    else:
        pose, m = replace(pose, log_scale=pose.log_scale + 9, log_distance=pose.log_distance - 1.2), m + 3
    for dtype in (F64, torch.float32):
        points = faces.points.to(dtype=dtype)
        there = Pose(*(getattr(pose, f.name).to(dtype) for f in fields(Pose)))
        face = refine(points, image.to(dtype), there, m.to(dtype), confidence.to(dtype))
        assert finite(face), dtype
        assert (face.m.abs() <= 3).all() and face.pixels.dtype == dtype


def test_the_blind_face_stays_near_the_mean(faces, scene):
    """A face outside the picture: no point counts, and the prior draws the shape back to zero."""
    far = replace(scene.pose, centre=scene.pose.centre - 500)
    face = refine(faces.points, scene.image, far, torch.ones_like(scene.m), scene.covered.to(F64))
    assert (face.weight == 0).all() and face.m.abs().max() < 0.1


def test_a_batch_gives_what_each_image_gives_alone(faces, scene):
    together = refined(faces, scene)
    start = perturbed(scene.pose)
    for i in range(3):
        pose = Pose(*(getattr(start, f.name)[i : i + 1] for f in fields(Pose)))
        m, c = torch.zeros_like(scene.m[:1]), scene.covered[i : i + 1].to(F64)
        alone = refine(faces.points, scene.image[i : i + 1], pose, m, c)
        for name in ("m", "l", "h", "pixels", "energy"):
            torch.testing.assert_close(getattr(together, name)[i : i + 1], getattr(alone, name), rtol=1e-6, atol=1e-7)


def test_a_brighter_light_is_light_and_no_other_face(faces, scene):
    """The clamped picture times a factor: l is divided by it, everything else stays nearly as it was."""
    brighter = softplus_unclamp(1.15 * softplus_clamp(scene.image))
    a, b = refined(faces, scene), refined(faces, scene, brighter)
    assert (a.pixels - b.pixels).norm(dim=-1).median() < 0.1
    assert (b.l[..., 0] * 1.15 / a.l[..., 0] - 1).abs().max() < 0.05


def test_the_camera_is_held_at_its_usual_distance(faces, scene):
    """Nearly flat faces hardly tell it: a tight prior fixes it."""
    near, far = (
        refined(faces, scene, distance=d, distance_spread=1.001).pose.log_distance.exp() for d in (500.0, 1000.0)
    )
    torch.testing.assert_close(near, torch.full((3,), 500.0, dtype=F64), rtol=0.01, atol=0)
    torch.testing.assert_close(far, torch.full((3,), 1000.0, dtype=F64), rtol=0.01, atol=0)


def test_refinement_needs_no_gradient_and_leaves_its_inputs_alone(tiny_model):
    surface = vertices_as_points(tiny_model, flatten(tiny_model))
    points = random_points(surface, tiny_model.triangles, 60, torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 32, 32, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pose = Pose(
        torch.diag(torch.tensor([1.0, -1, -1], dtype=F64))[None],
        torch.tensor([-1.6], dtype=F64),
        torch.full((1, 2), 16.0, dtype=F64),
        torch.tensor([6.5], dtype=F64),
    )
    before = [getattr(pose, f.name).clone() for f in fields(Pose)]
    face = refine(points, image, pose, torch.zeros(1, points.n_shape, dtype=F64), torch.ones(1, 32, 32, dtype=F64))
    assert not face.m.requires_grad and not face.pose.R.requires_grad
    assert all(torch.equal(a, getattr(pose, f.name)) for a, f in zip(before, fields(Pose), strict=True))
