"""A whole training step: narrow U-Net, 5 images of 64 × 64, both linear problems, residual loss, gradients, Adam.

2,000 samples per image, 299 shape and 199 albedo components on a 160² map. Ours is the step as `facenb.trainer` takes
it with `--precision bf16`: channels last, bf16 inside the network, the fused layers. The peer is the same step as one
would write it down: float32, images and map channels first, grid_sample, every zero of (33) and (34) stored, LU,
autograd throughout.
"""

from types import SimpleNamespace

import torch
from dense_least_squares import dense_geometry, dense_photometry, sample_map
from torch import Tensor, nn

from benchmarks.contenders import Contenders
from benchmarks.lsq_geometry import random_tables
from facenb.geometry_layer import pixel_residual, solve_geometry
from facenb.lighting import sh_basis
from facenb.networks import Maps, build_network
from facenb.photometry_layer import photometry_residual, solve_photometry
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.softplus_clamp import softplus_clamp

IMAGES, SIDE, SAMPLES, MAP = 5, 64, 2000, 160
SHAPE_WEIGHT, ALBEDO_WEIGHT, LIGHT_WEIGHT = 1.0, 1e-3, 1e-6
GEOMETRY_SCALE, COLOUR_SCALE = 4.0, 0.1  # px and colours at which a residual starts to count as an outlier's
FLOOR = 0.05  # of the inverse shading, as in `photometry_residual`


def robust_loss(pixels: Tensor, colours: Tensor, confidence: Tensor) -> Tensor:
    """Geman and McClure's s / (1 + s) of both residuals, weighted by the confidence (section F)."""
    s = (pixels / GEOMETRY_SCALE).square().sum(-1) + (colours / COLOUR_SCALE).square().sum(-1)  # B S
    return (confidence * s / (1 + s)).mean() - confidence.mean()  # without the second part nobody would be confident


def sampled(maps: Maps, image: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """uv, depth, confidence, clamped colour and place of the same random pixels of each image.

    A fresh network says the same of every pixel; here it says how far uv is from a face that fills the picture.
    """
    ramp = torch.linspace(-0.35, 0.35, SIDE)
    face = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"))
    index = sample_pixels(maps.confidence, SAMPLES, generator)
    stack = torch.cat([maps.uv + face, maps.depth[:, None], maps.confidence[:, None], softplus_clamp(image)], dim=1)
    uv, depth, weight, colour = gather_pixels(stack, index).split([2, 1, 1, 3], dim=-1)
    return uv, depth[..., 0], weight[..., 0], colour, pixel_coordinates(index, SIDE, uv.dtype)


def contenders() -> Contenders:
    generator = torch.Generator().manual_seed(0)
    model = random_tables(generator, shape=True, size=MAP)
    albedo = random_tables(generator, shape=False, size=MAP)
    image = torch.rand(IMAGES, 3, SIDE, SIDE, generator=generator)

    network = build_network("narrow").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    image_for_network = image.contiguous(memory_format=torch.channels_last)

    def ours() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(image_for_network)
        uv, depth, weight, colour, pixels = sampled(maps, image, generator)
        geometry = solve_geometry(model, uv, depth, weight, pixels, shape_weight=SHAPE_WEIGHT, centre_weight=1.0)
        light = solve_photometry(albedo, uv, colour, weight, albedo_weight=ALBEDO_WEIGHT, light_weight=LIGHT_WEIGHT)
        r_pixels = pixel_residual(model, uv, pixels, geometry)
        r_colours = photometry_residual(albedo, uv, colour, light, units="image", floor=FLOOR)
        finish(optimizer, network, robust_loss(r_pixels, r_colours, weight))

    plain_model = channels_first(model, "shape")
    plain_albedo = channels_first(albedo, "albedo")
    plain = build_network("narrow")
    plain_optimizer = torch.optim.Adam(plain.parameters(), lr=1e-4)
    camera_weight, target = torch.full((12,), 1e-3), torch.zeros(12)
    shape_weight = torch.full((model.n_shape,), SHAPE_WEIGHT)
    albedo_weight, light_weight = torch.full((albedo.n_albedo,), ALBEDO_WEIGHT), torch.full((27,), LIGHT_WEIGHT)

    def peer() -> None:
        maps = plain(image)
        uv, depth, weight, colour, pixels = sampled(maps, image, generator)
        pixels = 2 * pixels / SIDE - 1  # plain LU in float32 needs them scaled
        P, q, m = dense_geometry(plain_model, uv, depth, weight, pixels, shape_weight, camera_weight, target)
        l, h = dense_photometry(plain_albedo, uv, colour, weight, albedo_weight, light_weight)
        X = points(plain_model.shape, uv, m)
        seen = (X - q[:, None]) @ torch.linalg.inv(P).mT
        r_pixels = SIDE / 2 * (seen[..., :2] / seen[..., 2:] - pixels)
        F = sh_basis(nn.functional.normalize(sample_map(albedo.normal, MAP, MAP, uv)[..., 0], dim=-1))
        inverse = torch.einsum("bsi,bki->bsk", F, l)
        r_colours = colour - points(plain_albedo.albedo, uv, h) / inverse.clamp_min(FLOOR)
        finish(plain_optimizer, plain, robust_loss(r_pixels, r_colours, weight))

    return Contenders(ours, peer, "float32, channels first, grid_sample, dense matrices, LU and autograd")


def channels_first(tables: SimpleNamespace, name: str) -> SimpleNamespace:
    """The same tables with one of them lying in memory as pictures, (C, H, W), as one would keep them."""
    return SimpleNamespace(**vars(tables) | {name: getattr(tables, name).T.contiguous().T})


def points(table: Tensor, uv: Tensor, coefficients: Tensor) -> Tensor:
    """X m + x at uv (B, S, 3), from the map of each image's own face."""
    last = torch.cat([coefficients, torch.ones_like(coefficients[:, :1])], dim=1)  # B K+1
    maps = torch.einsum("tkn,bn->tbk", table.unflatten(1, (3, -1)), last)  # HW B 3
    pictures = maps.permute(1, 2, 0).reshape(len(uv), 3, MAP, MAP)
    grid = 2 * uv[:, :, None] - 1
    return nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)[..., 0].mT


def finish(optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    """Gradient, clipped, and a step of Adam."""
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
