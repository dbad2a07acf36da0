"""Takes over generators of PyTorch's DCGAN example and of its tutorial."""

from collections.abc import Mapping

from torch import Tensor

import zoo


def convert(shapes: Mapping[str, tuple[int, ...]]) -> zoo.Conversion:
    """One Sequential `main`: transposed convolutions, the first on a 1x1 map of z, with batch norm and ReLU between."""
    latent_dim = shapes["G.main.0.weight"][0]
    last = max(int(name.split(".")[2]) for name in shapes if name.startswith("G.main."))
    width, channels = shapes[f"G.main.{last}.weight"][:2]
    config = {
        "image_size": 4 * 2 ** (last // 3),
        "channels": channels,
        "latent_dim": latent_dim,
        "width": width,
        "kernel": 4,
        "latent": "normal",
        "output_bias": False,
    }
    return zoo.Conversion(config, channels, source, change)


def source(name: str) -> str:
    """Our first layer is linear and stands apart with its norm; the others are three places further on."""
    block, place, rest = name.split(".", 2)
    number = {"0": 0, "2": 1}[place] if block == "project" else int(place) + 3
    return f"G.main.{number}.{rest}"


def change(name: str, tensor: Tensor) -> Tensor:
    """A transposed convolution of a 1x1 map, (latent_dim, c, h, w), as the linear layer that it is."""
    return tensor.flatten(1).T if name == "project.0.weight" else tensor
