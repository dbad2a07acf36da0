"""A plan made to fit data that are not the recipe's own: their columns, the names of their classes, their pairs."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zoo.data import labels
from zoo.data.columns import read_labels, resolved
from zoo.data.layout import Source
from zoo.data.source import NAMES
from zoo.errors import ConfigError, DataError
from zoo.family.config import validate
from zoo.family.registry import resolve
from zoo.family.spec import ModelSpec, Recipe
from zoo.training.plan import Plan


def fitted(
    todo: Plan,
    spec: ModelSpec,
    recipe: Recipe,
    source: Source,
    columns: Mapping[str, str],
    given: Collection[str],
) -> tuple[Plan, str]:
    """The plan for this source, and what has changed, in words.

    The recipe's own data leave the plan as it is. Of other data the plan takes the columns, and the names of classes,
    attributes or domains unless the user has set names. Data with pairs take away the filter and the crop that the
    recipe makes its own pairs with. columns: those that the user named. given: the settings that the user gave.
    """
    if todo.data == recipe.data:
        return todo, ""
    chosen = resolved(source, "train", todo.batch, columns, recipe.columns)
    todo = replace(todo, columns=chosen)
    if todo.batch == "pairs" and "input" in chosen:
        todo = replace(todo, preparation=todo.preparation | {"filter": None, "crop": 1.0})
    field = NAMES.get(todo.batch)
    if field not in todo.config or {field, f"config.{field}"} & {*given}:
        return todo, ""
    found = read_labels(source, "train", todo.batch, chosen)
    names = list(found[1]) if found else []
    if names == list(todo.config[field]) or not names:
        return todo, ""
    named = replace(todo, config=_renamed(todo.config, field, names, spec))
    return named, f"The model takes the names of the data: {_few(names)}."


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return f"{', '.join(names[:10])}{more}"


def _renamed(config: Mapping[str, Any], field: str, names: list[str], spec: ModelSpec) -> dict[str, Any]:
    """The config with other names. Its other lists of these names keep those that are still there.

    A model may allow fewer signs in a name than a folder; then the other signs become underscores.
    """
    before, module = set(config[field]), resolve(spec.module)
    kept = {
        key: [name for name in value if name in names]
        for key, value in config.items()
        if key != field and isinstance(value, list) and value and all(item in before for item in value)
    }
    try:
        full = validate(module.Config, {**config, **kept, field: names}, f"config of {spec.name}")
    except ConfigError:
        plain = [re.sub(r"\W+", "_", name)[:32] for name in names]
        full = validate(module.Config, {**config, **kept, field: plain}, f"config of {spec.name} with the data's names")
    result: dict[str, Any] = full.model_dump(mode="json")
    return result


def names_of(todo: Plan, recipe: Recipe, source: Source) -> tuple[str, ...] | None:
    """The names that the labels are put into the order of: the model's. None if the model has none; or if it names as
    many classes as the data, which have only numbers or are the recipe's own.

    DataError with both lists if the data have other names.
    """
    wanted = todo.config.get(NAMES.get(todo.batch, ""))
    found = read_labels(source, "train", todo.batch, resolved(source, "train", todo.batch, todo.columns))
    if wanted is None or found is None or not found[1]:
        return None
    try:
        labels.agreed(wanted, found[1], source.name)
    except DataError:
        numbered = todo.data == recipe.data or all(name.isdigit() for name in found[1])
        if numbered and len(wanted) == len(found[1]):
            return None
        raise
    return tuple(wanted)
