"""The nets that the first GANs share: so small that the four differ in nothing but the game they play."""

import math
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

import zoo

Width = Annotated[int, Field(ge=1, le=4096)]


class Generator(nn.Module):
    """G: z -> image, fully connected. What gets published; the family's name says how it was trained."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=64)] = 28
        channels: zoo.Channels = 1
        latent_dim: zoo.LatentDim = 100
        widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (256, 512, 1024)
        """Units of the hidden layers from z to the image; D has the same, mirrored."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.layers = mlp(config.latent_dim, *config.widths, math.prod(shape(config)))

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, c, h, w) in (-1, 1)."""
        return self.layers(z).tanh().view(-1, *shape(self.config))

    def sample(self, noise: zoo.Noise) -> Tensor:
        """Images (n, c, h, w) in [0, 1] from z ~ N(0, I)."""
        return (self(noise.normal(self.config.latent_dim)) + 1) / 2


class Discriminator(nn.Module):
    """D: (n, c, h, w) in [-1, 1] -> (n,), any real number, in float32: a logit, a regression, a score."""

    def __init__(self, config: Generator.Config) -> None:
        super().__init__()
        self.layers = mlp(math.prod(shape(config)), *reversed(config.widths), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1)).squeeze(1).float()


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with LeakyReLU 0.2 in between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def shape(config: Generator.Config) -> tuple[int, int, int]:
    return config.channels, config.image_size, config.image_size
