"""Textures on the flattened face: from a photo and back, hidden parts, and the texel convention."""

import pytest
import torch
from torch.autograd import gradcheck

from facenb.flatten import flatten
from facenb.pictures import portrait_camera, render_mesh
from facenb.texture import checker, fill_texture, sample_texture, texture_from_photo, textured_picture


@pytest.fixture(scope="module")
def flattening(tiny_model):
    return flatten(tiny_model)


def test_texel_centres_give_the_texels_themselves_and_the_border_goes_on():
    """The centre of texel (r, c) is ((c + ½)/W, (r + ½)/H); between two centres the value is linear."""
    texture = torch.rand(3, 4, 5, dtype=torch.float64)
    r, c = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    centres = torch.stack([(c.double() + 0.5) / 5, (r.double() + 0.5) / 4], -1).reshape(-1, 2)
    torch.testing.assert_close(sample_texture(texture, centres), texture.reshape(3, -1).T)
    between = sample_texture(texture, (centres[0:1] + centres[1:2]) / 2)[0]
    torch.testing.assert_close(between, (texture[:, 0, 0] + texture[:, 0, 1]) / 2)
    outside = torch.tensor([[0.0, 0.0], [-3.0, 0.125], [1.0, 1.0]], dtype=torch.float64)
    corners = torch.stack([texture[:, 0, 0], texture[:, 0, 0], texture[:, 3, 4]])
    torch.testing.assert_close(sample_texture(texture, outside), corners)


def test_gradients_of_a_texture_sample():
    texture = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    uv = torch.tensor([[0.23, 0.41], [0.77, 0.64]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(sample_texture, (texture, uv))


def wear(tiny_model, flattening, texture, camera, size=64):
    X, T = flattening.extend(tiny_model.shape_mean), flattening.triangles[flattening.source >= 0]
    return textured_picture(X, T, flattening.uv, texture, camera, size, size, background=0.0)


def test_a_photo_goes_to_the_square_and_back(tiny_model, flattening):
    """Rendering with the texture taken from a photo, by the same camera, gives the photo again."""
    camera = portrait_camera(tiny_model, 64, 64, yaw=0.3)
    X, T = tiny_model.shape_mean, tiny_model.triangles
    photo, mask = render_mesh(X, T, tiny_model.albedo_mean, camera, 64, 64, background=0.0)
    texture, weight = texture_from_photo(photo, camera, X, T, flattening, 256)
    again, _ = wear(tiny_model, flattening, texture, camera)
    trust, _ = wear(tiny_model, flattening, weight.expand(3, -1, -1), camera)
    certain = (trust[0] > 0.3) & (mask == 1)
    certain[1:-1, 1:-1] &= torch.nn.functional.avg_pool2d(mask[None], 3, 1)[0] == 1  # not at the silhouette
    assert certain.sum() > 800
    assert (again - photo).abs()[:, certain].max() < 0.02


def test_filling_keeps_what_is_certain_and_invents_nothing_new():
    """Certain texels stay; gaps get colours between the darkest and the lightest; an even picture stays even."""
    texture = 0.2 + 0.6 * torch.rand(3, 33, 20, dtype=torch.float64)
    weight = torch.zeros(33, 20, dtype=torch.float64)
    weight[5:25, 2:9] = 1
    for mirror in (False, True):
        filled = fill_texture(texture * weight, weight, mirror)
        torch.testing.assert_close(filled[:, 5:25, 2:9], texture[:, 5:25, 2:9])
        assert filled.min() > 0.2 - 1e-9 and filled.max() < 0.8 + 1e-9
        even = fill_texture(torch.full_like(texture, 0.3) * weight, weight, mirror)
        torch.testing.assert_close(even, torch.full_like(texture, 0.3))


def test_filling_takes_an_unseen_cheek_from_the_other_side():
    texture, weight = torch.zeros(3, 16, 16), torch.zeros(16, 16)
    texture[0, 4:8, 2:6], weight[:, :8] = 1.0, 1.0
    mirrored, around = fill_texture(texture, weight), fill_texture(texture, weight, mirror=False)
    spot = mirrored[0, 4:8, 10:14].mean()
    assert spot > 0.4 and spot > 2 * around[0, 4:8, 10:14].mean()
    nothing = fill_texture(torch.zeros(3, 7, 5), torch.zeros(7, 5))
    assert (nothing == 0).all()


def test_no_background_leaks_into_the_texture(tiny_model, flattening):
    """A dark face before a white wall: whatever has weight is dark."""
    camera = portrait_camera(tiny_model, 64, 64, yaw=0.4)
    X, T = tiny_model.shape_mean, tiny_model.triangles
    photo, _ = render_mesh(X, T, torch.full_like(X, 0.1), camera, 64, 64, background=1.0)
    texture, weight = texture_from_photo(photo, camera, X, T, flattening, 128)
    assert (weight > 0).double().mean() > 0.5
    assert texture.max() < 0.1 + 1e-3


def test_what_the_photo_does_not_show_has_no_weight(tiny_model, flattening):
    """A wall hides the left half, although it faces the camera; backs and what the photo cuts off have no weight."""
    camera = portrait_camera(tiny_model, 64, 64)
    X, T = tiny_model.shape_mean, tiny_model.triangles
    photo = torch.ones(3, 64, 64, dtype=torch.float64)
    wall = torch.tensor([[2.0, -200, 90], [200, -200, 90], [200, 200, 90], [2, 200, 90]], dtype=torch.float64)
    n = len(X)
    more_T = torch.cat([T, torch.tensor([[n, n + 1, n + 2], [n, n + 2, n + 3]])])
    _, free = texture_from_photo(photo, camera, X, T, flattening, 128)

    class WithWall:
        uv, triangles = flattening.uv, flattening.triangles

        @staticmethod
        def extend(values):
            return flattening.extend(values[:n])

    texture, hidden = texture_from_photo(photo, camera, torch.cat([X, wall]), more_T, WithWall, 128)
    assert (hidden[:, 78:] == 0).all() and (texture[:, :, 78:] == 0).all()
    torch.testing.assert_close(hidden[:, :50], free[:, :50])
    assert (free[:, 78:] > 0).double().mean() > 0.5

    away = portrait_camera(tiny_model, 64, 64, yaw=torch.pi)
    assert texture_from_photo(photo, away, X, T, flattening, 64)[1].max() < 0.2  # only the rim's normals lean over
    crop = photo[:, :, :32]
    _, half = texture_from_photo(crop, camera, X, T, flattening, 128)
    assert (half[:, 78:] == 0).all() and (half[:, 20:50] > 0).any()


def test_a_texture_may_be_a_function_of_uv(tiny_model, flattening):
    camera = portrait_camera(tiny_model, 64, 64)
    image, mask = wear(tiny_model, flattening, lambda uv: torch.cat([uv, uv[:, :1] * 0], -1), camera)
    columns = image[0, 30][mask[30] == 1]
    rows = image[1, :, 20][mask[:, 20] == 1]
    assert (columns.diff() > 0).all() and (rows.diff() > 0).all()  # u to the right, v down


def test_shading_multiplies_the_texture(tiny_model, flattening):
    X, T = flattening.extend(tiny_model.shape_mean), flattening.triangles[flattening.source >= 0]
    camera = portrait_camera(X, 32, 32)
    board, half = checker(64), torch.full_like(X, 0.5)
    plain, dim = (
        textured_picture(X, T, flattening.uv, board, camera, 32, 32, shading=s, background=0.0)[0] for s in (None, half)
    )
    torch.testing.assert_close(dim, plain / 2)


def test_the_checker_shows_where_one_is():
    board = checker(64, 8)
    assert board.shape == (3, 64, 64) and board.min() >= 0 and board.max() <= 1
    assert board[0, 0, 63] + board[0, 0, 55] > board[0, 0, 0] + board[0, 0, 8]  # a light and a dark square each
    assert board[1, 63, 0] + board[1, 55, 0] > board[1, 0, 0] + board[1, 8, 0]
    assert abs(float(board[0, 0, 7] - board[0, 0, 8])) > 0.1
