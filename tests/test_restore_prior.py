"""The albedo prior: its linear part, its modulation, and a small one that learns what components cannot."""

import numpy as np
import pytest
import torch

from facenb.cli import main
from facenb.commands.train_prior import Config
from facenb.config import ConfigError
from facenb.open_model import open_model
from facenb.restore import prior_task
from facenb.restore.albedo_prior import AlbedoPrior, PriorOptions, modulated
from facenb.restore.albedo_set import albedo_set, studio_albedos
from facenb.restore.perceptual import edge_loss
from facenb.restore.prior_command import train_prior
from facenb.restore.prior_task import PriorAndCritic, PriorTask
from facenb.restore.studio import open_studio, studio_faces
from facenb.train_log import read_log
from facenb.weights import load_weights, save_weights

SMALL = PriorOptions(size=16, codes=5, style=8, width=4)


def pictures(n=40, size=16, seed=0):
    """Pictures that differ in colour, and in where an edge lies: the first is linear, the second not."""
    rng = np.random.default_rng(seed)
    colour = torch.from_numpy(rng.uniform(0.3, 0.9, (n, 3, 1, 1))).float()
    line = torch.from_numpy(rng.uniform(3, 12, n)).float()[:, None, None, None]
    above = torch.arange(size)[:, None].expand(size, size) < line
    return torch.where(above, 0.2 * colour, colour)


@pytest.fixture(scope="module")
def studio():
    return open_studio(open_model())


@pytest.fixture
def fitted():
    prior = AlbedoPrior(SMALL)
    prior.fit(pictures())
    return prior


def test_the_linear_part_is_principal_component_analysis(fitted):
    x = pictures().flatten(1).double()
    _, σ, Vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    W = fitted.principal.weight.double()
    torch.testing.assert_close(W.square().sum(0), σ[:5] ** 2 / len(x), rtol=1e-4, atol=1e-7)
    expected = Vh[:5].T @ (Vh[:5] @ (x - x.mean(0)).T)
    found = (fitted.linear(fitted.encode(pictures())).flatten(1).double() - x.mean(0)).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(fitted.principal.bias.double(), x.mean(0), rtol=0, atol=1e-6)


def test_codes_are_in_standard_deviations(fitted):
    z = fitted.encode(pictures()).double()
    torch.testing.assert_close(z.mean(0), torch.zeros(5, dtype=torch.double), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(5, dtype=torch.double), rtol=0, atol=1e-3)
    torch.testing.assert_close(fitted.encode(fitted.linear(z.float())), z.float(), rtol=0, atol=1e-4)


def test_without_its_generator_it_is_the_linear_part(fitted):
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(fitted(z), fitted.linear(z))
    torch.nn.init.zeros_(fitted.to_colour.weight)
    torch.testing.assert_close(fitted(z), fitted.linear(z))


def test_modulation_reaches_half_of_the_channels():
    x, scale, shift = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    y = modulated(x, scale, shift)
    assert torch.equal(y[:, :3], x[:, :3])
    torch.testing.assert_close(y[:, 3:], x[:, 3:] * (1 + scale) + shift)
    assert torch.equal(modulated(x, 0 * scale, 0 * shift), x)


def test_modulation_steers_the_prior(fitted):
    z = torch.zeros(2, 5)
    channels = SMALL.channels(8) // 2
    nothing, something = (torch.full((2, channels, 8, 8), v) for v in (0.0, 0.5))
    torch.testing.assert_close(fitted(z, {8: (nothing, nothing)}), fitted(z))
    assert (fitted(z, {8: (nothing, something)}) - fitted(z)).abs().max() > 1e-3


def test_gradients():
    prior = AlbedoPrior(PriorOptions(size=8, codes=3, style=4, width=2)).double()
    g = torch.Generator().manual_seed(2)
    z, scale, shift = (torch.randn(s, generator=g, dtype=torch.double) for s in ((2, 3), (2, 1, 8, 8), (2, 1, 8, 8)))
    inputs = [t.requires_grad_() for t in (z, scale, shift)]
    assert torch.autograd.gradcheck(lambda z, a, b: prior(z, {8: (a, b)}), inputs, fast_mode=True)


def test_it_learns_the_edge_that_components_blur():
    prior = AlbedoPrior(SMALL)
    prior.fit(pictures(200))
    task = PriorTask(PriorAndCritic(prior, width=4))
    optimizer = torch.optim.Adam([p for p in prior.parameters() if p.requires_grad], 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(350):
        result = task.step(pictures(200)[torch.randperm(200, generator=generator)[:32]], generator)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
    unseen = pictures(50, seed=1)
    with torch.no_grad():
        z = prior.encode(unseen)
        seen = torch.ones(50, 16, 16, dtype=torch.bool)
        learnt, linear = (edge_loss(p, unseen, seen, levels=1) for p in (prior(z), prior.linear(z)))
    assert learnt < 0.7 * linear


def test_critic_and_prior_learn_against_each_other(fitted):
    both = PriorAndCritic(fitted, width=4)
    z = torch.randn(8, SMALL.codes, generator=torch.Generator().manual_seed(1))
    _, critic, prior = both(pictures(8), z)
    from_critic = torch.autograd.grad(critic, list(both.critic.parameters()), retain_graph=True)
    assert max(g.abs().max() for g in from_critic) > 0
    learning = [p for p in fitted.parameters() if p.requires_grad]
    for loss, blind in ((critic, learning), (prior, list(both.critic.parameters()))):
        assert all(g is None for g in torch.autograd.grad(loss, blind, allow_unused=True, retain_graph=True))
    assert max(g.abs().max() for g in torch.autograd.grad(prior, learning)) > 0


def test_albedos_are_those_of_the_studio(studio):
    faces = studio_faces(studio, 4, [0, 1], 32)
    albedos = studio_albedos(studio, 4, [0, 1], 32)
    inside = torch.nn.functional.max_pool2d((~faces.canonical_mask)[:, None].float(), 5, 1, 2) == 0
    difference = (albedos.float() - faces.canonical_albedo.float()).abs()
    assert (difference * inside).max() <= 1.5
    images = albedo_set(studio, 4, 2, 32)
    assert len(images) == 2 and torch.equal(images[1], albedos[1])
    corner = albedos[:, :, 0, 0].float() / 255  # the mean colour of the skin, not black
    assert (corner > 0.05).all()


def config(out, **changes) -> Config:
    small = dict(size=16, critic=0.1, codes=6, width=4, count=100, steps=6, batch=4, checkpoint_every=2, log_every=1)
    return Config(images="open", out=out, tensorboard=False, **small | changes)


def test_the_command_trains_and_resumes_bit_for_bit(tmp_path):
    whole = load_weights(train_prior(config(tmp_path / "whole")), "albedo-prior")
    assert whole.options == PriorOptions(size=16, codes=6, width=4)
    assert [p["step"] for p in read_log(tmp_path / "whole")] == [1, 2, 3, 4, 5, 6]
    real, calls = prior_task.PriorTask.step, []

    def interrupted(self, images, generator):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, images, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_task.PriorTask, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_prior(config(tmp_path / "parts"))
    again = load_weights(train_prior(config(tmp_path / "parts")))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(ConfigError, match="--size 48"):
        train_prior(config(tmp_path / "a", size=48))
    with pytest.raises(ConfigError, match="--codes 100: only 100 albedos"):
        train_prior(config(tmp_path / "b", codes=100))
    assert main(["train-prior", str(tmp_path / "nowhere"), "--out", str(tmp_path / "c")]) == 2
    line = capsys.readouterr().err.strip()
    assert "nowhere" in line and "\n" not in line
    prior = AlbedoPrior(SMALL)
    with pytest.raises(ValueError, match=r"this prior draws \(3, 16, 16\)"):
        prior.fit(torch.zeros(9, 3, 8, 8))
    with pytest.raises(ValueError, match="at least 6"):
        prior.fit(torch.zeros(5, 3, 16, 16))


def test_a_prior_survives_its_file(tmp_path, fitted):
    save_weights(fitted, tmp_path / "prior.safetensors", half=False)
    again = load_weights(tmp_path / "prior.safetensors", "albedo-prior")
    z = torch.randn(2, 5)
    torch.testing.assert_close(again(z), fitted(z))
