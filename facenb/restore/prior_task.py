"""Training the generator of an albedo prior, as a task of `facenb.trainer` (book: *A prior for faces*).

Each albedo a is encoded by the linear part, z = E(a), and must come back:

    10 mean (a(z) − a)² + mean |a(z) − a| + ½ mean |∇a(z) − ∇a|

The squares bring the colour of skin, the absolute values the edges, and the gradients their sharpness. Those codes are
not random, though, and what comes back is nearly linear in them. What only a generator can do shows where the code *is*
random: between two hair lines the components draw both, as ghosts. So codes z ~ N(0, I) can be drawn, too, and a critic
(`facenb.restore.critic`) must take a(z) for an albedo. What that is worth, the chapter says.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facenb.augment import mirrored_at_random
from facenb.restore.albedo_prior import AlbedoPrior
from facenb.restore.critic import Critic, critic_loss, taken_for_photos
from facenb.restore.perceptual import edge_loss
from facenb.restore.picture_metrics import psnr
from facenb.task import StepResult


class PriorAndCritic(nn.Module):
    """What learns: a prior and its critic, in one call, or several processes would not agree."""

    def __init__(self, prior: AlbedoPrior, width: int = 24, seed: int = 0):
        super().__init__()
        self.prior = prior
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.critic = Critic(width)

    def forward(
        self, albedo: Float[Tensor, "B 3 S S"], z: Float[Tensor, "B K"] | None = None
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, ""] | None, Float[Tensor, ""] | None]:
        """Albedos as the prior draws them, and the losses of the critic and of the prior for random codes `z`."""
        come_back = self.prior(self.prior.encode(albedo))
        if z is None:
            return come_back, None, None
        drawn = self.prior(z)
        return come_back, critic_loss(self.critic, albedo, drawn), taken_for_photos(self.critic, drawn)


class PriorTask:
    """Albedos → the loss above, `critic` times that of the critic; 0 leaves it out."""

    name = "prior"

    def __init__(self, network: PriorAndCritic, critic: float = 0.0):
        self.network, self.critic = network, critic
        network.critic.requires_grad_(critic > 0)
        self.codes = network.prior.options.codes
        self.about: dict[str, Any] = {"network": AlbedoPrior.kind, "critic": critic, **vars(network.prior.options)}

    def step(self, images: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> StepResult:
        images = mirrored_at_random(images, generator)
        z = torch.randn(len(images), self.codes, generator=generator, device=images.device) if self.critic else None
        answer, critic, taken = self.network(images, z)
        off = answer - images
        parts = {
            "squares": 10 * off.square().mean(),
            "absolute": off.abs().mean(),
            "edges": 0.5 * edge_loss(answer, images, torch.ones_like(images[:, 0], dtype=torch.bool), levels=1),
        }
        if z is not None:
            parts |= {"critic": critic, "taken for albedos": self.critic * taken}
        numbers = {name: part.item() for name, part in parts.items()} | {"psnr": psnr(answer, images).mean().item()}
        return StepResult(sum(parts.values()), numbers, {"one": images.new_ones(())})

    def absorb(self, statistics: dict[str, Tensor]) -> None:
        """Nothing to keep."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""

    def pictures(self, images: Float[Tensor, "B 3 S S"]) -> dict[str, Float[Tensor, "3 H W"]]:
        prior = self.network.prior
        z = prior.encode(images)
        random = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
        rows = {
            "albedos": images,
            "linear part": prior.linear(z),
            "prior": prior(z),
            "linear part, random codes": prior.linear(random),
            "prior, random codes": prior(random),
        }
        return {name: torch.cat(list(row), dim=-1).clamp(0, 1) for name, row in rows.items()}
