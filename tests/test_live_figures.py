"""The live figures in a real browser: pictures as the package draws them, alive under mouse and keyboard."""

import functools
import gzip
import http.server
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from live_page import pixels_of, random_state, shown, trait, visit
from PIL import Image
from scipy.ndimage import binary_erosion
from test_live_depth_faces import figure as depth_faces

from facenb.camera import decompose, project
from facenb.fit_result import PortraitFit
from facenb.flatten import flatten
from facenb.lighting import inverse_light, lamp, shade, sphere_points
from facenb.normals import vertex_normals
from facenb.open_model import open_model
from facenb.pictures import portrait_camera, render_face
from facenb.uv_model import uv_model
from facenb.widgets import (
    CameraFigure,
    FaceExplorer,
    FlatteningFigure,
    LeastSquaresByHand,
    LightFigure,
    Portrait,
    TrainingReplay,
)
from facenb.widgets.live_figure import COMPONENTS


def rendered_portrait() -> Portrait:
    """Of a rendered person, whose fit is exact."""
    model = open_model().truncate(10, 5, 10)
    camera = portrait_camera(model, 256, 256, yaw=0.3)
    light = torch.zeros(3, 9)
    light[:, 0] = 3.0
    generator = torch.Generator().manual_seed(2)
    who, act, skin = (x[0] for x in model.sample(1, generator))
    photo, _ = render_face(
        model, camera, 256, 256, identity=who, expression=act, albedo=skin, light=light, inverse=True, antialias=2
    )
    X = model.vertices(who, act)[model.landmarks68] @ camera.R.T + camera.t
    landmarks = (X @ camera.K.T)[:, :2] / X[:, 2:]
    fit = PortraitFit(camera, who, act, skin, light, landmarks, {"colour_median": 0.02})
    return Portrait(photo, fit, model, uv_model(model, flatten(model), 160), photo_alt="somebody")


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return rendered_portrait()


def by_hand() -> LeastSquaresByHand:
    """Exact points of somebody."""
    state = {k: v for k, v in random_state(3).items() if k in ("identity", "expression", "albedo", "pose")}
    return LeastSquaresByHand(**state, noise=0, depth_noise=0, points=30)


@pytest.fixture(scope="module")
def pages(tmp_path_factory, portrait) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    FaceExplorer().save(folder / "explorer.html")
    portrait.save(folder / "portrait.html")
    by_hand().save(folder / "by_hand.html")
    LightFigure().save(folder / "light.html")
    CameraFigure().save(folder / "camera.html")
    FlatteningFigure().save(folder / "flattening.html")
    depth_faces().save(folder / "depth_faces.html")
    grey = torch.rand(2, 3, 3, 16, 16)
    TrainingReplay([0, 10], grey[0], {"overlay": grey}, [(0, 1.0), (10, 0.5)]).save(folder / "replay.html")
    return folder


@pytest.fixture(scope="module")
def home(pages):
    """The pages over http."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=pages))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_the_page_and_the_package_draw_the_same_face(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/explorer.html")
    errors = []
    for seed in range(10):
        state = random_state(seed)
        pixels = shown(page, **state)
        picture, coverage = FaceExplorer(**state).picture(pixels.shape[1], pixels.shape[0], antialias=3)
        inside = binary_erosion(coverage.numpy() > 0.999, iterations=2) & (pixels[..., 3] == 255)
        assert inside.mean() > 0.1
        ours = 255 * picture.permute(1, 2, 0).numpy()
        errors.append(np.abs(pixels[..., :3] - ours)[inside].mean())
        off = np.logical_xor(coverage.numpy() > 0.5, pixels[..., 3] > 127).mean()
        assert off < 0.004, "another outline"
    assert max(errors) <= 2 and not wrong, (errors, wrong)
    page.close()


ALL = ("by_hand", "camera", "depth_faces", "explorer", "flattening", "light", "portrait", "replay")


@pytest.mark.parametrize("address", ["file", "http"])
@pytest.mark.parametrize("name", ALL)
def test_every_figure_lives_from_a_disk_and_from_a_server(browser, pages, home, name, address):
    """Drawn, without an error and without a request that leaves the page, and alive under the keyboard."""
    page, wrong = visit(browser, f"{home if address == 'http' else f'file://{pages}'}/{name}.html")
    drawn = "[...document.querySelectorAll('canvas')].reduce((n, c) => n + Number(c.dataset.drawn ?? 0), 0)"
    page.wait_for_timeout(100)
    before = page.evaluate(drawn)
    slider = page.locator(".facenb-live input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowLeft")  # one of the two moves it, wherever it stands
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{drawn} > {before}", timeout=20_000)
    assert page.locator("canvas:not([aria-label])").count() == 0, "a canvas without a name"
    unnamed = "[...document.querySelectorAll('.facenb-live :is(input, select, button)')].filter(e =>"
    unnamed += " !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).length"
    assert page.evaluate(unnamed) == 0, "a control without a name"
    assert not wrong, wrong
    page.close()


def test_the_figures_of_a_page_weigh_less_than_a_megabyte_and_a_half(pages):
    for name in ALL:
        assert len(gzip.compress((pages / f"{name}.html").read_bytes())) <= 1.5 * 2**20, name


def brightness(pixels: np.ndarray) -> tuple[float, float]:
    """Mean grey of the face on the left and on the right of the picture."""
    inside, grey, half = pixels[..., 3] > 250, pixels[..., :3].mean(-1), pixels.shape[1] // 2
    return grey[:, :half][inside[:, :half]].mean(), grey[:, half:][inside[:, half:]].mean()


@pytest.mark.parametrize("address", ["file", "http"])
def test_the_explorer_answers_to_the_keyboard(browser, pages, home, address):
    page, wrong = visit(
        browser, f"{home if address == 'http' else f'file://{pages}'}/explorer.html", reduced_motion="reduce"
    )
    first = shown(page, pose=[0.0, 0.0, 0.0])

    def press(name: str, key: str, times: int = 1) -> np.ndarray:
        page.locator(f".facenb-live [data-name='{name}']").focus()
        for _ in range(times):
            page.keyboard.press(key)
        return shown(page, pose=[0.0, 0.0, 0.0])

    wider = press("1 chin, lips", "ArrowRight", 20)
    assert page.evaluate("document.querySelector('.facenb-figure').facenbModel.get('identity')[0]") == 2
    assert np.abs(wider - first).mean() > 1
    smiling = press("smile", "End")
    lower, upper = np.abs(smiling - wider)[300:].mean(), np.abs(smiling - wider)[:200].mean()
    assert lower > 4 * upper, "a smile is in the lower half of a face"
    page.get_by_role("button", name="Undo").press("Enter")
    page.get_by_role("button", name="Undo").press("Enter")
    assert np.abs(shown(page, pose=[0.0, 0.0, 0.0]) - first).max() <= 2, "two steps back is where we began"
    page.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('.facenb-figure').facenbModel.get('pose')[0]") > 0.05
    page.get_by_role("button", name="Random face").press("Enter")
    page.get_by_label("wireframe").press("Space")
    page.locator("select").select_option("normals")
    assert np.abs(shown(page, pose=[0.0, 0.0, 0.0]) - first).mean() > 5
    assert not wrong, wrong
    page.close()


def test_a_hand_turns_the_face(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/explorer.html")
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 250)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 250, steps=4)
    page.mouse.up()
    yaw, pitch, _ = page.evaluate("document.querySelector('.facenb-figure').facenbModel.get('pose')")
    assert yaw == pytest.approx(2.2 * 100 / box["height"], rel=0.02) and pitch == 0
    assert not wrong, wrong
    page.close()


def test_a_finger_turns_the_face(browser, pages):
    page = browser.new_page(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.goto(f"file://{pages}/explorer.html")
    page.wait_for_function("document.querySelector('.facenb-live canvas')?.dataset.drawn > 0", timeout=60_000)
    box = page.locator("canvas").bounding_box()
    finger = page.context.new_cdp_session(page)
    x, y = box["x"] + 100, box["y"] + 150
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        touch = [{"x": x + 20 * step, "y": y}]
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": touch})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert trait(page, "pose")[0] > 0.3
    page.close()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_fits_a_phone_and_can_be_read_in_the_dark(browser, pages, name, scheme):
    page, wrong = visit(browser, f"file://{pages}/{name}.html", color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    words = page.locator(".facenb-live legend").first
    grey = np.asarray(Image.open(io.BytesIO(words.screenshot())).convert("L")).astype(float)
    paper = np.median(grey)
    ink = grey.max() if scheme == "dark" else grey.min()
    assert (ink - paper if scheme == "dark" else paper - ink) > 100, (ink, paper)
    assert not wrong, wrong
    page.close()


def test_a_portrait_is_the_package_s_own_in_any_light(browser, pages, portrait):
    page, wrong = visit(browser, f"file://{pages}/portrait.html", reduced_motion="reduce")
    for direction, pose in (((-1, 0.2, 0.5), [0.5, 0.1, 0.0]), ((0.8, 0.6, 0.4), [-0.4, 0.0, 0.1])):
        portrait.light, portrait.pose = lamp(direction, (1.1, 0.9, 0.7), 0.3), pose
        pixels = shown(page, light=portrait.light, pose=portrait.pose)
        picture, coverage = portrait.picture(pixels.shape[1], pixels.shape[0], antialias=3)
        inside = binary_erosion(coverage.numpy() > 0.999, iterations=3)
        error = np.abs(pixels[..., :3] - 255 * picture.permute(1, 2, 0).numpy())[inside].mean()
        assert error <= 2, error
    page.get_by_role("button", name="from the left").press("Enter")
    page.get_by_role("button", name="straight ahead").press("Enter")
    left, right = brightness(shown(page, camera=portrait.camera))
    assert left > right + 40
    assert not wrong, wrong
    page.close()


def test_without_webgl_the_still_picture_stays(browser, pages):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(f"file://{pages}/explorer.html")
    page.wait_for_timeout(1500)
    assert page.locator("img.still").is_visible() and page.locator("img.still").get_attribute("alt")
    page.close()


def dense_answer(figure: LeastSquaresByHand, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """[P, q] and m of the rows P (d x) + q − B m = a, and 10^prior · n ‖m‖² below them, by numpy."""
    model = open_model().truncate(*COMPONENTS)
    m = torch.tensor([*figure.identity, *figure.expression])
    vertices = model.landmarks68[order]
    a, B = model.shape_mean[vertices], model.shape_basis[vertices]  # n 3, n 3 Ns
    pixels, depth = project(figure.camera_at(512, 512), a + B @ m)
    g = torch.cat([depth[:, None] * torch.cat([pixels, torch.ones_like(depth)[:, None]], -1) / 1e5,
                   torch.ones_like(depth)[:, None]], -1).double()  # fmt: skip
    n, Ns = len(order), B.shape[-1]
    A = torch.zeros(n, 3, 12 + Ns, dtype=torch.float64)
    for c in range(3):
        A[:, c, 4 * c : 4 * c + 4] = g
    A[..., 12:] = -B.double()
    prior = torch.zeros(Ns, 12 + Ns, dtype=torch.float64)
    prior[:, 12:] = (10**figure.prior * n) ** 0.5 * torch.eye(Ns, dtype=torch.float64)
    right = torch.cat([a.double().flatten(), torch.zeros(Ns, dtype=torch.float64)])
    u = np.linalg.lstsq(torch.cat([A.flatten(0, 1), prior]).numpy(), right.numpy(), rcond=None)[0]
    Pq = u[:12].reshape(3, 4) / [1e5, 1e5, 1e5, 1]
    return Pq, u[12:]


def test_least_squares_in_the_page_are_numpy_s(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/by_hand.html")
    get = "name => document.querySelector('.facenb-figure').facenbModel.get(name)"
    figure = by_hand()
    first = [36, 45, 48, 54, 30, 8, 39, 42, 27, 0, 16, 33, 51, 57, 19, 24, 4, 12, 62, 66]
    order = (first + [k for k in range(68) if k not in first])[: figure.points]
    Pq, m = dense_answer(figure, order)
    found = np.array(page.evaluate(get, "inverse_camera"))
    np.testing.assert_allclose(page.evaluate(get, "solved"), m, atol=0.02)
    ours, theirs = (decompose(torch.tensor(x[:, :3]), torch.tensor(x[:, 3])) for x in (found, Pq))
    torch.testing.assert_close(ours.K, theirs.K, rtol=5e-3, atol=1.0)
    torch.testing.assert_close(ours.R, theirs.R, rtol=0, atol=2e-3)
    numbers = page.locator(".numbers").inner_text()
    assert f"{ours.K[0, 0]:.0f}" in numbers and f"{np.linalg.norm(found[:, 3]):.0f}" in numbers

    canvas = page.locator("canvas").first
    canvas.focus()
    page.keyboard.press("PageDown")
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    by_key = np.array(page.evaluate(get, "inverse_camera"))
    assert np.abs(by_key - found).max() > 0.1, "a point was moved by 12 px"
    page.get_by_role("button", name="Put the points back").press("Enter")
    np.testing.assert_allclose(page.evaluate(get, "inverse_camera"), found, rtol=1e-6, atol=1e-9)

    x, y = (project(figure.camera_at(512, 512), open_model().truncate(*COMPONENTS).vertices(
        torch.tensor(figure.identity), torch.tensor(figure.expression))[open_model().landmarks68[30]][None])[0][0]
    ).tolist()  # fmt: skip
    box = canvas.bounding_box()
    k = box["width"] / 512
    page.mouse.move(box["x"] + k * x, box["y"] + k * y)
    page.mouse.down()
    page.mouse.move(box["x"] + k * x + 20, box["y"] + k * y + 10, steps=3)
    page.mouse.up()
    assert np.abs(np.array(page.evaluate(get, "inverse_camera")) - found).max() > 0.1
    assert not wrong, wrong
    page.close()


def test_the_light_that_a_figure_begins_with_is_that_of_its_sliders(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/light.html", reduced_motion="reduce")
    first = np.array(trait(page, "light"))
    page.get_by_role("button", name="from the front").press("Enter")
    np.testing.assert_allclose(trait(page, "light"), first, atol=1e-6)
    page.get_by_role("button", name="from above").press("Enter")
    assert np.abs(np.array(trait(page, "light")) - first).max() > 0.1
    assert not wrong, wrong
    page.close()


def test_the_inverse_light_in_the_page_errs_as_the_package_s_does(browser, pages):
    page, wrong = visit(browser, f"file://{pages}/light.html", reduced_motion="reduce")
    model = open_model().truncate(*COMPONENTS)
    N = vertex_normals(model.shape_mean.double(), model.triangles)
    for direction, ambient in (((-0.9, 0.3, 0.6), 0.5), ((0.4, 1.0, 0.2), 0.25)):
        light = lamp(torch.tensor(direction, dtype=torch.float64), 0.9, ambient)
        page.evaluate("l => document.querySelector('.facenb-figure').facenbModel.set('light', l)", light.tolist())
        s = shade(light, N)[1]
        g = inverse_light(light[None], sphere_points(400, dtype=torch.float64))[0]
        error = 1 / (shade(g, N)[1].clamp_min(0.05) * s) - 1
        said = page.locator(".remark").inner_text()
        rms, largest = (float(x) for x in re.findall(r"[0-9]+[.][0-9]", said))
        assert rms == pytest.approx(100 * error.square().mean().sqrt().item(), abs=0.2)
        assert largest == pytest.approx(100 * error.abs().max().item(), rel=0.05, abs=0.5)
    page.get_by_role("button", name="from the left").press("Enter")
    ball = page.locator("canvas").first

    def sides() -> tuple[float, float]:
        page.wait_for_timeout(400)
        return brightness(pixels_of(ball))

    left, right = sides()
    assert left > right + 30
    ball.focus()
    for _ in range(32):
        page.keyboard.press("ArrowRight")
    left, right = sides()
    assert right > left + 30, "the lamp went round to the other side"
    assert not wrong, wrong
    page.close()
