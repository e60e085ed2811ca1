"""The restoration networks, their loss, and their command."""

import numpy as np
import pytest
import torch

from facenb.cli import main
from facenb.commands.train_restorer import Config
from facenb.config import ConfigError
from facenb.image_sets import open_images
from facenb.open_model import open_model
from facenb.restore import restorer_task
from facenb.restore.albedo_prior import AlbedoPrior, PriorOptions
from facenb.restore.albedo_restorer import AlbedoRestorer, guides, register
from facenb.restore.critic import Critic, critic_loss, taken_for_photos
from facenb.restore.degrade import Degradation, degrade
from facenb.restore.geometry_restorer import LARGEST, GeometryRestorer
from facenb.restore.proxy import RELIEF, Proxy, ProxyOptions, mirrored, reconstruct
from facenb.restore.proxy_evaluation import predict
from facenb.restore.restorer import Restored, Restorer, RestorerOptions
from facenb.restore.restorer_command import assemble, train_restorer
from facenb.restore.restorer_evaluation import restoration_errors, restored_in_2d
from facenb.restore.restorer_task import RestorerLoss, RestorerTask
from facenb.restore.studio import open_studio, studio_faces
from facenb.restore.studio_files import write_studio
from facenb.restore.view import Viewpoint
from facenb.train_log import read_log
from facenb.weights import WeightsError, load_weights, save_weights

PROXY = ProxyOptions(size=16, coarse=8, width=4)
PRIOR = PriorOptions(size=16, codes=5, style=8, width=4)
OPTIONS = RestorerOptions(PROXY, PRIOR, width=8)


def photos(n=4, size=16, seed=0):
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


@pytest.fixture
def prior():
    prior = AlbedoPrior(PRIOR)
    prior.fit(photos(30, seed=5))
    return prior


def test_a_fresh_arn_goes_towards_the_nearest_albedo_of_the_prior(prior):
    network = AlbedoRestorer(prior, width=8)
    for layer in (*network.steer.values(), network.code):
        torch.nn.init.zeros_(layer.weight)
    seen = torch.ones(4, 16, 16, dtype=torch.bool)
    nearest = prior(prior.encode(photos()))
    for logit, trust in ((-50.0, 0.0), (0.0, 0.5), (50.0, 1.0)):
        torch.nn.init.constant_(network.trust.bias, logit)
        answer = network(photos(), photos(seed=1), seen)
        torch.testing.assert_close(answer, photos() + trust * (nearest - photos()), rtol=0, atol=1e-5)


def test_arn_looks_at_what_is_seen_and_at_its_mirror_image():
    seen = torch.zeros(1, 16, 16, dtype=torch.bool)
    seen[..., :8] = True
    x = guides(photos(1), photos(1, seed=1), seen)
    assert x.shape == (1, 11, 16, 16)
    assert (x[0, 3:7, :, 8:] == 0).all() and (x[0, 7:11, :, :8] == 0).all()
    torch.testing.assert_close(x[0, 7:10].flip(-1), x[0, 3:6])


def test_a_shifted_and_stretched_mean_is_registered():
    rng = np.random.default_rng(3)
    face = torch.from_numpy(rng.random((1, 3, 8, 8))).float()
    face = torch.nn.functional.interpolate(face, size=(64, 64), mode="bicubic").clamp(0, 1)
    truth = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.9, 0.1]])
    prior_mean = torch.nn.functional.grid_sample(
        face,
        torch.nn.functional.affine_grid(truth[None], [1, 3, 64, 64], align_corners=False),
        align_corners=False,
        padding_mode="border",
    )
    torch.testing.assert_close(register(face[0], prior_mean[0]), truth, rtol=0, atol=0.03)
    torch.testing.assert_close(register(face[0], face[0]), torch.eye(2, 3), rtol=0, atol=1e-6)


def test_a_displacement_is_small_and_differentiable():
    network = GeometryRestorer(4)
    depth = 1 + 0.05 * photos()[:, 0]
    assert network(photos(), depth).abs().max() < 0.1 * LARGEST
    with torch.no_grad():
        network.last.weight.mul_(1e6)
    assert network(photos(), depth).abs().max() <= LARGEST
    small = GeometryRestorer(2).double()
    inputs = (torch.rand(1, 3, 8, 8, dtype=torch.double), 1 + 0.1 * torch.rand(1, 8, 8, dtype=torch.double))
    assert torch.autograd.gradcheck(small, [t.requires_grad_() for t in inputs], fast_mode=True)


def test_critic_and_restorer_pull_at_different_ends():
    critic, rendering = Critic(4), photos().requires_grad_()
    critic_loss(critic, photos(seed=1), rendering).backward()
    assert rendering.grad is None and all(p.grad is not None for p in critic.parameters())
    critic.zero_grad()
    loss = taken_for_photos(critic, rendering)
    loss.backward()
    assert rendering.grad.abs().max() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_the_critics_loss_is_the_hinge():
    class Says(torch.nn.Module):
        def forward(self, picture):
            return picture

    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    assert critic_loss(Says(), real, fake).item() == pytest.approx((0 + 0.5) / 2 + (0 + 1.25) / 2)
    assert taken_for_photos(Says(), fake).item() == pytest.approx(-(-3 + 0.25) / 2)


def test_a_critic_learns_to_tell_noise_from_photos():
    torch.manual_seed(0)
    critic = Critic(8)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for step in range(60):
        optimizer.zero_grad()
        critic_loss(critic, photos(8, seed=step), torch.rand(8, 3, 16, 16)).backward()
        optimizer.step()
    with torch.no_grad():
        assert critic(photos(8, seed=99)).mean() > critic(torch.rand(8, 3, 16, 16)).mean() + 0.5


def test_without_its_parts_a_restorer_is_its_proxy():
    restorer = Restorer(RestorerOptions(PROXY, PRIOR, albedo=False, geometry=False, width=8))
    face, plain = restorer(photos()), restorer.proxy(photos())
    assert torch.equal(face.depth, plain.depth) and torch.equal(face.albedo, plain.albedo)
    with pytest.raises(ValueError, match="train one for the other"):
        Restorer(RestorerOptions(PROXY, PriorOptions(size=32)))


def run(task: RestorerTask, step: int = 0):
    task.taken = step
    return task.step(photos(), torch.Generator().manual_seed(0))


def task(loss=None, **parts) -> RestorerTask:
    restorer = Restorer(RestorerOptions(PROXY, PRIOR, width=8, **parts))
    return RestorerTask(restorer, Proxy(PROXY), Degradation(), loss or RestorerLoss(mutual=10))


def largest_gradient(part: torch.nn.Module) -> float:
    return max([float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None], default=0.0)


def test_light_and_view_learn_in_mutual_learning_only():
    for step, learns in ((0, False), (10, True)):
        t = task()
        result = run(t, step)
        result.loss.backward()
        proxy = t.network.proxy
        for part in (proxy.light, proxy.view):
            assert (largest_gradient(part) > 0) == learns
        assert largest_gradient(proxy.depth) == largest_gradient(proxy.albedo) == 0
        assert (largest_gradient(t.network.critic) > 0) == learns
        assert all(p.grad is None for p in t.network.albedo.prior.parameters())
        assert largest_gradient(t.network.albedo.steer) > 0 and largest_gradient(t.network.geometry) > 0
        assert ("critic" in result.scalars) == learns and ("views" in result.scalars) == learns


def test_what_is_evidence_is_no_path_for_gradients():
    """Without the proxy's own albedo in the answer, nothing flows back through what ARN looked at."""
    network = AlbedoRestorer(AlbedoPrior(PRIOR), width=8)
    torch.nn.init.constant_(network.trust.bias, 50.0)
    albedo, texture = photos().requires_grad_(), photos(seed=1).requires_grad_()
    network(albedo, texture, torch.ones(4, 16, 16, dtype=torch.bool)).sum().backward()
    assert texture.grad is None and albedo.grad.abs().max() < 1e-6


def test_the_rival_tunes_the_whole_proxy():
    t = task(RestorerLoss(tune_all=True, critic=0), albedo=False, geometry=False)
    run(t).loss.backward()
    for part in (t.network.proxy.depth, t.network.proxy.albedo, t.network.proxy.view):
        assert max(float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None) > 0


def test_what_the_loss_compares_with_is_the_clean_photo():
    """A restorer that answers for spoilt photos as its teacher does for clean ones pays only for the teacher."""
    t = task(RestorerLoss(mutual=0, critic=0, edges=0, mirror=0, teacher=1), albedo=False, geometry=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restorer_task, "degrade", lambda images, *_: images)
        patch.setattr(restorer_task, "mirrored_at_random", lambda images, _: images)
        t.network.proxy.load_state_dict(t.teacher.state_dict())
        result = run(t)
    assert max(result.scalars[name] for name in ("teacher", "views", "depth")) < 1e-3  # bytes were rounded
    face = t.teacher(photos())
    picture = reconstruct(face)
    w = picture.mask[:, None].float()
    off = ((picture.image - photos().mul(255).round().div(255)).abs() * w).sum((1, 2, 3)) / (3 * w.sum((1, 2, 3)) + 1)
    assert result.scalars["photo"] == pytest.approx(off.mean().item(), abs=2e-3)


@pytest.mark.parametrize("tuned", [False, True])
def test_the_loss_is_the_sum_of_its_equation(tuned):
    """eq-restorer-loss, term by term, of two faces that have nothing to do with each other."""
    w = RestorerLoss(mirror=0.5, edges=0.7, teacher=1.1, depth=0.3, smooth=0.2, tune_all=tuned)
    with torch.no_grad():
        said, clean = (Proxy(PROXY, seed)(photos(3, seed=seed)) for seed in (1, 2))
        said = said._replace(depth=said.depth + 0.01 * photos(3, seed=7)[:, 0])
        parts = restorer_task._restoration_loss(Restored(said, said.depth), clean, photos(3, seed=9), w)
    straight, flipped = reconstruct(said), reconstruct(mirrored(said))

    def over(values, where):
        return values.abs()[where[:, None].expand_as(values)].mean()

    each = zip(straight.image - photos(3, seed=9), straight.mask, strict=True)
    assert parts["photo"] == pytest.approx(np.mean([float(over(o[None], m[None])) for o, m in each]), rel=5e-3)
    both = straight.mask & flipped.mask
    each = zip(flipped.image - photos(3, seed=9), both, strict=True)
    assert parts["mirror"] == pytest.approx(0.5 * np.mean([float(over(o[None], m[None])) for o, m in each]), rel=5e-3)
    off, seen = straight.image - photos(3, seed=9), straight.mask
    across = over(off[..., 1:] - off[..., :-1], seen[..., 1:] & seen[..., :-1])
    down = over(off[..., 1:, :] - off[..., :-1, :], seen[:, 1:] & seen[:, :-1])
    assert float(parts["edges"]) == pytest.approx(0.7 * float(across + down) / 2, rel=1e-4)
    assert float(parts["teacher"]) == pytest.approx(1.1 * float((said.albedo - clean.albedo).abs().mean()), rel=1e-4)
    moved = (said.depth - clean.depth) / RELIEF
    depth = 1.1 * moved.abs().mean() if tuned else 0.3 * (moved**2).mean()
    assert float(parts["depth"]) == pytest.approx(float(depth), rel=1e-4)
    bends = [(m[2:] - 2 * m[1:-1] + m[:-2]).abs().mean() for m in (moved.movedim(1, 0), moved.movedim(2, 0))]
    assert float(parts["smooth"]) == pytest.approx(0.2 * float(sum(bends)) / 2, rel=1e-4)


def test_errors_of_the_truth_are_small_and_a_gain_is_forgiven():
    faces = studio_faces(open_studio(open_model()), 7, range(4))
    depth = torch.where(faces.canonical_mask, faces.canonical_depth, 1.07)
    like = Proxy()(faces.photos)
    light = type(like.light)(faces.ambient, faces.diffuse, faces.lamp[:, :2] / faces.lamp[:, 2:])
    albedo = faces.canonical_albedo.float() / 255
    right = like._replace(depth=depth, albedo=albedo, light=light, view=Viewpoint(faces.angles, faces.shift))
    errors, darker = restoration_errors(right, faces), restoration_errors(right._replace(albedo=0.7 * albedo), faces)
    wrong = restoration_errors(like._replace(albedo=albedo.flip(2)), faces)
    assert errors.albedo_psnr.min() > 24 > wrong.albedo_psnr.mean()
    torch.testing.assert_close(errors.albedo_psnr, darker.albedo_psnr, rtol=0, atol=0.3)
    assert errors.shape.side.mean() < wrong.shape.side.mean()
    assert set(errors.means()) >= {"SIDE", "MAD", "albedo_psnr", "photo_gmsd"}


def test_a_classical_restorer_takes_noise_away():
    faces = studio_faces(open_studio(open_model()), 7, range(3))
    noisy = degrade(faces.image, 0, Degradation(blur=(0.5, 0.5), noise=(12, 12), quality=(95, 95)))
    better = restored_in_2d(noisy)
    before, after = ((p.float() - faces.image.float()).square().mean() for p in (noisy, better))
    assert better.shape == noisy.shape and after < before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Faces, a proxy and a prior, all tiny."""
    out = tmp_path_factory.mktemp("restorer")
    write_studio(out / "faces", 6, 16, seed=3, workers=1, progress=False)
    save_weights(Proxy(PROXY), out / "proxy.safetensors", half=False)
    prior = AlbedoPrior(PRIOR)
    prior.fit(photos(30, seed=5))
    save_weights(prior, out / "prior.safetensors", half=False)
    return out


def config(folder, out, **changes) -> Config:
    small = dict(steps=6, mutual=3, batch=3, width=8, checkpoint_every=2, log_every=1, tensorboard=False)
    files = dict(images=folder / "faces", proxy=folder / "proxy.safetensors", prior=folder / "prior.safetensors")
    return Config(out=out, **files | small | changes)


def test_the_command_trains_and_resumes_bit_for_bit(folder, tmp_path):
    path = train_restorer(config(folder, tmp_path / "whole"))
    whole = load_weights(path, "restorer")
    assert whole.options == OPTIONS
    assert ["critic" in p for p in read_log(tmp_path / "whole")] == [False] * 3 + [True] * 3
    face = predict(whole, photos())
    assert torch.isfinite(face.depth).all() and face.albedo.min() >= 0
    real, calls = restorer_task.RestorerTask.step, []

    def interrupted(self, images, generator):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, images, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restorer_task.RestorerTask, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_restorer(config(folder, tmp_path / "parts"))
    again = load_weights(train_restorer(config(folder, tmp_path / "parts")))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_it_begins_with_the_given_proxy_and_prior(folder):
    proxy, prior = (load_weights(folder / f"{name}.safetensors") for name in ("proxy", "prior"))
    restorer = assemble(OPTIONS, proxy, prior, open_images(folder / "faces", 16), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(restorer.proxy.parameters(), proxy.parameters(), strict=True))
    assert torch.equal(restorer.albedo.prior.principal.weight, prior.principal.weight)


def test_it_goes_on_from_a_tuned_rival(folder, tmp_path):
    rival = config(folder, tmp_path / "tuned", arn=False, grn=False, tune_all=True, critic=0)
    tuned = train_restorer(rival)
    still = train_restorer(config(folder, tmp_path / "still", begin=tuned, lr=0.0, steps=1))
    before, after = (load_weights(path).proxy.state_dict() for path in (tuned, still))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    first = load_weights(folder / "proxy.safetensors").state_dict()
    assert not all(torch.equal(value, first[name]) for name, value in before.items())

    save_weights(Proxy(ProxyOptions(size=16, width=8)), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"its proxy is built otherwise than the teacher"):
        train_restorer(config(folder, tmp_path / "b", begin=tuned, proxy=tmp_path / "other.safetensors"))


def test_what_cannot_be_is_refused_in_one_line(folder, tmp_path, capsys):
    with pytest.raises(ConfigError, match="--factors 5"):
        train_restorer(config(folder, tmp_path / "a", factors=(5,)))
    large = AlbedoPrior(PriorOptions(size=32, codes=5, width=4))
    save_weights(large, tmp_path / "large.safetensors")
    with pytest.raises(ConfigError, match=r"large\.safetensors: draws 32 pixels"):
        train_restorer(config(folder, tmp_path / "b", prior=tmp_path / "large.safetensors"))
    with pytest.raises(WeightsError, match="a 'proxy' one is needed"):
        train_restorer(config(folder, tmp_path / "c", proxy=folder / "prior.safetensors"))
    words = ["train-restorer", str(folder / "faces"), "--out", str(tmp_path / "d"), "--proxy", "nowhere.safetensors"]
    assert main(words) == 2
    line = capsys.readouterr().err.strip()
    assert "nowhere.safetensors" in line and "\n" not in line
    with pytest.raises(ConfigError, match="--size 16"):  # shipped ones draw 64 pixels
        train_restorer(config(folder, tmp_path / "e", prior=None))
