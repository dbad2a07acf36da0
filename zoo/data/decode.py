"""Decodes and checks the images of a data set, each once. After that they are in the cache."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.data import cache
from zoo.data.tables import Picture, Table
from zoo.errors import MissingExtraError, ZooError
from zoo.family.spec import Preparation
from zoo.images.prepare import crop_and_resize, needed
from zoo.images.read import decode_image
from zoo.telling import track

DECODING = 2
"""Version of the decoding. Any change of the result needs a new number, so that no old images come from the cache."""
HASH = 16
"""Bytes of the hash of a picture's file."""


@dataclass(frozen=True)
class Decoded:
    """The images of some rows."""

    images: Tensor
    """uint8 (n, c, size, size); zeros for a picture that cannot be read."""
    hashes: Tensor
    """uint8 (n, HASH): a hash of the bytes of each picture's file, whatever the preparation; zeros for one that cannot
    be read."""
    faults: Mapping[int, str] = field(default_factory=dict)
    """What is wrong with the pictures that cannot be read, by their places among the n."""


def decoded(table: Table, column: str, picked: Tensor, preparation: Preparation, title: str, progress: bool) -> Decoded:
    """The images of the rows with these numbers, which go up.

    The cache may hold the images of the whole split, or those of just these rows. If it has neither, they are decoded
    and stored. A picture that cannot be read is a fault, and the others are read all the same.
    """
    everything = len(picked) == len(table)
    found = _cached(_key(table, column, None, preparation), len(table), preparation)
    if found is not None:
        return _tried_again(table, column, picked, preparation, *(part[picked] for part in found))
    name = _key(table, column, None if everything else picked, preparation)
    found = None if everything else _cached(name, len(picked), preparation)
    if found is not None:
        return _tried_again(table, column, picked, preparation, *found)
    made = _decode(table, column, picked, preparation, title, progress)
    if table.unchanged():  # else files have changed, and it is not known which content was read
        cache.write(name, made.images, made.hashes)
    return made


def _cached(name: str, n: int, preparation: Preparation) -> tuple[Tensor, Tensor] | None:
    channels, side = preparation.channels, preparation.size
    values = cache.read(name, n * (channels * side * side + HASH))
    if values is None:
        return None
    end = n * channels * side * side
    return values[:end].view(n, channels, side, side), values[end:].view(n, HASH)


def _key(table: Table, column: str, picked: Tensor | None, preparation: Preparation) -> str:
    """The name for the cache, from all that the images depend on."""
    return cache.key(
        decoding=DECODING,
        pillow=version("pillow"),
        state=table.state(column),
        picked=None if picked is None else hashlib.sha256(picked.numpy().tobytes()).hexdigest(),
        column=column,
        size=preparation.size,
        mode=preparation.mode,
        crop=preparation.crop,
    )


def _decode(table: Table, column: str, picked: Tensor, preparation: Preparation, title: str, progress: bool) -> Decoded:
    side, n = preparation.size, len(picked)
    images = np.zeros((n, preparation.channels, side, side), dtype=np.uint8)
    hashes = np.zeros((n, HASH), dtype=np.uint8)
    faults: dict[int, str] = {}
    pictures = table.pictures(column, picked.tolist())
    for i, picture in enumerate(track(pictures, n, title) if progress else pictures):
        try:
            images[i] = _decode_one(picture, preparation).transpose(2, 0, 1)
            hashes[i] = _hash(picture)
        except MissingExtraError:  # nothing is wrong with the picture
            raise
        except ZooError as error:
            faults[i] = error.message
    return Decoded(torch.from_numpy(images), torch.from_numpy(hashes), faults)


def _tried_again(
    table: Table, column: str, picked: Tensor, preparation: Preparation, images: Tensor, hashes: Tensor
) -> Decoded:
    """Images from the cache. Those that it does not have, since they could not be read, are tried again."""
    places = (hashes == 0).all(1).nonzero().flatten()
    if not len(places):
        return Decoded(images, hashes)
    again = _decode(table, column, picked[places], preparation, "", progress=False)
    images[places], hashes[places] = again.images, again.hashes
    return Decoded(images, hashes, {int(places[i]): why for i, why in again.faults.items()})


def _decode_one(picture: Picture, preparation: Preparation) -> "np.typing.NDArray[np.uint8]":
    """uint8 (size, size, c). Raises a ZooError that names the picture."""
    where, data = picture.where, picture.data
    if isinstance(data, str):
        raise ZooError(data)
    need = needed(preparation) * (2 if picture.half else 1)
    image = _half(decode_image(data, where, need), picture.half)
    if min(image.size) * preparation.crop * 2 < preparation.size:
        raise ZooError(
            f"{where}: {image.width}x{image.height} pixels are too few for {preparation.size}x{preparation.size}"
        )
    try:
        return crop_and_resize(image, preparation)
    except ZooError as error:
        raise ZooError(f"{where}: {error.message}") from error


def _half(image: Image.Image, half: str) -> Image.Image:
    """One half of an image that holds a pair. In an odd width the column of pixels in the middle belongs to none."""
    if not half:
        return image
    width = image.width // 2
    left = 0 if half == "left" else image.width - width
    return image.crop((left, 0, left + width, image.height)) if width else image


def _hash(picture: Picture) -> "np.typing.NDArray[np.uint8]":
    assert isinstance(picture.data, bytes)
    return np.frombuffer(hashlib.blake2b(picture.data, digest_size=HASH).digest(), dtype=np.uint8)
