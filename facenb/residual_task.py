"""Main training as the paper has it: down the gradient of the residuals (book: *Learning from residuals*).

    photo → network → sampled pixels → two linear problems (35), (41) → residuals → robust loss → gradient → network

Every pixel that was drawn counts, believed or not. With the residuals of its geometry and of its colour,

    s_j = ‖r_geo,j‖² / σ_geo² + ‖r_photo,j‖² / σ_photo²,      loss = mean_j s_j / (1 + s_j) + prior,

by Geman and McClure's function, an outlier costs one, whatever it is, and an inlier less. Confidence acts only through
the solution: whoever believes the wrong pixels gets a wrong face, and fewer inliers. The adaptive prior (18) keeps the
mean square of every coefficient at one.

Two units matter. r_geo is counted in pixels, with a scale that keeps its gradient: in millimetres the best answer would
be to let all correspondences collapse to one point. r_photo is counted in the photo, i − albedo / (F l): as albedo it
would vanish there, too, with l = 0 and an h that makes that one point black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facenb.adaptive_prior import AdaptivePrior
from facenb.augment import backgrounds, random_similarity, warp
from facenb.geometry_layer import Geometry, geometry_residual, solve_geometry
from facenb.networks import Maps
from facenb.photometry_layer import Photometry, photometry_residual, solve_photometry
from facenb.pixel_sampling import gather_pixels, pixel_coordinates, sample_pixels
from facenb.pretrain_task import confidences, side_by_side, uv_colours
from facenb.refinement import DARKEST
from facenb.softplus_clamp import softplus_clamp
from facenb.task import StepResult
from facenb.uv_model import UVModel


@dataclass(frozen=True)
class ResidualOptions:
    """Settings of the residual loss.

    Attributes:
        samples: pixels per image; section C takes 10,000 of larger pictures.
        sigma_geometry, sigma_photometry: px and colours at which a residual counts half an outlier.
        prior: weight of the mean of w_i α_i², over images and coefficients, of both kinds.
        outside: weight of correspondences that leave the unit square.
        centre_weight: of the camera's centre in the linear problem, per full pixel, until `centre_steps` steps.
        distance: mm, where the centre is pulled to.
        light_weight: in the photometric problem, per full pixel.
        albedo_variance: what a prior weight of one means there, squared colours per full pixel.
    """

    samples: int = 2000
    sigma_geometry: float = 2.0
    sigma_photometry: float = 0.1
    prior: float = 1e-3
    outside: float = 10.0
    centre_weight: float = 1e-3
    centre_steps: int = 2000
    distance: float = 700.0
    light_weight: float = 1e-4
    albedo_variance: float = 2e-3


DEFAULTS = ResidualOptions()


@dataclass(frozen=True)
class Residuals:
    """What the two linear problems leave over at the sampled pixels, and their solutions.

    `outside` is the mean squared distance of the correspondences to the unit square.
    """

    geometry: Float[Tensor, "B S 3"]  # px
    photometry: Float[Tensor, "B S 3"]  # colours
    solution: tuple[Geometry, Photometry]
    outside: Float[Tensor, ""]


def residuals(
    tables: UVModel,
    image: Float[Tensor, "B 3 H W"],
    maps: Maps,
    shape_prior: Float[Tensor, " Ns"],
    albedo_prior: Float[Tensor, " Na"],
    centre_weight: float,
    generator: torch.Generator,
    options: ResidualOptions = DEFAULTS,
) -> Residuals:
    """Sample (section C), solve (35) and (41), and subtract. Differentiable in the maps.

    Args:
        image: in the colour space of the tables' albedo, [0, 1].
        shape_prior, albedo_prior: w_i of the coefficients; here they are scaled to the number of believed pixels.
        centre_weight: per full pixel, see `ResidualOptions`; 0 leaves the camera's centre free.

    Where the gradient does not go: through that number of pixels, and through the choice of the camera's viewing axis.

    Raises ValueError if the maps are not finite.
    """
    o = options
    index = sample_pixels(maps.confidence, o.samples, generator)
    stack = torch.cat([maps.uv, maps.depth[:, None], maps.confidence[:, None], softplus_clamp(image)], 1)
    uv, depth, weight, colour = gather_pixels(stack, index).split([2, 1, 1, 3], -1)
    depth, weight = depth[..., 0].contiguous(), weight[..., 0].contiguous()
    pixels = pixel_coordinates(index, image.shape[-1], uv.dtype)
    full = weight.detach().sum(1).mean()  # noise shrinks faces unless the prior grows with the number of pixels
    geometry = solve_geometry(
        tables,
        uv,
        depth,
        weight,
        pixels,
        shape_weight=shape_prior * full,
        centre_weight=centre_weight * full.item(),
        centre="axis",
        centre_distance=o.distance,
    )
    photometry = solve_photometry(
        tables,
        uv,
        colour,
        weight,
        albedo_weight=albedo_prior * o.albedo_variance * full,
        light_weight=o.light_weight * full.item(),
    )
    lateral = geometry.P[..., :2].norm(dim=1)  # B 2: mm per (px · depth unit) along x and along y
    px = lateral.prod(1).sqrt()[:, None] * depth  # B S: mm per px at each pixel
    r_geometry = geometry_residual(tables, uv, depth, pixels, geometry) / px[..., None]
    r_photometry = photometry_residual(tables, uv, colour, photometry, units="image", floor=DARKEST)
    outside = ((uv - 0.5).abs() - 0.5).clamp_min(0).square().sum(-1).mean()
    return Residuals(r_geometry, r_photometry, (geometry, photometry), outside)


def robust(r: Residuals, options: ResidualOptions = DEFAULTS) -> Float[Tensor, "B S"]:
    """s / (1 + s) of every sampled pixel, in [0, 1): Geman and McClure's function of both residuals together."""
    s = r.geometry.square().sum(-1) / options.sigma_geometry**2
    s = s + r.photometry.square().sum(-1) / options.sigma_photometry**2
    return s / (1 + s)


class ResidualTask:
    """The residual loss as a task of `facenb.trainer`.

    Args:
        tables: UV model, truncated to the components that the images can show, on the images' device.
        size: side of what the network sees, a multiple of 16.
        face_model: name of the model that the tables are of; a run is not resumed with another.
    """

    name = "residual"

    def __init__(
        self,
        network: nn.Module,
        tables: UVModel,
        size: int = 64,
        options: ResidualOptions = DEFAULTS,
        face_model: str = "model",
    ):
        self.network, self.tables, self.size, self.options = network, tables, size, options
        self.shape_prior = AdaptivePrior.start(tables.n_shape)
        self.albedo_prior = AdaptivePrior.start(tables.n_albedo)
        self.steps_taken = 0
        self.about: dict[str, Any] = {
            "network": getattr(network, "kind", type(network).__name__),
            "face model": face_model,
            "size": size,
            "shape components": tables.n_shape,
            "albedo components": tables.n_albedo,
        }

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        """The loss of one random view of each image. Raises ValueError where the network's maps are not finite."""
        B, _, S, _ = images.shape
        theta = random_similarity(B, generator, source=S, size=self.size)
        view = warp(images, theta, self.size, backgrounds(images, self.size, generator), samples=2)
        maps = self.network(view.contiguous(memory_format=torch.channels_last))
        early = self.steps_taken < self.options.centre_steps
        r = residuals(
            self.tables,
            view,
            maps,
            self.shape_prior.weight.to(view),
            self.albedo_prior.weight.to(view),
            self.options.centre_weight if early else 0.0,
            generator,
            self.options,
        )
        rho = robust(r, self.options)
        m, h = r.solution[0].m, r.solution[1].h
        prior = (self.shape_prior.weight.to(m) * m.square()).mean() + (
            self.albedo_prior.weight.to(h) * h.square()
        ).mean()
        loss = rho.mean() + self.options.prior * prior + self.options.outside * r.outside
        square_m, square_h = m.detach().square().mean(0), h.detach().square().mean(0)
        scalars = {
            "robust": rho.mean().item(),
            "inliers": (rho < 0.5).float().mean().item(),
            "geometry_px": r.geometry.norm(dim=-1).median().item(),
            "photometry": r.photometry.norm(dim=-1).median().item(),
            "m²": square_m.mean().item(),
            "h²": square_h.mean().item(),
        }
        return StepResult(loss, scalars, {"m²": square_m, "h²": square_h})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Adapt the priors, (18), and count the step."""
        self.shape_prior = self.shape_prior.after(statistics["m²"].cpu())
        self.albedo_prior = self.albedo_prior.after(statistics["h²"].cpu())
        self.steps_taken += 1

    def state_dict(self) -> dict[str, Any]:
        """The priors, and how many steps were taken."""
        state = {
            f"{kind} {name}": getattr(prior, name)
            for kind, prior in (("shape", self.shape_prior), ("albedo", self.albedo_prior))
            for name in ("weight", "mean_weight", "mean_square")
        }
        return state | {"steps_taken": self.steps_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take priors and counter over."""
        for kind in ("shape", "albedo"):
            parts = {name: state[f"{kind} {name}"].clone() for name in ("weight", "mean_weight", "mean_square")}
            setattr(self, f"{kind}_prior", AdaptivePrior(**parts))
        self.steps_taken = int(state["steps_taken"])

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        """Views of the images and what the network says of them."""
        B, _, S, _ = images.shape
        generator = torch.Generator(images.device).manual_seed(0)
        view = warp(images, random_similarity(B, generator, source=S, size=self.size), self.size, samples=2)
        maps = self.network(view)
        return {"views": side_by_side(view), "uv": side_by_side(uv_colours(maps)), "confidence": confidences(maps)}
