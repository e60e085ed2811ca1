"""Faces that are depth maps in a real browser: drawn as the package draws them, and moved by hand and keyboard."""

import numpy as np
import pytest
import torch
import traitlets
from live_page import pixels_of, shown, trait, visit

from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW, DepthLight, depth_to_points, light_depth
from facenb.rasterise import interpolate, rasterise
from facenb.restore.depth_raster import grid_triangles
from facenb.restore.proxy import Face
from facenb.restore.view import Viewpoint, to_view
from facenb.widgets import DepthFaces

S = 32


def faces(seed: int = 0, n: int = 2) -> Face:
    """Bumps with coloured skin."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, S)] * 2, indexing="ij")
    coarse = torch.rand(n, 1, 5, 5, generator=g)
    bumps = torch.nn.functional.interpolate(coarse, size=(S, S), mode="bicubic")[:, 0]
    depth = 0.97 + 0.06 * (x**2 + y**2) + 0.03 * (bumps - 0.5)
    albedo = torch.nn.functional.interpolate(torch.rand(n, 3, 6, 6, generator=g), size=(S, S), mode="bilinear")
    light = DepthLight(
        torch.tensor([0.3, 0.5])[:n], torch.tensor([0.6, 0.4])[:n], torch.tensor([[0.5, 0.2], [-0.8, 0]])
    )
    angles = torch.tensor([[0.4, 0.1, 0.05], [-0.3, -0.1, 0.0]])[:n]
    view = Viewpoint(angles, torch.tensor([[0.004, -0.003, 0.0], [0.0, 0.002, 0.0]])[:n])
    depth = depth.clamp(0.91, 1.09)
    return Face(depth, albedo, light, view, torch.ones(n, 2, S, S), torch.zeros(n, S, S), depth)


def figure(**state) -> DepthFaces:
    photos = torch.tensor([0.2, 0.7])[:, None, None, None].expand(2, 3, S, S)
    return DepthFaces(photos, {"first": faces(), "second": faces(1)}, names=["one", "other"], **state)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("depth_faces") / "faces.html"
    figure().save(path)
    return path


def drawn(face: Face, i: int, n: int, state: dict) -> tuple[np.ndarray, np.ndarray]:
    """The slow readable twin: the package's own lighting, view and rasteriser; picture (n, n, 3) in 0–255 and mask."""
    own = face.depth[i : i + 1].double()
    depth = 1 + state["relief"] * (own - 1)
    ambient, diffuse, x, y = (torch.tensor([v], dtype=torch.double) for v in state["light"])
    light = DepthLight(ambient, diffuse, torch.stack([x, y], -1))
    texture = light_depth(depth, face.albedo[i : i + 1].double(), light).texture[0]
    shift = torch.tensor([[*state["shift"], 0.0]], dtype=torch.double)
    view = Viewpoint(torch.tensor([state["pose"]], dtype=torch.double), shift)
    X = to_view(depth_to_points(depth), view).reshape(-1, 3)
    K = intrinsics_from_fov(FIELD_OF_VIEW, n, n, dtype=torch.double)
    pixels = X[:, :2] / X[:, 2:] * K[0, 0] + K[:2, 2]
    fragments = rasterise(torch.cat([pixels, X[:, 2:]], 1)[None], grid_triangles(S, S), n, n, cull="back")
    values = torch.cat([texture.movedim(0, -1).reshape(-1, 3), own.reshape(-1, 1)], 1)
    values = interpolate(fragments, grid_triangles(S, S), values)[0]
    mask = fragments.mask[0] & (values[..., 3] < 1.03)
    return (255 * values[..., :3].clamp(0, 1)).numpy(), mask.numpy()


@pytest.mark.parametrize("seed", range(5))
def test_the_page_draws_what_the_package_draws(browser, page_file, seed):
    rng = np.random.default_rng(seed)
    state = {
        "face": seed % 2,
        "version": seed // 2 % 2,
        "pose": rng.uniform([-0.7, -0.3, -0.1], [0.7, 0.3, 0.1]).tolist(),
        "shift": rng.uniform(-0.005, 0.005, 2).tolist(),
        "light": [*rng.uniform(0.2, 0.5, 2).tolist(), *rng.uniform(-1, 1, 2).tolist()],
        "relief": float(rng.uniform(0.5, 1.5)),
    }
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    page.wait_for_timeout(100)
    ours = shown(page, **state)
    expected, mask = drawn(faces(state["version"]), state["face"], len(ours), state)
    solid = ours[..., 3] == 255
    assert (solid != mask).mean() < 0.01
    both = solid & mask
    assert both.mean() > 0.2
    assert np.abs(ours[..., :3] - expected)[both].mean() < 2
    assert not wrong, wrong
    page.close()


def test_hand_and_keyboard_turn_light_and_flatten_it(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    canvas = page.locator("canvas").nth(2)
    before = pixels_of(canvas)
    canvas.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert trait(page, "pose")[0] == pytest.approx(0.4 + 0.36, abs=1e-6)
    page.wait_for_timeout(200)
    assert np.abs(pixels_of(canvas) - before).mean() > 1
    for name, key, attribute, k in (
        ("relief", "Home", "relief", None),
        ("lamp, sideways", "End", "light", 2),
        ("its strength", "Home", "light", 1),
        ("light of the room", "End", "light", 0),
    ):
        page.locator(f"[data-name='{name}']").focus()
        page.keyboard.press(key)
        value = trait(page, attribute) if k is None else trait(page, attribute)[k]
        assert value == {"Home": 0, "End": 2 if name == "lamp, sideways" else 1}[key]
    page.get_by_role("button", name="as in the photo").press("Enter")
    assert trait(page, "relief") == 1 and trait(page, "pose") == pytest.approx([0.4, 0.1, 0.05])
    page.locator("[data-name='turn less when deeper']").check()
    page.locator("[data-name='relief']").focus()
    page.keyboard.press("End")
    assert trait(page, "pose")[0] == pytest.approx(0.2)  # twice as deep, half as far
    page.locator("[data-name='face']").select_option("other")
    assert trait(page, "face") == 1 and trait(page, "pose") == pytest.approx([-0.3, -0.1, 0])
    page.locator("[data-name='made by']").select_option("second")
    assert trait(page, "version") == 1
    page.wait_for_timeout(200)
    assert pixels_of(page.locator("canvas").nth(0))[..., :3].mean() / 255 == pytest.approx(0.7, abs=0.02)
    assert not wrong, wrong
    page.close()


def test_it_fits_a_phone_and_needs_no_webgl(browser, page_file):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.add_init_script(
        "const own = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...a) {"
        " return kind === 'webgl2' ? null : own.call(this, kind, ...a); }"
    )
    page.goto(f"file://{page_file}")
    page.wait_for_function("document.querySelector('.facenb-live canvas')?.dataset.drawn > 0", timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_it_begins_as_in_the_photo_and_python_sees_its_state():
    fig = figure(face=1)
    assert fig.pose == pytest.approx([-0.3, -0.1, 0]) and fig.light[0] == pytest.approx(0.5)
    assert fig.widget.pose == fig.pose
    fig.relief = 0.5
    assert fig.widget.relief == 0.5
    assert fig._still()[:2] == b"\xff\xd8"


def test_what_does_not_belong_together_is_refused():
    photos = torch.zeros(2, 3, S, S)
    with pytest.raises(ValueError, match="made 1 faces of 2 photos"):
        DepthFaces(photos, {"one": faces(n=1)})
    with pytest.raises(ValueError, match="1 names for 2 photos"):
        DepthFaces(photos, {"two": faces()}, names=["one"])
    deep = faces()._replace(depth=torch.full((2, S, S), 1.2))
    with pytest.raises(ValueError, match=r"leave \[0\.9, 1\.1\]"):
        DepthFaces(photos, {"deep": deep})
    with pytest.raises(traitlets.TraitError):
        figure(light=[1.0, 2.0])
