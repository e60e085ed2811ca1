"""The camera figure in a real browser: its numbers are the package's, and stepping near keeps the face's size."""

import numpy as np
import pytest
from live_page import pixels_of, random_state, shown, trait, visit

from facenb.camera import inverse_camera
from facenb.widgets import CameraFigure


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "camera.html"
    CameraFigure().save(path)
    return path


def matrices(text: str) -> list[list[float]]:
    """All numbers, row by row, of the figure's table."""
    rows = []
    for line in text.replace("−", "-").split("\n"):
        try:
            rows.append([float(x) for x in line.split()])
        except ValueError:
            continue
    return [row for row in rows if row]


def test_the_numbers_are_the_package_s(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}")
    for seed in (1, 2):
        state = {k: v for k, v in random_state(seed).items() if k in ("pose", "camera")}
        state["camera"][1] = 400.0 + 300 * seed
        shown(page, **state)
        rows = matrices(text(page))
        K, Rt, Pq = (np.array(rows[i : i + 3]) for i in (0, 3, 6))
        camera = CameraFigure(**state).camera_at(512, 512)
        P, q = inverse_camera(camera)
        np.testing.assert_allclose(K, camera.K, atol=0.06)
        np.testing.assert_allclose(Rt[:, :3], camera.R, atol=6e-4)
        np.testing.assert_allclose(Rt[:, 3], camera.t, atol=0.6)
        np.testing.assert_allclose(Pq[:, :3], 1000 * P, rtol=1e-4, atol=6e-3)
        np.testing.assert_allclose(Pq[:, 3], q, atol=0.6)
    assert not wrong, wrong
    page.close()


def text(page) -> str:
    return page.locator(".numbers").inner_text()


def face_size(pixels: np.ndarray) -> int:
    """Height in pixels of what is covered."""
    rows = np.nonzero((pixels[..., 3] > 127).any(1))[0]
    return int(rows.max() - rows.min())


def test_stepping_near_changes_the_face_and_keeps_its_size(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    photo, aside = page.locator("canvas").nth(0), page.locator("canvas").nth(1)
    page.get_by_label("outline from far away").press("Space")
    first = shown(page, pose=[0.0, 0.0, 0.0])
    before, watched = pixels_of(photo), pixels_of(aside)
    focal, distance = trait(page, "camera")[:2]
    page.get_by_role("button", name="much too near").press("Enter")
    page.wait_for_timeout(300)
    f, d = trait(page, "camera")[:2]
    assert d == pytest.approx(220) and f / d == pytest.approx(focal / distance, rel=1e-6)
    near = pixels_of(photo)
    assert np.abs(near - before).mean() > 3 and np.abs(pixels_of(aside) - watched).mean() > 3
    assert abs(face_size(near) - face_size(before)) < 0.12 * face_size(before)
    assert float(page.locator(".remark").inner_text().split(" is ")[1].split(" %")[0]) > 25

    page.get_by_label("keep the face's size").press("Space")
    assert trait(page, "hold") is False
    page.locator("[data-name='distance']").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    f2, d2 = trait(page, "camera")[:2]
    assert d2 == pytest.approx(320) and f2 == f
    assert face_size(pixels_of(photo)) < 0.8 * face_size(near)
    aside.focus()
    page.keyboard.press("ArrowLeft")
    assert trait(page, "camera")[1] > 330, "the camera stepped back"
    assert first.shape == near.shape and not wrong, wrong
    page.close()


def test_the_principal_point_shifts_the_picture(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    photo = page.locator("canvas").first

    def middle() -> float:
        page.wait_for_timeout(300)
        return np.nonzero((pixels_of(photo)[..., 3] > 127).any(0))[0].mean()

    before = middle()
    page.locator("[data-name='centre, sideways']").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    moved = middle() - before
    assert trait(page, "camera")[2] == pytest.approx(0.1)
    assert moved == pytest.approx(0.1 * pixels_of(photo).shape[0], abs=2)
    assert not wrong, wrong
    page.close()
