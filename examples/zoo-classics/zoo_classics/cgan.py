"""Conditional GAN: Mirza, Osindero 2014, "Conditional Generative Adversarial Nets".

    min_G max_D  E log D(x | y) + E log(1 - D(G(z | y) | y))

The label y goes into both nets, one-hot beside their input. In G alone it would not do: a D that does not see y cannot
object to a good image of another class.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo_classics.gan import discriminator_loss, non_saturating_loss
from zoo_classics.nets import Generator, mlp, shape

Name = Annotated[str, Field(min_length=1, max_length=100)]


class ConditionalGenerator(nn.Module):
    """G(z | y): what gets published."""

    class Config(Generator.Config):
        names: Annotated[tuple[Name, ...], Field(min_length=2, max_length=1000)] = tuple("0123456789")
        """Of the labels, in the order of their numbers in the data."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.conditions = {"label": zoo.Categorical(config.names)}
        self.layers = mlp(config.latent_dim + len(config.names), *config.widths, math.prod(shape(config)))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(n, latent_dim) and labels (n,) -> (n, c, h, w) in (-1, 1)."""
        return self.layers(beside(z, y, len(self.config.names))).tanh().view(-1, *shape(self.config))

    def sample(self, noise: zoo.Noise, *, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) in [0, 1] from z ~ N(0, I); labels left out are drawn."""
        z = noise.normal(self.config.latent_dim)
        return (self(z, noise.categorical(len(self.config.names)) if label is None else label) + 1) / 2


class ConditionalDiscriminator(nn.Module):
    """D(x | y): (n, c, h, w) in [-1, 1] and labels (n,) -> (n,) logits in float32."""

    def __init__(self, config: ConditionalGenerator.Config) -> None:
        super().__init__()
        self.classes = len(config.names)
        self.layers = mlp(math.prod(shape(config)) + self.classes, *reversed(config.widths), 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layers(beside(x.flatten(1), y, self.classes)).squeeze(1).float()


def train(
    model: ConditionalGenerator,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 2e-4,
    beta1: float = 0.5,
) -> None:
    """The original GAN's game, where a made image gets the label of a real one. lr and beta1 are Adam's, for both."""
    G, D = model, ConditionalDiscriminator(model.config)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)

    for _ in run.steps(steps):
        x, y = next(batches)
        x = 2 * x - 1
        with run.autocast():
            fake = G(run.noise(len(x)).normal(G.config.latent_dim), y).detach()
            loss_D = discriminator_loss(D(x, y), D(fake, y))
        run.minimize(loss_D, opt_D)

        with run.autocast():
            loss_G = non_saturating_loss(D(G(run.noise(len(x)).normal(G.config.latent_dim), y), y))
        run.minimize(loss_G, opt_G)
        run.log(loss_D=loss_D, loss_G=loss_G)


def beside(h: Tensor, y: Tensor, classes: int) -> Tensor:
    """(n, d) and labels (n,) -> (n, d + classes), the labels one-hot."""
    # Not F.one_hot, which reads the labels and so waits for the device.
    return torch.cat([h, (y[:, None] == torch.arange(classes, device=y.device)).to(h.dtype)], 1)
