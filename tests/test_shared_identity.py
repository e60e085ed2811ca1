"""Several photos of one person: the joint step, what the photos have in common, and what a bad one among them does."""

from dataclasses import fields, replace

import pytest
import torch
from conftest import random_model
from explained_faces import F64, draw, explained, freckled, tiny_faces

from facenb import shared_identity
from facenb.refinement import DEFAULTS, RefinementOptions, refine
from facenb.rotation import exponential
from facenb.scaled_pose import N_POSE, Pose
from facenb.shared_identity import TINY, _SamePerson, photos_of, refine_together

OPTIONS = RefinementOptions(distance=700.0, shape_prior=10.0)


@pytest.fixture(scope="module")
def faces():
    return tiny_faces(freckled(random_model(14, 48)))


def one_person(faces, n: int, seed: int = 0, size: int = 48):
    """n photos that differ in pose, light and expression; they show the first one's identity and albedo."""
    scene = explained(faces, n, seed, size)
    m = scene.m.clone()
    m[:, : faces.n_identity] = m[0, : faces.n_identity]
    return draw(faces, scene.pose, m, scene.l, scene.h[:1].expand(n, -1), size)


@pytest.fixture(scope="module")
def scene(faces):
    return one_person(faces, 4)


def perturbed(pose: Pose, seed: int = 1) -> Pose:
    """Some two pixels wrong, each photo in its own way."""
    turn = 0.12 * torch.randn(len(pose.R), 3, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return Pose(exponential(turn) @ pose.R, pose.log_scale + 0.08, pose.centre + 1.2, pose.log_distance + 0.1)


def start(scene, seed: int = 1):
    """Image, pose, m and confidence; the mean shape."""
    return scene.image, perturbed(scene.pose, seed), torch.zeros_like(scene.m), scene.covered.to(F64)


def together(faces, arguments, options=OPTIONS, **others):
    return refine_together(faces.points, *arguments, faces.n_identity, options, **others)


def neutral_error(faces, identity, truth) -> float:
    """Mean distance of neutral faces after the similarity that fits best, mm: size and place are the camera's."""
    X, Y = (faces.points.mean + faces.points.shape[:, :, : faces.n_identity] @ z for z in (identity, truth))
    X, Y = X - X.mean(0), Y - Y.mean(0)
    U, S, Vh = torch.linalg.svd(X.T @ Y)
    return (X @ U @ Vh * S.sum() / X.square().sum() - Y).norm(dim=-1).mean().item()


def slow_joint_step(problem, state, trust, damping: float) -> torch.Tensor:
    """delta (B n) of the whole system at once, put together unknown by unknown and photo by photo."""
    J, r = problem.linearise(state)
    B, _, n = J.shape
    away = problem.away(state)
    common = problem.common.tolist()
    own = [i for i in range(n) if i not in common]
    place = [[common.index(i) if i in common else len(common) + b * len(own) + own.index(i) for i in range(n)]
             for b in range(B)]  # fmt: skip
    N = len(common) + B * len(own)
    H, g = torch.zeros(N, N, dtype=F64), torch.zeros(N, dtype=F64)
    for b in range(B):
        A, a = J[b].T @ J[b], -(J[b].T @ r[b])
        for i in range(n):
            g[place[b][i]] += trust[b] * a[i]
            H[place[b][i], place[b][i]] += trust[b] * damping * A[i, i]
            for j in range(n):
                H[place[b][i], place[b][j]] += trust[b] * A[i, j]
    for b in range(B):
        for i in range(n):
            if i in common and b > 0:
                continue  # once, not once for each photo
            weight = problem.prior[i] if i in common else trust[b] * (problem.prior[i] + TINY)
            H[place[b][i], place[b][i]] += weight
            g[place[b][i]] -= weight * away[b, i]
    x = torch.linalg.solve(H, g)
    return torch.stack([x[place[b]] for b in range(B)])


@pytest.mark.parametrize("at_a_time", [16, 3])
def test_the_joint_step_is_that_of_the_whole_system(faces, scene, at_a_time, monkeypatch):
    """With unequal trust, unequal priors and a photo that was started elsewhere; Jacobians all at once or in parts."""
    monkeypatch.setattr(shared_identity, "AT_A_TIME", at_a_time)
    image, pose, m, confidence = start(scene)
    pose = replace(pose, centre=pose.centre + torch.tensor([[0.0, 0.0]] * 3 + [[5.0, 3.0]], dtype=F64))
    problem = _SamePerson(faces.points, image, confidence, faces.n_identity, OPTIONS, identity_prior=25.0)
    m = m + torch.cat([torch.full((faces.n_identity,), 0.3), torch.zeros(m.shape[1] - faces.n_identity)])
    l, h = problem.first_light(pose, m)
    state = problem.evaluate(pose, m, l, h)
    trust = problem.trust(state)
    assert trust.max() == 1 and trust.min() < 0.9
    damping = 0.7
    delta = slow_joint_step(problem, state, trust, damping)
    expected = problem.moved(state, delta)
    found = problem.step(state, torch.full((4,), damping, dtype=F64))
    for name in (f.name for f in fields(Pose)):
        torch.testing.assert_close(getattr(found[0], name), getattr(expected[0], name), rtol=1e-7, atol=1e-8)
    for x, y in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-7)
    assert (delta[:, problem.common] - delta[0, problem.common]).abs().max() == 0
    assert delta[:, N_POSE : N_POSE + 4].abs().max() < 1  # no limit of a step hides a difference


def test_identity_and_albedo_are_the_same_in_all_photos_and_the_rest_is_not(faces, scene):
    face = together(faces, start(scene))
    n = faces.n_identity
    assert (face.m[:, :n] == face.m[0, :n]).all() and (face.h == face.h[0]).all()
    assert (face.m[1:, n:] - face.m[0, n:]).abs().amax(1).min() > 0.1
    assert (face.l[1:] - face.l[0]).abs().amax((1, 2)).min() > 0.01


def test_a_shared_identity_is_better_than_the_mean_of_single_ones():
    """Five people, four noisy photos of 96 px each: error of the neutral face 0.38 mm on average, where the mean of
    four single refinements errs by 0.44."""
    faces = tiny_faces(freckled(random_model(14, 48)), 600)
    options = replace(OPTIONS, shape_prior=30.0)
    n, errors = faces.n_identity, []
    for seed in range(5):
        scene = one_person(faces, 4, seed, 96)
        image, *rest = start(scene, seed)
        image = image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
        single = refine(faces.points, image, *rest, options).m[:, :n].mean(0)
        shared = together(faces, (image, *rest), options).m[0, :n]
        errors.append([neutral_error(faces, z, scene.m[0, :n]) for z in (single, shared)])
    E = torch.tensor(errors)
    assert E[:, 1].mean() < 0.9 * E[:, 0].mean()


def test_one_photo_gives_what_refine_gives(faces, scene):
    image, pose, m, confidence = (photos_of(x, slice(0, 1)) for x in start(scene))
    alone = refine(faces.points, image, pose, m, confidence, OPTIONS)
    face = together(faces, (image, pose, m, confidence))
    for name in ("m", "l", "h", "pixels", "energy"):
        torch.testing.assert_close(getattr(face, name), getattr(alone, name), rtol=1e-6, atol=1e-6)


def test_the_order_of_the_photos_does_not_matter(faces, scene):
    arguments, order = start(scene), torch.tensor([2, 0, 3, 1])
    face = together(faces, arguments)
    other = together(faces, tuple(photos_of(x, order) for x in arguments))
    torch.testing.assert_close(other.m, face.m[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other.h, face.h[order], rtol=1e-5, atol=1e-6)


def test_a_tighter_prior_holds_identity_and_nothing_else(faces, scene):
    loose, tight = together(faces, start(scene)), together(faces, start(scene), identity_prior=1e6)
    n = faces.n_identity
    assert tight.m[:, :n].abs().max() < 0.01 < loose.m[:, :n].abs().max()
    assert tight.m[:, n:].abs().max() > 0.1


def test_the_joint_energy_falls_whatever_single_photos_do(faces, scene):
    image, pose, m, confidence = start(scene)
    problem = _SamePerson(faces.points, image, confidence, faces.n_identity, OPTIONS)
    before = problem.evaluate(pose, m, *problem.first_light(pose, m))
    after = problem.descend(pose, m, None)
    for state in (before, after):
        trust = problem.trust(state)
        assert problem.joint_energy(after, trust) < 0.5 * problem.joint_energy(before, trust)
    alone = _SamePerson(faces.points, image[:1], confidence[:1], faces.n_identity, OPTIONS)
    state = alone.evaluate(*(photos_of(x, slice(0, 1)) for x in (pose, m, before.l, before.h)))
    torch.testing.assert_close(alone.joint_energy(state, alone.trust(state)), state.energy[0])


def with_a_bad_photo(scene, case: str):
    """Four photos of a person, the last of them spoilt."""
    image, pose, m, confidence = start(scene)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=F64)
    if case == "black":
        image = image * (1 - last)[:, None, None, None]
    elif case == "outside":
        pose = replace(pose, centre=pose.centre - 500 * last[:, None])
    elif case == "noise":
        noise = torch.rand(image[0].shape, generator=torch.Generator().manual_seed(4), dtype=F64)
        image = torch.cat([image[:3], noise[None]])
    else:
        pose = replace(pose, centre=pose.centre + 9 * last[:, None], log_scale=pose.log_scale + 0.4 * last)
    return image, pose, m, confidence


@pytest.mark.parametrize("case", ["black", "outside", "noise", "started elsewhere"])
def test_a_bad_photo_changes_little(faces, case):
    """The other three are refined as without it, up to 0.5 px; and everything stays finite, in float32 as well."""
    scene = one_person(faces, 4, seed=2)
    arguments = with_a_bad_photo(scene, case)
    face = together(faces, arguments)
    without = together(faces, tuple(photos_of(x, slice(0, 3)) for x in arguments))
    assert (face.pixels[:3] - without.pixels).norm(dim=-1).mean() < 0.5
    n = faces.n_identity
    errors = [neutral_error(faces, f.m[0, :n], scene.m[0, :n]) for f in (face, without)]
    assert errors[0] < errors[1] + 0.3
    single = tuple(
        x.float() if isinstance(x, torch.Tensor) else Pose(*(getattr(x, f.name).float() for f in fields(x)))
        for x in arguments
    )
    rough = refine_together(faces.points.to(dtype=torch.float32), *single, n, OPTIONS)
    for f in (face, rough):
        tensors = [getattr(f, k.name) for k in fields(f) if k.name != "pose"]
        tensors += [getattr(f.pose, k.name) for k in fields(f.pose)]
        assert all(x.isfinite().all() for x in tensors)
    assert rough.m.dtype == torch.float32


def test_photos_that_all_show_nothing_give_the_mean_face(faces, scene):
    image, pose, m, confidence = start(scene)
    far = replace(pose, centre=pose.centre - 500)
    face = together(faces, (image, far, m + 1, confidence), DEFAULTS)
    assert (face.weight == 0).all() and face.m.abs().max() < 0.1


def test_trust_is_full_up_to_the_median_and_a_quarter_at_twice_it(faces, scene):
    image, pose, m, confidence = start(scene)
    problem = _SamePerson(faces.points, image, confidence, faces.n_identity, OPTIONS)
    state = problem.evaluate(pose, m, *problem.first_light(pose, m))
    state = replace(state, data=torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=F64), total=torch.ones(4, dtype=F64))
    assert problem.trust(state).tolist() == pytest.approx([1, 1, 0.25, 0.01])
