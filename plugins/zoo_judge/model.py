"""Networks from timm that look at images: the classifiers that judge what is generated, and a backbone alone."""

from typing import Annotated, Any, Literal

import timm
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo

Width = Annotated[int, Field(ge=1, le=2048)]
Label = Annotated[str, Field(min_length=1, max_length=64)]
LITE = "tf_efficientnet_lite0"


class Trunk(zoo.Config):
    """What both kinds of network are made of."""

    image_size: Annotated[int, Field(ge=16, le=256)] = 64
    channels: zoo.Channels = 3
    backbone: Literal["resnet10t", "resnet14t", "resnet18", "tf_efficientnet_lite0"] = "resnet10t"
    """A residual network with widths of its own (He et al. 2015), or EfficientNet-Lite0 (Tan and Le 2019)."""
    widths: Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)] = (32, 64, 128, 256)
    """Channels of the four stages of a residual network."""
    stride: Literal[8, 16, 32] = 32
    """By how much the last feature map of a residual network is smaller than the image; small for small images."""
    enlarge: Annotated[int, Field(ge=0, le=256)] = 0
    """Side in pixels that images are enlarged to before the network sees them; 0 leaves them as they are."""


class Judge(nn.Module):
    """A classifier; its pooled features serve distances between sets of images."""

    class Config(Trunk):
        task: Literal["classes", "attributes"] = "classes"
        """One of several classes, or any number of attributes."""
        names: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000)] = ("0", "1")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = network(config, len(config.names))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, names) of images (n, c, h, w) in [0, 1]."""
        logits: Tensor = self.net(seen(x, self.config))
        return logits.float()

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """`label`: probabilities of the classes, or `attributes`: of each attribute by itself; (n, names)."""
        logits = self(x)
        if self.config.task == "classes":
            return {"label": logits.softmax(1)}
        return {"attributes": logits.sigmoid()}

    def features(self, x: Tensor) -> Tensor:
        """(n, d): the last feature maps, averaged over places; what the classifier reads."""
        return pooled(self.net, seen(x, self.config))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats of classes (n,) or their probabilities (n, names), or of attributes (n, names)
        summed over them."""
        if self.config.task == "classes":
            return F.cross_entropy(self(x), y)
        return F.binary_cross_entropy_with_logits(self(x), y, reduction="none").sum(1).mean()


class Backbone(nn.Module):
    """A network without its classifier: features alone."""

    class Config(Trunk):
        """Of the trunk; there is nothing else."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = network(config, 0)

    def features(self, x: Tensor) -> Tensor:
        """(n, d) of images (n, c, h, w) in [0, 1]: the last feature maps, averaged over places."""
        return pooled(self.net, seen(x, self.config))


def network(config: Trunk, outputs: int) -> Any:
    """A timm network with so many logits; 0 leaves its classifier out. Not all that it can do is declared in a type."""
    options: dict[str, Any] = {"in_chans": config.channels, "num_classes": outputs}
    if config.backbone != LITE:
        options |= {"channels": config.widths, "output_stride": config.stride}
    return timm.create_model(config.backbone, **options)


def seen(x: Tensor, config: Trunk) -> Tensor:
    """Images in [0, 1] as the network takes them: in [-1, 1], enlarged if the config says so."""
    if config.enlarge and config.enlarge != x.shape[-1]:
        x = F.interpolate(x, (config.enlarge, config.enlarge), mode="bilinear", align_corners=False)
    return 2 * x - 1


def pooled(net: Any, x: Tensor) -> Tensor:
    features: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)
    return features.float()
