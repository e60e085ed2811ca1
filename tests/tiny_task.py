"""A training task that costs nothing, and images for it: the trainer's tests know what it must do with them."""

import torch
from torch import nn

from facenb.image_sets import ImageSet
from facenb.task import SingularStep, StepResult


def tiny_images(count: int = 7, side: int = 16) -> ImageSet:
    """Random pictures, the same each time."""
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    return ImageSet(names=[str(i) for i in range(count)], read=lambda i: pixels[i], size=side)


def tiny_network(norm: bool = True, width: int = 4) -> nn.Sequential:
    """Convolutions, batch norm and, so that PyTorch's own random numbers matter, dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        extras = [nn.BatchNorm2d(width), nn.Dropout2d(0.2)] if norm else []
        return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *extras, nn.ReLU(), nn.Conv2d(width, 1, 1))


class TinyTask:
    """Learn the brightness of noisy images, weighted by a number that adapts itself.

    `trouble` maps steps (counted here, from 0) to what goes wrong in them: an exception to raise, a function to call,
    or a number that the images are multiplied with.
    """

    name = "tiny"

    def __init__(self, norm: bool = True, noise: float = 0.1, trouble: dict | None = None, width: int = 4):
        self.network = tiny_network(norm, width)
        self.about = {"network": "tiny", "norm": norm}
        self.weight, self.spread = 1.0, torch.ones(3)
        self.noise, self.trouble = noise, trouble or {}
        self.steps = 0
        self.seen = []  # first pixel of every image that came

    def step(self, images, generator):
        self.seen += images[:, 0, 0, 0].tolist()
        trouble = self.trouble.get(self.steps)
        self.steps += 1
        if isinstance(trouble, Exception):
            raise trouble
        if callable(trouble):
            trouble = trouble()  # None: all is well
        noisy = images + self.noise * torch.randn(images.shape, generator=generator)
        if trouble is not None:
            noisy = noisy * trouble
        error = self.network(noisy)[:, 0] - images.mean(1)
        loss = (self.weight * self.spread.mean() * error**2).mean()
        return StepResult(loss, {"error": error.detach().abs().mean().item()}, {"power": (error**2).mean().detach()})

    def absorb(self, statistics):
        power = float(statistics["power"])
        self.weight = 0.9 * self.weight + 0.1 / (power + 0.5)
        self.spread = 0.9 * self.spread + 0.1 * torch.tensor([power, 1.0, 2.0])

    def state_dict(self):
        return {"weight": self.weight, "spread": self.spread}

    def load_state_dict(self, state):
        self.weight, self.spread = state["weight"], state["spread"]

    def pictures(self, images):
        brightness = self.network(images)[0]  # 1 H W
        return {"brightness": torch.sigmoid(brightness).expand(3, -1, -1)}


def singular() -> SingularStep:
    return SingularStep("the normal equations are singular")
