"""Pictures: the light they show, which way round they are, what they cover, and their gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from facenb.camera import project
from facenb.colour import to_linear, to_srgb
from facenb.lighting import lamp, shade
from facenb.normals import triangle_normals, vertex_normals
from facenb.pictures import (
    close_holes,
    lit_colours,
    normals_picture,
    overlay,
    portrait_camera,
    render_face,
    render_mesh,
    resolve,
    see,
    shaded_picture,
    soft_background,
    wireframe,
)

SUN = lamp((1.0, 0.5, 1.0), 1.0, 0.3).double()  # from the subject's upper left


@pytest.fixture
def camera(tiny_model):
    return portrait_camera(tiny_model, 48, 40)


def test_regular_light_multiplies_linear_light_not_display_values(tiny_model):
    N = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    A = tiny_model.albedo_mean
    expected = to_srgb(to_linear(A) * shade(SUN[None], N)[0].T.clamp(min=0))
    torch.testing.assert_close(lit_colours(A, N, SUN), expected)
    torch.testing.assert_close(lit_colours(to_linear(A), N, SUN, colour_space="linear"), expected)


def test_inverse_light_solves_the_photometric_equation(tiny_model):
    """Equation (39) backwards: image ⊙ (F l) = albedo, in the model's own colour space."""
    N = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    A = tiny_model.albedo_mean
    Fl = shade(SUN[None], N)[0].T  # V 3
    assert (Fl > 0.05).all()
    torch.testing.assert_close(lit_colours(A, N, SUN, inverse=True) * Fl, A)
    linear = to_linear(lit_colours(A, N, SUN, inverse=True, colour_space="linear"))
    torch.testing.assert_close(linear * Fl, A)


def test_an_inverse_light_that_goes_dark_gives_no_infinite_picture(tiny_model):
    N = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    colours = lit_colours(tiny_model.albedo_mean, N, lamp((1.0, 0, 0)).double(), inverse=True)
    assert torch.isfinite(colours).all() and (colours >= 0).all()


def test_without_a_light_the_picture_shows_albedo(tiny_model, camera):
    image, mask = render_face(tiny_model, camera, 48, 40)
    expected = render_mesh(tiny_model.shape_mean, tiny_model.triangles, tiny_model.albedo_mean, camera, 48, 40)
    assert torch.equal(image, expected[0]) and torch.equal(mask, expected[1])


def test_a_lamp_at_the_subjects_left_lights_the_right_of_the_picture(tiny_model, camera):
    grey = torch.full_like(tiny_model.albedo_mean, 0.6)
    N = vertex_normals(tiny_model.shape_mean, tiny_model.triangles)
    image, mask = render_mesh(
        tiny_model.shape_mean, tiny_model.triangles, lit_colours(grey, N, SUN), camera, 48, 40, background=0.0
    )
    assert image[:, :, 20:].sum() / mask[:, 20:].sum() > 1.2 * image[:, :, :20].sum() / mask[:, :20].sum()
    assert image[:, :24].sum() / mask[:24].sum() > 1.05 * image[:, 24:].sum() / mask[24:].sum()


def test_all_coefficients_reach_the_picture(tiny_model, camera, generator):
    identity, expression, albedo = (z[0] for z in tiny_model.sample(1, generator))
    plain = render_face(tiny_model, camera, 48, 40)[0]
    for coefficients in ({"identity": identity}, {"expression": expression}, {"albedo": albedo}, {"light": SUN}):
        assert not torch.equal(render_face(tiny_model, camera, 48, 40, **coefficients)[0], plain)


def test_an_open_mouth_shows_the_background_or_a_cavity(tiny_model, camera):
    red = (0.9, 0.1, 0.1)
    hole, hole_mask = render_face(tiny_model, camera, 48, 40, background=0.5)
    closed, mask = render_face(tiny_model, camera, 48, 40, background=0.5, mouth=red)
    filled = (mask == 1) & (hole_mask == 0)
    assert filled[23:25, 19:21].all() and 10 < filled.sum() < 60  # the tiny model's mouth is in its middle
    expected = torch.tensor(red).double()[:, None].expand(3, int(filled.sum()))
    torch.testing.assert_close(closed[:, filled], expected, atol=1e-6, rtol=0)
    assert torch.equal(closed[:, ~filled], hole[:, ~filled])
    clay = shaded_picture(tiny_model.shape_mean, tiny_model.triangles, camera, 48, 40, mouth=red, antialias=1)[0]
    torch.testing.assert_close(clay[:, filled], expected, atol=1e-6, rtol=0)


def test_the_cavity_turns_its_front_to_the_viewer(tiny_model):
    X, T, colours = close_holes(tiny_model.shape_mean, tiny_model.triangles, tiny_model.albedo_mean, (0, 0, 0))
    fan = T[len(tiny_model.triangles) :]
    assert len(X) == len(colours) == tiny_model.n_vertices + 25  # a copy of the rim and the middle
    assert (triangle_normals(X, fan)[:, 2] > 0).all()


def test_gradients_reach_albedo_light_and_at_fixed_visibility_shape(tiny_model):
    camera = portrait_camera(tiny_model, 9, 8, yaw=0.3, pitch=0.2)  # no vertex exactly on a pixel
    T, grey = tiny_model.triangles, 0.3 + 0.2 * tiny_model.albedo_mean
    visible = see(tiny_model.shape_mean, T, camera, 9, 8)

    def image(albedo, light, identity):
        X = tiny_model.vertices(identity)
        assert torch.equal(see(X, T, camera, 9, 8).triangle, visible.triangle)  # a step across an edge would not count
        colours = lit_colours(albedo, vertex_normals(X, T), light)
        return render_mesh(X, T, colours, camera, 9, 8, background=0.5)[0]

    arguments = (grey, 0.8 * SUN, torch.zeros(2, dtype=torch.float64))
    assert gradcheck(image, tuple(x.clone().requires_grad_() for x in arguments), fast_mode=True)


def test_more_samples_a_pixel_mean_soft_edges_and_the_same_face(tiny_model, camera):
    hard, hard_mask = render_face(tiny_model, camera, 48, 40, light=SUN)
    soft, soft_mask = render_face(tiny_model, camera, 48, 40, light=SUN, antialias=4)
    assert set(hard_mask.unique().tolist()) == {0.0, 1.0}
    assert len(soft_mask.unique()) > 5 and (soft_mask - hard_mask).abs().max() < 1
    inside = soft_mask == 1
    assert (soft - hard).abs()[:, inside].mean() < 0.003
    assert abs(float(soft_mask.mean() - hard_mask.mean())) < 0.01


def test_background_may_be_a_grey_a_colour_or_a_picture(tiny_model, camera):
    photo = torch.rand(3, 48, 40, dtype=torch.float64)
    for background, expected in (
        (0.25, 0.25),
        ((0.1, 0.2, 0.3), torch.tensor([0.1, 0.2, 0.3]).double()),
        (photo, photo),
    ):
        image, mask = render_face(tiny_model, camera, 48, 40, background=background)
        expected = torch.as_tensor(expected, dtype=image.dtype)
        expected = (expected[:, None, None] if expected.ndim == 1 else expected).expand(3, 48, 40)
        torch.testing.assert_close(image[:, mask == 0], expected[:, mask == 0])


def test_half_covered_pixels_are_half_background(tiny_model, camera):
    fragments = see(tiny_model.shape_mean, tiny_model.triangles, camera, 48, 40, 2)
    white = torch.ones(96, 80, 3) * fragments.mask[0, ..., None]
    image, coverage = resolve(white, fragments, (1.0, 0.5, 0.0), antialias=2)
    torch.testing.assert_close(image[1], coverage + 0.5 * (1 - coverage))
    torch.testing.assert_close(image[2], coverage)


def test_normals_are_red_to_the_subjects_left_green_upwards_blue_forwards(tiny_model, camera):
    image, mask = normals_picture(tiny_model.shape_mean, tiny_model.triangles, camera, 48, 40, antialias=1)
    n = 2 * image[:, mask == 1] - 1
    torch.testing.assert_close(n.norm(dim=0), torch.ones(n.shape[1], dtype=n.dtype))
    y, x = (mask == 1).nonzero(as_tuple=True)
    assert torch.corrcoef(torch.stack([n[0], x.double()]))[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([n[1], -y.double()]))[0, 1] > 0.9
    assert (n[2] > 0).all()


def test_the_studio_lamps_stay_with_the_camera(tiny_model):
    """Turn head and camera together: the clay looks the same."""
    camera = portrait_camera(tiny_model, 32, 32)
    turned = portrait_camera(tiny_model, 32, 32, yaw=0.5)
    Q = camera.R.T @ turned.R  # model rotation that does to the frontal camera's picture what yaw does
    X = tiny_model.shape_mean
    middle = (X.amin(0) + X.amax(0)) / 2
    a = shaded_picture((X - middle) @ Q.T + middle, tiny_model.triangles, camera, 32, 32)[0]
    b = shaded_picture(X, tiny_model.triangles, turned, 32, 32)[0]
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert a.std() > 0.05


def test_a_portrait_fills_the_picture_but_for_its_margins(tiny_model):
    for height, width in ((100, 60), (60, 100)):
        camera = portrait_camera(tiny_model, height, width, margin=0.1, distance=1e5)
        pixels, depth = project(camera, tiny_model.shape_mean)
        low, high = pixels.amin(0), pixels.amax(0)
        torch.testing.assert_close((low + high) / 2, torch.tensor([(width - 1) / 2, (height - 1) / 2]).double())
        filled = (high - low) / torch.tensor([width, height])
        assert filled.max() == pytest.approx(0.8, abs=1e-3) and depth.mean() == pytest.approx(1e5, rel=1e-3)


def test_positive_yaw_turns_the_face_to_the_right_of_the_picture(tiny_model):
    nose = torch.tensor([[0.0, 0.0, 60.0]], dtype=torch.float64)
    x = [float(project(portrait_camera(tiny_model, 64, 64, yaw=yaw), nose)[0][0, 0]) for yaw in (-0.4, 0.0, 0.4)]
    assert x[0] < x[1] == pytest.approx(31.5) and x[2] > x[1]


def test_an_overlay_changes_the_photo_under_the_mask_only():
    photo, red = torch.rand(3, 5, 6), (1.0, 0.0, 0.0)
    mask = torch.zeros(5, 6)
    mask[2, 3] = 1
    half = overlay(photo, red, mask, alpha=0.5)
    torch.testing.assert_close(half[:, 2, 3], (photo[:, 2, 3] + torch.tensor(red)) / 2)
    assert torch.equal(half[:, mask == 0], photo[:, mask == 0])
    assert torch.equal(overlay(photo, photo.flip(-1), torch.ones(5, 6)), photo + 1 * (photo.flip(-1) - photo))


def test_lines_of_a_wireframe_are_as_thick_as_asked():
    """One large right triangle: the lines cover the perimeter times half the thickness (the rest is outside)."""
    X = torch.tensor([[-40.0, -40, 0], [40, -40, 0], [-40, 40, 0]], dtype=torch.float64)
    camera = portrait_camera(X, 100, 100, margin=0.1)  # 80 mm on 80 px
    lines = wireframe(X, torch.tensor([[0, 1, 2]]), camera, 100, 100, thickness=2.0, antialias=4)
    perimeter = 80 * (2 + math.sqrt(2))
    assert float(lines.sum()) == pytest.approx(perimeter * 2.0 / 2, rel=0.15)
    assert lines.max() <= 1 and lines.min() == 0


def test_the_soft_background_is_light_behind_the_head():
    paper = soft_background(40, 30)
    assert paper.shape == (3, 40, 30) and paper.min() > 0.3 and paper.max() < 1
    assert paper[:, 17, 15].mean() > paper[:, 0, 0].mean() + 0.1
