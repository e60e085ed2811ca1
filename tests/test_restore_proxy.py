"""The proxy, its loss against worked examples, and a small one that learns."""

import math

import pytest
import torch

from facenb.augment import mirrored_at_random
from facenb.depth_light import DepthLight
from facenb.restore import proxy_task
from facenb.restore.proxy import (
    RELIEF,
    SHIFT,
    TURN,
    Proxy,
    ProxyOptions,
    _enlarged,
    ellipsoid,
    mirrored,
    part_of,
    read_light,
    reconstruct,
)
from facenb.restore.proxy_networks import MapNetwork, VectorNetwork
from facenb.restore.proxy_task import ProxyLoss, ProxyTask, laplace, roughness, squared_mean
from facenb.restore.view import Viewpoint
from facenb.task import StepResult

SMALL = ProxyOptions(size=16, coarse=8, width=4)


def photos(n: int = 3, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_answers_have_the_ranges_that_are_promised():
    network = Proxy(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(30)  # far from the quiet start
    face = network(photos())
    assert face.depth.shape == (3, 16, 16) and face.albedo.shape == (3, 3, 16, 16)
    assert face.spread.shape == (3, 2, 16, 16) and face.residual.shape == (3, 8, 8)
    assert (face.depth - 1).abs().max() <= RELIEF + 1e-6
    assert face.albedo.min() >= 0 and face.albedo.max() <= 1
    assert face.view.angles.abs().max() <= TURN and face.view.shift.abs().max() <= SHIFT
    assert (face.view.shift[:, 2] == 0).all() and (face.spread >= 0).all()


def test_a_part_of_the_answers_is_the_answer_to_a_part():
    network, which = Proxy(SMALL), [2, 0]
    part, direct = part_of(network(photos()), which), network(photos()[which])
    for ours, theirs in zip((*part, *part.light, *part.view), (*direct, *direct.light, *direct.view), strict=True):
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, theirs)


def test_a_fresh_proxy_says_the_start():
    """A convex face seen from the front, all but the same for every photo."""
    face = Proxy(SMALL)(photos())
    middle, side = face.depth[:, 7:9, 7:9].mean(), face.depth[:, 7:9, 2].mean()
    assert middle < side - 0.01
    assert face.view.angles.abs().max() < 0.05 and face.residual.abs().max() < 0.1
    assert (face.depth[..., 0] - SMALL.border).abs().max() < 1e-6  # the sides' rim is fixed
    flat = Proxy(ProxyOptions(size=16, coarse=8, width=4, bump=0))(photos())
    assert flat.depth[..., 1:-1].std() < 0.002


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_slope_that_is_enlarged_stays_a_slope(axis):
    """torch's plain bicubic makes stairs of it."""
    slope = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    steps = _enlarged(slope if axis == -1 else slope.mT, 16, "bicubic").diff(dim=axis).narrow(axis, 4, 7)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5 / 7))


def test_seeds_decide_and_leave_the_global_state_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b, c = (Proxy(SMALL, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_while_faces_share_their_shape_depth_is_the_template():
    network = Proxy(SMALL)
    with torch.no_grad():
        network.depth.layers[-1].weight.mul_(100)
        network.detail.layers[-1].weight.mul_(100)
    shared, own = network(photos(), individual=0.0), network(photos(), individual=1.0)
    assert torch.equal(shared.depth[0], shared.depth[1]) and (shared.residual == 0).all()
    assert not torch.allclose(own.depth[0], own.depth[1])
    detail = (shared.albedo - shared.albedo[:1]).diff(dim=-1).diff(dim=-1).abs().mean()
    assert detail < 0.4 * (own.albedo - own.albedo[:1]).diff(dim=-1).diff(dim=-1).abs().mean()


def test_the_mirrored_face_is_mirrored_and_keeps_light_and_view():
    face = Proxy(SMALL)(photos())
    other = mirrored(face)
    assert torch.equal(other.depth, face.depth.flip(-1)) and torch.equal(other.albedo, face.albedo.flip(-1))
    assert other.view is face.view and other.light is face.light


def test_a_symmetric_face_looks_the_same_mirrored():
    """Whatever its view and light: this is why symmetry alone proves nothing about a symmetric guess."""
    half = photos(1, 16)[..., :8]
    albedo = torch.cat([half, half.flip(-1)], -1)
    face = Proxy(SMALL)(photos(1))._replace(albedo=albedo, depth=(1.05 - 0.05 * ellipsoid(16))[None])
    assert torch.allclose(reconstruct(face).image, reconstruct(mirrored(face)).image, atol=1e-5)


def test_light_from_four_numbers():
    light = read_light(torch.tensor([[-1.0, 1.0, 0.0, 0.5]]))
    assert isinstance(light, DepthLight)
    assert light.ambient.item() == 0 and light.diffuse.item() == 1
    assert torch.allclose(light.direction, torch.tensor([[0.0, 0.5, 1.0]]) / math.sqrt(1.25))


def test_laplace_by_hand():
    """Every colour off by 0.1 in [0, 1], so 0.2 in [−1, 1], at σ = 0.5."""
    photo = torch.full((2, 3, 4, 4), 0.5)
    spread = torch.full((2, 4, 4), 0.5 - 1e-3)
    seen = torch.ones(2, 4, 4, dtype=torch.bool)
    expected = math.sqrt(2) * 0.2 / 0.5 + math.log(math.sqrt(2) * 0.5)
    assert laplace(photo + 0.1, spread, photo, seen).item() == pytest.approx(expected * 48 / 49, rel=1e-4)
    seen[:, :2] = False
    wrong = photo + 0.1
    wrong[:, :, :2] = 9  # not seen: does not count
    assert laplace(wrong, spread, photo, seen).item() == pytest.approx(expected * 24 / 25, rel=1e-4)


def test_the_best_spread_is_the_mean_error():
    """Minimising L over σ gives σ = √2 times the mean error: the network that says it is calibrated."""
    photo, seen = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 4, 4, dtype=torch.bool)
    spreads = torch.linspace(0.05, 1, 191)
    losses = torch.stack([laplace(photo + 0.1, s.expand(1, 4, 4), photo, seen) for s in spreads])
    assert spreads[losses.argmin()].item() == pytest.approx(math.sqrt(2) * 0.2, abs=0.01)


def test_planes_are_smooth():
    y, x = torch.meshgrid(*[torch.arange(8.0)] * 2, indexing="ij")
    assert roughness((0.3 * x - 0.2 * y)[None], 8).item() == pytest.approx(0, abs=1e-6)
    assert roughness((x**2)[None], 8).item() == pytest.approx(1)  # second difference 2 along one of two axes
    y, x = torch.meshgrid(*[torch.arange(64.0) / 8] * 2, indexing="ij")
    assert roughness((x**2)[None], 8).item() == pytest.approx(1, rel=1e-4)  # the same surface on a finer grid


def test_the_yaw_term_is_off_unless_the_spread_is_given():
    images = photos(4)
    plain = ProxyTask(Proxy(SMALL), ProxyLoss(small=0)).step(images, torch.Generator())
    told = ProxyTask(Proxy(SMALL), ProxyLoss(yaw_spread=0.4, small=0)).step(images, torch.Generator())
    assert "yaw" not in plain.scalars
    spread = told.scalars["yaw spread"]
    assert told.scalars["yaw"] == pytest.approx(5 * (spread - 0.4) ** 2, rel=1e-3)
    assert told.loss.item() - plain.loss.item() == pytest.approx(told.scalars["yaw"], rel=1e-3)


def test_individual_shapes_wait_and_the_count_survives():
    task = ProxyTask(Proxy(SMALL), ProxyLoss(shared=2, small=1))
    images = photos()
    for expected in (0.0, 0.0):
        assert task.step(images, torch.Generator()).scalars["individual"] == expected  # small, then large
        task.absorb({})
    assert task.step(images, torch.Generator()).scalars["individual"] > 0
    fresh = ProxyTask(Proxy(SMALL), ProxyLoss(shared=2, small=1))
    fresh.load_state_dict(task.state_dict())
    assert fresh.step(images, torch.Generator()).scalars["individual"] > 0


def test_a_step_reaches_every_network():
    task = ProxyTask(Proxy(SMALL), ProxyLoss(shared=0, small=0))
    task.step(photos(), torch.Generator()).loss.backward()
    for name, parameter in task.network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if "layers" not in name or name.endswith("weight"):
            assert parameter.grad.abs().max() > 0, name


def test_training_makes_the_reconstruction_better():
    task = ProxyTask(Proxy(SMALL), ProxyLoss(shared=10, small=20))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 2, indexing="ij")
    images = torch.stack([0.5 + 0.4 * torch.sin(3 * (x + s)) * torch.cos(2 * y) for s in (-0.2, 0.0, 0.2, 0.4)])
    images = images[:, None].expand(-1, 3, -1, -1).contiguous()
    optimizer = torch.optim.Adam(task.network.parameters(), 2e-3)
    errors = []
    for _ in range(60):
        result = task.step(images, torch.Generator())
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        task.absorb({})
        errors.append(result.scalars["error"])
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("size", [8, 16, 64])
def test_networks_take_photos_of_their_size(size):
    assert VectorNetwork(4, 4, size)(photos(2, size)).shape == (2, 4)
    assert MapNetwork(2, 4, size)(photos(2, size)).shape == (2, 2, size, size)


def test_small_faces_are_the_large_ones_reduced_and_other_photos_have_none():
    network = Proxy(SMALL)
    large, small = network(photos()), network(photos(), small=True)
    assert small.depth.shape == small.shared.shape == (3, 8, 8) and small.albedo.shape == (3, 3, 8, 8)
    assert torch.allclose(small.view.angles, large.view.angles, atol=0.02)
    assert torch.allclose(small.depth[:, 2:-2, 2:-2], large.depth[:, 4:-4:2, 4:-4:2], atol=0.01)
    with pytest.raises(ValueError, match="32 × 32 pixels; this network was built for 16 × 16"):
        network(photos(size=32))


def loud(network: Proxy) -> Proxy:
    """Far from the quiet start, where all answers are the same."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network


def test_the_mirrored_photo_has_the_mirrored_view_and_light():
    network = loud(Proxy(SMALL))
    face, other = network(photos()), network(photos().flip(3))
    assert face.view.angles.std() > 0.01 and face.light.xy.std() > 0.01
    signs = torch.tensor([-1.0, 1, -1])
    assert torch.allclose(other.view.angles, signs * face.view.angles, atol=1e-6)
    assert torch.allclose(other.view.shift, torch.tensor([-1.0, 1, 1]) * face.view.shift, atol=1e-6)
    assert torch.allclose(other.light.xy, torch.tensor([-1.0, 1]) * face.light.xy, atol=1e-6)
    assert torch.allclose(other.light.ambient, face.light.ambient, atol=1e-6)
    small, mirrored_small = network(photos(), small=True), network(photos().flip(3), small=True)
    assert not torch.allclose(mirrored_small.view.angles, signs * small.view.angles, atol=1e-3)


def test_a_mirrored_view_draws_the_mirrored_picture():
    """What the signs of `MIRRORED_VIEW` and `MIRRORED_LIGHT` claim."""
    face = loud(Proxy(SMALL))(photos())
    face = face._replace(depth=(1.05 - 0.05 * ellipsoid(16)).expand(3, -1, -1).contiguous())
    angles, shift = face.view.angles * torch.tensor([-1.0, 1, -1]), face.view.shift * torch.tensor([-1.0, 1, 1])
    turned = mirrored(face)._replace(
        view=Viewpoint(angles, shift), light=face.light._replace(xy=face.light.xy * torch.tensor([-1.0, 1]))
    )
    here, there = reconstruct(face), reconstruct(turned)
    both = here.mask & there.mask.flip(2)
    assert both.float().mean() > 0.5
    assert ((here.image - there.image.flip(3)).abs() * both[:, None]).mean() < 0.005


def test_the_shared_depth_is_the_template_of_all():
    network = loud(Proxy(SMALL))
    own, template = network(photos()), network(photos(), individual=0.0)
    assert torch.allclose(own.shared, template.depth) and not torch.allclose(own.shared, own.depth, atol=1e-4)
    assert torch.equal(mirrored(own).shared, own.shared.flip(-1))


def strict(**weights) -> tuple[ProxyTask, StepResult]:
    """A step at full size of a network far from its start."""
    task = ProxyTask(loud(Proxy(SMALL)), ProxyLoss(shared=0, small=0, **weights))
    return task, task.step(photos(4), torch.Generator())


def test_at_full_size_what_lies_behind_the_face_does_not_count():
    """Spoil the photo behind the face: the loss over all that is seen changes, the strict loss does not."""
    task, _ = strict()
    images = photos(4)
    generator = torch.Generator().manual_seed(0)
    flips = mirrored_at_random(images, generator)
    with torch.no_grad():
        face = task.network(flips)
        near = (reconstruct(face).depth < 1.02) & (reconstruct(mirrored(face)).depth < 1.02)
    assert 0.1 < near.float().mean() < 0.9
    task.network.forward = lambda *_, **__: face
    spoilt = torch.where(near[:, None], flips, 1 - flips)
    for weights, same in ((ProxyLoss(small=0, near=1.02), True), (ProxyLoss(small=0, near=2.0), False)):
        task.weights = weights
        losses = []
        for batch in (flips, spoilt):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(proxy_task, "mirrored_at_random", lambda pictures, _: pictures)
                losses.append(task.step(batch, torch.Generator()).scalars["photo"])
        assert (losses[0] == pytest.approx(losses[1], rel=1e-6)) == same


def test_at_full_size_shading_teaches_no_photo_its_depth():
    """With a view that moves nothing and a texture that is lit, only shading depends on a photo's own depth."""

    def gradient(shading: bool) -> float:
        task = ProxyTask(Proxy(SMALL), ProxyLoss(small=0, shared=0, smooth=0, held=0, shading=shading, near=9.0))
        with torch.no_grad():
            task.network.view.layers[-1].weight.zero_()
            task.network.light.layers[-1].bias.copy_(torch.tensor([0.0, 1.0, 1.0, 0.5]))
            task.network.depth.layers[-1].weight.mul_(100)
        task.step(photos(), torch.Generator()).loss.backward()
        return float(task.network.depth.layers[-1].weight.grad.abs().max())

    assert gradient(shading=True) > 100 * gradient(shading=False)


def test_at_full_size_own_depth_costs_more():
    task, result = strict(held=3.0)
    with torch.no_grad():
        residual = task.network(mirrored_at_random(photos(4), torch.Generator())).residual
    assert result.scalars["individual"] == pytest.approx(float(3 * residual.square().mean()), rel=1e-4)
    task.weights = ProxyLoss(shared=0, small=9, individual=0.5)
    small = task.step(photos(4), torch.Generator()).scalars["individual"]
    assert small == pytest.approx(float(0.5 * residual.square().mean()), rel=1e-4)


def test_the_squared_mean_has_no_bias():
    """Over many batches it is (E s)², also where each value is far from the mean; the plain square is not."""
    values = 0.5 + torch.randn(20_000, 6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    ours = torch.stack([squared_mean(batch) for batch in values])
    assert ours.mean().item() == pytest.approx(0.25, abs=5 * ours.std().item() / 20_000**0.5)
    assert 5 * ours.std() / 20_000**0.5 < 0.05 and values.mean(1).square().mean() > 0.4
    by_hand = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert squared_mean(by_hand).item() == 1 * (3 + 5) / 2 + 2 * (4 + 6) / 2


def test_the_mean_shift_costs():
    task, result = strict(centre=2.0)
    with torch.no_grad():
        shift = task.network(mirrored_at_random(photos(4), torch.Generator())).view.shift
    assert result.scalars["centre"] == pytest.approx(float(2 * squared_mean(shift / SHIFT)), rel=1e-4)


def test_pictures_are_pictures():
    for picture in ProxyTask(Proxy(SMALL)).pictures(photos()).values():
        assert picture.shape == (3, 16, 48) and picture.min() >= -0.01 and picture.max() <= 1.01
