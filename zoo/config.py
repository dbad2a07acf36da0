"""Closed schemas: a model's `Config` and a card's config.json. Unknown keys, wrong types, wide values are refused."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field

from zoo._version import DISTRIBUTION
from zoo.errors import ConfigError, did_you_mean
from zoo.files import read_json
from zoo.folder import CONFIG, LIMITS
from zoo.spec import NAME, Preparation

Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$", max_length=64)]


class Config(pydantic.BaseModel):
    """Base of every model's nested `Config`: frozen and closed. Give every number and every list its bounds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class WeightsFacts(Config):
    """What a card says about its model.safetensors."""

    dtype: Literal["float32", "float16", "bfloat16"]
    """Of every floating-point tensor in the file; the loaded module is float32 again."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CardConfig(Config):
    """config.json: all that loading needs, and nothing else. Pure data: no path, address or class name is acted on."""

    format: Literal[1] = 1
    name: Name
    family: Name
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = DISTRIBUTION
    """Distribution that provides the family; shown as text when the family is missing, never acted on."""
    config: dict[str, Any]
    preparation: Preparation
    weights: WeightsFacts


Schema = TypeVar("Schema", bound=pydantic.BaseModel)


def validate(schema: type[Schema], values: object, where: str) -> Schema:
    """`values` as the schema, or one ConfigError that lists every fault with what was found."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a mapping, found {type(values).__name__}")
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        lines = [f"{_place(fault['loc'])}: {fault['msg']}, found {_short(fault['input'])}" for fault in faults[:10]]
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        unknown = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden"]
        hint = did_you_mean(unknown[0], schema.model_fields) if unknown else None
        raise ConfigError(f"{where}: " + "; ".join(lines + more), hint) from None


def read_config(folder: Path) -> CardConfig:
    """A card's config.json through its closed schema."""
    return validate(CardConfig, read_json(folder / CONFIG, LIMITS[CONFIG]), str(folder / CONFIG))


def _place(location: tuple[int | str, ...]) -> str:
    """A dotted path. Keys come from files: all but plain words are quoted, so that no control character is printed."""
    return ".".join(
        str(part) if str(part).isidentifier() and len(str(part)) <= 60 else _short(part) for part in location
    )


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else f"{type(value).__name__} of {len(value)}"
    return text if len(text) <= 60 else text[:57] + "..."
