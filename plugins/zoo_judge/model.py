"""Networks from timm that take images: judges, which are classifiers that score generated images, and a backbone."""

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
    """The configuration that both kinds of network share."""

    image_size: Annotated[int, Field(ge=16, le=256)] = 64
    channels: zoo.Channels = 3
    backbone: Literal["resnet10t", "resnet14t", "resnet18", "tf_efficientnet_lite0"] = "resnet10t"
    """A residual network with widths of its own (He et al. 2015), or EfficientNet-Lite0 (Tan and Le 2019)."""
    widths: Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)] = (32, 64, 128, 256)
    """Number of channels in each of the four stages of a residual network."""
    stride: Literal[8, 16, 32] = 32
    """How many times smaller than the image the last feature map of a residual network is. Small images need 8."""
    enlarge: Annotated[int, Field(ge=0, le=256)] = 0
    """Side in pixels to which images are enlarged before the network takes them; 0 leaves them as they are."""


class Judge(nn.Module):
    """A classifier. Its pooled features are also used for distances between sets of images."""

    class Config(Trunk):
        task: Literal["classes", "attributes"] = "classes"
        """Whether an image has one of several classes, or any number of attributes."""
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
        """Probabilities (n, names): those of the classes as `label`, or of each attribute by itself as `attributes`."""
        logits = self(x)
        if self.config.task == "classes":
            return {"label": logits.softmax(1)}
        return {"attributes": logits.sigmoid()}

    def features(self, x: Tensor) -> Tensor:
        """(n, d): the last feature maps, averaged over positions. They are the input of the classifier."""
        return pooled(self.net, seen(x, self.config))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats, for classes (n,) or their probabilities (n, names); for attributes (n, names) it
        is summed over them."""
        if self.config.task == "classes":
            return F.cross_entropy(self(x), y)
        return F.binary_cross_entropy_with_logits(self(x), y, reduction="none").sum(1).mean()


class Backbone(nn.Module):
    """A network without its classifier. It gives only features."""

    class Config(Trunk):
        """The state of the trunk. A backbone has no other state."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = network(config, 0)

    def features(self, x: Tensor) -> Tensor:
        """(n, d) for images (n, c, h, w) in [0, 1]: the last feature maps, averaged over positions."""
        return pooled(self.net, seen(x, self.config))


def network(config: Trunk, outputs: int) -> Any:
    """A timm network with so many logits; 0 leaves out its classifier. timm's types do not declare all its methods."""
    options: dict[str, Any] = {"in_chans": config.channels, "num_classes": outputs}
    if config.backbone != LITE:
        options |= {"channels": config.widths, "output_stride": config.stride}
    return timm.create_model(config.backbone, **options)


def seen(x: Tensor, config: Trunk) -> Tensor:
    """Images in [0, 1] as input of the network: in [-1, 1], and enlarged if the config says so."""
    if config.enlarge and config.enlarge != x.shape[-1]:
        x = F.interpolate(x, (config.enlarge, config.enlarge), mode="bilinear", align_corners=False)
    return 2 * x - 1


def pooled(net: Any, x: Tensor) -> Tensor:
    features: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)
    return features.float()
