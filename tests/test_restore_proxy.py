"""The proxy, its loss against worked examples, and a small one that learns."""

import math

import pytest
import torch

from facenb.depth_light import DepthLight
from facenb.restore.proxy import (
    RELIEF,
    SHIFT,
    TURN,
    Proxy,
    ProxyOptions,
    ellipsoid,
    mirrored,
    read_light,
    reconstruct,
)
from facenb.restore.proxy_networks import MapNetwork, VectorNetwork
from facenb.restore.proxy_task import ProxyLoss, ProxyTask, laplace, roughness

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


def test_a_fresh_proxy_says_the_start():
    """A convex face seen from the front, all but the same for every photo."""
    face = Proxy(SMALL)(photos())
    middle, side = face.depth[:, 7:9, 7:9].mean(), face.depth[:, 7:9, 2].mean()
    assert middle < side - 0.01
    assert face.view.angles.abs().max() < 0.05 and face.residual.abs().max() < 0.1
    assert (face.depth[..., 0] - SMALL.border).abs().max() < 1e-6  # the sides' rim is fixed
    flat = Proxy(ProxyOptions(size=16, coarse=8, width=4, bump=0))(photos())
    assert flat.depth[..., 1:-1].std() < 0.002


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
        assert task.step(images, torch.Generator()).scalars["individual"] == expected
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


def test_small_photos_get_small_faces_and_others_none():
    network = Proxy(SMALL)
    large, small = network(photos()), network(torch.nn.functional.avg_pool2d(photos(), 2))
    assert small.depth.shape == (3, 8, 8) and small.albedo.shape == (3, 3, 8, 8)
    assert torch.allclose(small.view.angles, large.view.angles, atol=1e-6)
    assert torch.allclose(small.light.xy, large.light.xy, atol=1e-6)
    assert torch.allclose(small.depth[:, 2:-2, 2:-2], large.depth[:, 4:-4:2, 4:-4:2], atol=0.01)
    with pytest.raises(ValueError, match="16 × 16 or 8 × 8"):
        network(photos(size=32))


def test_pictures_are_pictures():
    for picture in ProxyTask(Proxy(SMALL)).pictures(photos()).values():
        assert picture.shape == (3, 16, 48) and picture.min() >= -0.01 and picture.max() <= 1.01
