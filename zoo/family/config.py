"""Closed schemas: they refuse unknown keys, wrong types and values out of range."""

from typing import TypeVar

import pydantic

from zoo.errors import ConfigError, did_you_mean


class Config(pydantic.BaseModel):
    """Base of every model's nested `Config`: frozen and closed. Give every number and every list its bounds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


Schema = TypeVar("Schema", bound=pydantic.BaseModel)


def validate(schema: type[Schema], values: object, where: str) -> Schema:
    """`values` as an object of the schema. Raises one ConfigError that lists the faults, at most ten of them."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a mapping, found {type(values).__name__}")
    try:
        checked = schema.model_validate(values)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        lines = [f"{_place(fault['loc'])}: {fault['msg']}, found {_short(fault['input'])}" for fault in faults[:10]]
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        unknown = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden"]
        hint = did_you_mean(unknown[0], schema.model_fields) if unknown else None
        raise ConfigError(f"{where}: " + "; ".join(lines + more), hint) from None
    for key, value in values.items():
        if kind := misread(value, getattr(checked, key)):
            raise ConfigError(f"{where}: {key}: expected {kind}, found {value}")
    return checked


def misread(given: object, read: object) -> str:
    """What a schema wanted and did not get: it reads a truth value as a number, and 2.0 as 2. Empty if all is well."""
    if isinstance(given, list | tuple) and isinstance(read, list | tuple):
        return next(filter(None, map(misread, given, read)), "")
    if isinstance(given, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        return "a number"
    return "a whole number" if isinstance(given, float) and type(read) is int else ""


def _place(location: tuple[int | str, ...]) -> str:
    """A dotted path. Keys come from files: all but plain words are quoted, which hides control characters."""
    return ".".join(
        str(part) if str(part).isidentifier() and len(str(part)) <= 60 else _short(part) for part in location
    )


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else f"{type(value).__name__} of {len(value)}"
    return text if len(text) <= 60 else text[:57] + "..."
