"""InfoGAN: Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing GANs".

G is given incompressible noise z and structured codes c: a category and a few continuous styles. Q(c | x) reads the
codes back from an image. How well it does is a lower bound on the mutual information I(c; G(z, c)), which training
raises (section 5). Q shares the trunk of the discriminator. The nets are those of the paper's MNIST run (appendix C.1).
"""

from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo


class Codes(NamedTuple):
    """The inputs of G, n rows of each."""

    z: Tensor
    """(n, latent_dim) in [-1, 1]."""
    category: Tensor
    """(n,) int64."""
    style: Tensor
    """(n, styles), drawn from [-1, 1]."""


class Posterior(NamedTuple):
    """The parameters of Q(c | x)."""

    logits: Tensor
    """(n, categories)."""
    mean: Tensor
    """(n, styles): of a Gaussian with variance 1, as in the authors' MNIST run."""


class InfoGAN(nn.Module):
    """The published parts: the generator G, and Q with the trunk that it shares with the discriminator."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=8, le=64, multiple_of=4)] = 28
        channels: zoo.Channels = 1
        latent_dim: zoo.LatentDim = 62
        categories: Annotated[int, Field(ge=2, le=100)] = 10
        styles: Annotated[int, Field(ge=1, le=16)] = 2
        """Number of continuous codes."""
        width: zoo.Width = 64
        """Feature maps of the layer next to the image, in G and the trunk. The next layer has twice as many."""
        hidden: Annotated[int, Field(ge=1, le=4096)] = 1024
        """Units of the fully connected layer of G and of the trunk."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.conditions = {
            "category": zoo.Categorical(tuple(map(str, range(config.categories)))),
            "style": zoo.Continuous(-2, 2, size=config.styles),  # twice the range of training: figure 2 of the paper
        }
        self.G = generator(config)
        self.trunk = trunk(config)
        self.Q = code_head(config)
        self.apply(initialise)

    def generate(self, codes: Codes) -> Tensor:
        """G(z, c): (n, c, h, w) in (0, 1)."""
        category = F.one_hot(codes.category, self.config.categories).to(codes.z.dtype)
        return self.G(torch.cat([codes.z, category, codes.style], dim=1))

    def read(self, features: Tensor) -> Posterior:
        """Q(c | x) in float32 from the trunk's features (n, hidden) of x."""
        logits, mean = self.Q(features).float().split([self.config.categories, self.config.styles], dim=1)
        return Posterior(logits, mean)

    def draw(self, noise: zoo.AnyNoise) -> Codes:
        """z ~ U(-1, 1), category ~ Cat(1/k), style ~ U(-1, 1). The order is fixed, so a seed always has the same z."""
        z = self.latents(noise)
        return Codes(z, noise.categorical(self.config.categories), 2 * noise.uniform(self.config.styles) - 1)

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ U(-1, 1), (n, latent_dim), without the codes."""
        return 2 * noise.uniform(self.config.latent_dim) - 1

    def decode(self, z: Tensor, *, category: Tensor | None = None, style: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) in [0, 1] of latents (n, latent_dim). Codes that are not given are all 0."""
        category = z.new_zeros(len(z)).long() if category is None else category
        style = z.new_zeros(len(z), self.config.styles) if style is None else style
        return self.generate(Codes(z, category, style))

    def sample(self, noise: zoo.AnyNoise, *, category: Tensor | None = None, style: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) in [0, 1]. A code that is not given is drawn, and the given ones do not change it."""
        codes = self.draw(noise)
        category = codes.category if category is None else category
        style = codes.style if style is None else style
        return self.generate(Codes(codes.z, category, style))

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """Codes of images: `category`, probabilities (n, categories), and `style`, the means (n, styles)."""
        posterior = self.read(self.trunk(x))
        return {"category": posterior.logits.softmax(1), "style": posterior.mean}


def generator(config: InfoGAN.Config) -> nn.Sequential:
    """(n, latent_dim + categories + styles) -> (n, c, h, w) in (0, 1). No bias where batch norm would cancel it."""
    side, wide = config.image_size // 4, 2 * config.width
    return nn.Sequential(
        nn.Linear(config.latent_dim + config.categories + config.styles, config.hidden, bias=False),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(),
        nn.Linear(config.hidden, wide * side * side, bias=False),
        nn.BatchNorm1d(wide * side * side),
        nn.ReLU(),
        nn.Unflatten(1, (wide, side, side)),
        nn.ConvTranspose2d(wide, config.width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(config.width),
        nn.ReLU(),
        nn.ConvTranspose2d(config.width, config.channels, 4, 2, 1),
        nn.Sigmoid(),
    )


def trunk(config: InfoGAN.Config) -> nn.Sequential:
    """(n, c, h, w) in [0, 1] -> features (n, hidden), which D and Q share. It sees images only, never a code."""
    side, wide = config.image_size // 4, 2 * config.width
    return nn.Sequential(
        nn.Conv2d(config.channels, config.width, 4, 2, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(config.width, wide, 4, 2, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        nn.Linear(wide * side * side, config.hidden, bias=False),
        nn.BatchNorm1d(config.hidden),
        nn.LeakyReLU(SLOPE),
    )


def code_head(config: InfoGAN.Config) -> nn.Sequential:
    """Features -> logits of the category and means of the styles, (n, categories + styles)."""
    return nn.Sequential(
        nn.Linear(config.hidden, HEAD, bias=False),
        nn.BatchNorm1d(HEAD),
        nn.LeakyReLU(SLOPE),
        nn.Linear(HEAD, config.categories + config.styles),
    )


def real_head(config: InfoGAN.Config) -> nn.Linear:
    """Features -> the discriminator's logit (n, 1). Only training needs it."""
    head = nn.Linear(config.hidden, 1)
    initialise(head)
    return head


SLOPE = 0.1
"""Slope of the leaky rectifiers. The authors' code has 0.01."""
HEAD = 128
"""Units of Q's own hidden layer."""


def initialise(module: nn.Module) -> None:
    """As in the authors' code: convolutions from a truncated N(0, 0.02), other weights N(0, 0.02), gains N(1, 0.02)."""
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, 0.0, 0.02, -0.04, 0.04)
    if isinstance(module, nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    bias = getattr(module, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
