"""Refine and distil: what the network is taught, how it is told, and that nothing but the images enters."""

import io
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import random_model
from explained_faces import F64, SIZE, TinyNet, explained, freckled, photos, single_images, tiny_faces
from PIL import Image
from torch import nn

from facenb.augment import mirrored_at_random, random_similarity, warp
from facenb.camera import project
from facenb.checkpoint import checkpoints
from facenb.correspondence_fit import fit_correspondence
from facenb.distil_task import (
    DEPTH_WEIGHT,
    FORGET,
    FORGET_FACES,
    LEAN,
    UV_WEIGHT,
    DistilTask,
    distil_loss,
    upright,
)
from facenb.face_points import FacePoints
from facenb.flatten import flatten
from facenb.image_sets import open_images
from facenb.lessons import UNEXPLAINED, Targets, closed, draw_targets, face_tables, first_guess
from facenb.networks import Maps
from facenb.refinement import Refined, RefinementOptions, refine
from facenb.scaled_pose import pose_of
from facenb.shards import Description, images_path, member_name, start_dataset, truth_path, write_shard
from facenb.train_config import TrainConfig
from facenb.trainer import train


@pytest.fixture(scope="module")
def faces():
    return tiny_faces(freckled(random_model(14, 48)))


@pytest.fixture(scope="module")
def single(faces):
    """The same in float32, as training has them."""
    tables = faces.tables.to(dtype=torch.float32)
    return replace(
        faces,
        surface=faces.surface.to(dtype=torch.float32),
        points=faces.points.to(dtype=torch.float32),
        tables=tables,
    )


@pytest.fixture(scope="module")
def scene(faces):
    return explained(faces, 3)


def truth(scene) -> Refined:
    """The refinement's answer, had it found the faces exactly."""
    n = len(scene.m)
    nothing = torch.zeros(n, 0, dtype=F64)
    return Refined(scene.pose, scene.m, scene.l, scene.h, nothing[..., None], nothing, nothing, torch.zeros(n))


def inner(mask: torch.Tensor, by: int = 2) -> torch.Tensor:
    """The mask without its rim."""
    size = 2 * by + 1
    return -nn.functional.max_pool2d(-mask[:, None].double(), size, 1, by)[:, 0] > 0.5


class Perfect(nn.Module):
    """Says what it was given, whatever it sees; one number to train."""

    def __init__(self, maps: Maps):
        super().__init__()
        self.maps, self.offset = maps, nn.Parameter(torch.zeros((), dtype=maps.uv.dtype))

    def forward(self, image):
        n = len(image) - len(self.maps.logit)  # pictures without a face come last
        uv, depth, logit = (
            torch.cat([x + self.offset, x.new_full((n, *x.shape[1:]), nothing) + self.offset])
            for x, nothing in ((self.maps.uv, 0.0), (self.maps.depth, 1.0), (self.maps.logit, -9.0))
        )
        return Maps(uv, depth, logit)


# What is taught


def test_a_pixel_is_taught_the_point_of_the_face_that_projects_there(faces, scene):
    """uv → a + B m of the UV model → camera → the pixel itself, within what the texels of the map allow."""
    target = draw_targets(faces, scene.image, truth(scene))
    uv = target.uv.movedim(1, -1).flatten(1, 2)  # B HW 2
    mean, basis = faces.tables.sample_shape(uv)
    X = mean + torch.einsum("bkin,bn->bki", basis, scene.m)
    x, depth = project(scene.pose.camera(faces.points.centre), X)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixel = torch.stack([columns, rows], -1).flatten(0, 1)  # HW 2
    inside = inner(target.covered).flatten(1)
    assert inside.sum() > 1000
    error = (x - pixel).norm(dim=-1)[inside]
    assert error.median() < 0.02 and error.max() < 0.5
    assert torch.equal(target.covered, scene.covered)
    said = target.log_depth.flatten(1)
    for i in range(len(said)):
        offset = (depth[i].log() - said[i])[inside[i]]
        assert offset.std() < 2e-4  # the true depth, up to a factor


def test_log_depth_has_mean_zero_on_the_face_and_is_zero_elsewhere(faces, scene):
    target = draw_targets(faces, scene.image, truth(scene))
    area = target.covered.sum((1, 2))
    torch.testing.assert_close((target.log_depth * target.covered).sum((1, 2)) / area, torch.zeros(3, dtype=F64))
    assert (target.log_depth[~target.covered] == 0).all() and (target.uv.movedim(1, -1)[~target.covered] == 0).all()
    assert target.log_depth.std() > 0.005


def test_a_picture_that_the_face_explains_is_believed_and_the_background_is_not(faces, scene):
    target = draw_targets(faces, scene.image, truth(scene))
    assert target.believed[target.covered].min() > 0.99
    assert (target.believed[~target.covered] == 0).all()


def test_a_painted_patch_is_not_believed_but_a_small_dark_eye_is(faces, scene):
    """12 × 12 px of another colour go; 3 × 3 dark px, no better explained, are closed."""
    image = scene.image.clone()
    rows = slice(18, 30)
    image[:, :, rows, 28:40] = torch.tensor([1.0, 0.0, 1.0], dtype=F64)[:, None, None]
    image[:, :, 22:25, 14:17] = 0
    target = draw_targets(faces, image, truth(scene))
    patch = torch.zeros_like(target.covered)
    patch[:, 20:28, 30:38] = True
    eye = torch.zeros_like(target.covered)
    eye[:, 22:25, 14:17] = True
    around = torch.zeros_like(target.covered)
    around[:, 14:34, 24:44] = True
    assert target.believed[patch & target.covered].max() < 0.05
    assert (eye & target.covered).sum() == 27 and target.believed[eye].min() > 0.8
    assert target.believed[target.covered & ~around].min() > 0.8


def test_closing_fills_holes_up_to_its_size_and_nothing_else():
    mask = torch.ones(1, 24, 24, dtype=F64)
    mask[:, 3:7, 3:7] = 0.1  # 4 × 4: fits no 5 × 5 square
    mask[:, 12:17, 12:17] = 0.2  # 5 × 5: does
    filled = closed(mask, 2)
    assert (filled[:, 3:7, 3:7] == 1).all() and (filled[:, 12:17, 12:17] == 0.2).all()
    noise = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=F64)
    once = closed(noise, 1)
    assert (once >= noise).all() and torch.equal(closed(once, 1), once)
    assert torch.equal(closed(noise, 0), noise)


def test_a_face_outside_the_picture_teaches_nothing_and_breaks_nothing(faces, scene):
    face = truth(scene)
    away = replace(face, pose=replace(face.pose, centre=face.pose.centre + 500))
    target = draw_targets(faces, scene.image, away)
    assert not target.covered.any() and (target.believed == 0).all()
    assert target.log_depth.isfinite().all() and target.uv.isfinite().all()
    loss, _ = distil_loss(scene.maps, target, torch.ones(3, dtype=F64))
    assert loss.isfinite()


# The loss


def test_the_loss_is_the_sum_that_the_module_states():
    """By hand on 1 × 2 pixels: a half explained one with |Δuv| = 0.5, and one outside that has only confidence."""
    maps = Maps(
        uv=torch.tensor([[[[0.5, 9.0]], [[0.5, 9.0]]]], dtype=F64),
        depth=torch.tensor([[[1.2, 7.0]]], dtype=F64),
        logit=torch.tensor([[[2.0, -1.0]]], dtype=F64),
    )
    covered = torch.tensor([[[True, False]]])
    target = Targets(
        uv=torch.tensor([[[[0.8, 0.0]], [[0.1, 0.0]]]], dtype=F64),
        log_depth=torch.zeros(1, 1, 2, dtype=F64),
        covered=covered,
        believed=torch.tensor([[[0.9, 0.0]]], dtype=F64),
    )
    loss, parts = distil_loss(maps, target, torch.ones(1, dtype=F64))
    weight = UNEXPLAINED + 0.9
    share = weight / max(weight, 1)
    p = torch.sigmoid(torch.tensor([2.0, -1.0], dtype=F64))
    entropy = -(0.9 * p[0].log() + 0.1 * (1 - p[0]).log() + (1 - p[1]).log()) / 2
    depth = torch.tensor(1.2, dtype=F64).log()
    assert parts == pytest.approx({"uv": 0.5 * share, "depth": float(depth) * share, "confidence": float(entropy)})
    torch.testing.assert_close(loss, UV_WEIGHT * 0.5 * share + DEPTH_WEIGHT * depth * share + entropy)


def test_maps_that_say_the_targets_cost_nothing_but_the_targets_own_doubt(faces, scene):
    target = draw_targets(faces, scene.image, truth(scene))
    sure = replace(target, believed=target.covered.to(F64))
    maps = Maps(target.uv, target.log_depth.exp(), 60 * (2 * sure.believed - 1))
    loss, parts = distil_loss(maps, sure, torch.ones(3, dtype=F64))
    assert parts["confidence"] < 1e-9 and parts["depth"] < 1e-9
    assert parts["uv"] < 1.1e-4 and loss < 1.2e-3  # √1e-8, so that the gradient is finite where uv is exact
    maps = replace(maps, uv=maps.uv + 0.01)
    assert distil_loss(maps, sure, torch.ones(3, dtype=F64))[1]["uv"] == pytest.approx(0.01 * 2**0.5, rel=1e-3)


def test_where_nobody_is_only_confidence_is_taught(faces, scene):
    """Three faces and two pictures without: the two add cross-entropy to its mean, and nothing to uv and depth."""
    target = draw_targets(faces, scene.image, truth(scene))
    more = target.and_nothing(2)
    assert not more.covered[3:].any() and (more.believed[3:] == 0).all() and torch.equal(more.uv[:3], target.uv)
    said = Perfect(replace(scene.maps, uv=scene.maps.uv + 0.01))
    few = distil_loss(said(scene.image), target, torch.ones(3, dtype=F64))[1]
    many = distil_loss(said(torch.zeros(5, 3, SIZE, SIZE)), more, torch.ones(5, dtype=F64))[1]
    assert many["uv"] == pytest.approx(few["uv"]) and many["depth"] == pytest.approx(few["depth"])
    nothing = torch.nn.functional.softplus(torch.tensor(-9.0)).item()
    assert many["confidence"] == pytest.approx((3 * few["confidence"] + 2 * nothing) / 5, rel=1e-3)


def test_rejected_images_have_no_gradient(faces, scene):
    target = draw_targets(faces, scene.image, truth(scene))
    accepted = torch.tensor([1.0, 0.0, 1.0], dtype=F64)
    said = Maps(scene.maps.uv + 0.01, scene.maps.depth, scene.maps.logit / 8)
    maps = Maps(*(getattr(said, f.name).clone().requires_grad_() for f in fields(Maps)))
    distil_loss(maps, target, accepted)[0].backward()
    for name in ("uv", "depth", "logit"):
        gradient = getattr(maps, name).grad.flatten(1)
        assert gradient.isfinite().all() and (gradient[1] == 0).all()
        assert (gradient[::2].abs().sum(1) > 0).all()


# The teacher


def test_perfect_maps_are_read_as_the_face_they_show(faces, scene):
    """Without refinement already: the fit of the correspondences sees points within half a pixel."""
    pose, m = first_guess(faces, scene.maps, 400, torch.Generator().manual_seed(0))
    X0 = faces.points.centre
    found = pose.project(faces.points.at(m) - X0)[0]
    true = scene.pose.project(faces.points.at(scene.m) - X0)[0]
    assert (found - true).norm(dim=-1).mean() < 0.5


@pytest.fixture
def unmoved(monkeypatch):
    """Views are the images themselves."""
    monkeypatch.setattr("facenb.distil_task.CROP", 1.0)
    monkeypatch.setattr("facenb.distil_task.mirrored_at_random", lambda images, generator: images)
    same = upright
    monkeypatch.setattr("facenb.distil_task.random_similarity", lambda n, _, source, size: same(n, source, size))


def test_what_is_taught_is_better_than_what_was_said(faces, scene, unmoved):
    """Maps that are wrong alike everywhere, by a shift of uv and a turn: their targets err less than half as much."""
    wrong = scene.maps.uv + torch.tensor([0.02, -0.03], dtype=F64)[:, None, None]
    said = replace(scene.maps, uv=wrong)
    task = DistilTask(Perfect(said), faces, SIZE, samples=400)
    face = task.teach(scene.image, torch.Generator().manual_seed(0))
    target = draw_targets(faces, scene.image, face)
    both = inner(target.covered & scene.covered)

    def error(uv):
        return (uv - scene.maps.uv).norm(dim=1)[both].median()

    assert error(target.uv) < 0.5 * error(wrong)


def test_a_face_is_taught_alike_in_every_view_of_its_photo(faces, scene):
    """uv of a moved picture = moved uv: what is drawn into a view is what the photo itself would show there."""
    task = DistilTask(Perfect(scene.maps), faces, SIZE, photometric=False)
    images = torch.nn.functional.interpolate(scene.image, scale_factor=1)
    view, seen = task.random_views(images, truth(scene), torch.Generator().manual_seed(3), 4)
    target = draw_targets(faces, view, seen)
    theta = random_similarity(12, torch.Generator().manual_seed(3), SIZE, SIZE)
    once = draw_targets(faces, scene.image, truth(scene))
    uv = warp(once.uv.repeat_interleave(4, 0), theta, SIZE)
    sure = warp(once.covered[:, None].double().repeat_interleave(4, 0), theta, SIZE)[:, 0] == 1
    both = inner(target.covered, 1) & sure
    assert both.flatten(1).sum(1).min() > 300
    error = (uv - target.uv).norm(dim=1)[both]
    assert error.median() < 1e-3 and error.quantile(0.99) < 0.02
    assert target.believed[both].quantile(0.05) > 0.9
    shifted = draw_targets(faces, view, replace(seen, pose=replace(seen.pose, centre=seen.pose.centre + 1.0)))
    assert (uv - shifted.uv).norm(dim=1)[both].median() > 0.01  # else the comparison above could not fail


def test_half_of_the_pictures_are_mirrored_and_none_is_changed_otherwise():
    images = torch.rand(200, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    out = mirrored_at_random(images, torch.Generator().manual_seed(1))
    as_is, flipped = (out == images).flatten(1).all(1), (out == images.flip(-1)).flatten(1).all(1)
    assert (as_is ^ flipped).all() and 70 < flipped.sum() < 130


def test_the_adviser_is_the_average_and_it_is_asked_for_an_upright_view(single, scene):
    """The network in training sees turned views only; what the average says decides what is taught."""
    task = DistilTask(TinyNet(), single, 32, samples=300)
    seen = {"network": [], "average": []}
    for name in seen:
        getattr(task, name).register_forward_hook(lambda net, given, said, name=name: seen[name].append(given[0]))
    task.step(single_images(scene), torch.Generator().manual_seed(0))
    assert [len(x) for x in seen["average"]] == [3] and [len(x) for x in seen["network"]] == [12 + 1]
    images = mirrored_at_random(single_images(scene), torch.Generator().manual_seed(0))
    expected = warp(images, upright(3, SIZE, 32), 32, samples=2)
    torch.testing.assert_close(seen["average"][0], expected)


# The task


def test_a_perfect_network_has_nothing_to_learn(faces, scene, unmoved):
    """Where views are the images themselves, its uv loss is a fraction of that of a network which is 0.05 off."""
    losses = []
    for shift in (0.0, 0.05):
        network = Perfect(replace(scene.maps, uv=scene.maps.uv + shift))
        task = DistilTask(network, faces, SIZE, views=1, photometric=False)
        losses.append(task.step(scene.image, torch.Generator().manual_seed(0)).scalars["uv"])
    assert losses[0] < 0.02 < 0.05 < losses[1]


def test_a_step_reports_itself_and_changes_nothing_that_lasts(single, scene):
    task = DistilTask(TinyNet(), single, 32, samples=300)
    result = task.step(single_images(scene), torch.Generator().manual_seed(0))
    assert result.loss.isfinite() and result.loss.requires_grad
    assert set(result.scalars) == {"uv", "depth", "confidence", "energy", "accepted", "m²", "h²", "usual expression"}
    assert set(result.statistics) == {"energy", "m"}
    assert task.typical == 0 and (task.usual == 0).all()
    again = task.step(single_images(scene), torch.Generator().manual_seed(0))
    other = task.step(single_images(scene), torch.Generator().manual_seed(1))
    assert torch.equal(result.loss, again.loss) and not torch.equal(result.loss, other.loss)


def test_images_of_unusual_energy_teach_nothing(single, scene):
    task = DistilTask(TinyNet(), single, 32, samples=300)
    g = torch.Generator()
    assert task.step(single_images(scene), g.manual_seed(0)).scalars["accepted"] > 0
    task.typical = torch.tensor(1e-6)
    result = task.step(single_images(scene), g.manual_seed(0))
    assert result.scalars["accepted"] == 0 and result.scalars["uv"] == 0 and result.scalars["depth"] == 0
    result.loss.backward()  # of a picture in which nobody is, so of the two logits alone
    slope = task.network.layers[1].weight.grad
    assert (slope[:3] == 0).all() and (slope[3:] != 0).any()


def test_the_running_median_begins_with_the_first_energy_and_follows_slowly(single):
    task = DistilTask(TinyNet(), single)
    m = torch.zeros_like(task.usual)
    task.absorb({"energy": torch.tensor(2.0), "m": m})
    assert task.typical == 2
    task.absorb({"energy": torch.tensor(4.0), "m": m})
    assert task.typical.item() == pytest.approx(2 + 2 * FORGET)
    other = DistilTask(TinyNet(), single)
    other.load_state_dict(task.state_dict())
    task.absorb({"energy": torch.tensor(9.0), "m": m})
    assert other.typical.item() == pytest.approx(2 + 2 * FORGET)  # a copy


def test_the_usual_expression_follows_the_faces_and_the_usual_identity_leans_against_them(single):
    task = DistilTask(TinyNet(), single)
    n = single.n_identity
    m = torch.ones_like(task.usual)
    for _ in range(3):
        task.absorb({"energy": torch.tensor(1.0), "m": m})
    assert torch.allclose(task.usual[:n], torch.full((n,), -3 * LEAN))
    assert torch.allclose(task.usual[n:], torch.full_like(task.usual[n:], 1 - (1 - FORGET_FACES) ** 3))
    other = DistilTask(TinyNet(), single)
    other.load_state_dict(task.state_dict())
    task.absorb({"energy": torch.tensor(1.0), "m": 0 * m})
    assert torch.allclose(other.usual[n:], torch.full_like(m[n:], 1 - (1 - FORGET_FACES) ** 3))  # a copy


def test_faces_that_are_bent_alike_become_average_on_average(single):
    """The controller alone: whoever answers half of the prior and a bias ends at a mean of zero."""
    task, bias = DistilTask(TinyNet(), single), 0.4
    n = single.n_identity
    for _ in range(3000):
        m = torch.cat([bias + 0.5 * task.usual[:n], task.usual[n:]])
        task.absorb({"energy": torch.tensor(1.0), "m": m})
    assert m[:n].abs().max() < 1e-3


def run(out, single, images, steps):
    task = DistilTask(TinyNet(), single, 32, samples=200, options=RefinementOptions(steps=2))
    config = TrainConfig(
        Path("photos"), out, steps=steps, batch=2, device="cpu", tensorboard=False, checkpoint_every=2, log_every=1
    )
    return task, train(task, images, config)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, single, scene):
    """Weights, average and the running median; the first part ends after 2 of 4 steps."""
    whole, average = run(tmp_path / "whole", single, photos(scene), 4)
    parts = tmp_path / "parts"
    half, _ = run(parts, single, photos(scene), 2)
    assert [p.name for p in checkpoints(parts / "checkpoints")] == ["step-00000002.safetensors"]
    resumed, again = run(parts, single, photos(scene), 4)
    for a, b in ((whole.network, resumed.network), (average, again)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert whole.typical > 0 and torch.equal(whole.typical, resumed.typical)
    assert not torch.equal(half.typical, resumed.typical)
    assert not torch.equal(half.network.layers[1].weight, resumed.network.layers[1].weight)


def test_nothing_is_made_on_the_cpu_when_the_pictures_are_elsewhere(faces, scene):
    """On PyTorch's "meta" device, which holds no numbers but, like a GPU, meets no tensor of the CPU's."""
    there = faces.to("meta")
    image, m, covered, logit = (x.to("meta") for x in (scene.image, scene.m, scene.covered.to(F64), scene.maps.logit))
    uv, depth = scene.maps.uv.flatten(2).mT.to("meta"), scene.maps.depth.flatten(1).to("meta")
    fit = fit_correspondence(there.tables, uv, depth, logit.flatten(1).sigmoid(), torch.zeros_like(uv))
    face = refine(there.points, image, pose_of(fit.camera, there.points.centre), m, covered)
    assert face.m.device.type == "meta" and face.pixels.shape == (3, faces.points.n, 2)


@pytest.mark.parametrize("which", ["uv", "depth"])
def test_maps_that_are_no_numbers_give_a_loss_that_is_none(faces, scene, unmoved, which):
    """One pixel is enough. The trainer then skips the step."""
    maps = Maps(*(getattr(scene.maps, f.name).clone() for f in fields(Maps)))
    getattr(maps, which)[1, ..., 24, 18] = torch.nan
    task = DistilTask(Perfect(maps), faces, SIZE, views=1, samples=SIZE * SIZE, photometric=False)
    task.average = Perfect(scene.maps)
    assert not task.step(scene.image, torch.Generator().manual_seed(0)).loss.isfinite()


def test_pictures_stand_in_a_row_and_are_the_same_each_time(single, scene):
    task = DistilTask(TinyNet(), single, 32, samples=300)
    with torch.no_grad():
        pictures, again = task.pictures(single_images(scene)), task.pictures(single_images(scene))
    assert set(pictures) == {"views", "uv", "confidence", "taught uv", "taught confidence"}
    for name, picture in pictures.items():
        assert picture.shape == (3, 32, 96), name
        assert picture.min() >= 0 and picture.max() <= 1, name
        assert torch.equal(picture, again[name]), name


def test_tables_follow_the_model(tiny_model):
    tables = face_tables(tiny_model.truncate(3, 2, 4), flatten(tiny_model), n_points=50, texels=16, inner=False)
    assert (tables.points.n, tables.points.n_shape, tables.points.n_albedo) == (50, 5, 4)
    assert (tables.surface.n, tables.tables.n_shape, tables.tables.height) == (tiny_model.n_vertices, 5, 16)
    again = face_tables(tiny_model.truncate(3, 2, 4), flatten(tiny_model), n_points=50, texels=16, inner=False)
    moved = again.to("cpu")
    assert all(torch.equal(getattr(tables.points, f.name), getattr(moved.points, f.name)) for f in fields(FacePoints))
    assert DistilTask(TinyNet(), tables, 48).about == {
        "network": "tiny",
        "face model": tables.model,
        "size": 48,
        "views": 4,
        "shape components": 5,
        "albedo components": 4,
    }


@pytest.mark.parametrize("truth", [b"something else", None], ids=["other truth", "no truth"])
def test_what_a_renderer_knows_is_out_of_reach(tmp_path, single, scene, truth):
    """Trained on a rendered dataset, the weights are the same bit for bit whatever its truth says, and without any."""
    networks = []
    for name, contents in (("one", b"the truth"), ("other", truth)):
        folder = tmp_path / name
        start_dataset(folder, Description(3, 3, True, {"size": SIZE}))
        for kind, ending, data in (
            (images_path, "png", [png(i) for i in single_images(scene)]),
            (truth_path, "npz", [contents] * 3),
        ):
            if data[0] is not None:
                write_shard(kind(folder, 0), [member_name(i, ending) for i in range(3)], data)
        networks.append(run(tmp_path / f"{name} run", single, open_images(folder, SIZE), 2)[0].network)
    a, b = (n.state_dict() for n in networks)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["layers.1.weight"], TinyNet().layers[1].weight)


def png(image: torch.Tensor) -> bytes:
    pixels = (image * 255).round().byte().movedim(0, -1).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
