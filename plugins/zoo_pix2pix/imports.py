"""Takes over U-Nets of the authors' PyTorch code."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import zoo

JOINED = re.compile(r"decoder\.(?!0\.)\d+\.1\.weight")
"""Of a decoder's convolution that is given a skip."""


def convert(shapes: Mapping[str, tuple[int, ...]]) -> zoo.Conversion:
    """Blocks inside each other: each goes down, through the next one, and up.

    Batch norm comes in as instance norm: that is what the authors' test does, on one image and with the statistics of
    the batch. `norm="batch"` takes the running statistics, as their option --eval does.
    """
    width, channels = shapes["G.model.model.0.weight"][:2]
    levels = max(name.count(".model.") for name in shapes)
    config = {
        "image_size": 2**levels,
        "in_channels": channels,
        "out_channels": shapes["G.model.model.3.weight"][1],
        "width": width,
        "norm": "instance-affine" if "G.model.model.1.model.2.weight" in shapes else "instance",
        "biases": "G.model.model.0.bias" in shapes,
        # The authors' PyTorch code has none in the innermost block, and none in the four outer ones.
        "dropped": tuple(range(1, levels - 4)),
    }
    return zoo.Conversion(config, channels, sources(levels), change)


def sources(levels: int) -> Callable[[str], str]:
    """Names in a net of so many blocks. A block's places: ReLU, convolution, norm, inner block, ReLU, convolution,
    norm. The outermost one begins with its convolution, and the innermost one has nothing in its middle."""

    def source(name: str) -> str:
        half, number, place, rest = name.split(".", 3)
        block = int(number) if half == "encoder" else levels - 1 - int(number)
        inside = "G.model.model." if block == 0 else "G.model.model.1.model." + "3.model." * (block - 1)
        if half == "encoder":
            return f"{inside}{place}.{rest}"
        up = 3 if block in (0, levels - 1) else 5
        return f"{inside}{up + int(place) - 1}.{rest}"

    return source


def change(name: str, tensor: Tensor) -> Tensor:
    """Their decoder is given the skip before the map from further inside, ours after it."""
    return torch.cat([*reversed(tensor.chunk(2))]) if JOINED.fullmatch(name) else tensor
