"""`facenb reconstruct` from its options to its files, with a stand-in network."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hidden_faces import FACE, ReadsColours, hidden
from PIL import Image
from rendered_faces import rendered_faces

from facenb import reconstruct_command
from facenb.camera import Camera, project
from facenb.cli import main
from facenb.face_finder import FinderOptions, crop_similarity
from facenb.fit_command import side_by_side
from facenb.fit_result import read_fit
from facenb.metrics import five_points
from facenb.networks import build_network
from facenb.open_model import open_model
from facenb.photo import write_photo
from facenb.reconstruct_command import (
    ENDINGS,
    Tools,
    photo_camera,
    photo_confidence,
    photo_fit,
    reconstruct_photos,
)
from facenb.reconstruction import reconstruction_tables
from facenb.rotation import rotation_from_angles
from facenb.weights import save_weights

NAMES = sorted(f"somebody{ending}" for ending in ENDINGS)


@pytest.fixture(scope="module")
def model():
    return open_model(progress=False)


@pytest.fixture(scope="module")
def tables(model):
    return reconstruction_tables(model)


@pytest.fixture(scope="module")
def faces(model, tables):
    g = torch.Generator().manual_seed(5)
    return rendered_faces(model, tables.flattening, 2, g, size=FACE, yaw=0.3, roll=0.0)


@pytest.fixture(scope="module")
def photo(faces):
    """A picture with a turned face in it, and its five points (px)."""
    return hidden(faces, 0, (190.0, 140.0), 180.0, 25.0, size=(300, 380))


@pytest.fixture(autouse=True)
def brief_search(monkeypatch):
    """test_face_finder looks everywhere."""
    monkeypatch.setattr(reconstruct_command, "FINDER", FinderOptions(scales=(0.7, 0.5), angles=(0, 45)))


@pytest.fixture
def stand_in(monkeypatch, model, tables):
    monkeypatch.setattr(reconstruct_command, "load_tools", lambda weights: Tools(ReadsColours(), model, tables))


@pytest.fixture(scope="module")
def result(photo, model, tables, tmp_path_factory):
    """Folder of the results of one run, and what the command printed."""
    folder = tmp_path_factory.mktemp("result")
    write_photo(photo[0], folder / "somebody.png")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruct_command, "load_tools", lambda weights: Tools(ReadsColours(), model, tables))
        patch.setattr(reconstruct_command, "FINDER", FinderOptions(scales=(0.7, 0.5), angles=(0, 45)))
        arguments = {"weights": None, "box": None, "known_focal": None, "refine": 0, "max_side": 1024}
        reconstruct_photos(
            (folder / "somebody.png",), folder / "out", **arguments, say=said.append, complain=said.append
        )
    return folder / "out", said


@pytest.fixture
def files(photo, tmp_path):
    write_photo(photo[0], tmp_path / "somebody.png")
    Image.new("RGB", (200, 160), (90, 80, 70)).save(tmp_path / "nobody.png")
    return tmp_path


def test_a_photo_becomes_five_files_in_its_own_pixels(result, photo):
    """The keys of `facenb fit` and landmarks68_direct; five points of both kinds within 4 % of the eyes' distance."""
    out, said = result
    assert sorted(p.name for p in out.iterdir()) == NAMES
    assert len(said) == 1 and "somebody.json" in said[0]
    content = json.loads((out / "somebody.json").read_text())
    assert list(content) == [
        *("image", "width", "height", "model", "camera", "identity", "expression", "albedo", "lighting"),
        *("landmarks68", "landmarks68_direct", "residuals"),
    ]
    assert (content["width"], content["height"]) == (380, 300)
    five, eyes = photo[1], (photo[1][0] - photo[1][1]).norm()
    fit = read_fit(out / "somebody.json").fit
    for points in (fit.landmarks68, fit.landmarks68_direct):
        assert ((five_points(points) - five).norm(dim=-1) / eyes).mean() < 0.04


def test_camera_and_coefficients_put_the_model_where_the_landmarks_are(result, model):
    """K, R, t of the JSON project the model's landmarks onto `landmarks68`: one set of pixels for everything."""
    fit = read_fit(result[0] / "somebody.json").fit
    X = model.vertices(fit.identity, fit.expression)[model.landmarks68]
    seen, depth = project(fit.camera, X)
    assert (depth > 0).all() and (seen - fit.landmarks68).norm(dim=-1).mean() < 0.5
    assert torch.det(fit.camera.R) == pytest.approx(1, abs=1e-4)


def test_the_maps_come_with_the_way_back_to_the_photo(result, photo, tables):
    """Where u, v of the nose's tip is said to be in the crop, `crop_to_photo` leads to its pixel in the photo."""
    with np.load(result[0] / "somebody_maps.npz") as maps:
        assert {k: maps[k].shape for k in maps} == {
            "uv": (64, 64, 2),
            "depth": (64, 64),
            "confidence": (64, 64),
            "crop_to_photo": (2, 3),
        }
        uv, w, theta = maps["uv"], maps["confidence"], maps["crop_to_photo"]
    nose = tables.landmarks_uv[30].numpy()
    distance = np.where(w > 0.5, np.linalg.norm(uv - nose, axis=-1), np.inf)
    y, x = np.unravel_index(distance.argmin(), distance.shape)
    assert np.linalg.norm(theta @ [x, y, 1] - photo[1][2].numpy()) < 2.5 * np.linalg.norm(theta[:, 0])


def test_results_count_in_the_pixels_of_the_file_whatever_it_was_shrunk_to(result, files, stand_in):
    assert main(["reconstruct", str(files / "somebody.png"), "--out", str(files / "b"), "--max-side", "190"]) == 0
    a, b = (read_fit(folder / "somebody.json").fit for folder in (result[0], files / "b"))
    assert (a.landmarks68 - b.landmarks68).norm(dim=-1).mean() < 3
    assert (a.landmarks68_direct - b.landmarks68_direct).norm(dim=-1).mean() < 4


def test_a_photo_without_a_face_is_named_and_the_others_are_done(files, stand_in, capsys):
    out = files / "out"
    out.mkdir()
    (out / "nobody.json").write_text("an older result")
    code = main(["reconstruct", str(files / "nobody.png"), str(files / "somebody.png"), "--out", str(out)])
    assert code == 3
    assert "nobody.png: no face found" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == NAMES


def test_a_box_replaces_the_search(files, photo, stand_in, monkeypatch):
    """With a box, `find_face` is not asked; the answer is the same face."""
    monkeypatch.setattr(reconstruct_command, "find_face", None)
    five = photo[1]
    x, y = five.amin(0) - 25
    command = ["reconstruct", str(files / "somebody.png"), "--out", str(files / "out")]
    assert main([*command, "--box", f"{x:.0f}", f"{y:.0f}", "90", "90"]) == 0
    fit = read_fit(files / "out" / "somebody.json").fit
    assert ((five_points(fit.landmarks68) - five).norm(dim=-1) / (five[0] - five[1]).norm()).mean() < 0.04
    assert main([*command, "--box", "0", "0", "40", "40"]) in (0, 3)  # an empty corner: no crash


def test_a_known_focal_length_is_the_camera_s(files, stand_in):
    main(["reconstruct", str(files / "somebody.png"), "--out", str(files / "out"), "--known-focal", "700"])
    K = read_fit(files / "out" / "somebody.json").fit.camera.K
    assert K[0, 0] == pytest.approx(700, rel=1e-3) and K[1, 1] == pytest.approx(700, rel=1e-3)
    assert K[0, 2] == pytest.approx(189.5, abs=0.1) and K[1, 2] == pytest.approx(149.5, abs=0.1)


def test_a_refinement_that_goes_astray_is_given_up_aloud(files, stand_in, capsys, monkeypatch):
    monkeypatch.setattr("facenb.refined_reconstruction.FARTHEST", 0.0)
    main(["reconstruct", str(files / "somebody.png"), "--out", str(files / "out"), "--refine", "2"])
    assert "went astray" in capsys.readouterr().out


def test_what_covers_a_face_has_no_vote_in_its_skin_and_stays_in_front(photo, model, tables):
    """A hand over the left half that the network does not take for a face: painted green or not, the answer is one."""
    tools = Tools(ReadsColours(), model, tables)
    seen = reconstruct_command.see_face(photo[0], tools, box=(120, 70, 140, 150))
    maps = seen.reconstruction.maps
    logit = maps.logit.clone()
    logit[..., :32] = -20
    seen = replace(seen, reconstruction=replace(seen.reconstruction, maps=replace(maps, logit=logit)))
    cover = photo_confidence(seen, *photo[0].shape[1:])
    painted = torch.where(cover < 1e-3, torch.tensor([0.1, 0.9, 0.1])[:, None, None], photo[0])
    plain, odd = (photo_fit(p, seen, tools) for p in (photo[0], painted))
    torch.testing.assert_close(plain.albedo, odd.albedo)
    torch.testing.assert_close(plain.lighting, odd.lighting)
    over = side_by_side(painted, odd, model, cover)[..., painted.shape[2] :]
    assert (over - painted)[:, cover < 1e-3].abs().max() < 2e-3
    assert (over - painted)[:, cover > 0.9].abs().mean() > 0.005


@pytest.fixture
def album(files, faces):
    """A folder: nobody, somebody, and somebody elsewhere in a folder within."""
    folder = files / "album"
    (folder / "later").mkdir(parents=True)
    for name in ("nobody", "somebody"):
        (files / f"{name}.png").rename(folder / f"{name}.png")
    write_photo(hidden(faces, 1, (150.0, 130.0), 170.0, -10.0, size=(260, 300))[0], folder / "later" / "again.png")
    return folder


def test_one_person_has_one_identity_and_one_albedo_in_all_photos(album, stand_in, capsys):
    """A folder with a photo without a face among the others, which is named; light, camera, expression are each one's
    own, and the light was fitted to the photo for that albedo."""
    out = album / "results"
    command = ["reconstruct", str(album), "--out", str(out), "--refine", "2", "--same-person"]
    assert main(command) == 3
    assert "nobody.png: no face found" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == sorted([*NAMES, *(f"again{ending}" for ending in ENDINGS)])
    a, b = (read_fit(out / f"{name}.json").fit for name in ("somebody", "again"))
    assert torch.equal(a.identity, b.identity) and torch.equal(a.albedo, b.albedo) and a.albedo.abs().max() > 0.01
    assert not torch.equal(a.expression, b.expression) and not torch.equal(a.lighting, b.lighting)
    assert "colour_median" in a.residuals and "colour_median" in b.residuals
    assert main(command) == 3  # the results within are no photos


def test_a_folder_means_each_of_its_photos(album, stand_in):
    out = album.parent / "out"
    assert main(["reconstruct", str(album / "later"), str(album / "somebody.png"), "--out", str(out)]) == 0
    assert {p.stem for p in out.glob("*.json")} == {"again", "somebody"}
    a, b = (read_fit(out / f"{name}.json").fit for name in ("somebody", "again"))
    assert not torch.equal(a.identity, b.identity)


@pytest.mark.parametrize("others", [[], ["nobody.png"]])
def test_one_face_alone_is_refined_as_ever(files, stand_in, others):
    paths = [str(files / name) for name in ("somebody.png", *others)]
    main(["reconstruct", str(files / "somebody.png"), "--out", str(files / "a"), "--refine", "2"])
    main(["reconstruct", *paths, "--out", str(files / "b"), "--refine", "2", "--same-person"])
    assert (files / "a" / "somebody.json").read_text() == (files / "b" / "somebody.json").read_text()


def test_the_camera_of_a_photo_sees_what_the_crop_s_camera_sees():
    """θ applied to the crop's pixels of any point are the photo's pixels of it, turned crops included."""
    K = torch.tensor([[200.0, 0, 31], [0, 200, 33], [0, 0, 1]])
    camera = Camera(K, rotation_from_angles(0.3, 0.1, 0.2), torch.tensor([5.0, -3.0, 600.0]))
    X = 60 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    theta = crop_similarity(torch.tensor([[300.0, 200.0]]), torch.tensor([150.0]), torch.tensor([math.pi / 3]), 64)[0]
    in_crop, depth = project(camera, X)
    whole = photo_camera(camera, theta)
    in_photo, same_depth = project(whole, X)
    torch.testing.assert_close(in_photo, in_crop @ theta[:, :2].T + theta[:, 2], atol=1e-3, rtol=0)
    torch.testing.assert_close(same_depth, depth)
    assert whole.K[0, 1] == 0 and whole.K[0, 0] == whole.K[1, 1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.png"], "no such file"),
        (["somebody.png", "copy/somebody.png"], "two photos are called"),
        (["somebody.png", "nobody.png", "--box", "1", "2", "3", "4"], "--box belongs to one photo"),
        (["somebody.png", "--box", "1", "2", "3"], "expected 4 arguments"),
        (["somebody.png", "--box", "1", "2", "0", "4"], "four numbers"),
        (["somebody.png", "--box", "1000", "2", "30", "40"], "outside the photo"),
        (["somebody.png", "--weights", "nobody.png"], "nobody.png"),
        (["somebody.png", "--refine", "-1"], "refine"),
        (["somebody.png", "--known-focal", "0"], "focal"),
        (["somebody.png", "--max-side", "8"], "max"),
        (["somebody.png", "copy", "--same-person"], "--refine 8 --same-person"),
        (["somebody.png", "copy"], "two photos are called"),
        (["empty"], "no photos to read"),
        (["out"], "write them to another folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(files, arguments, message, capsys, monkeypatch):
    for folder in ("copy", "empty", "out"):
        (files / folder).mkdir()
    (files / "copy" / "somebody.png").write_bytes((files / "somebody.png").read_bytes())
    monkeypatch.chdir(files)
    try:
        code = main(["reconstruct", *arguments, "--out", "out"])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1


def test_an_untrained_network_sees_no_face(files, capsys):
    """A real file of weights, through to exit code 3."""
    save_weights(build_network("narrow"), files / "random.safetensors")
    command = ["reconstruct", str(files / "nobody.png"), "--out", str(files / "out")]
    assert main([*command, "--weights", str(files / "random.safetensors")]) == 3
    assert "no face found" in capsys.readouterr().err


def test_photos_of_one_person_share_a_skin_that_looks_like_them(tmp_path, monkeypatch):
    """Two views of the astronaut: one albedo, and each repainted as well as one photo alone would be."""
    from skimage import data

    monkeypatch.setattr(reconstruct_command, "FINDER", FinderOptions(scales=(0.5,), angles=(0,)))
    astronaut = Image.fromarray(data.astronaut()).crop((100, 0, 400, 300))
    astronaut.save(tmp_path / "a.png")
    astronaut.rotate(6).resize((240, 240)).save(tmp_path / "b.png")
    paths = [str(tmp_path / f"{k}.png") for k in "ab"]
    assert main(["reconstruct", *paths, "--out", str(tmp_path / "out"), "--refine", "4", "--same-person"]) == 0
    fits = [json.loads((tmp_path / "out" / f"{k}.json").read_text()) for k in "ab"]
    assert fits[0]["albedo"] == fits[1]["albedo"] and fits[0]["identity"] == fits[1]["identity"]
    for fit in fits:
        assert fit["residuals"]["colour_median"] < 0.09, "with light traded against albedo it was 0.16"
        assert np.square(fit["albedo"]).mean() < 2.5
