"""The structure of a TIFF: tags with values that lie anywhere in the file, and strips or tiles that lie there too."""

from dataclasses import dataclass, field
from struct import unpack_from

from zoo.images.structure import Essence, too_many

MAX_TAGS = 4_096
MAX_NUMBERS = 400_000
"""Numbers in all tags. Most of them are the places of strips and tiles."""

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its type. Types of one byte are text and the like."""
LETTERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types of whole numbers from 0."""
WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT = 256, 257, 322, 323
LENGTHS = {279, 325}
"""Bytes of each strip, and of each tile."""
FURTHER = {34665, 34853, 40965}
"""Places of further tags that Pillow reads as well."""


@dataclass
class _Walk:
    """What the tags that were met so far say, and how much they are."""

    data: bytes
    order: str
    big: bool
    tags: int = 0
    numbers: int = 0
    size: int = 0
    first: dict[int, int] = field(default_factory=dict)
    """The first number of a tag."""
    places: list[int] = field(default_factory=list)

    def folder(self, place: int) -> int:
        """Meets the tags at a place. Returns where the place of the next page stands."""
        offset = "Q" if self.big else "I"
        (count,) = unpack_from(self.order + ("Q" if self.big else "H"), self.data, place)
        self.tags += count
        if self.tags > MAX_TAGS:
            raise too_many("tags", MAX_TAGS)
        start, width = place + (8 if self.big else 2), 20 if self.big else 12
        for at in range(start, start + count * width, width):
            tag, kind, many = unpack_from(f"{self.order}HH{offset}", self.data, at)
            inline, size = at + (12 if self.big else 8), SIZES.get(kind, 1) * many
            self._count(size, many if size > many else 0)
            where = inline if size <= (8 if self.big else 4) else unpack_from(self.order + offset, self.data, inline)[0]
            if kind in LETTERS and many:
                self._meet(tag, unpack_from(f"{self.order}{many}{LETTERS[kind]}", self.data, where))
        return int(start + count * width)

    def _count(self, size: int, numbers: int) -> None:
        self.size, self.numbers = self.size + size, self.numbers + numbers
        if self.size > len(self.data):
            raise ValueError("its tags hold more bytes than the file")
        if self.numbers > MAX_NUMBERS:
            raise too_many("numbers in its tags", MAX_NUMBERS)

    def _meet(self, tag: int, values: tuple[int, ...]) -> None:
        self.first.setdefault(tag, values[0])
        if tag in LENGTHS and sum(values) > 2 * len(self.data):
            raise ValueError("its strips hold more bytes than the file")
        if tag in FURTHER:
            self.places.append(values[0])


def tiff(data: bytes) -> Essence:
    """The file without the pages behind the first."""
    order = "<" if data[:2] == b"II" else ">"
    big = unpack_from(order + "H", data, 2)[0] == 43
    walk, width = _Walk(data, order, big), 8 if big else 4
    after = walk.folder(unpack_from(order + ("Q" if big else "I"), data, width)[0])
    for place in walk.places:  # which grows
        walk.folder(place)
    pixels, tile = (
        walk.first.get(w, 0) * walk.first.get(h, 0) for w, h in ((WIDTH, HEIGHT), (TILE_WIDTH, TILE_HEIGHT))
    )
    if tile > pixels + (1 << 20):
        raise ValueError("its tiles are much larger than the picture")
    if not any(data[after : after + width]):
        return Essence(data)
    return Essence(b"".join([memoryview(data)[:after], bytes(width), memoryview(data)[after + width :]]))
