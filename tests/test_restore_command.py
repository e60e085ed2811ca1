"""`facenb restore`: whole results of any photo, and one clear line where there can be none."""

import numpy as np
import pytest
import torch
import trimesh

from facenb.cli import main
from facenb.config import ConfigError
from facenb.image_sets import photos_in
from facenb.photo import read_photo, write_photo
from facenb.restore.albedo_prior import PriorOptions
from facenb.restore.depth_mesh import depth_mesh
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.restore_command import cut_square, restore_photos, to_size
from facenb.restore.restorer import Restorer, RestorerOptions
from facenb.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("restorer") / "weights.safetensors"
    options = RestorerOptions(
        ProxyOptions(size=16, coarse=8, width=4), PriorOptions(size=16, codes=5, style=8, width=4), width=8
    )
    save_weights(Restorer(options), path, half=False)
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "small.png"
    write_photo(torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)), path)
    return path


def test_a_photo_becomes_a_sheet_maps_and_a_mesh(weights, photo, tmp_path):
    lines = []
    (mesh,) = restore_photos((photo,), tmp_path / "out", weights, None, lines.append)
    assert mesh == tmp_path / "out" / "small.glb" and f"{mesh.with_suffix('.png')}, _maps.npz and .glb" in lines[0]
    sheet = read_photo(tmp_path / "out" / "small.png")  # six pictures and their names, on white
    assert sheet.shape[2] > sheet.shape[1] > 2 * 300 and (sheet[:, :5] == 1).all()
    scene = trimesh.load(mesh, force="mesh")
    assert len(scene.faces) > 50 and 0.02 < np.ptp(scene.vertices, axis=0).max() < 0.4  # metres
    with np.load(tmp_path / "out" / "small_maps.npz") as maps:
        assert maps["depth"].shape == (16, 16) and maps["albedo"].shape == (3, 16, 16)
        assert maps["angles"].shape == (3,) and np.linalg.norm(maps["lamp"]) == pytest.approx(1, abs=1e-5)
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_the_box_decides_what_is_seen(tmp_path):
    photo = torch.arange(40 * 50).reshape(1, 40, 50).expand(3, -1, -1) / 2000
    assert torch.equal(cut_square(photo, (5, 6, 20), tmp_path), photo[:, 6:26, 5:25])
    assert torch.equal(cut_square(photo, None, tmp_path), photo[:, :, 5:45])
    with pytest.raises(ConfigError, match="leaves the photo of 50 × 40"):
        cut_square(photo, (35, 0, 20), tmp_path)


def test_sizes_are_means_or_smooth():
    square = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    small, large = to_size(square, 16), to_size(square, 200)
    assert small.std() < 0.6 * square.std() and abs(small.mean() - square.mean()) < 0.02
    assert large.shape == (3, 200, 200) and large.min() >= 0 and large.max() <= 1


def test_a_depth_mesh_is_the_face_only():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    depth = torch.where(x**2 + y**2 < 0.8, 0.96 + 0.05 * (x**2 + y**2), 1.06)
    mesh = depth_mesh(depth)
    assert len(mesh.vertices) == int((depth < 1.03).sum()) and mesh.triangles.max() == len(mesh.vertices) - 1
    tip = mesh.vertices[mesh.vertices[:, 2].argmax()]
    assert tip[:2].abs().max() < 6 and tip[2] == pytest.approx(40, abs=1)  # mm, towards the viewer
    a, b, c = mesh.vertices[mesh.triangles].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    assert (normals[:, 2] > 0).float().mean() > 0.99
    assert mesh.uv.min() > 0 and mesh.uv.max() < 1
    assert (mesh.uv[mesh.vertices[:, 1].argmax(), 1] < 0.3).all()  # v goes down
    with pytest.raises(ValueError, match="no pixel"):
        depth_mesh(torch.full((8, 8), 1.06))


def test_bad_input_is_one_line(weights, photo, tmp_path, capsys):
    def line(*arguments) -> str:
        assert main(["restore", *map(str, arguments)]) == 2
        text = capsys.readouterr().err.strip()
        assert "\n" not in text
        return text

    out = ("--out", tmp_path / "out", "--weights", weights)
    assert "nowhere.jpg" in line(tmp_path / "nowhere.jpg", *out)
    assert "three numbers" in line(photo, *out, "--box", 1, 2, 0)
    assert "three numbers" in line(photo, *out, "--box", "nan", 0, 20) == line(photo, *out, "--box", "inf", 0, 20)
    assert "leaves the photo" in line(photo, *out, "--box", 40, 30, 30)
    assert "small.png: 5 × 5 pixels are too few to show a face" in line(photo, *out, "--box", 40, 30, 5)
    assert "cannot write there" in line(photo, "--out", photo / "below", "--weights", weights)
    other = tmp_path / "again" / "small.jpg"
    other.parent.mkdir()
    write_photo(torch.rand(3, 20, 20), other)
    assert "two photos are called small" in line(photo, other, *out)
    save_weights(Proxy(ProxyOptions(size=16, coarse=8, width=4)), tmp_path / "proxy.safetensors")
    text = line(photo, "--out", tmp_path / "out", "--weights", tmp_path / "proxy.safetensors")
    assert "a 'restorer' one is needed" in text
    (tmp_path / "broken.png").write_bytes(b"nothing")
    assert "broken.png" in line(tmp_path / "broken.png", *out)
    assert photos_in((photo,), tmp_path / "out") == (photo,)
    whole = tmp_path / "whole"
    assert "broken.png" in line(photo, tmp_path / "broken.png", "--out", whole, "--weights", weights)
    assert not whole.exists()  # named before the first was restored


def test_a_photo_is_never_overwritten(weights, photo, capsys):
    before = photo.read_bytes()
    assert main(["restore", str(photo), "--out", str(photo.parent), "--weights", str(weights)]) == 2
    assert "would replace it; choose another --out" in capsys.readouterr().err
    assert photo.read_bytes() == before and list(photo.parent.iterdir()) == [photo]
