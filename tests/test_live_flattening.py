"""The flattening figure in a real browser: its layouts and counts are the package's, and pointing finds the place."""

import re

import numpy as np
import pytest
import torch
from live_page import pixels_of, shown, trait, visit

from facenb.camera import project
from facenb.flatten import flatten
from facenb.open_model import open_model
from facenb.uv_model import texels_per_region
from facenb.widgets import FlatteningFigure
from facenb.widgets.flattening import BOOSTED


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("flattening") / "flattening.html"
    FlatteningFigure().save(path)
    return path


@pytest.fixture(scope="module")
def model():
    return open_model()


def said(page) -> dict[str, float]:
    """What the figure says of its point: u, v; x, y, z in mm."""
    text = page.locator(".remark").inner_text().replace("−", "-")
    return {name: float(value) for name, value in re.findall(r"([uvxyz]) = (-?[\d.]*\d)", text)}


def counts(page) -> dict[str, int]:
    lines = page.locator(".numbers").inner_text().split("\n")[1:]
    return {line.split()[0]: int(line.split()[1].replace(",", "")) for line in lines}


def test_texels_are_counted_as_the_package_counts_them(browser, page_file, model):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    layouts = {"uniform": flatten(model, "uniform"), BOOSTED: flatten(model)}
    for name, layout in layouts.items():
        for N in (320, 128):
            shown(page, weights=name, texels=N)
            expected = texels_per_region(model, layout, N)
            for region, n in counts(page).items():
                assert n == pytest.approx(expected[region], rel=0.01, abs=3), (name, N, region)
    assert not wrong, wrong
    page.close()


def test_pointing_at_one_finds_the_place_on_the_other(browser, page_file, model):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    layout, X = flatten(model), model.shape_mean
    face, square = page.locator("canvas").nth(0), page.locator("canvas").nth(1)
    chin = int(model.landmarks68[8])
    page.locator("select[data-name='go to']").select_option("chin")
    found = said(page)
    assert [found[k] for k in "uv"] == pytest.approx(layout.uv[chin].tolist(), abs=2e-3)
    assert [found[k] for k in "xyz"] == pytest.approx(X[chin].tolist(), abs=0.6)

    shown(page, pose=[0.3, 0.1, 0.0])
    box = face.bounding_box()
    side = round(box["width"])
    tip = int(model.landmarks68[30])
    x, y = project(FlatteningFigure(pose=(0.3, 0.1, 0)).camera_at(side, side), X[tip][None])[0][0].tolist()
    page.mouse.move(box["x"] + x + 0.5, box["y"] + y + 0.5)
    found = said(page)
    assert np.linalg.norm(np.array([found[k] for k in "xyz"]) - X[tip].numpy()) < 3
    assert [found[k] for k in "uv"] == pytest.approx(layout.uv[tip].tolist(), abs=0.02)

    box = square.bounding_box()
    inner = 0.94 * box["width"]
    u, v = 0.3, 0.35
    edge = (box["width"] - inner) / 2
    page.mouse.move(box["x"] + edge + u * inner, box["y"] + edge + v * inner)
    found = said(page)
    assert (found["u"], found["v"]) == pytest.approx((u, v), abs=0.005)
    square.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert said(page)["u"] == pytest.approx(u + 5 * 0.02, abs=0.005)
    assert not wrong, wrong
    page.close()


def test_flattened_the_face_fills_the_square(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    face = page.locator("canvas").first
    page.get_by_role("button", name="flatten, or fold back").press("Enter")
    page.wait_for_timeout(500)
    assert trait(page, "morph") == 1
    flat = pixels_of(face)
    middle = flat[flat.shape[0] // 2]
    covered = (middle[:, 3] > 127).mean()
    assert covered == pytest.approx(0.94, abs=0.01)
    assert (flat[..., 3] > 127).mean() == pytest.approx(0.94**2, abs=0.02)
    before = pixels_of(page.locator("canvas").nth(1))
    page.locator("select[data-name='weights']").select_option("uniform")
    page.wait_for_timeout(500)
    assert np.abs(pixels_of(page.locator("canvas").nth(1)) - before).mean() > 2
    page.locator("[data-name='flattened']").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(500)
    assert trait(page, "morph") == 0 and (pixels_of(face)[..., 3] > 127).mean() < 0.6
    assert not wrong, wrong
    page.close()


def test_layouts_reach_the_page_unharmed(model):
    import base64

    state = FlatteningFigure().state()
    values = np.frombuffer(base64.b64decode(state["layouts"]["uniform"]), "<u2").reshape(2, -1) / 65535
    V = model.n_vertices
    assert np.abs(values[:, :V].T - flatten(model, "uniform").uv[:V].numpy()).max() < 1e-5
    weights = np.frombuffer(base64.b64decode(state["regions"]["eyes"]), np.uint8) / 255
    assert torch.tensor(weights).sub(model.regions["eyes"]).abs().max() < 0.003
