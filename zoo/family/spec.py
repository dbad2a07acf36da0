"""What a plugin says about a family, as plain data. It is checked without importing a model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from zoo._version import DISTRIBUTION
from zoo.errors import ConfigError, PluginError
from zoo.family.converter import Converter

API_VERSION = 1
"""Version of the contract between the core and a plugin. docs/contract.md says what each version changed."""
OLDEST_API = 1
"""The oldest version that still works. `zoo plugins` marks the plugins of an older version than the newest."""

CAPABILITIES = (
    "sample",
    "latents",
    "encode",
    "decode",
    "log_prob",
    "elbo",
    "translate",
    "complete",
    "infer",
    "features",
)
BATCH_KINDS = ("images", "labelled", "attributes", "pairs", "unpaired")
TASKS = (
    "unconditional-image-generation",
    "image-to-image",
    "image-classification",
    "image-feature-extraction",
)
"""Tasks, by their pipeline tags on the Hub."""

TERMS = {
    "flwrlabs/celeba": "Trained on CelebA (Liu et al. 2015), whose terms allow non-commercial research only; so may "
    "these weights be used. The images show real people: do not use the model to identify or imitate anyone.",
    "ylecun/mnist": "Trained on MNIST (LeCun, Cortes, Burges), which is free to use; made available under CC BY-SA "
    "3.0.",
    "zalando-datasets/fashion_mnist": "Trained on Fashion-MNIST (Xiao et al. 2017), which is under the MIT licence.",
}
"""Licence and terms of well-known data sets, by Hub name. A card shows them, unless its recipe has its own text."""

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Preparation:
    """How an image becomes the model's input. The training images were made in the same way."""

    size: int
    """Side in pixels of the square result."""
    mode: Literal["RGB", "L"] = "RGB"
    crop: float = 1.0
    """Side of the centre square that is kept, as a share of the image's shorter side."""
    filter: str | None = None
    """One of the family's input filters (`ModelSpec.filters`), applied last: for a translator, photo -> input."""
    binarize: bool = False
    """Whether images are binary. Then a training image is a new Bernoulli draw of its grey values each time, and other
    images are cut at 1/2."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1024:
            raise ConfigError(f"preparation.size must be 1 to 1024, found {self.size}")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"preparation.crop must be above 0 and at most 1, found {self.crop}")

    @property
    def channels(self) -> int:
        return {"RGB": 3, "L": 1}[self.mode]


@dataclass(frozen=True)
class Recipe:
    """A family, a data set and settings: all that is needed to make one card."""

    name: str
    summary: str
    data: str
    """Hub name of the data set, for instance `ylecun/mnist`. The option `--data` gives another one."""
    preparation: Preparation
    config: Mapping[str, Any] = field(default_factory=dict)
    """Values of the model's `Config` that differ from its defaults."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the family's `train`, and of the run: steps, batch_size, seed, precision, ema, flip."""
    columns: Mapping[str, str] = field(default_factory=lambda: {"image": "image"})
    """Which column of the data set is the image, the label, ..."""
    batch: str = ""
    """Kind of batch that `train` takes, if it is not the family's (`ModelSpec.batch`)."""
    inputs: str | None = None
    """For a translator: the card whose samples are the inputs in its picture, which may show no image of a data set."""
    credit: str = ""
    """The line that must stand beside images of the data set, like "OpenMoji, CC BY-SA 4.0". With it, a translator's
    picture shows pairs of the test split. Without it, no image of the data set is ever shown."""
    shown: tuple[Mapping[str, Any], ...] = ()
    """Conditions of each row of the card's picture. The images of a column have the same noise or the same input."""
    published: Mapping[str, str] = field(default_factory=dict)
    """What the paper reports, by the name of our figure. The text says how far the two can be compared."""
    license: str = "other"
    """Licence of weights trained by this recipe, a Hub licence id."""
    data_terms: str = ""
    """Licence and terms of the data in a sentence or two, for the card. Not needed for the data sets in `TERMS`."""
    judge: str | None = None
    """The judge: a card that recognises the classes or attributes of this data. `zoo evaluate` measures with it."""
    step_seconds: float = 0.0
    """Measured seconds of a step with one thread of a common processor; 0 if nobody has measured them."""
    larger: str = ""
    """Options of `zoo train` for a larger model than a CPU can train in a few hours."""
    limits: tuple[str, ...] = ()
    """What the model cannot do or must not be used for. The card shows these sentences."""

    @property
    def hours(self) -> float:
        """Hours of training with one thread of a common processor; 0 if nobody has measured them."""
        return self.step_seconds * float(self.train.get("steps", 0)) / 3600

    @property
    def terms(self) -> str:
        """Licence and terms of the data, as the card shows them."""
        return self.data_terms or TERMS.get(self.data, "")


@dataclass(frozen=True)
class ModelSpec:
    """A model family. Import strings (`package.module:attribute`) are resolved when the family is used."""

    name: str
    title: str
    summary: str
    paper: str
    """The paper's address, for instance `https://arxiv.org/abs/1511.06434`."""
    task: str
    module: str
    """The `nn.Module` with a nested `Config`."""
    train: str
    """The training loop: `train(model, batches, run, *, steps, ...)`."""
    capabilities: tuple[str, ...]
    batch: str
    """Kind of batch that `train` takes: images, labelled, attributes, pairs or unpaired."""
    tiny: Mapping[str, Any]
    """A `Config` small enough for tests that train it in a second."""
    citation: str = ""
    """BibTeX of the paper."""
    tags: tuple[str, ...] = ()
    """Kinds of model that it belongs to, for people who browse: gan, normalizing-flow, class-conditional, ..."""
    tiny_train: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `train` for the tiny model."""
    recipes: tuple[Recipe, ...] = ()
    converted: Mapping[str, str] = field(default_factory=dict)
    """Cards with weights that others trained: name -> summary. No recipe makes them."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Input filters by name: import strings of functions (n, c, h, w) in [0, 1] -> the same."""
    evaluation: str = ""
    """Import string of `evaluate(bench) -> list[Metric]`: the family's measures beside those of its capabilities."""
    smallest_batch: int = 1
    """Fewest images in a batch that `train` works with. Batch norm over single values, for example, needs two."""
    imports: tuple[Converter, ...] = ()
    """Checkpoints of other implementations that `zoo import` makes cards of."""
    api: int = 1
    """Version of the contract that the plugin was written for. The default is the first one."""


def check_spec(spec: ModelSpec) -> None:
    """Raise PluginError, naming the field, unless the spec keeps the contract."""

    def expect(good: object, what: str) -> None:
        if not good:
            raise PluginError(f"spec of {getattr(spec, 'name', spec)!r}: {what}")

    expect(isinstance(spec, ModelSpec), f"zoo_models() must return ModelSpec objects, found {type(spec).__name__}")
    expect(type(spec.api) is int, f"api must be a number, found {spec.api!r}")
    speaks = f"this zoo speaks {OLDEST_API} to {API_VERSION}"
    expect(spec.api <= API_VERSION, f"was written for API version {spec.api}, {speaks}: upgrade {DISTRIBUTION}")
    expect(spec.api >= OLDEST_API, f"was written for API version {spec.api}, {speaks}: upgrade the plugin")
    least = spec.smallest_batch
    expect(type(least) is int and least >= 1, f"smallest_batch must be a number, 1 or more, found {least!r}")
    for key in ("name", "title", "summary", "paper", "task", "module", "train", "batch"):
        value = getattr(spec, key)
        expect(isinstance(value, str) and value, f"{key} must be a text that is not empty, found {value!r}")
    for key, kind in (("capabilities", str), ("recipes", Recipe), ("tags", str), ("imports", Converter)):
        value = getattr(spec, key)
        good = isinstance(value, tuple | list) and all(isinstance(item, kind) for item in value)
        expect(good, f"{key} must be a tuple of {kind.__name__}, found {value!r}")
    for key in ("tiny", "tiny_train", "filters", "converted"):
        expect(isinstance(getattr(spec, key), Mapping), f"{key} must be a mapping, found {getattr(spec, key)!r}")
    expect(NAME.fullmatch(spec.name), "name must be lower-case words joined by hyphens, like 'cvae-gan'")
    expect(spec.task in TASKS, f"task {spec.task!r} is none of {', '.join(TASKS)}")
    expect(spec.batch in BATCH_KINDS, f"batch {spec.batch!r} is none of {', '.join(BATCH_KINDS)}")
    for tag in spec.tags:
        expect(NAME.fullmatch(tag), f"tag {tag!r} must be lower-case words joined by hyphens")
    expect(spec.capabilities, "declares no capability")
    for capability in spec.capabilities:
        expect(capability in CAPABILITIES, f"capability {capability!r} is none of {', '.join(CAPABILITIES)}")
    functions = (*spec.filters.values(), *(converter.convert for converter in spec.imports))
    for where in filter(None, (spec.module, spec.train, spec.evaluation, *functions)):
        expect(IMPORT.fullmatch(where), f"{where!r} is no import string like 'package.module:attribute'")
    for converter in spec.imports:
        expect(1 <= converter.needed <= len(converter.parts), f"{converter.name}: no {converter.needed} of its parts")
    names = [*(recipe.name for recipe in spec.recipes), *spec.converted]
    expect(len(names) == len(set(names)), f"two recipes share a name: {names}")
    for name in spec.converted:
        expect(NAME.fullmatch(name), f"card name {name!r} must look like 'dcgan-celeba'")
    for recipe in spec.recipes:
        expect(
            recipe.batch in ("", *BATCH_KINDS), f"recipe {recipe.name!r}: batch {recipe.batch!r} is no kind of batch"
        )
        seconds = recipe.step_seconds
        expect(
            isinstance(seconds, int | float) and seconds >= 0,
            f"recipe {recipe.name!r}: step_seconds must be a number, 0 or more, found {seconds!r}",
        )
        expect(NAME.fullmatch(recipe.name), f"recipe name {recipe.name!r} must look like 'dcgan-celeba'")
        wanted = recipe.preparation.filter
        expect(wanted is None or wanted in spec.filters, f"recipe {recipe.name!r} names an unknown filter {wanted!r}")
