"""The replayed training in a real browser: keyboard, curve and button scrub through the pictures it was given."""

import numpy as np
import pytest
import torch
from live_page import pixels_of, trait, visit

from facenb.widgets import TrainingReplay
from facenb.widgets.replay import thinned

STEPS = [0, 100, 400, 1600]


def replay(**state) -> TrainingReplay:
    """Two photos, four moments, two panels; each picture is one grey that says which it is."""
    photos = torch.tensor([0.2, 0.7])[:, None, None, None].expand(2, 3, 16, 16)
    grey = torch.arange(8.0).reshape(4, 2) / 10  # moment, photo
    panels = {
        name: (grey + start)[..., None, None, None].expand(4, 2, 3, 16, 16) for name, start in (("a", 0.0), ("b", 0.2))
    }
    curve = [(20 * k, 1 / (1 + k)) for k in range(1, 81)]
    return TrainingReplay(STEPS, photos, panels, curve, names=["one", "other"], **state)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("replay") / "replay.html"
    replay().save(path)
    return path


def greys(page) -> list[float]:
    """Mean grey, in [0, 1], of the photo and the panels."""
    page.wait_for_timeout(350)
    return [pixels_of(page.locator("canvas").nth(k))[..., :3].mean() / 255 for k in range(3)]


def test_every_moment_shows_its_own_pictures(browser, page_file):
    page, wrong = visit(browser, f"file://{page_file}", reduced_motion="reduce")
    assert greys(page) == pytest.approx([0.2, 0.6, 0.8], abs=0.02)  # the last moment
    curve = page.locator("canvas").nth(3)
    curve.focus()
    page.keyboard.press("ArrowLeft")
    assert trait(page, "moment") == 2 and greys(page) == pytest.approx([0.2, 0.4, 0.6], abs=0.02)
    assert "400" in page.locator(".remark").inner_text()
    page.locator("[data-name='moment']").focus()
    page.keyboard.press("Home")
    assert trait(page, "moment") == 0 and greys(page) == pytest.approx([0.2, 0.0, 0.2], abs=0.02)
    page.locator("select").select_option("other")
    assert trait(page, "picture") == 1 and greys(page) == pytest.approx([0.7, 0.1, 0.3], abs=0.02)
    box = curve.bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 20)  # a quarter of the steps, by the root
    assert trait(page, "moment") == 2
    page.get_by_role("button", name="play").press("Enter")
    page.wait_for_timeout(1200)
    assert trait(page, "moment") == 3
    assert not wrong, wrong
    page.close()


def test_it_needs_neither_webgl_nor_a_face(browser, page_file):
    page = browser.new_page()
    page.add_init_script(
        "const own = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...a) {"
        " return kind === 'webgl2' ? null : own.call(this, kind, ...a); }"
    )
    page.goto(f"file://{page_file}")
    page.wait_for_function("document.querySelector('.facenb-live canvas')?.dataset.drawn > 0", timeout=20_000)
    assert page_file.stat().st_size < 200_000
    page.close()


def test_a_curve_is_thinned_to_means():
    curve = [(float(k), 2.0 * k) for k in range(1000)]
    short = thinned(curve, 10)
    assert len(short) == 10 and short[0] == [50, pytest.approx(99)] and short[-1] == [950, pytest.approx(1899)]
    assert thinned(curve[:3]) == [[0, 0.0], [1, 2.0], [2, 4.0]]


def test_pictures_that_do_not_belong_together_are_refused():
    photos, curve = torch.zeros(2, 3, 8, 8), [(1.0, 1.0)]
    with pytest.raises(ValueError, match=r"panel 'a' has 3 × 2 pictures, expected 2 moments × 2"):
        TrainingReplay([0, 1], photos, {"a": torch.zeros(3, 2, 3, 8, 8)}, curve)
    with pytest.raises(ValueError, match="1 names for 2 photos"):
        TrainingReplay([0], photos, {}, curve, names=["one"])


def test_the_still_picture_is_the_moment_that_is_shown():
    import io

    from PIL import Image

    strip = np.asarray(Image.open(io.BytesIO(replay(moment=1, picture=1)._still())))
    assert [strip[:, 128 * k + 64].mean() / 255 for k in range(3)] == pytest.approx([0.7, 0.3, 0.5], abs=0.02)
