"""The six pictures of section O: right size, right content, legible."""

import pytest
import torch
from rendered_faces import rendered_faces

from facenb.fit_result import PortraitFit
from facenb.networks import Maps
from facenb.open_model import open_model
from facenb.reconstruction import reconstruction_tables
from facenb.six_panels import (
    PANELS,
    PAPER,
    SIDE,
    confidence_picture,
    correspondence_picture,
    depth_picture,
    panel_sheet,
    six_panels,
)


@pytest.fixture(scope="module")
def shown():
    model = open_model(progress=False)
    tables = reconstruction_tables(model)
    faces = rendered_faces(model, tables.flattening, 1, torch.Generator().manual_seed(4))
    m, camera = faces.m[0], faces.camera[0]
    n = model.n_identity
    fit = PortraitFit(camera, m[:n], m[n:], faces.albedo[0], faces.light[0], faces.landmarks68[0], {})
    return faces, six_panels(faces.image[0], faces.maps, fit, camera, model)


def test_six_named_pictures_of_one_size(shown):
    _, panels = shown
    assert tuple(panels) == PANELS
    for picture in panels.values():
        assert picture.shape == (3, SIDE, SIDE) and picture.isfinite().all()


def test_reconstruction_and_geometry_lie_where_the_face_is(shown):
    """Inside the true mask both differ from their backgrounds; the reconstruction is near the photo everywhere."""
    faces, panels = shown
    mask = torch.nn.functional.interpolate(faces.mask[:, None].float(), (SIDE, SIDE))[0, 0] > 0.5
    geometry = (panels["Geometry"] - PAPER).abs().amax(0) > 0.02
    overlap = (geometry & mask).sum() / (geometry | mask).sum()
    assert overlap > 0.9
    assert (panels["Reconstruction"] - panels["Input"]).abs().mean(0)[mask].median() < 0.02
    assert (panels["Reconstruction"] - panels["Input"]).abs().mean(0)[~mask].median() < 1e-4


def flat_maps(w):
    """uv = position, depth falls from left to right, confidence w."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    return Maps(torch.stack([x, y])[None] / 63, (2 - x / 63)[None], torch.logit(torch.tensor(w)).expand(1, 64, 64))


def test_correspondence_draws_ten_lines_each_way_where_it_is_confident():
    """On a flat sheet a row crosses about ten light lines; without confidence there is only the grey photo."""
    photo = torch.zeros(3, SIDE, SIDE)
    sure = correspondence_picture(photo, flat_maps(0.99))
    row = sure.amin(0)[SIDE // 2 + 8]
    crossings = ((row[1:] > 0.7) & (row[:-1] <= 0.7)).sum()
    assert 8 <= crossings <= 11
    vague = correspondence_picture(photo, flat_maps(0.01))
    assert vague.std() < 0.02


def test_confidence_and_depth_are_read_from_light_and_dark():
    light, dark = (confidence_picture(flat_maps(w)).mean() for w in (0.99, 0.01))
    assert light > 0.8 and dark < 0.05
    depth = depth_picture(flat_maps(0.99))
    assert depth[:, :, -20:].mean() > depth[:, :, :20].mean()  # near is light
    torch.testing.assert_close(depth_picture(flat_maps(0.01)), torch.full((3, SIDE, SIDE), PAPER))


def test_the_sheet_holds_all_six_with_their_names():
    """Each panel's colour appears in its cell, and above it dark letters on white."""
    colours = [torch.tensor(c) for c in ((1.0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1))]
    panels = {name: c.float()[:, None, None].expand(3, 96, 96) for name, c in zip(PANELS, colours, strict=True)}
    for title in (None, "somebody"):
        sheet = panel_sheet(panels, title)
        _, H, W = sheet.shape
        assert W == 1152 and 700 < H < 900
        top = H - 792
        for i, c in enumerate(colours):
            y, x = top + 396 * (i // 3) + 220, 384 * (i % 3) + 190
            torch.testing.assert_close(sheet[:, y, x], c.float(), atol=0.02, rtol=0)
            title_strip = sheet[
                :, top + 396 * (i // 3) + 2 : top + 396 * (i // 3) + 34, 384 * (i % 3) : 384 * (i % 3) + 380
            ]
            assert (title_strip.amax(0) < 0.4).any() and (title_strip.amin(0) > 0.9).float().mean() > 0.7
