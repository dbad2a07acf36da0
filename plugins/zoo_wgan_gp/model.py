"""WGAN-GP: Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville 2017, "Improved Training of Wasserstein GANs".

The generator may have batch norm, but the critic may not. The penalty is on the gradient at each image by itself, and
with batch norm that would depend on the other images of the batch (section 4). The critic has layer norm instead.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

import zoo


class WGANGP(nn.Module):
    """The published part: the generator G."""

    class Config(zoo.Config):
        image_size: Literal[16, 28, 32, 64] = 64
        channels: zoo.Channels = 3
        latent_dim: zoo.LatentDim = 128
        architecture: Literal["dcgan", "resnet"] = "dcgan"
        """Strided convolutions, or residual blocks: appendix F's net up to 32x32, the authors' "good" net for 64x64."""
        width: zoo.Width = 64
        """Feature maps of the layer next to the image, in G and the critic: in the authors' 128 for 32x32, else 64."""
        kernel: Literal[4, 5] = 5
        """Side of the kernels of strided convolutions: 5 as the authors', or 4, a multiple of the stride and faster."""
        batch_norm: bool = True
        """Whether G has batch norm. The authors' net for 28x28 has none."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.layers = {"dcgan": dcgan_generator, "resnet": resnet_generator}[config.architecture](config)

    def forward(self, z: Tensor) -> Tensor:
        """G(z): (n, latent_dim) -> (n, c, h, w) in (-1, 1)."""
        images: Tensor = self.layers(z)
        return images

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ N(0, I), (n, latent_dim)."""
        return noise.normal(self.config.latent_dim)

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, c, h, w) in [0, 1] of latents (n, latent_dim)."""
        return (self.forward(z) + 1) / 2

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        """Images (n, c, h, w) in [0, 1]."""
        return self.decode(self.latents(noise))


class Critic(nn.Module):
    """D: (n, c, h, w) in [-1, 1] -> (n,) real numbers. Only their differences mean something. Only training needs D."""

    def __init__(self, config: WGANGP.Config, *, layer_norm: bool = False) -> None:
        super().__init__()
        net = {"dcgan": dcgan_critic, "resnet": resnet_critic}[config.architecture]
        # Layer norm over (c, h, w) with a gain and a bias per channel, as the authors', is group norm of one group.
        self.layers = net(config, (lambda width: nn.GroupNorm(1, width)) if layer_norm else nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x).squeeze(1)
        return scores


Norm = Callable[[int], nn.Module]


def dcgan_generator(config: WGANGP.Config) -> nn.Sequential:
    """Transposed convolutions from 4x4 up to the image. For 28x28, a map of 8x8 is cut to 7x7."""
    widths, norm = dcgan_widths(config), generator_norm(config)
    top = widths[-1]
    layers = [he(nn.Linear(config.latent_dim, 16 * top)), nn.Unflatten(1, (top, 4, 4)), norm(top), nn.ReLU()]
    for wide, narrow in pairwise(reversed(widths)):
        layers += [he(up(wide, narrow, config)), norm(narrow), nn.ReLU()]
        if config.image_size == 28 and len(layers) == 7:
            layers.append(nn.ZeroPad2d((0, -1, 0, -1)))
    return nn.Sequential(*layers, glorot(up(widths[0], config.channels, config)), nn.Tanh())


def dcgan_critic(config: WGANGP.Config, norm: Norm) -> nn.Sequential:
    """Strided convolutions with LeakyReLU 0.2. The first has no norm."""
    widths = dcgan_widths(config)
    side: int = config.image_size
    layers: list[nn.Module] = []
    for narrow, wide in pairwise((config.channels, *widths)):
        convolution = he(nn.Conv2d(narrow, wide, config.kernel, 2, (config.kernel - 1) // 2))
        layers += [convolution, norm(wide) if layers else nn.Identity(), nn.LeakyReLU(0.2)]
        side = (side + config.kernel % 2) // 2
    return nn.Sequential(*layers, nn.Flatten(), glorot(nn.Linear(widths[-1] * side**2, 1)))


def resnet_generator(config: WGANGP.Config) -> nn.Sequential:
    """Pre-activation blocks that double the side, then batch norm, ReLU and a 3x3 convolution to the image."""
    widths, norm = resnet_widths(config), generator_norm(config)
    top, start = widths[-1], 7 if config.image_size == 28 else 4
    layers = [glorot(nn.Linear(config.latent_dim, top * start**2)), nn.Unflatten(1, (top, start, start))]
    layers += [residual(wide, narrow, norm, "up") for wide, narrow in pairwise(reversed(widths))]
    image = glorot(nn.Conv2d(widths[0], config.channels, 3, 1, 1))
    return nn.Sequential(*layers, norm(widths[0]), nn.ReLU(), image, nn.Tanh())


def resnet_critic(config: WGANGP.Config, norm: Norm) -> nn.Sequential:
    """For 64x64, four blocks that halve the side to 4x4. For smaller images, two blocks that halve it, two that do not,
    and the mean over positions."""
    if config.image_size == 64:
        widths = resnet_widths(config)
        layers = [glorot(nn.Conv2d(config.channels, widths[0], 3, 1, 1))]
        layers += [residual(narrow, wide, norm, "down") for narrow, wide in pairwise(widths)]
        return nn.Sequential(*layers, nn.Flatten(), glorot(nn.Linear(16 * widths[-1], 1)))
    width = config.width
    layers = [first_residual(config.channels, width), residual(width, width, norm, "down")]
    layers += [residual(width, width, norm), residual(width, width, norm), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), glorot(nn.Linear(width, 1)))


def dcgan_widths(config: WGANGP.Config) -> list[int]:
    """Feature maps from the image inwards, one number for each halving of the side: 64 -> [w, 2w, 4w, 8w]."""
    return [config.width * 2**i for i in range((config.image_size - 1).bit_length() - 2)]


def resnet_widths(config: WGANGP.Config) -> list[int]:
    """Feature maps from the image inwards, one number more than there are halvings of the side."""
    if config.image_size == 64:
        return [config.width * factor for factor in (1, 2, 4, 8, 8)]
    return [config.width] * (4 if config.image_size == 32 else 3)


def generator_norm(config: WGANGP.Config) -> Norm:
    return nn.BatchNorm2d if config.batch_norm else nn.Identity


class Sum(nn.Module):
    """residual(x) + skip(x)."""

    def __init__(self, residual: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.residual, self.skip = residual, skip

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.residual(x) + self.skip(x)
        return total


def residual(inputs: int, outputs: int, norm: Norm, resample: Literal["up", "down"] | None = None) -> Sum:
    """Norm, ReLU, 3x3, norm, ReLU, 3x3 with the side doubled before the first or halved after the second.

    On the skip a 1x1 convolution works on the smaller side; it commutes with both ways of resampling.
    """
    middle = min(inputs, outputs)
    doubled = [nn.Upsample(scale_factor=2)] if resample == "up" else []
    halved = [nn.AvgPool2d(2)] if resample == "down" else []
    first = [norm(inputs), nn.ReLU(), *doubled, he(nn.Conv2d(inputs, middle, 3, 1, 1))]
    second = [norm(middle), nn.ReLU(), he(nn.Conv2d(middle, outputs, 3, 1, 1)), *halved]
    skip = [*halved, glorot(nn.Conv2d(inputs, outputs, 1)), *doubled] if resample or inputs != outputs else []
    return Sum(nn.Sequential(*first, *second), nn.Sequential(*skip))


def first_residual(channels: int, width: int) -> Sum:
    """A block that halves the side of an image. The image itself gets no norm and no ReLU."""
    first, second = he(nn.Conv2d(channels, width, 3, 1, 1)), he(nn.Conv2d(width, width, 3, 1, 1))
    skip = nn.Sequential(nn.AvgPool2d(2), glorot(nn.Conv2d(channels, width, 1)))
    return Sum(nn.Sequential(first, nn.ReLU(), second, nn.AvgPool2d(2)), skip)


def up(inputs: int, outputs: int, config: WGANGP.Config) -> nn.ConvTranspose2d:
    """Doubles the side exactly: 5x5 needs padding 2 and one row of output padding, 4x4 needs padding 1."""
    kernel = config.kernel
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2)


def he(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Initialise a layer before a ReLU: variance 4 / (fan in + fan out)."""
    return initialise(layer, 4)


def glorot(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Initialise a layer on a skip or at the end: variance 2 / (fan in + fan out)."""
    return initialise(layer, 2)


def initialise(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, gain: int) -> nn.Module:
    """Uniform weights and biases 0, as the authors'. A stride divides the fan of the larger side, which comes first."""
    larger, smaller = (size * layer.weight[0, 0].numel() for size in layer.weight.shape[:2])
    stride = 1 if isinstance(layer, nn.Linear) else math.prod(layer.stride)
    bound = math.sqrt(3 * gain / (larger / stride + smaller))
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
