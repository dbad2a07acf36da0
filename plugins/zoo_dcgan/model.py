"""DCGAN: Radford, Metz, Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional GANs".

The paper's rules (section 3): strided convolutions instead of pooling; batch norm in both nets, but neither at the
generator's output nor at the discriminator's input; no hidden fully connected layers; ReLU in G with a tanh output;
LeakyReLU 0.2 everywhere in D.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

import zoo


class DCGAN(nn.Module):
    """The published part: the generator G."""

    class Config(zoo.Config):
        image_size: Literal[16, 28, 32, 64, 128] = 64
        channels: zoo.Channels = 3
        latent_dim: zoo.LatentDim = 100
        width: zoo.Width = 128
        """Feature maps of the layer next to the image, in G and D. Each layer further inside has twice as many."""
        kernel: Literal[4, 5] = 5
        """Side of the kernels: 5 in the paper; 4, a multiple of the stride, in popular ports: it is faster, and makes
        fewer checkerboard patterns."""
        latent: Literal["uniform", "normal"] = "uniform"
        """What z is drawn from: U(-1, 1) as in the paper; N(0, 1) in popular ports."""
        output_bias: bool = True
        """Whether G's last layer has biases, one for each channel. In popular ports it has none."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        start, widths = stages(config)
        top = widths[-1]
        self.project = nn.Sequential(
            nn.Linear(config.latent_dim, top * start * start, bias=False),
            nn.Unflatten(1, (top, start, start)),
            nn.BatchNorm2d(top),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        for wide, narrow in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True):
            layers += [up(wide, narrow, config.kernel), nn.BatchNorm2d(narrow), nn.ReLU()]
        output = up(widths[0], config.channels, config.kernel, bias=config.output_bias)
        self.layers = nn.Sequential(*layers, output, nn.Tanh())
        self.apply(zoo.normal_weights)

    def forward(self, z: Tensor) -> Tensor:
        """G(z): (n, latent_dim), as `draw_latent` draws it -> (n, c, h, w) in (-1, 1)."""
        return self.layers(self.project(z))

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z (n, latent_dim), of the config's distribution."""
        return draw_latent(self.config, noise)

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, c, h, w) in [0, 1] of latents (n, latent_dim)."""
        return (self(z) + 1) / 2

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        """Images (n, c, h, w) in [0, 1]."""
        return self.decode(self.latents(noise))


class Discriminator(nn.Module):
    """D: (n, c, h, w) in [-1, 1] -> (n,) logits. Only training needs it."""

    def __init__(self, config: DCGAN.Config) -> None:
        super().__init__()
        start, widths = stages(config)
        layers: list[nn.Module] = [down(config.channels, widths[0], config.kernel, bias=True), nn.LeakyReLU(0.2)]
        for narrow, wide in pairwise(widths):
            layers += [down(narrow, wide, config.kernel), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * start * start, 1))
        self.apply(zoo.normal_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


def stages(config: DCGAN.Config) -> tuple[int, list[int]]:
    """The side of the smallest feature map and the widths from the image inwards: 64 -> 4, [w, 2w, 4w, 8w]."""
    start = 7 if config.image_size % 7 == 0 else 4
    depth = (config.image_size // start).bit_length() - 1
    return start, [config.width * 2**i for i in range(depth)]


def up(inputs: int, outputs: int, kernel: int, bias: bool = False) -> nn.Module:
    """Doubles the side exactly: 5x5 needs padding 2 and one row of output padding, 4x4 needs padding 1."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2, bias=bias)


def down(inputs: int, outputs: int, kernel: int, bias: bool = False) -> nn.Module:
    """Halves the side exactly."""
    return nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, bias=bias)


def draw_latent(config: DCGAN.Config, noise: zoo.AnyNoise) -> Tensor:
    """z, (n, latent_dim): from U(-1, 1) as in section 4, or from N(0, 1)."""
    if config.latent == "normal":
        return noise.normal(config.latent_dim)
    return 2 * noise.uniform(config.latent_dim) - 1
