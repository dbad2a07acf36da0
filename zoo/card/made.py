"""How the weights of a card were made: a part of its facts."""

from typing import Any

from pydantic import Field

from zoo.card.config import Name, Parent
from zoo.family.config import Config


class HeldOut(Config):
    """Images that were kept for evaluation, since the data have no test split: those whose rank is at most the
    threshold. The rank of an image follows from its file's content and the seed."""

    images: int
    seed: int
    threshold: str


class Chosen(Config):
    """The figure by which this step was chosen among those that were measured during the training."""

    figure: str
    value: float
    images: int
    """Number of images that it was measured on."""
    whence: str
    """Which images these were, in words."""


class Training(Config):
    """How the weights were trained."""

    recipe: Name
    data: str
    """Name of the data set, if possible its Hub name."""
    split: str
    columns: dict[str, str] = Field(default_factory=lambda: {"image": "image"})
    """Which column of the data set was the image, the label, ..."""
    names: list[str] = Field(default_factory=list)
    """Names of the classes, attributes or domains in the data, in the order of the model's."""
    reading: dict[str, str | bool] = Field(default_factory=dict)
    """How the data were read, where it was not the usual way: `pairs`, `splits`, `skip_broken`."""
    held_out: HeldOut | None = None
    images: int
    steps: int
    batch_size: int
    passes: float
    """Passes over the data set; for an unpaired one, over its larger domain."""
    seconds: float
    device: str
    precision: str
    seed: int
    settings: dict[str, Any]
    """All arguments of the loop and of the run."""
    software: dict[str, str]
    chosen: Chosen | None = None
    """None if the step was not chosen but is the last one of the training."""
    parent: Parent | None = None
    """The card that the training began from; None for one that began with random weights."""


class Origin(Config):
    """Where the weights came from, if zoo did not train them."""

    data: str
    """What the weights were trained on, as far as it is known."""
    source: str
    """Who trained the weights, and who distributes them."""
    file: str
    sha256: str
    """Hash of that file; for several files, of each."""
    command: str
    """Command that made the card from the file."""
