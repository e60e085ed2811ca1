"""A face in its own skin: what photo and model each give, its picture in the photo's own light, its speed."""

from importlib import resources

import pytest
import torch
from skimage import data

from facenb.colour import to_linear
from facenb.landmark_file import read_landmarks
from facenb.lighting import SH_CONSTANTS, lamp, shade_inverse
from facenb.normals import vertex_normals
from facenb.open_model import open_model
from facenb.photometry_layer import model_albedo
from facenb.pictures import portrait_camera
from facenb.portrait_fit import face_map, fit_portrait, inside_hull
from facenb.relight import relit_picture, skinned_face, soft_normals
from facenb.texture import sample_texture, textured_picture
from facenb.uv_model import uv_model


@pytest.fixture(scope="module")
def fitted():
    model = open_model(progress=False)
    tables = uv_model(model, resolution=160)
    file = resources.files("facenb") / "data" / "astronaut_landmarks68.json"
    photo = torch.tensor(data.astronaut()).permute(2, 0, 1) / 255
    fit = fit_portrait(photo, read_landmarks(file, "astronaut.png", 512, 512).float(), model, tables=tables)
    return photo, fit, model, tables


@pytest.fixture(scope="module")
def face(fitted):
    return skinned_face(*fitted, hair=True)


WHITE = torch.zeros(3, 9)
WHITE[:, 0] = 1 / SH_CONSTANTS[0]  # shading 1 from all sides


def test_the_photos_own_light_and_camera_give_the_photo_back(fitted, face):
    """Texture and light are inverse to each other inside the face, up to resampling of its finest detail."""
    photo, fit, model, tables = fitted
    own = shade_inverse(fit.lighting, face.normals, floor=0.05).T
    again, coverage = textured_picture(
        face.vertices, face.triangles, face.uv, face.texture, fit.camera, 512, 512, shading=own, background=photo
    )
    seen = face_map(model.vertices(fit.identity, fit.expression), model, tables.flattening, fit.camera, 512, 512)
    inner = inside_hull(fit.landmarks68, 512, 512) & (seen.facing > 0.6)
    error = (again - photo)[:, inner].abs()
    assert error.median() < 0.005 and error.quantile(0.95) < 0.03
    assert torch.equal(again[:, coverage == 0], photo[:, coverage == 0])


def test_a_white_sky_shows_the_texture_itself(face):
    camera = portrait_camera(face.vertices, 128, 128)
    relit, mask = relit_picture(face, camera, 128, 128, WHITE)
    plain, _ = textured_picture(face.vertices, face.triangles, face.uv, face.texture, camera, 128, 128)
    assert (relit - plain).abs().max() < 1e-4
    assert mask.mean() > 0.3


def test_light_multiplies_linear_colours_as_far_as_the_display_curve_is_a_power(face):
    """Display values of products are taken for products of display values: good to a few hundredths."""
    camera = portrait_camera(face.vertices, 128, 128)
    full, mask = relit_picture(face, camera, 128, 128, WHITE)
    half, _ = relit_picture(face, camera, 128, 128, 0.5 * WHITE)
    error = (to_linear(half) - 0.5 * to_linear(full))[:, mask > 0].abs()
    assert error.max() < 0.05 and error.mean() < 0.01


def test_a_lamp_lights_the_side_on_which_it_stands(face):
    camera = portrait_camera(face.vertices, 128, 128)
    left, mask = relit_picture(face, camera, 128, 128, lamp((1.0, 0.0, 0.2), 1.0, 0.1))  # subject's left, image right
    right, _ = relit_picture(face, camera, 128, 128, lamp((-1.0, 0.0, 0.2), 1.0, 0.1))
    difference = ((left - right) * mask).mean(0)
    assert difference[:, 64:].mean() > 0.1 and difference[:, :64].mean() < -0.1


def test_texels_are_the_photos_where_it_looks_squarely_and_the_models_elsewhere(fitted, face):
    _, fit, _, tables = fitted
    assert face.from_photo.min() >= 0 and face.from_photo.max() <= 1
    assert ((face.texture >= 0) & (face.texture <= 1)).all()
    uv = torch.tensor([[0.02, 0.5], [0.98, 0.5], [0.5, 0.45]])  # before the ears, and the ridge of the nose
    weight = sample_texture(face.from_photo[None], uv)[:, 0]
    assert weight[:2].max() < 0.01 and weight[2] > 0.95
    ears = model_albedo(tables, uv[None, :2], fit.albedo[None])[0].clamp(0, 1)
    assert (sample_texture(face.texture, uv[:2]) - ears).abs().max() < 0.02


def test_without_hair_the_forehead_is_the_models_and_the_rest_stays(fitted, face):
    bare = skinned_face(*fitted)
    forehead = torch.tensor([[0.35, 0.10], [0.5, 0.10], [0.65, 0.10]])
    assert sample_texture(bare.from_photo[None], forehead).max() < 0.05
    assert sample_texture(face.from_photo[None], forehead).min() > 0.5
    cheeks = torch.tensor([[0.3, 0.55], [0.7, 0.55], [0.5, 0.45]])
    assert torch.allclose(sample_texture(bare.texture, cheeks), sample_texture(face.texture, cheeks), atol=0.02)


def test_teeth_are_seen_through_the_open_mouth(fitted, face):
    """The lid on the mouth wears what the photo shows there: she laughs, and shows her teeth."""
    flattening = fitted[3].flattening
    middle = flattening.uv[len(flattening.uv) - len(flattening.parents) :].float()
    assert sample_texture(face.from_photo[None], middle).min() > 0.99
    below = middle + torch.tensor([0.0, 0.01])[None] * torch.arange(-3, 4)[:, None]
    colours = sample_texture(face.texture, below)  # from the upper lip down to the lower one
    teeth = (colours[:, 2] > 0.6) & (colours[:, 2] > 0.75 * colours[:, 0])  # bright, and paler than lips and skin
    assert teeth.any()
    rim = face.triangles[flattening.source < 0]
    assert (face.normals[rim] == torch.tensor([0.0, 0.0, 1.0])).all()  # lit as teeth, not as the inside of lips
    assert torch.allclose(face.normals.norm(dim=-1), torch.ones(len(face.normals)), atol=1e-5)


def test_soft_normals_are_unit_leave_a_plane_alone_and_calm_a_crease():
    x, y = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    i = torch.arange(144).reshape(12, 12)
    T = torch.cat([torch.stack(c, -1).reshape(-1, 3) for c in ((i[:-1, :-1], i[1:, :-1], i[1:, 1:]),
                                                               (i[:-1, :-1], i[1:, 1:], i[:-1, 1:]))])  # fmt: skip
    plane = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(-1, 3)
    flat = vertex_normals(plane, T)
    assert torch.allclose(soft_normals(flat, T), flat, atol=1e-6)
    crease = torch.stack([x, y, (x - 5.5).abs()], -1).reshape(-1, 3)
    sharp = vertex_normals(crease, T)
    soft = soft_normals(sharp, T)
    assert torch.allclose(soft.norm(dim=-1), torch.ones(144), atol=1e-5)
    jump = [(n.reshape(12, 12, 3)[6, 6] - n.reshape(12, 12, 3)[5, 6]).norm() for n in (sharp, soft)]
    assert jump[1] < 0.5 * jump[0]
    assert torch.equal(soft_normals(sharp, T, rounds=0), sharp)
