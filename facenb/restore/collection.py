"""LAP: several photos of one person → the face that they share, and each photo's own (book: *Many photos of one
person*).

After Zhang et al. 2021, who fuse the features of all photos of a person with learnt weights, decode one *consistent*
face from them, and personalise it to each photo by a residual. Our reading fuses where it can be seen, in the canonical
frame that the proxy has brought all photos to:

    candidates   each photo, unwrapped and divided by its shading, and the proxy's albedo of it
    albedo       a_c = Σ w_i a_i, with weights w_i of every pixel that sum to 1 over the candidates, said by a network
    depth        d_c = mean d_i + a displacement, from a_c and from how the candidates depart from it as the head turns
    own          a_i = a_c + m_i ⊙ (unwrapped photo − a_c), d_i = d_c + another displacement

Where depth is wrong, what is unwrapped from photos of other views lies in other places, the farther the more they
differ in view. The first moments Σ (a_i − a_c) yaw_i and Σ (a_i − a_c) pitch_i are what a network needs to see that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from facenb.depth_light import light_depth
from facenb.restore.geometry_restorer import GeometryRestorer
from facenb.restore.proxy import Face, Proxy, ProxyOptions
from facenb.restore.proxy_networks import start_small
from facenb.restore.warp import unwrap

DARKEST = 0.2  # shading that an unwrapped photo is divided by, at least
CLUES = 8  # channels of what the weights are chosen by
UNSEEN = -30.0  # logit of a candidate that does not see the place
LEAST = 1e-6  # weight of what is left when a photo is held out
OWN = -2.0  # logit of a fresh network's trust in a photo's own details
WIDE = 0.5  # radians: views that differ by so much differ by one


@dataclass(frozen=True)
class CollectionOptions:
    """How the network is built: the proxy that it begins with, and channels of its own convolutions."""

    proxy: ProxyOptions = field(default_factory=ProxyOptions)
    width: int = 12

    @staticmethod
    def from_dict(values: dict[str, Any]) -> CollectionOptions:
        """From what `dataclasses.asdict` made of it. Raises TypeError for unknown names."""
        return CollectionOptions(**{**values, "proxy": ProxyOptions(**values["proxy"])})


class Collection(NamedTuple):
    """What was made of B people with N photos each; faces count person by person, B · N in all.

    Attributes:
        shared: the consistent face, in each photo's light and view.
        own: the personalised one.
        coarse: the mean depth that both began with.
        weight: of each photo's pixels in the shared albedo; the rest to 1 is what the proxy's albedos weigh.
    """

    shared: Face
    own: Face
    coarse: Float[Tensor, "BN S S"]
    weight: Float[Tensor, "B N S S"]


class CollectionNetwork(nn.Module):
    """Photos (B, N, 3, S, S) in [0, 1] → `Collection`, for any N. The proxy is used as it is."""

    kind = "collection"

    def __init__(self, options: CollectionOptions = CollectionOptions(), seed: int = 0):
        super().__init__()
        self.options = options
        w = options.width
        self.proxy = Proxy(options.proxy, seed).requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.look = nn.ModuleList([nn.Conv2d(CLUES, w, 3, padding=1), nn.Conv2d(w, w, 3, padding=1)])
            self.weigh = nn.Conv2d(w, 3, 1)  # logits: of the photo, of the proxy's albedo, of the photo's own details
            start_small(self.weigh)
            nn.init.constant_(self.weigh.bias[2:], OWN)
            self.shape = GeometryRestorer(w, channels=9)
            self.own = GeometryRestorer(w)

    def forward(self, photos: Float[Tensor, "B N 3 S S"], held_out: bool = False) -> Collection:
        """With `held_out`, what each photo is given as shared albedo was made without it, from the others alone."""
        B, N = photos.shape[:2]
        with torch.no_grad():
            guess, found, there = self.found(photos.flatten(0, 1))
            clues = torch.cat([(2 * found - 1) * there, there, 2 * guess.albedo - 1, _shading(guess)], 1)
        x = clues
        for layer in self.look:
            x = leaky_relu(layer(x), 0.2)
        logits = self.weigh(x)
        of_photo = torch.where(there > 0, logits[:, :1], UNSEEN)
        logits_of = torch.stack([of_photo, logits[:, 1:2]], 1).unflatten(0, (B, N))  # B N 2 1 S S
        candidates = torch.stack([found, guess.albedo], 1).unflatten(0, (B, N))  # B N 2 3 S S
        weight = (logits_of - logits_of.amax((1, 2), keepdim=True)).exp()
        said, total = (weight * candidates).sum(2), weight.sum(2)  # B N 3 S S, B N 1 S S
        albedo = said.sum(1) / total.sum(1)  # B 3 S S
        shared_albedo = _each(albedo, N)
        if held_out:
            left = total.sum(1, keepdim=True) - total
            shared_albedo = ((said.sum(1, keepdim=True) - said) / left.clamp(min=LEAST)).flatten(0, 1)
        coarse = guess.depth.unflatten(0, (B, N)).mean(1)  # B S S
        with torch.no_grad():
            off = ((found - _each(albedo, N)) * there).unflatten(0, (B, N))
            turn = guess.view.angles.unflatten(0, (B, N)) / WIDE  # B N 3
            turn = (turn - turn.mean(1, keepdim=True))[..., None, None]
            moments = [0.5 + (off * turn[:, :, k : k + 1]).mean(1) for k in (0, 1)]
            seen = torch.cat([albedo, *moments], 1)
        depth = coarse + self.shape(seen, coarse)
        shared = guess._replace(depth=_each(depth, N), albedo=shared_albedo)
        trust = logits[:, 2:].sigmoid() * there
        own_albedo = shared.albedo + trust * (found - shared.albedo)
        with torch.no_grad():
            texture = light_depth(shared.depth, own_albedo, guess.light).texture
        own_depth = shared.depth + self.own(texture, shared.depth.detach())
        own = guess._replace(depth=own_depth, albedo=own_albedo)
        return Collection(shared, own, _each(coarse, N), (weight[:, :, 0] / total.sum(1, keepdim=True))[:, :, 0])

    def found(
        self, photos: Float[Tensor, "B 3 S S"]
    ) -> tuple[Face, Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
        """The proxy's face of each photo; the photo's skin, unwrapped and without its shading; 1 where it is seen."""
        guess = self.proxy(photos)
        texture, seen = unwrap(photos, guess.depth, guess.view)
        return guess, (texture / _shading(guess).clamp(min=DARKEST)).clamp(0, 1), seen[:, None].to(photos.dtype)


def _shading(face: Face) -> Float[Tensor, "B 1 S S"]:
    return light_depth(face.depth, torch.ones_like(face.albedo[:, :1]), face.light).texture


def _each(values: Tensor, n: int) -> Tensor:
    """What belongs to a person, once for each of his n photos."""
    return values.repeat_interleave(n, 0)
