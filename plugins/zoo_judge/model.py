"""A small residual network (He et al. 2015) from timm, as the independent classifier that judges generated images."""

from typing import Annotated, Literal

import timm
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo

Width = Annotated[int, Field(ge=1, le=2048)]
Label = Annotated[str, Field(min_length=1, max_length=64)]


class Judge(nn.Module):
    """A timm ResNet with widths of its own; its pooled features serve distances between sets of images."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=16, le=256)] = 64
        channels: Annotated[int, Field(ge=1, le=4)] = 3
        backbone: Literal["resnet10t", "resnet14t", "resnet18"] = "resnet10t"
        widths: Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)] = (32, 64, 128, 256)
        """Channels of the four stages."""
        stride: Literal[8, 16, 32] = 32
        """By how much the last feature map is smaller than the image; small images need a small one."""
        task: Literal["classes", "attributes"] = "classes"
        """One of several classes, or any number of attributes."""
        names: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000)] = ("0", "1")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = timm.create_model(
            config.backbone,
            in_chans=config.channels,
            num_classes=len(config.names),
            channels=config.widths,
            output_stride=config.stride,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, names) of images (n, c, h, w) in [0, 1]."""
        logits: Tensor = self.net(2 * x - 1)
        return logits.float()

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """`label`: probabilities of the classes, or `attributes`: of each attribute by itself; (n, names)."""
        logits = self(x)
        if self.config.task == "classes":
            return {"label": logits.softmax(1)}
        return {"attributes": logits.sigmoid()}

    def features(self, x: Tensor) -> Tensor:
        """(n, d): the last feature maps, averaged over places; what the classifier reads."""
        features: Tensor = self.net.forward_head(self.net.forward_features(2 * x - 1), pre_logits=True)
        return features.float()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats of classes (n,), or of attributes (n, names) summed over them."""
        if self.config.task == "classes":
            return F.cross_entropy(self(x), y)
        return F.binary_cross_entropy_with_logits(self(x), y, reduction="none").sum(1).mean()
