"""Takes over residual generators of the authors' PyTorch code, and of PyTorch-GAN."""

from collections.abc import Mapping

import zoo

Shapes = Mapping[str, tuple[int, ...]]
FIRST_BLOCK = 10
"""Place of the first residual block, in all of these nets."""


def convert(shapes: Shapes) -> zoo.Conversion:
    """Of the authors' code: the same places as ours.

    Batch norm comes in as instance norm: that is what the authors' test does, on one image and with the statistics of
    the batch. `norm="batch"` takes the running statistics, as their option --eval does.
    """
    return converted(shapes, "conv_block", "transposed")


def convert_repeated(shapes: Shapes) -> zoo.Conversion:
    """Of PyTorch-GAN, whose generators repeat pixels, and pad images by as many pixels as they have channels."""
    if shapes["G.model.1.weight"][1] != 3:
        raise zoo.FormatError("a generator of PyTorch-GAN for images of 1 channel pads otherwise than ours")
    return converted(shapes, "block", "nearest")


def converted(shapes: Shapes, residual: str, upsampling: str) -> zoo.Conversion:
    """residual: their name of the layers in a residual block."""
    width, channels = shapes["G.model.1.weight"][:2]
    blocks = len({name.split(".")[2] for name in shapes if name.startswith("G.") and f".{residual}." in name})

    def source(name: str) -> str:
        net, _, place, rest = name.split(".", 3)
        if rest.startswith("layers."):
            return f"{net}.model.{place}.{residual}.{rest.removeprefix('layers.')}"
        if upsampling == "nearest":
            return f"{net}.model.{repeated(int(place), FIRST_BLOCK + blocks)}.{rest.removeprefix('1.')}"
        return f"{net}.model.{place}.{rest}"

    config = {
        "channels": channels,
        "width": width,
        "blocks": blocks,
        "upsampling": upsampling,
        "norm": "instance-affine" if "G.model.2.weight" in shapes else "instance",
        "biases": "G.model.1.bias" in shapes,
        "directions": "both" if any(name.startswith("F.") for name in shapes) else "forward",
    }
    return zoo.Conversion(config, channels, source)


def repeated(place: int, end: int) -> int:
    """Their place of ours. At `end` the first of two steps up begins: they have three layers in our net, four in
    theirs, where the repeating of pixels stands apart from its convolution."""
    return place + min(max((place - end) // 3 + 1, 0), 2)
