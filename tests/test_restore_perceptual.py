"""Terms beyond single pixels: worked examples, gradients, and clear words about files that are no VGG16."""

import pytest
import torch
from torchvision.models import vgg16

from facenb.cli import main
from facenb.restore.perceptual import VGGLoss, edge_loss
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.proxy_task import ProxyLoss, ProxyTask
from facenb.weights import WeightsError


def picture(n=2, size=32, seed=0):
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights in torchvision's own form."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(vgg16().state_dict(), path)
    return path


def everywhere(size=32, n=2):
    return torch.ones(n, size, size, dtype=torch.bool)


def test_edges_forgive_brightness_and_see_a_blur():
    photo = picture()
    assert edge_loss(photo + 0.2, photo, everywhere()).item() == pytest.approx(0, abs=1e-6)
    noise = 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    assert edge_loss(photo + noise, photo, everywhere()) > 0.02


def test_edges_are_the_formula_at_one_size():
    image, photo = picture(1, 4), picture(1, 4, seed=1)
    seen = everywhere(4, 1)
    seen[0, 0, 0] = False
    d, total, pairs = (image - photo)[0], [0.0, 0.0], [0, 0]
    for axis, (dy, dx) in enumerate(((0, 1), (1, 0))):
        for y in range(4 - dy):
            for x in range(4 - dx):
                if seen[0, y, x] and seen[0, y + dy, x + dx]:
                    total[axis] += (d[:, y + dy, x + dx] - d[:, y, x]).abs().sum().item() / 3
                    pairs[axis] += 1
    expected = (total[0] / pairs[0] + total[1] / pairs[1]) / 2
    assert edge_loss(image, photo, seen, levels=1).item() == pytest.approx(expected, rel=1e-5)


def test_what_is_not_seen_does_not_count():
    image, photo, seen = picture(), picture(), everywhere()
    seen[:, :, 16:] = False
    image = image.clone()
    image[..., 16:] = torch.rand(2, 3, 32, 16)
    assert edge_loss(image, photo, seen).item() == pytest.approx(0, abs=1e-6)


def test_edge_gradients():
    photo, seen = picture(1, 8).double(), everywhere(8, 1)
    image = picture(1, 8, seed=3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda i: edge_loss(i, photo, seen), [image])


def test_vgg_is_least_for_equal_pictures_and_flows_back(vgg_file):
    loss = VGGLoss(vgg_file)
    spread = torch.full((2, 32, 32), 0.5)
    image = picture(seed=4).requires_grad_()
    off, equal = (loss(i, picture(), spread, everywhere()) for i in (image, picture()))
    assert equal.item() == pytest.approx(torch.tensor(0.501).log().item(), abs=1e-4)
    assert off > equal
    off.backward()
    assert image.grad.abs().max() > 0 and not any(p.requires_grad for p in loss.parameters())


def test_the_proxys_task_takes_both(vgg_file):
    network = Proxy(ProxyOptions(size=32, coarse=32, width=4))
    task = ProxyTask(network, ProxyLoss(edges=1.0, vgg=0.2, shared=0, small=0), VGGLoss(vgg_file))
    result = task.step(picture(3), torch.Generator().manual_seed(0))
    assert result.scalars["edges"] > 0 and "vgg" in result.scalars
    result.loss.backward()
    plain = ProxyTask(network).step(picture(3), torch.Generator().manual_seed(0))
    assert "edges" not in plain.scalars and "vgg" not in plain.scalars


def test_other_files_are_named(tmp_path, capsys):
    with pytest.raises(WeightsError, match="no such file"):
        VGGLoss(tmp_path / "nowhere.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: not VGG16"):
        VGGLoss(tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    (tmp_path / "photos").mkdir()
    from facenb.photo import write_photo

    for i in range(2):
        write_photo(picture(1, 16, seed=i)[0], tmp_path / "photos" / f"{i}.png")
    arguments = ["train-proxy", tmp_path / "photos", "--out", tmp_path / "run", "--vgg", tmp_path / "broken.pth"]
    assert main([*map(str, arguments), "--size", "16", "--coarse", "8"]) == 2
    line = capsys.readouterr().err.strip()
    assert "broken.pth" in line and "\n" not in line
