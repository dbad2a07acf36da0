"""CVAE: Sohn, Lee, Yan 2015, "Learning Structured Output Representation using Deep Conditional Generative Models".

A conditional VAE models p(target | condition) by a latent z. It comes in two uses here, which share no weights:

- The condition is a label c, the target an image x, and z ~ N(0, I) carries all but the label. The paper allows a prior
  that does not depend on the condition (section 4); the nets are convolutional. This file.
- The condition is the given part x of an image, the target its missing part y, as in the paper. `completion.py`.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo_cvae.completion import Completion, bernoulli_log_prob, kl_divergence, log_normal, reparameterise

DIGITS = tuple("0123456789")


class CVAE(nn.Module):
    """Recognition net q(z | x, c) and generation net p(x | z, c) of binary images; `completion` is the other use."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=256)] = 28
        channels: zoo.Channels = 1
        names: Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(min_length=2, max_length=1000)
        ] = DIGITS
        """Names of the labels, in the order of their numbers in the data."""
        latent_dim: zoo.LatentDim = 16
        widths: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=6)] = (32, 64)
        """Feature maps of the layers, beginning at the image. Each layer halves the side."""
        hidden: Annotated[int, Field(ge=1, le=4096)] = 128
        completion_latent_dim: zoo.LatentDim = 50
        completion_hidden: Annotated[int, Field(ge=1, le=4096)] = 500
        """Units of both hidden layers in each of the four nets for completion."""
        generation_sees_x: bool = True
        """Whether p(y | x, z) is given x as in the paper. If not, it knows x only through z and the prior."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        side, odd = divmod(config.image_size, 2 ** len(config.widths))
        if odd:
            raise ValueError(f"image_size {config.image_size} cannot be halved {len(config.widths)} times")
        self.conditions = {"label": zoo.Categorical(config.names)}
        self.encoder = encoder(config, side)
        self.decoder = decoder(config, side)
        pixels = config.channels * config.image_size**2
        sizes = (pixels, config.completion_hidden, config.completion_latent_dim)
        self.completion = Completion(*sizes, generation_sees_x=config.generation_sees_x)

    def posterior(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z | x, c), each (n, latent_dim). The label is given as one-hot planes."""
        planes = self.one_hot(label)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        mu, log_var = self.encoder(torch.cat([x, planes], 1)).float().chunk(2, dim=1)
        return mu, log_var.clamp(-10, 10)

    def logits(self, z: Tensor, label: Tensor) -> Tensor:
        """Logits of p(x | z, c), (n, c, h, w)."""
        return self.decoder(torch.cat([z, self.one_hot(label)], 1))

    def bound(self, x: Tensor, noise: zoo.AnyNoise, label: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z, c) with one draw of z, and KL(q(z | x, c) || N(0, I)), each (n,) nats."""
        mu, log_var = self.posterior(x, label)
        z = reparameterise(mu, log_var, noise.normal(self.config.latent_dim))
        zero = torch.zeros_like(mu)
        return bernoulli_log_prob(x, self.logits(z, label)), kl_divergence(mu, log_var, zero, zero)

    def elbo(self, x: Tensor, noise: zoo.AnyNoise, *, label: Tensor | None = None) -> Tensor:
        """(n,) nats: a lower bound of log p(x | c) for binary images (n, c, h, w).

        Without a label, of log p(x) = log sum_c p(x | c) p(c), all labels being equally likely: see `log_weights`.
        """
        if label is None:
            return self.log_weights(x, noise, 1).squeeze(1)
        log_likelihood, kl = self.bound(x, noise, label)
        return log_likelihood - kl

    def log_weights(self, x: Tensor, noise: zoo.AnyNoise, k: int, *, label: Tensor | None = None) -> Tensor:
        """(n, k): log p(x, z | c) - log q(z | x, c) for k draws of z; the log of their mean is the importance bound.

        Without a label, the log of the mean of such weights over all labels, each with a draw of its own. The mean is
        an unbiased estimate of p(x), as a weight is of p(x | c), and so its log is at most log p(x) on average.
        """
        if label is None:
            each = [self.log_weights(x, noise, k, label=c) for c in self.every_label(len(x), x.device)]
            return torch.stack(each).logsumexp(0) - math.log(len(each))
        mu, log_var = (part[:, None] for part in self.posterior(x, label))
        z = reparameterise(mu, log_var, noise.normal(k, self.config.latent_dim))
        logits = self.logits(z.flatten(0, 1), label.repeat_interleave(k)).unflatten(0, (len(x), k))
        log_likelihood = bernoulli_log_prob(x[:, None].expand_as(logits).flatten(0, 1), logits.flatten(0, 1))
        zero = torch.zeros_like(mu)
        return log_likelihood.view(len(x), k) + log_normal(z, zero, zero) - log_normal(z, mu, log_var)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """The posterior's mean, (n, latent_dim): the style. Without a label, the most likely one is taken."""
        return self.posterior(x, self.likeliest_label(x) if label is None else label)[0]

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """The likelihood's mean, (n, c, h, w) in [0, 1]. A latent does not hold the label: without one, the first is
        taken."""
        label = torch.zeros(len(z), dtype=torch.long, device=z.device) if label is None else label
        return self.logits(z, label).sigmoid()

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ N(0, I), (n, latent_dim)."""
        return noise.normal(self.config.latent_dim)

    def sample(self, noise: zoo.AnyNoise, *, label: Tensor | None = None) -> Tensor:
        """Means of p(x | z, c) for z from the prior, (n, c, h, w) in [0, 1]. Without labels, they are drawn."""
        z = self.latents(noise)
        return self.decode(z, label=noise.categorical(len(self.config.names)) if label is None else label)

    def complete(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise | None = None) -> Tensor:
        """x where the mask (n, 1, h, w) is true, else the mean of p(y | x, z) for z from the prior p(z | x).

        Without noise z is the prior's mean, the paper's deterministic prediction (section 4). The nets are trained with
        one, two or three quadrants given (`draw_mask`), but take any mask.
        """
        return self.completion(x, mask, noise)

    def likeliest_label(self, x: Tensor) -> Tensor:
        """(n,): the label with the highest bound. z is the posterior's mean, not a draw."""
        scores = []
        for label in self.every_label(len(x), x.device):
            mu, log_var = self.posterior(x, label)
            zero = torch.zeros_like(mu)
            fit = bernoulli_log_prob(x, self.logits(mu, label))
            scores.append(fit - kl_divergence(mu, log_var, zero, zero))
        return torch.stack(scores).argmax(0)

    def every_label(self, n: int, device: torch.device) -> list[Tensor]:
        """Each label for all n images."""
        return [torch.full((n,), c, device=device) for c in range(len(self.config.names))]

    def one_hot(self, label: Tensor) -> Tensor:
        return F.one_hot(label, len(self.config.names)).float()


def encoder(config: CVAE.Config, side: int) -> nn.Sequential:
    """(n, c + labels, h, w) -> (n, 2 latent_dim)."""
    layers: list[nn.Module] = []
    inputs = config.channels + len(config.names)
    for outputs in config.widths:
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        inputs = outputs
    layers += [nn.Flatten(), nn.Linear(inputs * side * side, config.hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(config.hidden, 2 * config.latent_dim))


def decoder(config: CVAE.Config, side: int) -> nn.Sequential:
    """(n, latent_dim + labels) -> (n, c, h, w), logits."""
    top = config.widths[-1]
    layers: list[nn.Module] = [nn.Linear(config.latent_dim + len(config.names), config.hidden), nn.ReLU()]
    layers += [nn.Linear(config.hidden, top * side * side), nn.Unflatten(1, (top, side, side))]
    for inputs, outputs in zip(config.widths[::-1], (*config.widths[-2::-1], config.channels), strict=True):
        layers += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)]
    return nn.Sequential(*layers)
