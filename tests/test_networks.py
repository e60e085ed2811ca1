"""The U-Nets of section N: counted independently of the code, and what their outputs mean."""

import pytest
import torch

from facenb.networks import DEPTH_RANGE, KINDS, Maps, build_network, n_parameters, read_outputs

DOWN = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
UP = [(1024, 256), (512, 128), (256, 64), (128, 64)]


def counted(factor: float, convolutions: int) -> int:
    """Parameters of section N's table, in → out → out …, all channel counts but 3 and 5 times `factor`."""
    total = 0
    for i, o in DOWN + UP:
        i, o = (i if i == 3 else int(i * factor)), int(o * factor)
        total += 9 * i * o + (convolutions - 1) * 9 * o * o  # 3×3 convolutions without bias
        total += convolutions * 2 * o  # batch norm's scale and offset
    return total + int(64 * factor) * 5 + 5  # the last column, 64 → 5


@pytest.mark.parametrize("kind, factor, convolutions", [("narrow", 0.5, 2), ("regular", 1, 2), ("deep", 1, 4)])
def test_parameters_are_those_of_the_table_in_section_n(kind, factor, convolutions):
    assert n_parameters(build_network(kind)) == counted(factor, convolutions)


def test_the_wide_network_doubles_every_channel():
    with torch.device("meta"):  # 54 million numbers that nobody needs
        assert n_parameters(build_network("wide")) == counted(2, 2)


def test_the_regular_network_has_13_million_parameters_and_a_mirrored_decoder_would_have_20():
    """Keeping 512, 256, 128, 64 channels on the way up, as many U-Nets do, is another network: 19.6 million."""
    assert n_parameters(build_network("regular")) == 13_391_621
    mirrored = [(1024, 512), (768, 256), (384, 128), (192, 64)]
    assert round(sum(9 * (i * o + o * o) for i, o in DOWN + mirrored) / 1e6, 1) == 19.6


@pytest.mark.parametrize("height, width", [(16, 16), (64, 64), (48, 80)])
def test_maps_have_the_size_of_the_image(height, width):
    maps = build_network().eval()(torch.rand(2, 3, height, width))
    assert maps.uv.shape == (2, 2, height, width)
    assert maps.depth.shape == maps.logit.shape == maps.confidence.shape == (2, height, width)


@pytest.mark.parametrize("shape", [(1, 3, 60, 64), (1, 3, 64, 8), (1, 1, 64, 64), (3, 64, 64)])
def test_other_sizes_are_refused_with_a_reason(shape):
    with pytest.raises(ValueError, match=r"multiples of 16|\(B, 3, H, W\)"):
        build_network()(torch.rand(shape))


def test_an_unknown_network_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"'huge'.*narrow, regular, wide, deep"):
        build_network("huge")


def test_confidence_is_the_softmax_of_the_last_two_outputs():
    o = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(read_outputs(o).confidence, o[:, 3:].softmax(1)[:, 0])


def test_uv_is_linear_and_depth_stays_near_one():
    o = torch.linspace(-50, 50, 80, dtype=torch.float64).reshape(1, 5, 4, 4)
    maps = read_outputs(o)
    torch.testing.assert_close(maps.uv, 0.5 + 0.5 * o[:, :2])
    assert (maps.depth.log().abs() <= DEPTH_RANGE).all()
    assert (read_outputs(torch.zeros(1, 5, 2, 2)).depth == 1).all()


def test_every_output_reaches_its_map_and_no_other():
    o = torch.randn(1, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    maps = read_outputs(o)
    reached = [torch.autograd.grad(m.sum(), o)[0].abs().amax((0, 2, 3)) > 0 for m in (maps.uv, maps.depth, maps.logit)]
    assert [r.tolist() for r in reached] == [
        [True, True, False, False, False],
        [False, False, True, False, False],
        [False, False, False, True, True],
    ]


def test_the_answer_for_a_pixel_depends_on_pixels_far_away():
    """Four halvings: the receptive field covers a 64-pixel image, corner to corner."""
    net = build_network().eval()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    net(image).logit[0, 0, 0].backward()
    assert image.grad[0, :, 63, 63].abs().max() > 0


def test_what_the_way_down_saw_at_full_size_reaches_the_answer():
    """Without the skips two pixels of one 16 × 16 block could not be told apart."""
    net = build_network().eval()
    image = torch.full((1, 3, 32, 32), 0.5)
    image[..., 8, 8] = 1
    maps, flat = net(image), net(torch.full((1, 3, 32, 32), 0.5))
    change = (maps.uv - flat.uv).abs().sum(1)[0]
    assert change[8, 8] > 2 * change[0:4, 12:16].mean()


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    a, b, c = build_network(seed=3), build_network(seed=3), build_network(seed=4)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not torch.equal(a.down[0][0].weight, c.down[0][0].weight)


def test_channels_last_gives_the_same_answer():
    net = build_network().eval()
    image = torch.rand(2, 3, 32, 32)
    plain = net(image).uv
    fast = net.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last)).uv
    torch.testing.assert_close(plain, fast, atol=1e-5, rtol=1e-4)


def test_under_autocast_the_maps_are_float32_and_close():
    net = build_network().eval()
    image = torch.rand(1, 3, 32, 32)
    exact = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        maps = net(image)
    assert maps.uv.dtype == maps.depth.dtype == maps.logit.dtype == torch.float32
    torch.testing.assert_close(maps.uv, exact.uv, atol=0.03, rtol=0)


def test_double_precision_stays_double():
    maps = build_network().double().eval()(torch.rand(1, 3, 16, 16, dtype=torch.float64))
    assert isinstance(maps, Maps) and maps.uv.dtype == torch.float64


def test_kinds_name_four_u_nets_and_four_peers():
    assert KINDS[:4] == ("narrow", "regular", "wide", "deep") and len(KINDS) == 8
