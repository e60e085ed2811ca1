"""The residual loss: it vanishes where it should, its gradient is right, and its two traps are shut."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from explained_faces import F64, SIZE, TinyNet, explained, photos, single_images, tiny_faces

from facenb.adaptive_prior import AdaptivePrior
from facenb.camera import project
from facenb.geometry_layer import Geometry, geometry_residual
from facenb.networks import Maps
from facenb.photometry_layer import Photometry, inverse_shading, model_albedo, photometry_residual
from facenb.residual_task import DEFAULTS, ResidualOptions, Residuals, ResidualTask, residuals, robust
from facenb.softplus_clamp import softplus_clamp, softplus_unclamp
from facenb.train_config import TrainConfig
from facenb.trainer import train


@pytest.fixture(scope="module")
def faces(tiny_model):
    return tiny_faces(tiny_model)


@pytest.fixture(scope="module")
def tables(faces):
    return faces.tables


@pytest.fixture(scope="module")
def perfect(faces):
    """Pictures and maps that the tables themselves explain, and how many pixels of each do.

    uv is the place whose point, by the bilinear tables, projects to the very pixel: three Newton steps from the mesh's
    own uv. The pixels where that does not get there (rim, mouth) have no confidence.
    """
    scene = explained(faces, 3)
    camera, tables = scene.pose.camera(faces.points.centre), faces.tables
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixel = torch.stack([columns, rows], -1).flatten(0, 1).to(F64)  # HW 2
    uv = scene.maps.uv.movedim(1, -1).flatten(1, 2).clone()  # B HW 2

    def places(uv):
        mean, basis = tables.sample_shape(uv)
        return project(camera, mean + torch.einsum("bkin,bn->bki", basis, scene.m))

    for _ in range(12):
        uv.requires_grad_()
        x, _ = places(uv)
        J = torch.stack([torch.autograd.grad(x[..., i].sum(), uv, retain_graph=True)[0] for i in (0, 1)], -2)
        step = torch.linalg.lstsq(J, (x - pixel).detach()[..., None]).solution[..., 0]
        uv = (uv - step.nan_to_num(0).clamp(-0.01, 0.01)).detach().clamp(0, 1)
    x, depth = places(uv)
    exact = ((x - pixel).norm(dim=-1) < 1e-9) & scene.covered.flatten(1)
    colour = model_albedo(tables, uv, scene.h) / inverse_shading(tables, uv, scene.l)
    image = softplus_unclamp(colour.clamp_min(0.2)).mT.unflatten(-1, (SIZE, SIZE))
    maps = Maps(
        uv.mT.unflatten(-1, (SIZE, SIZE)),
        (depth / 700).unflatten(-1, (SIZE, SIZE)),
        torch.where(exact, 8.0, -20.0).to(F64).unflatten(-1, (SIZE, SIZE)),
    )
    return scene, image, maps, int(exact.sum(1).min())


def of(tables, image, maps, samples, *, prior=0.0, centre=0.0, seed=0, **options) -> Residuals:
    """The residuals with the same prior weight for all coefficients, by default none."""
    return residuals(
        tables,
        image,
        maps,
        torch.full((tables.n_shape,), prior, dtype=image.dtype),
        torch.full((tables.n_albedo,), prior, dtype=image.dtype),
        centre,
        torch.Generator().manual_seed(seed),
        ResidualOptions(**{"samples": samples, "light_weight": 0.0} | options),
    )


def test_perfect_maps_of_explained_pictures_leave_nothing(tables, perfect):
    """Not more than rounding, in px, colours and standard deviations, from all exact pixels of each face."""
    scene, image, maps, n = perfect
    assert n > 400
    r = of(tables, image, maps, n)
    assert r.geometry.norm(dim=-1).max() < 1e-8
    assert r.photometry.norm(dim=-1).max() < 1e-8
    assert r.outside == 0
    torch.testing.assert_close(r.solution[0].m, scene.m, atol=1e-7, rtol=0)
    torch.testing.assert_close(r.solution[1].h, scene.h, atol=1e-7, rtol=0)
    torch.testing.assert_close(r.solution[1].l, scene.l, atol=1e-7, rtol=0)
    assert robust(r).max() < 1e-12


def test_geometry_is_counted_in_pixels(tables, perfect):
    """A tenth of the correspondences is shifted by 0.03 of the square: about a pixel and a half of the picture."""
    scene, image, maps, n = perfect
    r = of(tables, image, maps, n)
    mm_per_px = 1 / scene.pose.log_scale.exp()
    torch.testing.assert_close(r.solution[0].P[..., 0].norm(dim=1), mm_per_px, rtol=0.2, atol=0)
    g = torch.Generator().manual_seed(0)
    off = (torch.rand(3, SIZE, SIZE, generator=g) < 0.1).to(F64)
    moved = replace(maps, uv=maps.uv + 0.03 * off[:, None])
    wrong = of(tables, image, moved, n)
    error = wrong.geometry.norm(dim=-1)
    # √2 · 0.03 · 180 mm · 0.21 px/mm = 1.6 px, give or take what flattening stretches
    assert 1 < error.quantile(0.97) < 2.5 and error.median() < 0.2


def test_the_robust_function_counts_an_outlier_as_one_and_half_at_the_scale():
    o = ResidualOptions()
    geometry = torch.tensor([[[o.sigma_geometry, 0, 0], [0, 0, 0], [1e6, 0, 0], [0, 0, 0]]], dtype=F64)
    photometry = torch.tensor([[[0, 0, 0], [0, o.sigma_photometry, 0], [0, 0, 0], [0, 0, 0]]], dtype=F64)
    nothing = (Geometry(*[geometry] * 3), Photometry(*[geometry] * 2))
    rho = robust(Residuals(geometry, photometry, nothing, geometry.sum()), o)
    torch.testing.assert_close(rho, torch.tensor([[0.5, 0.5, 1.0, 0.0]], dtype=F64))


def test_collapsed_correspondences_please_millimetres_but_not_pixels(tables, perfect):
    """The trap of the module's text: noisy correspondences, then the same drawn together to one point, a hundredth as
    far apart. Counted in mm the error is a fraction, and going on would make it vanish; counted in px it stays.
    """
    _, image, maps, n = perfect
    g = torch.Generator().manual_seed(1)
    noisy = maps.uv + 0.03 * torch.randn(maps.uv.shape, generator=g, dtype=F64)
    middle = torch.tensor([0.3, 0.5], dtype=F64)[:, None, None]
    px, mm = [], []
    for uv in (noisy, middle + 0.01 * (noisy - middle)):
        r = of(tables, image, replace(maps, uv=uv), n, prior=0.1)
        px.append(r.geometry.norm(dim=-1).median().item())
        P = r.solution[0].P[..., :2].norm(dim=1).prod(1).sqrt()
        mm.append((r.geometry.norm(dim=-1) * P[:, None]).median().item())  # depths are 1, all but
    assert mm[1] < 0.05 * mm[0]
    assert px[1] > px[0] > 1


def test_collapsed_correspondences_please_albedo_but_not_the_photo(tables, perfect):
    """The other trap: at a single point of the face some h makes albedo zero, and with l = 0 nothing is left over of
    i ⊙ (F l) − D h − c. Of i − albedo / (F l) the whole picture is.
    """
    _, image, maps, n = perfect
    middle = torch.tensor([0.3, 0.5], dtype=F64)[:, None, None]
    collapsed = middle + 1e-3 * (maps.uv - middle)
    r = of(tables, image, replace(maps, uv=collapsed), n, light_weight=1e-6)
    face = maps.confidence.flatten(1) > 0.5
    uv, colour = collapsed.flatten(2).mT, softplus_clamp(image).flatten(2).mT
    albedo = photometry_residual(tables, uv, colour, r.solution[1])[face].norm(dim=-1)
    assert albedo.median() < 0.01
    assert r.photometry.norm(dim=-1).median() > 0.3


def test_the_residual_in_pixels_is_that_in_millimetres_over_the_size_of_a_pixel(tables, perfect):
    """Where every pixel is sampled, in any order: against `geometry_residual` of the same solution."""
    _, image, maps, _ = perfect
    maps = Maps(maps.uv + 0.01, maps.depth, torch.zeros_like(maps.logit))
    r = of(tables, image, maps, SIZE * SIZE, prior=0.1)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixels = torch.stack([columns, rows], -1).flatten(0, 1).to(F64).expand(3, -1, -1)
    uv, depth = maps.uv.flatten(2).mT, maps.depth.flatten(1)
    mm = geometry_residual(tables, uv, depth, pixels, r.solution[0])
    columns_of_P = r.solution[0].P[..., :2].norm(dim=1)
    px = mm.norm(dim=-1) / (columns_of_P.prod(1).sqrt()[:, None] * depth)
    torch.testing.assert_close(r.geometry.norm(dim=-1).sort(1).values, px.sort(1).values)


def small_maps(seed=0, n=2, size=6):
    """Maps that no face says, so that nothing vanishes; a few correspondences lie outside the square."""
    g = torch.Generator().manual_seed(seed)
    t = torch.linspace(0.15, 0.85, size, dtype=F64)
    grid = torch.stack([t.expand(size, -1), t[:, None].expand(-1, size)])
    uv = grid + 0.04 * torch.randn(n, 2, size, size, generator=g, dtype=F64)
    uv[:, 0, 0, 0] = -0.05
    depth = 1 + 0.05 * torch.rand(n, size, size, generator=g, dtype=F64)
    image = 0.3 + 0.4 * torch.rand(n, 3, size, size, generator=g, dtype=F64)
    return image, uv, depth, torch.randn(n, size, size, generator=g, dtype=F64)


def test_the_gradient_reaches_the_maps_and_is_right(tables):
    """gradcheck of mean ρ + outside, through sampling, both solutions and both residuals, in uv and depth with priors,
    and in confidence without (the priors' strength follows the number of pixels as a constant)."""
    image, uv, depth, logit = small_maps()

    def loss(uv, depth, logit, prior):
        r = of(tables, image, Maps(uv, depth, logit), 36, prior=prior, sigma_photometry=0.5)
        return robust(r, replace(DEFAULTS, sigma_photometry=0.5)).mean() + r.outside

    few = uv[:1].clone().requires_grad_(), depth[:1].clone().requires_grad_(), logit[:1].clone().requires_grad_()
    image = image[:1]
    constant = few[2].detach()
    assert torch.autograd.gradcheck(lambda u, d: loss(u, d, constant, 0.1), few[:2], eps=1e-7, atol=1e-5, rtol=1e-3)
    assert torch.autograd.gradcheck(
        lambda w: loss(few[0].detach(), few[1].detach(), w, 0.0), few[2:], eps=1e-7, atol=1e-5, rtol=1e-3
    )
    value = loss(few[0], few[1], few[2], 0.0)
    assert all(gradient.abs().max() > 1e-4 for gradient in torch.autograd.grad(value, few))


def test_leaving_the_unit_square_costs_its_squared_distance(tables):
    image, uv, depth, logit = small_maps(n=1)
    uv = uv.clamp(0, 1)
    uv[0, :, 0, 0] = torch.tensor([-0.2, 1.3])
    r = of(tables, image, Maps(uv, depth, logit), 36, prior=0.1)
    assert r.outside.item() == pytest.approx((0.2**2 + 0.3**2) / 36)


def task(faces, size=32, **options) -> ResidualTask:
    return ResidualTask(TinyNet(), faces.tables.to(dtype=torch.float32), size, ResidualOptions(samples=200, **options))


@pytest.fixture(scope="module")
def scene(faces):
    return explained(faces, 3)


def test_a_step_reports_itself_and_changes_nothing_that_lasts(faces, scene):
    t, images = task(faces), single_images(scene)
    before = t.state_dict()
    result = t.step(images, torch.Generator().manual_seed(0))
    assert result.loss.isfinite() and result.loss.requires_grad
    assert set(result.scalars) == {"robust", "inliers", "geometry_px", "photometry", "m²", "h²"}
    assert result.statistics["m²"].shape == (faces.tables.n_shape,)
    assert result.statistics["h²"].shape == (faces.tables.n_albedo,)
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(t.state_dict()[k])) for k, v in before.items())
    again = t.step(images, torch.Generator().manual_seed(0))
    other = t.step(images, torch.Generator().manual_seed(1))
    assert torch.equal(result.loss, again.loss) and not torch.equal(result.loss, other.loss)
    result.loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in t.network.layers[1].parameters())


def test_the_loss_is_the_sum_that_the_module_states(faces, scene):
    """Mean ρ and the priors' mean of w α², all w being 0.1 at first; and what lies outside, which weighs nothing here
    and something in a task that is otherwise the same."""
    t = task(faces, prior=0.7, outside=0.0)
    result = t.step(single_images(scene), torch.Generator().manual_seed(0))
    m2, h2 = (result.statistics[name].mean() for name in ("m²", "h²"))
    assert m2 > 0 and h2 > 0
    assert result.loss.item() == pytest.approx(result.scalars["robust"] + 0.7 * 0.1 * float(m2 + h2), rel=1e-5)
    counted = task(faces, prior=0.7, outside=10.0).step(single_images(scene), torch.Generator().manual_seed(0))
    assert counted.loss > result.loss and counted.scalars == result.scalars


@pytest.mark.parametrize("which", ["uv", "depth", "logit"])
def test_maps_that_are_no_numbers_are_refused(tables, which):
    """The trainer skips such a step."""
    image, uv, depth, logit = small_maps()
    maps = Maps(uv, depth, logit)
    getattr(maps, which)[1, ..., 2, 3] = torch.nan
    with pytest.raises(ValueError):
        of(tables, image, maps, 36, prior=0.1)


def test_the_centre_is_pulled_to_its_place_only_at_first(faces, scene):
    """After `centre_steps` absorbed steps the same step gives another loss, the one of a task that never pulls."""
    images = single_images(scene)

    def loss(t):
        return t.step(images, torch.Generator().manual_seed(0)).loss

    t, never = task(faces, centre_weight=1.0, centre_steps=1), task(faces, centre_weight=0.0)
    early = loss(t)
    t.steps_taken = 1
    assert not torch.equal(early, loss(t))
    assert torch.equal(loss(t), loss(never))


def test_absorbing_adapts_both_priors_by_equation_18(faces):
    t = task(faces)
    m2, h2 = torch.full((faces.tables.n_shape,), 40.0), torch.zeros(faces.tables.n_albedo)
    t.absorb({"m²": m2, "h²": h2})
    assert t.steps_taken == 1
    for prior, square in ((t.shape_prior, m2), (t.albedo_prior, h2)):
        expected = AdaptivePrior.start(len(square)).after(square)
        assert torch.equal(prior.weight, expected.weight) and torch.equal(prior.mean_square, expected.mean_square)
    assert (t.shape_prior.weight > t.albedo_prior.weight.max()).all()


def test_a_stronger_prior_makes_faces_flatter(faces, scene):
    """The adaptive weights reach the linear problem: a hundredfold weight, smaller coefficients."""
    t, images = task(faces), single_images(scene)
    weak = t.step(images, torch.Generator().manual_seed(0)).statistics
    for kind in ("shape_prior", "albedo_prior"):
        prior = getattr(t, kind)
        setattr(t, kind, replace(prior, weight=100 * prior.weight))
    strong = t.step(images, torch.Generator().manual_seed(0)).statistics
    for name in ("m²", "h²"):
        assert strong[name].mean() < 0.5 * weak[name].mean()


def test_the_state_survives_a_round_trip(faces):
    t, other = task(faces), task(faces)
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        t.absorb(
            {"m²": torch.rand(faces.tables.n_shape, generator=g), "h²": torch.rand(faces.tables.n_albedo, generator=g)}
        )
    other.load_state_dict(t.state_dict())
    a, b = t.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and len(a) == 7
    assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
    assert other.steps_taken == 3 and not torch.equal(other.shape_prior.weight, task(faces).shape_prior.weight)


def run(out, faces, scene, steps):
    t = task(faces)
    config = TrainConfig(
        Path("photos"), out, steps=steps, batch=2, device="cpu", tensorboard=False, checkpoint_every=2, log_every=1
    )
    return t, train(t, photos(scene), config)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, faces, scene):
    """Weights, average, priors and counter; the first part ends after 2 of 4 steps."""
    whole, average = run(tmp_path / "whole", faces, scene, 4)
    run(tmp_path / "parts", faces, scene, 2)
    resumed, again = run(tmp_path / "parts", faces, scene, 4)
    for a, b in ((whole.network, resumed.network), (average, again)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert whole.steps_taken == resumed.steps_taken == 4
    a, b = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
    assert not torch.equal(whole.network.layers[1].weight, TinyNet().layers[1].weight)


def test_it_is_a_task_for_the_trainer(faces, scene):
    t = task(faces)
    assert t.name == "residual"
    assert t.about == {
        "network": "tiny",
        "face model": "model",
        "size": 32,
        "shape components": 10,
        "albedo components": 5,
    }
    with torch.no_grad():
        pictures = t.pictures(single_images(scene))
    assert set(pictures) == {"views", "uv", "confidence"}
    assert all(p.shape == (3, 32, 96) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())
