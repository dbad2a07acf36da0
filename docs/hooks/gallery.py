"""The gallery, made from the installed cards while the site is built, so that nothing derived from a card is in git.

`gallery/index.md` is written by hand and holds the place of the tiles; a page and its pictures are added for each card.
"""

import io
import json
import math
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from PIL import Image

from zoo.card import facts as cards
from zoo.card.config import CardConfig, read_config
from zoo.card.names import PICTURE, README, WEIGHTS
from zoo.family.registry import registry
from zoo.family.spec import CAPABILITIES, ModelSpec
from zoo.hub import places as hub

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(["html.jinja"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"figure": cards.figure, "beside_it": cards.beside_it, "words": cards.words, "json": json.dumps}

INDEX = "gallery/index.md"
PLACE = "<!-- cards -->"
THUMBNAIL = "thumbnail.webp"
GAP = 2
"""Pixels between the images of a card's picture, as `Images.grid` leaves them."""
WIDE = 256
"""Pixels of images, side by side, that a thumbnail may show."""
NEAREST = "nearest_neighbour_ratio"
SMALL = 32
"""Images up to this side are enlarged pixel by pixel; smoothing would hide what they are."""


@dataclass(frozen=True)
class Card:
    """All that the gallery says of one card."""

    folder: Path
    config: CardConfig
    facts: cards.Facts
    spec: ModelSpec

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def picture(self) -> Path | None:
        path = self.folder / PICTURE
        return path if path.is_file() else None

    @property
    def caption(self) -> str:
        return cards.caption(self.spec, self.config, self.facts)

    @property
    def megabytes(self) -> str:
        return cards.megabytes((self.folder / WEIGHTS).stat().st_size)

    @property
    def small(self) -> bool:
        return self.config.preparation.size <= SMALL

    @property
    def headline(self) -> cards.Metric | None:
        """The one figure on a tile: the distance to real images, else the first share of something got right.

        The nearest-neighbour ratio is passed over: it tells that a model does not copy, not that it is good.
        """
        metrics = self.facts.metrics
        distances = [metric for metric in metrics if metric.name.startswith("fd-")]
        shares = [metric for metric in metrics if metric.better == "higher" and metric.name != NEAREST]
        return next(iter([*distances, *shares, *metrics]), None)

    @property
    def remoteness(self) -> float:
        """How many times its floor the distance to real images is; infinite without a distance."""
        figure = self.headline
        return figure.value / figure.floor if figure and figure.floor and figure.name.startswith("fd-") else math.inf

    @cached_property
    def thumbnail(self) -> Image.Image | None:
        """The upper left of the picture: 4 x 3 images, or 8 x 6 and so on where they are there and small enough."""
        if self.picture is None:
            return None
        side = self.config.preparation.size
        with Image.open(self.picture) as sheet:
            columns, rows = ((length + GAP) // (side + GAP) for length in sheet.size)
            times = max(1, min(columns // 4, rows // 3, WIDE // (4 * side)))
            across, down = min(4 * times, columns), min(3 * times, rows)
            detail = sheet.convert("RGB").crop((0, 0, across * (side + GAP) - GAP, down * (side + GAP) - GAP))
        scale = max(1, 2 * WIDE // detail.width) if self.small else 1
        return detail.resize((detail.width * scale, detail.height * scale), Image.Resampling.NEAREST)


@cache
def collection() -> tuple[Card, ...]:
    """The cards of this installation: those with a picture first, and among them the ones nearest to real images."""
    found = []
    for folder in hub.bundled().values():
        config = read_config(folder)
        found.append(Card(folder, config, cards.read_facts(folder), registry().spec(config.family)))
    return tuple(sorted(found, key=lambda card: (card.picture is None, card.remoteness, card.name)))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every card, with its picture and thumbnail."""
    # `mkdocs serve` builds again in the same process.
    collection.cache_clear()
    for card in collection():
        place = f"gallery/{card.name}"
        files.append(File.generated(config, f"{place}/index.md", content=page(card, files)))
        if card.picture is not None:
            files.append(File.generated(config, f"{place}/{PICTURE}", abs_src_path=str(card.picture)))
            files.append(File.generated(config, f"{place}/{THUMBNAIL}", content=webp(card)))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the tiles into their place."""
    if page.file.src_uri != INDEX:
        return html
    addresses = {}
    for card in collection():
        target = files.get_file_from_path(f"gallery/{card.name}/index.md")
        assert target is not None, card.name
        addresses[card.name] = target.url_relative_to(page.file)
    families = {card.spec.name: card.spec.title for card in collection()}
    able = {capability for card in collection() for capability in card.spec.capabilities}
    tiles = TEMPLATES.get_template("tiles.html.jinja").render(
        cards=collection(),
        addresses=addresses,
        file=THUMBNAIL,
        families=sorted(families.items(), key=lambda item: item[1].lower()),
        data=sorted({card.facts.data for card in collection()}),
        capabilities=[capability for capability in CAPABILITIES if capability in able],
    )
    return html.replace(PLACE, tiles)


def page(card: Card, files: Files) -> str:
    """A card's README as a page of this site.

    The metadata for the Hub is left out; on top come the way back, and links to its family and to cards like it.
    """
    text = (card.folder / README).read_text(encoding="utf-8")
    _, _, body = text.removeprefix("---\n").partition("\n---\n")
    title, _, rest = body.strip().partition("\n")
    about = f"families/{card.spec.name}.md"
    top = TEMPLATES.get_template("card.md.jinja").render(
        card=card, title=title, about=about if files.get_file_from_path(about) else None
    )
    rest = re.sub(rf"!\[.*\]\({re.escape(PICTURE)}\)", lambda _: figure(card), rest)
    return f"{top}\n\n{rest.lstrip()}\n"


def figure(card: Card) -> str:
    """A card's picture with its caption in view, twice its size where it is of small images."""
    assert card.picture is not None
    with Image.open(card.picture) as sheet:
        width, height = (length * (2 if card.small else 1) for length in sheet.size)
    return (
        TEMPLATES.get_template("figure.html.jinja").render(card=card, file=PICTURE, width=width, height=height).strip()
    )


def webp(card: Card) -> bytes:
    """A thumbnail's file: small images keep every pixel as it is, photographs are worth less than their bytes."""
    image, file = card.thumbnail, io.BytesIO()
    assert image is not None
    image.save(file, "WEBP", lossless=card.small, quality=90, method=6)
    return file.getvalue()
