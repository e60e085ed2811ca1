"""The whole second system: a degraded photo → a face restored in albedo and geometry (book: *Restoring albedo and
geometry*).

    proxy on the degraded photo     depth d_o, albedo a_o, light l, view ω
    ARN                             a = ARN(a_o, the photo brought to the canonical frame)
    Λ                               t_o = Λ(a, d_o, l)
    GRN                             d = d_o + GRN(t_o, d_o)
    Λ, Π                            the restored photo

Source: Zhang et al. 2022, and our reading of it where its supplement is silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facenb.depth_light import light_depth
from facenb.restore.albedo_prior import AlbedoPrior, PriorOptions
from facenb.restore.albedo_restorer import AlbedoRestorer
from facenb.restore.critic import Critic, critic_loss, taken_for_photos
from facenb.restore.geometry_restorer import GeometryRestorer
from facenb.restore.proxy import Face, Proxy, ProxyOptions
from facenb.restore.view import Viewpoint
from facenb.restore.warp import render_view, unwrap


@dataclass(frozen=True)
class RestorerOptions:
    """How the system is built; each part can be left out, to see what it was good for.

    Attributes:
        proxy, prior: of the networks that it begins with.
        albedo: with ARN.
        geometry: with GRN.
        width: channels of ARN's and the critic's first convolution, twice those of GRN's.
    """

    proxy: ProxyOptions = field(default_factory=ProxyOptions)
    prior: PriorOptions = field(default_factory=PriorOptions)
    albedo: bool = True
    geometry: bool = True
    width: int = 24

    @staticmethod
    def from_dict(values: dict[str, Any]) -> RestorerOptions:
        """From what `dataclasses.asdict` made of it. Raises TypeError for unknown names."""
        parts = {"proxy": ProxyOptions(**values["proxy"]), "prior": PriorOptions(**values["prior"])}
        return RestorerOptions(**{**values, **parts})


class Lesson(NamedTuple):
    """What is given in training beside the spoilt photos.

    Attributes:
        known: a face whose light and view are taken instead of the photo's own; the proxy then learns nothing.
        real, turned: photos for the critic, black around the face, and the views that it shall judge.
    """

    known: Face | None = None
    real: Float[Tensor, "B 3 S S"] | None = None
    turned: Viewpoint | None = None


class Restored(NamedTuple):
    """What comes back in training.

    Attributes:
        face: the restored one.
        coarse: its depth before GRN.
        critic, taken: the critic's own loss, and the restorer's, if there were views to judge.
    """

    face: Face
    coarse: Float[Tensor, "B S S"]
    critic: Float[Tensor, ""] | None = None
    taken: Float[Tensor, ""] | None = None


class Restorer(nn.Module):
    """`forward` takes degraded photos in [0, 1] to a `Face` and has the size of its proxy."""

    kind = "restorer"

    def __init__(self, options: RestorerOptions = RestorerOptions(), seed: int = 0):
        super().__init__()
        if options.proxy.size != options.prior.size:
            raise ValueError(
                f"the proxy draws {options.proxy.size} pixels, the prior {options.prior.size}: train one for the other"
            )
        self.options = options
        self.proxy = Proxy(options.proxy, seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.albedo = AlbedoRestorer(AlbedoPrior(options.prior, seed), options.width) if options.albedo else None
            self.geometry = GeometryRestorer(options.width // 2) if options.geometry else None
            self.critic = Critic(options.width)

    def forward(self, photo: Float[Tensor, "B 3 S S"], lesson: Lesson | None = None) -> Face | Restored:
        """The restored face of each photo; in a lesson, what can be learnt from it.

        In training everything that learns must pass through one call, or several processes would not agree.
        """
        known = lesson.known if lesson else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and known is None):
            guess = self.proxy(photo)
        if known is not None:
            guess = guess._replace(light=known.light, view=known.view)
        face = self.restore(photo, guess)
        if lesson is None:
            return face
        if lesson.turned is None:
            return Restored(face, guess.depth)
        rendering = render_view(face.depth, light_depth(face.depth, face.albedo, face.light).texture, lesson.turned)
        novel = rendering.image * rendering.mask[:, None]
        judged = critic_loss(self.critic, lesson.real, novel), taken_for_photos(self.critic, novel)
        return Restored(face, guess.depth, *judged)

    def restore(self, photo: Float[Tensor, "B 3 S S"], face: Face) -> Face:
        """The proxy's face of the same photo, restored.

        What ARN and GRN look at is evidence, no path for gradients: a view that learnt from how its picture unwraps
        would soon be no view any more.
        """
        if self.albedo is not None:
            with torch.no_grad():
                texture, seen = unwrap(photo, face.depth, face.view)
            face = face._replace(albedo=self.albedo(face.albedo, texture, seen).clamp(0, 1))
        if self.geometry is not None:
            with torch.no_grad():
                texture = light_depth(face.depth, face.albedo, face.light).texture
            face = face._replace(depth=face.depth + self.geometry(texture, face.depth.detach()))
        return face
