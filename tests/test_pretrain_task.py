"""Pretraining as a task of the trainer: its loss, its views, and that it learns."""

import pytest
import torch

from facenb.flatten import flatten
from facenb.mean_pose import Supervision, aligned_landmarks5, mean_supervision, to_pixels
from facenb.networks import Maps, build_network
from facenb.open_model import open_model
from facenb.pretrain_task import DEPTH_WEIGHT, UV_WEIGHT, PretrainTask, pretraining_loss

SIZE = 48


@pytest.fixture(scope="module")
def supervision():
    model = open_model().truncate(1, 1, 1)
    return mean_supervision(model, flatten(model), to_pixels(aligned_landmarks5(model), SIZE), SIZE)


@pytest.fixture
def task(supervision):
    return PretrainTask(build_network(), supervision, size=32)


def painted(supervision, n, generator):
    """Images in which the average face is painted in the colours of its uv, on noise: easy to learn."""
    noise = torch.rand(n, 3, SIZE, SIZE, generator=generator)
    paint = torch.cat([supervision.uv, torch.full_like(supervision.uv[:1], 0.5)])
    return torch.where(supervision.face, paint, noise)


def test_the_loss_is_the_sum_that_the_module_states():
    """By hand on 1 × 2 pixels: one of the face with |Δu| + |Δv| = 0.3, one outside where uv does not count."""
    maps = Maps(
        uv=torch.tensor([[[[0.5, 9.0]], [[0.5, 9.0]]]]),
        depth=torch.tensor([[[1.0, 1.2]]]),
        logit=torch.tensor([[[2.0, -1.0]]]),
    )
    target = Supervision(torch.tensor([[[[0.6, 0.0]], [[0.7, 0.0]]]]), torch.tensor([[[True, False]]]))
    loss, parts = pretraining_loss(maps, target)
    p = torch.sigmoid(torch.tensor([2.0, -1.0]))
    entropy = -(p[0].log() + (1 - p[1]).log()) / 2
    depth = torch.tensor(1.2).log() / 2
    assert parts == pytest.approx({"uv": 0.3, "depth": float(depth), "confidence": float(entropy)})
    torch.testing.assert_close(loss, UV_WEIGHT * 0.3 + DEPTH_WEIGHT * depth + entropy)


def test_a_perfect_answer_costs_nothing(supervision):
    exact = Maps(supervision.uv[None], torch.ones(1, SIZE, SIZE), 100 * (2.0 * supervision.face[None] - 1))
    assert pretraining_loss(exact, Supervision(supervision.uv[None], supervision.face[None]))[0] < 1e-6


def test_a_batch_without_a_face_has_a_finite_loss_and_gradient():
    o = torch.zeros(1, 2, 4, 4, requires_grad=True)
    target = Supervision(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    loss, _ = pretraining_loss(Maps(o, torch.ones(1, 4, 4), o[:, 0]), target)
    loss.backward()
    assert loss.isfinite() and o.grad.isfinite().all()


def test_images_and_supervision_move_together(task, supervision, generator):
    """Where the moved supervision says face, the painted picture shows the paint that the moved uv asks for."""
    seen, target = task.views(painted(supervision, 6, generator), generator)
    inside = -torch.nn.functional.max_pool2d(-target.face[:, None].float(), 3, 1, 1)[:, 0] > 0.5  # not at the rim
    error = (seen[:, :2] - target.uv).abs().sum(1)[inside]
    assert inside.sum() > 500 and error.median() < 0.01


def test_views_are_the_same_for_the_same_generator_and_others_for_the_next(task, supervision):
    images = painted(supervision, 2, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(4)
    first, second = task.views(images, g), task.views(images, g)
    again = task.views(images, torch.Generator().manual_seed(4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1].uv, again[1].uv)
    assert not torch.equal(first[0], second[0])


def test_photometric_views_move_as_plain_ones_do(supervision):
    plain, coloured = (PretrainTask(build_network(), supervision, 32, photometric=p) for p in (False, True))
    images = painted(supervision, 3, torch.Generator().manual_seed(1))
    a, b = (t.views(images, torch.Generator().manual_seed(4)) for t in (plain, coloured))
    assert torch.equal(a[1].uv, b[1].uv) and not torch.equal(a[0], b[0])
    assert b[0].min() >= 0 and b[0].max() <= 1


def test_a_few_steps_teach_a_network_where_the_painted_face_is(task, supervision):
    """Loss over the last five of 25 steps less than half of that over the first three."""
    g = torch.Generator().manual_seed(0)
    images = painted(supervision, 4, g)
    optimizer = torch.optim.Adam(task.network.train().parameters(), 2e-3)
    losses = []
    for _ in range(25):
        result = task.step(images, g)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(result.loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * sum(losses[:3]) / 3
    assert set(result.scalars) == {"uv", "depth", "confidence"} and result.statistics == {}


def test_images_of_another_size_than_the_supervision_are_refused(task, generator):
    with pytest.raises(ValueError, match="supervision drawn for 48 × 48 pixels, images of 40 × 40"):
        task.step(torch.rand(2, 3, 40, 40), generator)


def test_it_is_a_task_for_the_trainer(task, supervision, generator):
    assert task.name == "pretrain" and task.about["network"] == "narrow" and task.about["size"] == 32
    assert task.state_dict() == {}
    task.load_state_dict({})
    with torch.no_grad():
        pictures = task.pictures(painted(supervision, 3, generator))
    assert all(p.shape == (3, 32, 96) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())
