"""The facts of a card, and the README.md that follows from them. Equal facts always give an equal README."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from zoo._version import DISTRIBUTION
from zoo.card.config import CardConfig, Name, read_config
from zoo.card.made import Chosen as Chosen
from zoo.card.made import HeldOut as HeldOut
from zoo.card.made import Origin as Origin
from zoo.card.made import Training as Training
from zoo.card.names import CONFIG, FACTS, PICTURE, README, REPOSITORY, WEIGHTS
from zoo.errors import InputError
from zoo.family.conditions import Condition, declared
from zoo.family.config import Config, validate
from zoo.family.registry import cards_of, registry
from zoo.family.spec import ModelSpec
from zoo.files import read_json, to_json, write_atomically

HUB = "https://huggingface.co"
"""Address of the public Hub."""


class Reference(Config):
    """What a figure compares sets of images by: a network for their features, and the features of real images."""

    backbone: str
    """The network: the card of a judge, a timm model, or inception."""
    weights: str
    """sha256 of its weights."""
    resize: str
    """How images become the input of the network."""
    statistics: str
    """sha256 of the real images' mean and covariance."""
    n: int
    """Number of real images."""


class Metric(Config):
    """One figure with all that is needed to compare or repeat it."""

    name: str
    value: float
    uncertainty: float | None = None
    """Standard error, where there is one."""
    unit: str = ""
    better: Literal["lower", "higher"]
    data: str
    split: str
    n: int
    """Number of images that it was measured on: of test images, or of samples."""
    seed: int
    protocol: str
    floor: float | None = None
    """The same figure with as many training images in place of the samples."""
    ceiling: float | None = None
    """For an accuracy: that of real images which have what was asked for. No model can be expected to do better."""
    baseline: str = ""
    """What else the figure may be compared with."""
    reference: Reference | None = None


class Cost(Config):
    """What using the card costs, on one machine."""

    parameters: int
    bytes: int
    """Size of the file of weights."""
    memory: int
    """Most bytes that loading the card and making 16 images took, in the process or on the GPU."""
    seconds: float
    """Time for 16 images, with the card loaded and after a first try."""
    machine: str


class Evaluation(Config):
    """When and with what the figures were measured."""

    device: str
    seconds: float
    software: dict[str, str]
    commit: str = ""
    """Commit of zoo, if it ran from a clone."""


class Facts(Config):
    """evaluation.json: everything on a card that is not needed for loading."""

    summary: str
    repository: Annotated[str, Field(pattern=rf"^({REPOSITORY.pattern})?$")] = ""
    """Repository on the Hub, if the card has been published."""
    license: str
    data_terms: str
    limits: list[str]
    larger: str = ""
    """Options of `zoo train` for a larger model, which nobody has tried."""
    training: Training | None = None
    """None for weights that zoo did not train. Then `origin` says where they came from."""
    origin: Origin | None = None
    metrics: list[Metric] = Field(default_factory=list)
    evaluation: Evaluation | None = None
    costs: list[Cost] = Field(default_factory=list)
    """The costs on each machine that they were measured on."""
    golden: dict[str, list[float]] = Field(default_factory=dict)
    """Results of the methods on fixed inputs, by method. `zoo verify` computes them again."""
    picture_inputs: Name | None = None
    """For a translator: the card whose samples (seed 0) are the inputs in its picture."""
    picture_credit: str = ""
    """For a picture with inputs and targets of the data set's test split: the line that must stand beside them."""
    picture_rows: list[dict[str, str | bool | float | list[float]]] = Field(default_factory=list)
    """Conditions of each row of the picture's results."""

    @model_validator(mode="after")
    def _from_somewhere(self) -> "Facts":
        if (self.training is None) == (self.origin is None):
            raise ValueError("either training or origin says how the weights came to be")
        return self

    @property
    def data(self) -> str:
        """Name of the data set that the weights were trained on."""
        return self.training.data if self.training else self.origin.data if self.origin else ""


def read_facts(folder: Path) -> Facts:
    """The evaluation.json of a card. Raises FormatError, or ConfigError for values that the schema refuses."""
    return validate(Facts, read_json(folder / FACTS), str(folder / FACTS))


def write_facts(folder: Path, facts: Facts) -> None:
    """Write evaluation.json, and the README.md that follows from it."""
    text = to_json(facts.model_dump(mode="json"))
    write_atomically(folder / FACTS, lambda path: path.write_text(text, encoding="utf-8"))
    readme = render(folder)
    write_atomically(folder / README, lambda path: path.write_text(readme, encoding="utf-8"))


def address(folder: Path, repo: str) -> None:
    """Write the name of its repository on the Hub into a card. Its README then says how to load it from there.

    InputError for a card without evaluation.json.
    """
    if not (folder / FACTS).is_file():
        raise InputError(
            f"{folder.name} has no {FACTS}, which says how its weights were made",
            "A model that was changed after loading has none. For a card of your own: zoo train NAME --out FOLDER",
        )
    write_facts(folder, validate(Facts, read_facts(folder).model_dump() | {"repository": repo}, str(folder / FACTS)))


def write_config(folder: Path, config: CardConfig) -> None:
    """Write config.json."""
    text = to_json(config.model_dump(mode="json"))
    write_atomically(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))


def conditions_of(config: CardConfig) -> dict[str, Condition]:
    """What a card says it takes. For an old one, which does not say, its module is built."""
    if config.conditions is not None:
        return config.conditions
    from zoo.card.weights import build

    return declared(build(registry().spec(config.family), config.config))


def render(folder: Path) -> str:
    """The text of README.md that follows from a card's config.json and evaluation.json."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    config, facts = read_config(folder), read_facts(folder)
    spec = registry().spec(config.family)
    environment = Environment(
        loader=PackageLoader("zoo", "card"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment.get_template("readme.md.jinja").render(
        metadata=metadata(spec, config, facts, (folder / PICTURE).is_file()),
        spec=spec,
        config=config,
        facts=facts,
        conditions=conditions_of(config),
        size=(folder / WEIGHTS).stat().st_size,
        picture=(folder / PICTURE).is_file(),
        caption=caption(spec, config, facts),
        here=loads_by(spec, config.name, facts),
        example=example(spec, loads_by(spec, config.name, facts), facts),
        library=DISTRIBUTION,
    )


def metadata(spec: ModelSpec, config: CardConfig, facts: Facts, picture: bool) -> str:
    """The YAML block that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=spec.task,
            dataset_type=metric.data,
            dataset_name=metric.data,
            dataset_split=metric.split,
            metric_type=hub_metric(metric.name) or f"zoo/{metric.name}",
            metric_value=metric.value,
            metric_name=f"{metric.name} ({metric.unit})" if metric.unit else metric.name,
            source_name=f"{FACTS} of {facts.repository}" if facts.repository else None,
            source_url=f"{HUB}/{facts.repository}/blob/main/{FACTS}" if facts.repository else None,
        )
        for metric in facts.metrics
    ]
    on_the_hub = "/" in facts.data
    terms = facts.license == "other"
    base = facts.training.parent.repository if facts.training and facts.training.parent else None
    card = ModelCardData(
        model_name=config.name,
        license=facts.license,
        license_name="see-data-terms" if terms else None,
        license_link=f"{HUB}/datasets/{facts.data}" if terms and on_the_hub else None,
        library_name=DISTRIBUTION,
        pipeline_tag=spec.task,
        datasets=[facts.data] if on_the_hub else None,
        base_model=base or None,
        base_model_relation="finetune" if base else None,
        tags=["pytorch", config.family, *spec.tags],
        # The Hub shows the picture in its gallery and beside links to the card.
        widget=[{"text": caption(spec, config, facts), "output": {"url": PICTURE}}] if picture else None,
        thumbnail=f"{HUB}/{facts.repository}/resolve/main/{PICTURE}" if picture and facts.repository else None,
        metrics=sorted({known for metric in facts.metrics if (known := hub_metric(metric.name))}) or None,
        eval_results=results or None,
    )
    return str(card.to_yaml())


def hub_metric(name: str) -> str | None:
    """The Hub's own metric that a figure is, or None. Its `precision` and `recall` are of classifiers: ours are not."""
    return "accuracy" if "accuracy" in name.split("_") else None


def loads_by(spec: ModelSpec, name: str, facts: Facts) -> str:
    """What `zoo.load` takes for a card: its repository, or its name if the family has a card of that name; any other
    card only by its folder, which is `.` for who is there."""
    return facts.repository or (name if name in cards_of(spec) else ".")


def example(spec: ModelSpec, name: str, facts: Facts) -> str:
    """A line of Python that shows how to use a card."""
    asked = "".join(f", {key}={value!r}" for key, value in (facts.picture_rows or [{}])[-1].items())
    if "sample" in spec.capabilities:
        return f'zoo.load("{name}").sample(16, seed=0{asked}).save("samples.png")'
    if "translate" in spec.capabilities:
        return f'zoo.load("{name}").translate("photo.jpg"{asked}).save("translated.png")'
    return f'zoo.load("{name}").{"infer" if "infer" in spec.capabilities else "features"}("photo.jpg")'


def caption(spec: ModelSpec, config: CardConfig, facts: Facts) -> str:
    """What the picture shows, in the order of its rows."""
    rows = "; ".join(", ".join(f"{key}={value}" for key, value in row.items()) for row in facts.picture_rows)
    if "sample" in spec.capabilities:
        if not rows:
            return "Samples at seed 0, not picked"
        return f"Samples at seed 0, not picked. Each column has the same noise; rows from the top: {rows}"
    if facts.picture_credit:
        shown = f"random inputs from the test split of {facts.data}, what the model makes of them, the targets"
        return f"From the top: {shown}; not picked. Inputs and targets: {facts.picture_credit}"
    given = ", what the model is given" if config.preparation.filter else ""
    made = f"their translations to {rows}" if rows else "their translations"
    return f"From the top: samples of {facts.picture_inputs} at seed 0{given}, {made}; not picked"


def figure(metric: Metric) -> str:
    """A value with its standard error and unit, to the digits that mean something."""
    text = f"{metric.value:.4g}"
    if metric.uncertainty is not None:
        text += f" ± {metric.uncertainty:.2g}"
    return f"{text} {metric.unit}".strip()


def beside_it(metric: Metric) -> str:
    """What a figure may be compared with: the same figure of training images or real images, and the baseline."""
    floor = "" if metric.floor is None else f"training images: {metric.floor:.4g}"
    ceiling = "" if metric.ceiling is None else f"real images that have it: {metric.ceiling:.4g}"
    return "; ".join(filter(None, (floor, ceiling, metric.baseline)))


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def megabytes(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def cell(value: object) -> str:
    """The value as text for a cell of a Markdown table; "none" for an empty one."""
    return " ".join(str(value).split()).replace("|", "\\|") or "none"


def words(name: str) -> str:
    return name.replace("_", " ")


FILTERS = {
    "beside_it": beside_it,
    "cell": cell,
    "duration": duration,
    "figure": figure,
    "megabytes": megabytes,
    "shell": shlex.quote,
    "words": words,
}
