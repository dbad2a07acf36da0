"""Structured prediction as in the paper (sections 4 and 5): the missing part y of an image from its given part x.

Four nets: a baseline, trained first, guesses y^ from x; the prior p(z | x, y^) looks at that guess (the paper's
recurrent connection); the recognition net q(z | x, y) knows the truth and serves training and scoring alone; the
generation net is p(y | x, z). A mask is an explicit boolean (n, 1, h, w), true where a pixel is given.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo


class Completion(nn.Module):
    """Completes images (n, c, h, w) in [0, 1] of so many `pixels`. Each net has two hidden layers with ReLU."""

    def __init__(self, pixels: int, hidden: int, latent_dim: int, *, generation_sees_x: bool = True) -> None:
        super().__init__()
        self.latent_dim, self.generation_sees_x = latent_dim, generation_sees_x
        self.baseline = mlp(pixels, hidden, pixels)
        self.prior = mlp(2 * pixels, hidden, 2 * latent_dim)
        self.recognition = mlp(2 * pixels, hidden, 2 * latent_dim)
        self.generation = mlp(latent_dim + (pixels if generation_sees_x else 0), hidden, pixels)

    def guess(self, x: Tensor, mask: Tensor) -> Tensor:
        """y^: the baseline's pixel means, (n, c, h, w). No gradient goes back to the baseline."""
        with torch.no_grad():
            return self.baseline(seen(x, mask)).float().sigmoid().view_as(x)

    def prior_of(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of p(z | x, y^), each (n, latent_dim)."""
        return gaussian(self.prior(torch.cat([seen(x, mask), seen(self.guess(x, mask), ~mask)], 1)))

    def posterior(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z | x, y), each (n, latent_dim). This needs the missing part y."""
        return gaussian(self.recognition(torch.cat([seen(x, mask), seen(x, ~mask)], 1)))

    def logits(self, x: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """Logits of p(y | x, z), (n, c, h, w). Those of given pixels have no meaning."""
        inputs = torch.cat([seen(x, mask), z], 1) if self.generation_sees_x else z
        return self.generation(inputs).view_as(x)

    def forward(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise | None) -> Tensor:
        """x at given pixels, else the mean of p(y | x, z) for z from the prior. Without noise z is the prior's mean."""
        mu, log_var = self.prior_of(x, mask)
        z = mu if noise is None else reparameterise(mu, log_var, noise.normal(self.latent_dim))
        return torch.where(mask, x, self.logits(x, mask, z).sigmoid())

    def baseline_log_prob(self, x: Tensor, mask: Tensor) -> Tensor:
        """log p(y | x) of the baseline net alone, (n,) nats, over the missing pixels."""
        return bernoulli_log_prob(x, self.baseline(seen(x, mask)).view_as(x), ~mask)

    def bound(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> tuple[Tensor, Tensor]:
        """log p(y | x, z) for one z ~ q, and KL(q(z | x, y) || p(z | x, y^)), each (n,) nats (section 4)."""
        mu, log_var = self.posterior(x, mask)
        z = reparameterise(mu, log_var, noise.normal(self.latent_dim))
        log_likelihood = bernoulli_log_prob(x, self.logits(x, mask, z), ~mask)
        return log_likelihood, kl_divergence(mu, log_var, *self.prior_of(x, mask))

    def gsnn(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """log p(y | x, z) for one z ~ p(z | x, y^), (n,) nats: the recognition net set to the prior (section 4)."""
        mu, log_var = self.prior_of(x, mask)
        z = reparameterise(mu, log_var, noise.normal(self.latent_dim))
        return bernoulli_log_prob(x, self.logits(x, mask, z), ~mask)

    def log_weights(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise, k: int, method: Literal["mc", "is"]) -> Tensor:
        """(n, k): the log of the mean of their exponentials estimates log p(y | x) from below (section 4).

        mc: log p(y | x, z) for k draws from the prior. is: log p(y | x, z) + log p(z | x) - log q(z | x, y) for k draws
        from the recognition net.
        """
        prior = self.prior_of(x, mask)
        proposal = prior if method == "mc" else self.posterior(x, mask)
        prior, proposal = ((mu[:, None], log_var[:, None]) for mu, log_var in (prior, proposal))
        z = reparameterise(*proposal, noise.normal(k, self.latent_dim))
        images, masks = (item.repeat_interleave(k, dim=0) for item in (x, mask))
        log_likelihood = bernoulli_log_prob(images, self.logits(images, masks, z.flatten(0, 1)), ~masks).view(len(x), k)
        return log_likelihood if method == "mc" else log_likelihood + log_normal(z, *prior) - log_normal(z, *proposal)


def seen(x: Tensor, mask: Tensor) -> Tensor:
    """An image as input of a net, (n, pixels): 2x - 1 where the mask is true, else 0, the middle of both colours."""
    return torch.where(mask, 2 * x - 1, 0.0).flatten(1)


def gaussian(output: Tensor) -> tuple[Tensor, Tensor]:
    """mu and log sigma^2, each (n, latent_dim), from a net's output."""
    mu, log_var = output.float().chunk(2, dim=1)
    return mu, log_var.clamp(-10, 10)


def reparameterise(mu: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    """z ~ N(mu, sigma^2) from epsilon ~ N(0, I)."""
    return mu + (0.5 * log_var).exp() * epsilon


def kl_divergence(mu1: Tensor, log_var1: Tensor, mu2: Tensor, log_var2: Tensor) -> Tensor:
    """KL(N(mu1, sigma1^2) || N(mu2, sigma2^2)) summed over the last dimension, in nats."""
    spread = log_var1.exp() + (mu1 - mu2).square()
    return 0.5 * (log_var2 - log_var1 + spread * (-log_var2).exp() - 1).sum(-1)


def log_normal(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mu, sigma^2) summed over the last dimension, in nats."""
    return -0.5 * ((z - mu).square() * (-log_var).exp() + log_var + math.log(2 * math.pi)).sum(-1)


def bernoulli_log_prob(x: Tensor, logits: Tensor, where: Tensor | None = None) -> Tensor:
    """Sum over pixels, those where a mask is true if one is given, of x log p + (1 - x) log(1 - p), (n,) nats."""
    each = -F.binary_cross_entropy_with_logits(logits.float(), x, reduction="none")
    return (each if where is None else each * where).flatten(1).sum(1)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def quadrants(given: Tensor, side: int) -> Tensor:
    """A mask (n, 1, side, side) from which quadrants are given, (n, 4): top left, top right, bottom left and right."""
    far = (torch.arange(side, device=given.device) >= side // 2).long()
    return given[:, 2 * far[:, None] + far][:, None]


def draw_mask(side: int, noise: zoo.AnyNoise) -> Tensor:
    """For each image one, two or three quadrants, equally likely, and any of them: (n, 1, side, side)."""
    rank = noise.uniform(4).argsort(1).argsort(1)
    return quadrants(rank <= noise.categorical(3)[:, None], side)
