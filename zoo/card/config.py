"""config.json: what loading a card needs, and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from zoo._version import DISTRIBUTION
from zoo.card.names import CONFIG, LIMITS, REPOSITORY
from zoo.family.conditions import Condition
from zoo.family.config import Config, validate
from zoo.family.spec import NAME, Preparation
from zoo.files import read_json

Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$", max_length=64)]
Key = Annotated[str, Field(pattern=r"^[^\W\d]\w*$", max_length=100)]
"""Of a condition: the name of an argument."""


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Parent(Config):
    """The card whose weights a training began from."""

    name: Name
    sha256: Digest
    """Hash of its weights."""
    repository: Annotated[str, Field(pattern=rf"^({REPOSITORY.pattern})?$")] = ""
    """Its repository on the Hub, if it has one."""
    terms: str = ""
    """What it says of licence and terms. They bind the new card too."""


class WeightsFacts(Config):
    """What a card says about its model.safetensors."""

    dtype: Literal["float32", "float16", "bfloat16"]
    """Type of every floating-point tensor in the file. The loaded module is float32."""
    sha256: Digest


class CardDraft(Config):
    """What a card says of a model before its weights are written."""

    format: Literal[1] = 1
    name: Name
    family: Name
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = DISTRIBUTION
    """Distribution that provides the family. If the family is missing, an error names it."""
    config: dict[str, Any]
    preparation: Preparation

    def written(self, conditions: Mapping[str, Condition], facts: WeightsFacts) -> "CardConfig":
        """The config.json of a card of a module that takes these conditions, with these weights."""
        said = {key: getattr(self, key) for key in CardDraft.model_fields}
        return CardConfig(**said, conditions=dict(conditions), weights=facts)


class CardConfig(CardDraft):
    """The content of config.json. It is pure data: zoo follows no path, address or class name in it."""

    conditions: dict[Key, Annotated[Condition, Field(discriminator="kind")]] | None = None
    """What the module's `conditions` say, so that they are known without it; loading refuses a card where they differ.
    None on a card from before they were written here: then the module alone tells."""
    weights: WeightsFacts


def read_config(folder: Path) -> CardConfig:
    """The config.json of a card. Raises FormatError, or ConfigError for values that the schema refuses."""
    return validate(CardConfig, read_json(folder / CONFIG, LIMITS[CONFIG]), str(folder / CONFIG))
