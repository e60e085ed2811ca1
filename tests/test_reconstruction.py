"""From perfect and from spoilt maps back to the faces that were rendered."""

from dataclasses import replace

import pytest
import torch
from rendered_faces import rendered_faces
from skimage import data as skimage_data

from facenb.camera import project
from facenb.correspondence_fit import fit_correspondence, weak_perspective
from facenb.face_finder import cut_out, find_face
from facenb.lighting import sh_basis
from facenb.metrics import five_point_error, five_points, pose_error, vertex_error
from facenb.networks import Maps, build_network
from facenb.open_model import open_model
from facenb.photometry_layer import model_albedo
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.reconstruction import (
    DEFAULTS,
    landmark_points,
    reconstruct,
    reconstruct_maps,
    reconstruction_tables,
)
from facenb.refined_reconstruction import (
    camera_of_known,
    pose_in_known_camera,
    refine_reconstruction,
    refinement_points,
)
from facenb.rotation import rotation_from_angles
from facenb.softplus_clamp import softplus_clamp, softplus_unclamp
from facenb.weights import load_weights, shipped_weights

N = 8


@pytest.fixture(scope="module")
def model():
    return open_model(progress=False)


@pytest.fixture(scope="module")
def tables(model):
    return reconstruction_tables(model)


@pytest.fixture(scope="module")
def faces(model, tables):
    return rendered_faces(model, tables.flattening, N, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def perfect(faces, tables):
    return reconstruct_maps(faces.maps, tables, faces.image)


def test_a_perfect_network_gives_landmarks_below_a_hundredth_of_the_eyes_distance(perfect, faces):
    """Fitted: mean below 0.6 %, every face below 1 %. Direct pays for the 64 pixels: below 1.5 % on average."""
    fitted = five_point_error(five_points(perfect.landmarks68), faces.five)
    assert fitted.mean() < 0.6 and fitted.max() < 1
    direct = five_point_error(five_points(perfect.landmarks68_direct), faces.five)
    assert direct.mean() < 1.5
    assert perfect.found.all()


def test_a_perfect_network_gives_pose_and_shape(perfect, faces, model):
    """Rotations within 1.5° on average, turns neither damped nor exaggerated, shape better than the mean face's."""
    pose = pose_error(perfect.camera.R, faces.camera.R)
    assert pose.rotation.mean() < 1.5 and pose.yaw_correlation > 0.995 and 0.93 < pose.yaw_spread_ratio < 1.05
    n = DEFAULTS.n_identity
    X = model.vertices(perfect.shape[:, :n], perfect.shape[:, n:])
    mean = model.shape_mean.expand_as(X)
    assert vertex_error(X, faces.X).mean() < 0.7 * vertex_error(mean, faces.X).mean()
    assert perfect.residual_px.max() < 0.2


def test_the_pinhole_camera_sees_the_face_where_it_is(perfect, faces, tables):
    """Square pixels, det R = 1, every landmark in front of the camera."""
    K, R = perfect.camera.K, perfect.camera.R
    torch.testing.assert_close(K[:, 0, 0], K[:, 1, 1])
    assert (K[:, 0, 1] == 0).all()
    torch.testing.assert_close(torch.det(R), torch.ones(N), atol=1e-4, rtol=0)
    pixels, depth = project(perfect.camera, landmark_points(tables, perfect.shape))
    assert (depth > 0).all()
    torch.testing.assert_close(pixels, perfect.landmarks68)


def spoilt(faces, texels, depth_noise, constant=False):
    """Smooth noise of so many texels of 320 on uv and of so much on depth, as a network's is."""
    g = torch.Generator().manual_seed(1)

    def noise(channels):
        z = torch.nn.functional.interpolate(torch.randn(N, channels, 16, 16, generator=g), 64, mode="bicubic")
        return z / z.std()

    depth = torch.ones_like(faces.maps.depth) if constant else faces.maps.depth
    return Maps(faces.maps.uv + texels / 320 * noise(2), depth * (1 + depth_noise * noise(1)[:, 0]), faces.maps.logit)


def test_the_pinhole_fit_forgives_more_than_the_linear_camera(faces, tables):
    """8 texels of noise and a constant depth, the state after pretraining: less than half the linear error."""
    maps = spoilt(faces, 8, 0.003, constant=True)
    errors, poses = {}, {}
    for camera in ("linear", "pinhole"):
        r = reconstruct_maps(maps, tables, faces.image, replace(DEFAULTS, camera=camera))
        errors[camera] = five_point_error(five_points(r.landmarks68), faces.five).mean()
        poses[camera] = pose_error(r.camera.R, faces.camera.R).rotation.mean()
    assert errors["pinhole"] < 0.5 * errors["linear"]
    assert poses["pinhole"] < 0.5 * poses["linear"]


def test_a_few_wild_pixels_change_nothing(faces, tables, perfect):
    """A tenth of the face points anywhere: errors stay below 1.5 %."""
    g = torch.Generator().manual_seed(2)
    wild = torch.rand(N, 1, 64, 64, generator=g) < 0.1
    uv = torch.where(wild, torch.rand(N, 2, 64, 64, generator=g), faces.maps.uv)
    r = reconstruct_maps(replace(faces.maps, uv=uv), tables, faces.image)
    assert five_point_error(five_points(r.landmarks68), faces.five).max() < 1.5


def test_light_and_albedo_repaint_the_picture(perfect, faces, tables):
    """albedo / (F l), unclamped, is the photo within 0.02 (median over the face)."""
    index = sample_pixels(faces.mask.float(), 600, torch.Generator().manual_seed(0))
    uv = gather_pixels(faces.maps.uv, index).contiguous()
    inverse = sh_basis(tables.sample_normal(uv)) @ perfect.photometry.l.mT
    painted = softplus_unclamp(model_albedo(tables, uv, perfect.photometry.h) / inverse)
    seen = gather_pixels(faces.image, index)
    assert (painted - seen).abs().median() < 0.02
    assert (softplus_clamp(seen) >= seen).all()


def test_colours_of_a_real_photo_do_not_collapse():
    """The astronaut, found by the shipped network: the face repainted is about as near to the photo as the command's.

    Its light is bright and roughly white, its albedo a skin and not a shadow.
    """
    photo = torch.from_numpy(skimage_data.astronaut()).movedim(-1, 0).float() / 255
    model = open_model()
    net, tables = load_weights(shipped_weights()), reconstruction_tables(model)
    face = find_face(net, tables, photo)
    crop = cut_out(photo, face.theta[None], 64)
    r = reconstruct(net, tables, crop)
    w = r.maps.confidence[0]
    index = sample_pixels(w[None] * (w > 0.5), 600, torch.Generator().manual_seed(0))
    uv = gather_pixels(r.maps.uv, index).contiguous()
    albedo = model_albedo(tables, uv, r.photometry.h)
    inverse = sh_basis(tables.sample_normal(uv)) @ r.photometry.l.mT
    off = (softplus_unclamp(albedo / inverse.clamp_min(0.2)) - gather_pixels(crop, index)).abs().mean(-1)
    assert off.median() < 0.05, "the command's residual on this photo is about as large"
    assert 0.3 < albedo.mean() < 0.9 and r.photometry.h.square().mean() < 2
    shading = 1 / inverse.clamp_min(0.2).mean((0, 1))
    assert shading.min() > 0.6 and shading.max() < 1.5 and shading.max() / shading.min() < 1.3


def test_a_known_focal_length_is_kept(faces, tables):
    focal, middle = faces.camera.K[:, 0, 0], faces.camera.K[:, :2, 2]
    r = reconstruct_maps(faces.maps, tables, faces.image, focal=focal, principal_point=middle)
    torch.testing.assert_close(r.camera.K, faces.camera.K)
    assert five_point_error(five_points(r.landmarks68), faces.five).max() < 1
    distance = r.camera.centre.norm(dim=-1) / faces.camera.centre.norm(dim=-1)
    assert (distance - 1).abs().max() < 0.03  # what nobody knows without the focal length
    free = reconstruct_maps(faces.maps, tables, faces.image)
    known, guessed = (pose_error(x.camera.R, faces.camera.R).rotation.mean() for x in (r, free))
    assert known < guessed


def test_depth_says_nothing_of_a_distance_that_the_focal_length_tells(faces, tables):
    """A network has learnt depth from faces at 700 mm. Seen from 2.5 m its relief in mm is right, its distance not."""
    index = sample_pixels(faces.mask.float(), 500, torch.Generator().manual_seed(0))
    uv = gather_pixels(faces.maps.uv, index).contiguous()
    X = tables.sample_shape(uv)[0]
    camera = faces.camera
    middle = (camera.R @ X.mean(1)[..., None])[..., 0] + camera.t  # N 3
    far = replace(camera, K=camera.K.clone(), t=camera.t + middle * (2500 / middle[:, 2:] - 1))
    far.K[:, :2, :2] *= (2500 / middle[:, 2])[:, None, None]
    pixels, depth = project(far, X)
    learnt = torch.exp((depth - 2500) / 700)
    arguments = (tables, uv, learnt, torch.ones(N, 500), pixels)
    known = {"focal": far.K[:, 0, 0], "principal_point": far.K[:, :2, 2], "distance": 700.0}
    for steps in (4, 20):
        fit = fit_correspondence(*arguments, depth_weight=0.05, steps=steps, **known)
        away = (fit.camera.R @ X.mean(1)[..., None])[..., 0] + fit.camera.t
        assert (away[:, 2] / 2500 - 1).abs().max() < 0.03, steps


def test_a_refinement_keeps_a_known_camera(faces, tables, model):
    part = slice(0, 3)
    K = faces.camera.K[part].clone()
    K[:, :2, 2] += torch.tensor([9.0, -6.0])  # off the axis
    known = {"focal": K[:, 0, 0], "principal_point": K[:, :2, 2]}
    maps = Maps(*(x[part] for x in (faces.maps.uv, faces.maps.depth, faces.maps.logit)))
    r = reconstruct_maps(maps, tables, faces.image[part], **known)
    points = refinement_points(model, tables)
    better = refine_reconstruction(r, faces.image[part], points, tables, 3, **known)
    assert better.refined.all() and not r.refined.any()
    assert torch.equal(better.camera.K, K)
    moved = (better.landmarks68 - r.landmarks68).norm(dim=-1).mean(1)
    assert (moved > 0).all() and (moved < 1).all()
    distance = better.camera.centre.norm(dim=-1) / r.camera.centre.norm(dim=-1)
    assert (distance - 1).abs().max() < 0.12  # as much as the face changed its size


def test_a_known_camera_s_pose_is_that_of_one_which_looks_at_the_face(faces, tables, model):
    camera, centre = faces.camera, model.shape_mean.mean(0)
    K = camera.K.clone()
    K[:, :2, 2] += torch.tensor([9.0, -6.0])
    off = replace(camera, K=K)
    pose = pose_in_known_camera(off, centre)
    back = camera_of_known(pose, centre, K)
    for name in ("K", "R", "t"):
        torch.testing.assert_close(getattr(back, name), getattr(off, name), rtol=1e-4, atol=1e-3)
    X = model.shape_mean[model.landmarks68]
    seen, _ = pose.project((X - centre).expand(N, -1, -1))
    assert (seen - project(off, X.expand(N, -1, -1))[0]).norm(dim=-1).max() < 0.35  # px, of a face of 40


def test_a_batch_is_its_images_one_by_one(faces, tables):
    """Nothing of one face leaks into another (but for the samples that are drawn)."""
    part = Maps(*(x[:2] for x in (faces.maps.uv, faces.maps.depth, faces.maps.logit)))
    both = reconstruct_maps(part, tables, faces.image[:2])
    one = reconstruct_maps(Maps(part.uv[:1], part.depth[:1], part.logit[:1]), tables, faces.image[:1])
    torch.testing.assert_close(both.landmarks68[:1], one.landmarks68, atol=0.1, rtol=0)
    torch.testing.assert_close(both.landmarks68_direct[:1], one.landmarks68_direct, atol=1e-3, rtol=0)


def test_nothing_to_see_is_flagged_and_everything_stays_finite(faces, tables):
    """No confidence at all, a constant map, one row of pixels: found is False or the answer is finite."""
    m = faces.maps
    nobody = reconstruct_maps(replace(m, logit=torch.full_like(m.logit, -9)), tables, faces.image)
    assert not nobody.found.any() and nobody.landmarks68_direct.isnan().all()
    for odd in (
        replace(m, logit=torch.full_like(m.logit, -200.0)),
        replace(m, uv=torch.full_like(m.uv, 0.5)),
        replace(m, logit=torch.where(torch.arange(64)[:, None] == 30, m.logit, -9.0)),
        replace(m, uv=m.uv.flip(-1), logit=m.logit.flip(-1)),  # a mirrored face cannot be
    ):
        r = reconstruct_maps(odd, tables, faces.image)
        for x in (r.camera.K, r.camera.R, r.camera.t, r.shape, r.landmarks68):
            assert x.isfinite().all()


def test_a_linear_camera_that_cannot_be_is_replaced_and_flagged(faces, tables):
    """Depth inside out mirrors the linear camera, which the pinhole one with little depth hardly notices."""
    inside_out = replace(faces.maps, depth=1 / faces.maps.depth.clamp(0.5) ** 3)
    options = replace(DEFAULTS, camera="linear", centre_weight=0.0, depth_weight=0.0)
    r = reconstruct_maps(inside_out, tables, faces.image, options)
    assert r.linear_failed.any()
    error = five_point_error(five_points(r.landmarks68), faces.five)
    assert error[r.linear_failed].max() < 1.5


def test_weak_perspective_gives_back_the_camera_that_made_the_points():
    g = torch.Generator().manual_seed(0)
    X = 60 * torch.randn(3, 50, 3, generator=g, dtype=torch.float64)
    R = rotation_from_angles(torch.tensor([-0.4, 0.0, 0.5]), 0.1, torch.tensor([0.2, -2.0, 3.0]), dtype=torch.float64)
    c = torch.tensor([[30.0, 31.0]], dtype=torch.float64)
    pixels = 0.3 * X @ R[:, :2].mT + c
    found_R, log_s, found_c = weak_perspective(X, torch.full((3, 50), 0.02, dtype=torch.float64), pixels)
    torch.testing.assert_close(found_R, R, atol=1e-3, rtol=0)
    torch.testing.assert_close(log_s.exp(), torch.full((3,), 0.3, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(found_c, c.expand(3, 2), atol=1e-2, rtol=0)


def test_exact_correspondence_is_met_exactly_when_the_prior_is_silent(faces, tables):
    """Gauss–Newton with a wrong derivative would stop elsewhere: residuals of a few hundredths of a pixel."""
    index = sample_pixels(faces.mask.float(), 500, torch.Generator().manual_seed(0))
    uv = gather_pixels(faces.maps.uv, index).contiguous()
    mean, basis = tables.sample_shape(uv)
    m = 0.5 * torch.randn(N, tables.n_shape, generator=torch.Generator().manual_seed(1))
    X = mean + (basis @ m[:, None, :, None])[..., 0]
    pixels, depth = project(faces.camera, X)
    fit = fit_correspondence(
        tables, uv, depth, torch.ones(N, 500), pixels, evidence=torch.full((N,), 5e5), distance_spread=100.0, steps=12
    )
    assert fit.residual.median() < 0.03
    again, _ = project(fit.camera, X)
    assert (again - pixels).norm(dim=-1).mean() < 0.5


def test_reconstruct_runs_a_network(tables):
    net = build_network("narrow").eval()
    image = torch.rand(2, 3, 64, 64)
    r = reconstruct(net, tables, image)
    assert r.landmarks68.shape == (2, 68, 2) and r.maps.uv.shape == (2, 2, 64, 64)
    direct = reconstruct_maps(r.maps, tables, image)
    torch.testing.assert_close(direct.landmarks68, r.landmarks68)
    assert pixel_coordinates(torch.tensor([[65]]), 64, torch.float32).tolist() == [[[1.0, 1.0]]]
