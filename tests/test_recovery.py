"""From a rendering back to everything it was made of, through the rasteriser and the texel map, in float32."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from facenb.camera import Camera, decompose, project
from facenb.geometry_layer import geometry_residual, solve_geometry
from facenb.lighting import shade
from facenb.normals import vertex_normals
from facenb.open_model import open_model
from facenb.photometry_layer import photometry_residual, solve_photometry
from facenb.pictures import portrait_camera
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.rasterise import interpolate, rasterise
from facenb.robust import reweighted
from facenb.uv_model import uv_model

SIZE = 256


@pytest.fixture(scope="module")
def single(tiny_model):
    return tiny_model.to(dtype=torch.float32)


@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.3])
def test_a_rendering_gives_back_camera_shape_albedo_and_light(single, yaw):
    """Camera < 0.1 px, shape < 0.05 mm, albedo < 0.01, light < 1 % (means over the visible face)."""
    g = torch.Generator().manual_seed(6)
    flat = uv_model(single, resolution=320)
    identity, expression, albedo = (torch.randn(n, generator=g) for n in (6, 4, 5))
    light = 0.15 * torch.randn(3, 9, generator=g)
    light[:, 0] += 4.5

    X = single.vertices(identity, expression)
    camera = portrait_camera(X, SIZE, SIZE, yaw=yaw, pitch=0.1)
    pixels, depth = project(camera, X)
    seen = rasterise(torch.cat([pixels, depth[:, None]], 1)[None], single.triangles, SIZE, SIZE)
    normals = vertex_normals(single.shape_mean, single.triangles)
    uv = flat.flattening.uv[: single.n_vertices].float()
    maps = interpolate(seen, single.triangles, torch.cat([uv, single.colours(albedo), normals], 1)[None])
    inverse = shade(light[None], normalize(maps[0, ..., 5:], dim=-1).reshape(-1, 3))[0].T.reshape(SIZE, SIZE, 3)
    maps = torch.cat([maps[0, ..., :2], maps[0, ..., 2:5] / inverse, seen.depth[0][..., None]], -1).movedim(-1, 0)

    index = sample_pixels(seen.mask.float(), 10_000, g)
    at = gather_pixels(maps[None], index)
    weight = gather_pixels(seen.mask[None].float(), index)[..., 0]
    uv, colour, d = at[..., :2], at[..., 2:5], at[..., 5] / 700
    where = pixel_coordinates(index, SIZE, torch.float32)
    geometry = solve_geometry(flat, uv, d, weight, where, shape_weight=1e-2)
    photometry = solve_photometry(flat, uv, colour, weight, albedo_weight=1e-6)

    visible = single.triangles[seen.triangle[seen.mask].unique()].unique()
    found = decompose(geometry.P, geometry.q)
    found = Camera(found.K[0], found.R[0], found.t[0])
    Y = single.vertices(geometry.m[0, :6], geometry.m[0, 6:])
    assert (project(found, Y)[0] - pixels)[visible].norm(dim=-1).mean() < 0.1
    assert (Y - X)[visible].norm(dim=-1).mean() < 0.05
    assert (single.colours(photometry.h[0]) - single.colours(albedo))[visible].abs().mean() < 0.01
    ratio = shade(photometry.l, normals)[0] / shade(light[None], normals)[0]
    assert (ratio[:, visible] - 1).abs().mean() < 0.01


@pytest.fixture(scope="module")
def rendering():
    """A random person of the open model, all components, drawn at 256² with known camera, shape, albedo and light."""
    model = open_model(progress=False)
    g = torch.Generator().manual_seed(9)
    identity, expression, albedo = (c[0] for c in model.sample(1, g, scale=0.7))
    light = 0.1 * torch.randn(3, 9, generator=g)
    light[:, 0] += 4.5
    X = model.vertices(identity, expression)
    camera = portrait_camera(X, SIZE, SIZE, yaw=0.3, pitch=0.1)
    return SimpleNamespace(model=model, X=X, albedo=albedo, light=light, camera=camera, generator=g)


def test_all_components_of_the_open_model_come_back_from_a_rendering(rendering):
    """The same bounds with 299 shape and 199 albedo components; lids and lips, where texels and triangles differ, are
    discounted by two rounds of robust weights."""
    r, model = rendering, rendering.model
    flat = uv_model(model, resolution=320)
    pixels, depth = project(r.camera, r.X)
    seen = rasterise(torch.cat([pixels, depth[:, None]], 1)[None], model.triangles, SIZE, SIZE)
    normals = vertex_normals(model.shape_mean, model.triangles)
    uv = flat.flattening.uv[: model.n_vertices].float()
    maps = interpolate(seen, model.triangles, torch.cat([uv, model.colours(r.albedo), normals], 1)[None])[0]
    inverse = shade(r.light[None], normalize(maps[..., 5:], dim=-1).reshape(-1, 3))[0].T.reshape(SIZE, SIZE, 3)
    maps = torch.cat([maps[..., :2], maps[..., 2:5] / inverse, seen.depth[0][..., None]], -1).movedim(-1, 0)

    index = sample_pixels(seen.mask.float(), 10_000, r.generator)
    at = gather_pixels(maps[None], index)
    weight = gather_pixels(seen.mask[None].float(), index)[..., 0]
    uv, colour, d = at[..., :2], at[..., 2:5], at[..., 5] / 700
    where = pixel_coordinates(index, SIZE, torch.float32)
    geometry, _ = reweighted(
        lambda w: solve_geometry(flat, uv, d, w, where, shape_weight=1e-2),
        lambda g: geometry_residual(flat, uv, d, where, g).norm(dim=-1),
        weight,
    )
    photometry, _ = reweighted(
        lambda w: solve_photometry(flat, uv, colour, w, albedo_weight=1e-6),
        lambda p: photometry_residual(flat, uv, colour, p).norm(dim=-1),
        weight,
    )

    visible = model.triangles[seen.triangle[seen.mask].unique()].unique()
    found = decompose(geometry.P, geometry.q)
    found = Camera(found.K[0], found.R[0], found.t[0])
    Y = model.vertices(geometry.m[0, : model.n_identity], geometry.m[0, model.n_identity :])
    assert (project(found, r.X)[0] - pixels)[visible].norm(dim=-1).mean() < 0.1
    assert (Y - r.X)[visible].norm(dim=-1).mean() < 0.05
    assert (model.colours(photometry.h[0]) - model.colours(r.albedo))[visible].abs().mean() < 0.01
    ratio = shade(photometry.l, normals)[0] / shade(r.light[None], normals)[0]
    assert (ratio[:, visible] - 1).abs().mean() < 0.01
