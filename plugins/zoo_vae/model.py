"""VAE: Kingma and Welling 2013, "Auto-Encoding Variational Bayes".

z ~ N(0, I), x ~ p(x | z), with the amortised posterior q(z | x) = N(mu(x), diag sigma(x)^2). The nets are convolutional
instead of the paper's one hidden layer; the bound and its estimator B (closed-form KL, section 2.3 and appendix B) are
the paper's.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

import zoo


class VAE(nn.Module):
    """Encoder q(z | x) and decoder p(x | z); both are published, so that the model can encode and score images."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=256)] = 28
        channels: zoo.Channels = 1
        latent_dim: zoo.LatentDim = 20
        widths: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=6)] = (32, 64)
        """Feature maps of the layers, beginning at the image. Each layer halves the side."""
        hidden: Annotated[int, Field(ge=1, le=4096)] = 256
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
        """Bernoulli for binary images; Gaussian, with one learned standard deviation for all pixels, for 8-bit ones."""
        batch_norm: bool = False
        """Whether there is batch norm after each convolution but the last. The paper does not have it. With it, deeper
        nets learn at higher rates."""
        prior: Literal["standard", "fitted"] = "standard"
        """p(z) of the published model: N(0, I) as in training, or a Gaussian fitted to the codes of training images."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        side, odd = divmod(config.image_size, 2 ** len(config.widths))
        if odd:
            raise ValueError(f"image_size {config.image_size} cannot be halved {len(config.widths)} times")
        self.encoder = encoder(config, side)
        self.decoder = decoder(config, side)
        self.prior = (FittedPrior if config.prior == "fitted" else StandardPrior)(config.latent_dim)
        # The best shared deviation is the error of reconstructions. It sets the weight of the two terms of the bound.
        self.log_scale = nn.Parameter(torch.tensor(-1.0)) if config.likelihood == "gaussian" else None

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z | x), each (n, latent_dim)."""
        mu, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mu, log_var.clamp(-10, 10)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) summed over pixels, (n,) nats."""
        output = self.decoder(z).float()
        if self.log_scale is None:
            return bernoulli_log_prob(x, output)
        return gaussian_log_prob(x, output, self.log_scale.clamp_min(MIN_LOG_SCALE))

    def bound(self, x: Tensor, noise: zoo.AnyNoise) -> tuple[Tensor, Tensor]:
        """The terms of the training loss: log p(x | z) for one draw of z, and KL(q || N(0, I)), each (n,) nats
        (equation 10)."""
        log_likelihood, mu, log_var = self.terms(x, noise)
        return log_likelihood, kl_to_standard(mu, log_var)

    def elbo(self, x: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """(n,) nats: the evidence lower bound of images (n, c, h, w) in [0, 1], under the published prior."""
        log_likelihood, mu, log_var = self.terms(x, noise)
        return log_likelihood - self.prior.kl(mu, log_var)

    def terms(self, x: Tensor, noise: zoo.AnyNoise) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x | z) for one draw of z, (n,) nats; and mu and log sigma^2 of the posterior that z is drawn from."""
        x = self.quantised(x, noise)
        mu, log_var = self.posterior(x)
        z = mu + (0.5 * log_var).exp() * noise.normal(self.config.latent_dim)
        self.prior.watch(z)
        return self.log_likelihood(x, z) - self.cells(x), mu, log_var

    def log_weights(self, x: Tensor, noise: zoo.AnyNoise, k: int) -> Tensor:
        """(n, k): log p(x, z) - log q(z | x) for k draws of z; the log of their mean is the importance bound."""
        x = self.quantised(x, noise)
        mu, log_var = self.posterior(x)
        epsilon = noise.normal(k, self.config.latent_dim)
        z = mu[:, None] + (0.5 * log_var).exp()[:, None] * epsilon
        log_prior = self.prior.log_prob(z)
        log_posterior = -0.5 * (epsilon.square() + LOG_2PI + log_var[:, None]).sum(2)
        repeated = x.repeat_interleave(k, dim=0)
        log_likelihood = self.log_likelihood(repeated, z.flatten(0, 1)).view(len(x), k)
        return log_likelihood - self.cells(x) + log_prior - log_posterior

    def encode(self, x: Tensor) -> Tensor:
        """The posterior's mean, (n, latent_dim)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's mean, (n, c, h, w) in [0, 1]."""
        output = self.decoder(z)
        return output.sigmoid() if self.log_scale is None else output.clamp(0, 1)

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z from the prior, (n, latent_dim)."""
        return self.prior.draw(noise)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        """Means of p(x | z) for z from the prior, (n, c, h, w) in [0, 1]."""
        return self.decode(self.latents(noise))

    def quantised(self, x: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """8-bit values plus uniform noise in their cells, so that a density bounds a probability (Theis et al. 2016,
        section 3.1)."""
        return x if self.log_scale is None else (255 * x + noise.uniform(*x.shape[1:])) / 256

    def cells(self, x: Tensor) -> float:
        """log of the number of cells of the 8-bit grid in the unit cube. A density per cell is a probability."""
        return 0.0 if self.log_scale is None else x[0].numel() * math.log(256)


LOG_2PI = math.log(2 * math.pi)
MIN_LOG_SCALE = math.log(1 / 256)
"""Smallest deviation. Below one grey level, pixels that never change would make the density infinite."""


class StandardPrior(nn.Module):
    """p(z) = N(0, I)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d

    def watch(self, z: Tensor) -> None:
        """Does nothing: this prior is fixed."""

    def draw(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ p(z), (n, d)."""
        return noise.normal(self.d)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of z (..., d), in nats."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mu, sigma^2) || p(z)), (n,) nats."""
        return kl_to_standard(mu, log_var)


class FittedPrior(nn.Module):
    """p(z) = N(m, S) with the moments of the codes z ~ q(z | x) of training images; N(0, I) before there are any.

    The KL term pulls the codes to N(0, I), but they never fill it, and the decoder makes no images of the empty parts.
    Training does not use the moments. A run measures them when it measures the statistics of batch norms.
    """

    mean: Tensor
    factor: Tensor
    """Lower triangle L with S = L L^T. Rounded to half precision it draws nearly the same codes. Rounded moments do
    not, since S is their small difference."""
    second: Tensor
    """E z z^T, (d, d), while it is measured. Its mean over batches is that of all codes. For S it would not be."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d
        self.momentum: float | None = 0.0
        """Weight of a new batch: 0 keeps what was measured, None measures a plain mean over batches."""
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("factor", torch.eye(d))
        self.register_buffer("second", torch.eye(d), persistent=False)
        self.batches = 0

    def reset_running_stats(self) -> None:
        """Forget all codes."""
        self.batches = 0

    @torch.no_grad()
    def watch(self, z: Tensor) -> None:
        """Add the codes (n, d) of a batch to the moments while they are measured, in training mode only."""
        if not self.training or self.momentum is not None:
            return
        self.batches += 1
        self.mean.lerp_(z.mean(0), 1 / self.batches)
        self.second.lerp_(z.T @ z / len(z), 1 / self.batches)
        covariance = self.second - torch.outer(self.mean, self.mean)
        self.factor.copy_(torch.linalg.cholesky(covariance + MIN_VARIANCE * torch.eye(self.d).to(covariance)))

    def normal(self) -> MultivariateNormal:
        """N(m, S)."""
        return MultivariateNormal(self.mean, scale_tril=self.factor, validate_args=False)

    def draw(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ p(z), (n, d)."""
        return self.mean + noise.normal(self.d) @ self.factor.T

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of z (..., d), in nats."""
        return self.normal().log_prob(z)

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mu, sigma^2) || p(z)), (n,) nats."""
        posterior = MultivariateNormal(mu, scale_tril=torch.diag_embed((0.5 * log_var).exp()), validate_args=False)
        return kl_divergence(posterior, self.normal())


MIN_VARIANCE = 1e-3
"""Added to the variance in each direction, so that codes without variance do not make the density infinite."""


def encoder(config: VAE.Config, side: int) -> nn.Sequential:
    """(n, c, h, w) -> (n, 2 latent_dim)."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((config.channels, *config.widths), config.widths, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), *norm(config, outputs), nn.ReLU()]
    flat = config.widths[-1] * side * side
    layers += [nn.Flatten(), nn.Linear(flat, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2 * config.latent_dim)]
    return nn.Sequential(*layers)


def decoder(config: VAE.Config, side: int) -> nn.Sequential:
    """(n, latent_dim) -> (n, c, h, w): logits, or means."""
    top = config.widths[-1]
    layers: list[nn.Module] = [nn.Linear(config.latent_dim, config.hidden), nn.ReLU()]
    layers += [nn.Linear(config.hidden, top * side * side), nn.Unflatten(1, (top, side, side))]
    for inputs, outputs in zip(config.widths[::-1], (*config.widths[-2::-1], config.channels), strict=True):
        layers += [*norm(config, inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)]
    return nn.Sequential(*layers)


def norm(config: VAE.Config, width: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(width)] if config.batch_norm else []


def kl_to_standard(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), (n,) nats (appendix B)."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1)


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Sum over pixels of x log p + (1 - x) log(1 - p), (n,) nats (appendix C.1)."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Sum over pixels of log N(x; mean, scale^2), (n,) nats (appendix C.2)."""
    return -0.5 * (((x - mean) / log_scale.exp()).square() + LOG_2PI + 2 * log_scale).flatten(1).sum(1)
