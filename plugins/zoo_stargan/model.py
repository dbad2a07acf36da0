"""StarGAN: Choi et al. 2018, "Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation".

One generator G(x, c) serves all domains. It sees the image and the target attributes c, each as a constant plane
(section 3.1). One discriminator D has two heads, one for real or fake and one for the attributes. No pairs are needed.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo

Name = Annotated[str, Field(pattern=r"^[A-Za-z]\w*$", max_length=40)]
Names = Annotated[tuple[Name, ...], Field(max_length=40)]


class StarGAN(nn.Module):
    """The published part: the generator G, and a small classifier C that tells which attributes an image has.

    By default C is a net of its own, not D's class head. D's trunk is five times as large as G, and is also trained as
    a critic. C is trained on real images only.
    """

    class Config(zoo.Config):
        image_size: Literal[16, 32, 64, 128, 256] = 128
        channels: zoo.Channels = 3
        width: zoo.Width = 64
        """Feature maps of G's first layer. Its residual blocks have four times as many."""
        blocks: Annotated[int, Field(ge=1, le=16)] = 6
        """Residual blocks of G."""
        upsampling: Literal["transposed", "nearest"] = "transposed"
        """Transposed convolutions as in the paper; or `nearest`, which repeats pixels, then convolves, and makes no
        checkerboard patterns."""
        classifier: Literal["small", "critic"] = "small"
        """C: a small net of its own; or `critic`, a copy of D's trunk with its class head, for weights that were
        trained so elsewhere."""
        classifier_width: Annotated[int, Field(ge=1, le=128)] = 32
        """Feature maps of C's first layer. Each layer has twice as many as the one before."""
        classifier_layers: Annotated[int, Field(ge=1, le=6)] = 4
        """Layers of C. Each halves the side."""
        names: Annotated[Names, Field(min_length=1)] = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
        """The attributes, in the order of the data's columns."""
        exclusive: Names = ()
        """Attributes of which an image has at most one, like colours of hair. Asking for one turns off the others."""

    exclusive: Tensor
    """(k,), true for the exclusive attributes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if unknown := set(config.exclusive) - set(config.names):
            raise ValueError(f"exclusive has {sorted(unknown)}, but names does not have them")
        if config.image_size < 2**config.classifier_layers:
            raise ValueError(f"image_size {config.image_size} cannot be halved {config.classifier_layers} times")
        self.config = config
        self.conditions = {"attributes": zoo.Flags(config.names)}
        self.generator = Generator(config)
        self.classifier = {"small": classifier, "critic": critic}[config.classifier](config)
        group = torch.tensor([name in config.exclusive for name in config.names])
        self.register_buffer("exclusive", group, persistent=False)

    def translate(self, x: Tensor, noise: zoo.AnyNoise | None = None, *, attributes: Tensor | None = None) -> Tensor:
        """Translate images (n, c, h, w) in [0, 1] to the attributes (n, k) of 0 and 1. NaN keeps what the image has.

        C tells what the image has. Nothing is random: `noise` is not used.
        """
        target = self.present(x) if attributes is None else self.target(self.present(x), attributes)
        made: Tensor = self.generator(2 * x - 1, target)
        return (made + 1) / 2

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """{"attributes": (n, k)}: the probability of each attribute in images (n, c, h, w) in [0, 1]."""
        # Always in float32, in any autocast: a rounding error must not decide what is kept.
        with torch.autocast(x.device.type, enabled=False):
            return {"attributes": self.classifier(2 * x.float() - 1).sigmoid()}

    def present(self, x: Tensor) -> Tensor:
        """(n, k) of 0 and 1: the attributes with a probability above 1/2; of exclusive ones only the most likely."""
        probability = self.infer(x)["attributes"]
        rival = probability.masked_fill(~self.exclusive, 0).amax(1, keepdim=True)
        return ((probability > 0.5) & (~self.exclusive | (probability == rival))).float()

    def target(self, present: Tensor, asked: Tensor) -> Tensor:
        """(n, k): `asked` where it is not NaN, else `present`. An exclusive attribute turns off the other ones."""
        claimed = ((asked == 1) & self.exclusive).any(1, keepdim=True) & self.exclusive
        return torch.where(asked.isnan(), present.masked_fill(claimed, 0), asked)


class Generator(nn.Module):
    """G: images (n, c, h, w) in [-1, 1] and attributes (n, k) -> images in [-1, 1].

    All padding is zeros. With reflection, the plane of an attribute would still be constant after the first
    convolution, and the instance norm after it would remove it.
    """

    def __init__(self, config: StarGAN.Config) -> None:
        super().__init__()
        width = config.width
        inputs = config.channels + len(config.names)
        self.layers = nn.Sequential(
            *normed(nn.Conv2d(inputs, width, 7, 1, 3, bias=False)),
            *normed(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)),
            *normed(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False)),
            *(Residual(4 * width) for _ in range(config.blocks)),
            *upsample(4 * width, 2 * width, config.upsampling),
            *upsample(2 * width, width, config.upsampling),
            nn.Conv2d(width, config.channels, 7, 1, 3, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        planes = c[:, :, None, None].expand(-1, -1, *x.shape[2:])
        made: Tensor = self.layers(torch.cat([x, planes.to(x.dtype)], dim=1))
        return made


class Residual(nn.Module):
    """x + f(x): two convolutions with norms, nothing after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.layers = nn.Sequential(*normed(nn.Conv2d(width, width, 3, 1, 1, bias=False)), *normed(last)[:2])

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return x + added


class Discriminator(nn.Module):
    """D: images (n, c, h, w) in [-1, 1] -> scores (n, 1, h', w') of patches, unbounded, and class logits (n, k).

    It has no norms, so that the gradient penalty is for each image alone. Only training needs it.
    layers: how many layers halve the side. Each has twice the feature maps of the one before.
    """

    def __init__(self, config: StarGAN.Config, width: int = 64, layers: int = 6) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk(config, width, layers))
        self.src = nn.Conv2d(width * 2 ** (layers - 1), 1, 3, 1, 1, bias=False)
        self.cls = class_head(config, width, layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return self.src(features), self.cls(features).flatten(1)


def classifier(config: StarGAN.Config) -> nn.Sequential:
    """C: images (n, c, h, w) in [-1, 1] -> logits (n, k). It is not in the paper. Each norm is over one whole image."""
    layers: list[nn.Module] = []
    inputs, width = config.channels, config.classifier_width
    for i in range(config.classifier_layers):
        layers += [nn.Conv2d(inputs, width * 2**i, 4, 2, 1), nn.GroupNorm(1, width * 2**i), nn.ReLU()]
        inputs = width * 2**i
    features = inputs * (config.image_size // 2**config.classifier_layers) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, len(config.names)))


def critic(config: StarGAN.Config) -> nn.Sequential:
    """C as D's trunk and class head: images (n, c, h, w) in [-1, 1] -> logits (n, k)."""
    width, layers = config.classifier_width, config.classifier_layers
    return nn.Sequential(*trunk(config, width, layers), class_head(config, width, layers), nn.Flatten())


def trunk(config: StarGAN.Config, width: int, layers: int) -> list[nn.Module]:
    """D without its heads: each layer halves the side and doubles the feature maps."""
    widths = [config.channels, *(width * 2**i for i in range(layers))]
    pairs = ((nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.01)) for inputs, outputs in pairwise(widths))
    return [layer for pair in pairs for layer in pair]


def class_head(config: StarGAN.Config, width: int, layers: int) -> nn.Module:
    """D's feature maps -> logits (n, k, 1, 1)."""
    return nn.Conv2d(width * 2 ** (layers - 1), len(config.names), config.image_size // 2**layers, bias=False)


def upsample(inputs: int, outputs: int, how: str) -> list[nn.Module]:
    """Doubles the side."""
    if how == "nearest":
        return [nn.Upsample(scale_factor=2), *normed(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False))]
    return normed(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False))


def normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """A layer, then an instance norm and a ReLU. The norm uses the statistics of each image, in training and in use."""
    return [convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), nn.ReLU()]
