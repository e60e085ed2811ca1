"""The critic of novel views: does a rendering look like a photo? (book: *Restoring albedo and geometry*).

A restored face may fit its photo and still fall apart when it is turned. So renderings from *other* views are shown to
a critic, which learns to tell them from photos, while the restorer learns to be taken for them. The critic judges
patches of a quarter of the picture, under a hinge loss (Lim and Ye 2017):

    critic      mean max(0, 1 − D(photo)) + mean max(0, 1 + D(rendering))
    restorer    − mean D(rendering)

Both see the face only, what surrounds it is black: a rendering has no background.

A small critic that looks at colours alone learns nothing for hundreds of steps: skin and light vary far more than what
gives a forgery away. So it sees details only, enlarged: the picture without its local mean.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import avg_pool2d, pad, relu
from torch.nn.utils.parametrizations import spectral_norm

NEAR = 2  # pixels on each side that the local mean is taken over
DETAIL = 4.0  # by which details are enlarged


class Critic(nn.Module):
    """Pictures in [0, 1] → how much like a photo each patch looks, positive or negative."""

    def __init__(self, width: int = 24):
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(3, w, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(w, 2 * w, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * w, 4 * w, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(4 * w, 1, 3, 1, 1)),
        )

    def forward(self, picture: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 s s"]:
        return self.layers(DETAIL * details(picture))


def details(picture: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C S S"]:
    """A picture without its local mean."""
    return picture - avg_pool2d(pad(picture, (NEAR,) * 4, mode="replicate"), 2 * NEAR + 1, 1)


def critic_loss(critic: nn.Module, photo: Tensor, rendering: Tensor) -> Float[Tensor, ""]:
    """What the critic minimises; nothing flows back into the pictures."""
    return relu(1 - critic(photo.detach())).mean() + relu(1 + critic(rendering.detach())).mean()


def taken_for_photos(critic: nn.Module, rendering: Tensor) -> Float[Tensor, ""]:
    """What the restorer minimises; nothing flows back into the critic, so that one optimiser can serve both."""
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    return -functional_call(critic, frozen, rendering).mean()
