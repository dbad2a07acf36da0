"""CVAE-GAN: Bao et al. 2017, "CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training".

E(x, c) gives q(z | x, c) = N(mu, diag sigma^2). G(z, c) makes an image of class c. C(x) gives P(c | x). D(x), which
only training needs, tells real images from generated ones and does not know the class (section 3). Inside the model,
images are in [-1, 1].

Only G has batch norm. In C and D, features of real and generated images are compared, so both must pass through the
same function. E and C are published, and there no result may depend on the statistics of a batch.
"""

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo


class CVAEGAN(nn.Module):
    """The published part: E, G and C."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=256)] = 28
        channels: zoo.Channels = 1
        names: Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(min_length=2, max_length=1000)
        ] = tuple("0123456789")
        latent_dim: zoo.LatentDim = 16
        widths: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=6)] = (32, 64)
        """Feature maps of the layers of every net, beginning at the image. Each layer halves the side."""
        hidden: Annotated[int, Field(ge=1, le=4096)] = 256
        """Units of the fully connected layer of E, C and D. In C and D they are the features f that G matches."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        side, odd = divmod(config.image_size, 2 ** len(config.widths))
        if odd:
            raise ValueError(f"image_size {config.image_size} cannot be halved {len(config.widths)} times")
        self.conditions = {"label": zoo.Categorical(config.names)}
        self.E = Encoder(config, side)
        self.G = Generator(config, side)
        self.C = FeatureNet(config, len(config.names))

    def one_hot(self, label: Tensor) -> Tensor:
        """Classes (n,) as vectors c, (n, k)."""
        return F.one_hot(label, len(self.config.names)).float()

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ N(0, I), (n, latent_dim), without a class."""
        return noise.normal(self.config.latent_dim)

    def sample(self, noise: zoo.AnyNoise, *, label: Tensor | None = None) -> Tensor:
        """G(z, c), (n, c, h, w) in [0, 1], for z ~ N(0, I). Without a label, the class is drawn uniformly."""
        z = self.latents(noise)
        label = noise.categorical(len(self.config.names)) if label is None else label
        return (self.G(z, self.one_hot(label)) + 1) / 2

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """The posterior's mean, then the class as one-hot, (n, latent_dim + k). Without a label, C finds the class.

        With the class in the latent, decode(encode(x)) needs no label, and a line between two latents leads from one
        class to the other.
        """
        x = 2 * x - 1
        c = self.one_hot(self.C(x)[1].argmax(1) if label is None else label)
        return torch.cat([self.E(x, c)[0], c], 1)

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """G(z, c), (n, c, h, w) in [0, 1], for a result of `encode`. A label replaces the class in it.

        z may also be the latent alone, (n, latent_dim). Without a label it is decoded as the first class.
        """
        d, k = self.config.latent_dim, len(self.config.names)
        z, c = (z, self.one_hot(z.new_zeros(len(z)).long())) if z.shape[1] == d else z.split([d, k], 1)
        return (self.G(z, c if label is None else self.one_hot(label)) + 1) / 2

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """C's P(c | x): {"label": (n, k) probabilities}."""
        return {"label": self.C(2 * x - 1)[1].float().softmax(1)}


class Encoder(nn.Module):
    """E: image (n, c, h, w) and class (n, k) -> mu and log sigma^2, each (n, latent_dim)."""

    def __init__(self, config: CVAEGAN.Config, side: int) -> None:
        super().__init__()
        self.trunk = trunk([config.channels, *config.widths])
        self.hidden = nn.Linear(config.widths[-1] * side * side + len(config.names), config.hidden)
        self.moments = nn.Linear(config.hidden, 2 * config.latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The class is added before the fully connected layers, as in the paper."""
        h = self.hidden(torch.cat([self.trunk(x), c], 1))
        mu, log_var = self.moments(F.leaky_relu(h, SLOPE)).float().chunk(2, dim=1)
        return mu, log_var.clamp(-10, 10)


class Generator(nn.Module):
    """G: latent (n, latent_dim) and class (n, k) -> image (n, c, h, w) in (-1, 1), as in DCGAN."""

    def __init__(self, config: CVAEGAN.Config, side: int) -> None:
        super().__init__()
        top, bottom = config.widths[-1], config.widths[0]
        inputs = config.latent_dim + len(config.names)
        layers: list[nn.Module] = [nn.Linear(inputs, top * side * side, bias=False), nn.Unflatten(1, (top, side, side))]
        for wide, narrow in pairwise(reversed(config.widths)):
            layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(bottom), nn.ReLU(), nn.ConvTranspose2d(bottom, config.channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return self.layers(torch.cat([z, c], 1))


class FeatureNet(nn.Module):
    """The net of C, with a logit for each class, and of D, with one: image -> features f (n, hidden) and logits
    (n, outputs)."""

    def __init__(self, config: CVAEGAN.Config, outputs: int) -> None:
        super().__init__()
        side = config.image_size // 2 ** len(config.widths)
        self.trunk = trunk([config.channels, *config.widths])
        self.features = nn.Sequential(nn.Linear(config.widths[-1] * side * side, config.hidden), nn.LeakyReLU(SLOPE))
        self.head = nn.Linear(config.hidden, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(self.trunk(x))
        return f.float(), self.head(f).float()


SLOPE = 0.2


def trunk(widths: list[int]) -> nn.Sequential:
    """(n, c, h, w) -> (n, flat): convolutions that halve the side."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(SLOPE)]
    # Flatten comes before the last activation, whose backward pass would be slow between two memory layouts.
    return nn.Sequential(*layers[:-1], nn.Flatten(), layers[-1])


def kl_to_prior(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), (n,) nats."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1)
