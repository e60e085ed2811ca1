"""FCN and DeepLabv3 answer in the same terms as the U-Net."""

import pytest
import torch

from facenb.networks import build_network, n_parameters


@pytest.mark.parametrize("kind", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_they_give_maps_of_the_images_size(kind):
    maps = build_network(kind).eval()(torch.rand(1, 3, 48, 64))
    assert maps.uv.shape == (1, 2, 48, 64)
    assert maps.depth.shape == maps.confidence.shape == (1, 48, 64)
    assert (maps.depth > 0).all()


def test_the_backbones_named_by_the_document_are_there():
    """Section N: FCN-ResNet101 and DeepLabv3-ResNet101; 19 million parameters more than with a ResNet-50."""
    with torch.device("meta"):
        sizes = {k: n_parameters(build_network(k)) for k in ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet101")}
    # torchvision's FCN head: 3×3 from 2048 to 512 channels, batch norm, 1×1 to five; its ResNet-50 without classifier
    assert sizes["fcn_resnet50"] == 23_508_032 + (9 * 2048 * 512 + 2 * 512) + (512 * 5 + 5)
    assert sizes["fcn_resnet101"] - sizes["fcn_resnet50"] == 18_992_128
    assert sizes["deeplabv3_resnet101"] > sizes["fcn_resnet101"]


def test_they_start_from_random_numbers_that_the_seed_decides():
    a, b, c = (build_network("fcn_resnet50", seed=s).body.backbone.conv1.weight for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_they_learn_something_from_one_step():
    net = build_network("fcn_resnet50").train()
    image = torch.rand(2, 3, 32, 32)
    net(image).uv.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_deeplab_says_that_it_trains_on_two_images_at_least():
    with pytest.raises(ValueError, match="two images"):
        build_network("deeplabv3_resnet50").train()(torch.rand(1, 3, 32, 32))


def test_other_sizes_are_refused_as_the_u_net_refuses_them():
    with pytest.raises(ValueError, match="multiples of 16"):
        build_network("fcn_resnet50")(torch.rand(1, 3, 30, 32))
