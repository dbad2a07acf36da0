"""The laws of what a family declares: its spec, its config, its capabilities."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.family.registry import registry, resolve
from zoo.family.spec import CAPABILITIES, ModelSpec, check_spec
from zoo.testing.case import Case
from zoo.testing.law import expect, law
from zoo.training.plan import loop_arguments


@law(about="spec", remedy="Correct the field in the ModelSpec that zoo_models() returns.")
def law_spec_is_valid(case: Case) -> None:
    check_spec(case.spec)


@law(
    about="spec",
    remedy="Leave only the spec in the package's __init__.py. Move code that imports torch to model.py or train.py.",
)
def law_spec_is_light(case: Case) -> None:
    """Listing models must not wait for torch. The module with the spec is imported in a new Python, without torch."""
    holder = _holder(case.spec)
    stop = f"sys.exit('{holder} imports torch')"
    hook = f"lambda event, names: event == 'import' and names[0] == 'torch' and {stop}"
    code = f"import sys; sys.addaudithook({hook}); import {holder}"
    done = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=False)
    expect(done.returncode == 0, done.stderr.strip()[-500:])


@law(
    about="Config",
    remedy="Derive Config from zoo.Config, and give each field bounds: Annotated[int, Field(ge=..., le=...)].",
)
def law_config_is_closed_and_bounded(case: Case) -> None:
    """A config may come from a stranger. It must not be able to ask for a model of any size."""
    for path, part in _walk(resolve(case.spec.module).Config.model_json_schema(), "Config"):
        missing = _open_end(part)
        expect(missing is None, f"{path} {missing}")


@law(about="train", remedy="Rename the argument of train: the settings of every run are in `run` and `batches`.")
def law_the_loop_takes_no_setting_of_the_run(case: Case) -> None:
    """A recipe and `--set` give both under one name, so the argument of the loop would never get its value."""
    loop_arguments(case.spec)


@law(about="module", remedy="List in ModelSpec.capabilities exactly the methods that the module has.")
def law_capabilities_are_declared_both_ways(case: Case) -> None:
    kind = resolve(case.spec.module)
    has = {name for name in CAPABILITIES if callable(getattr(kind, name, None))}
    expect(
        has == set(case.spec.capabilities),
        f"the spec declares {sorted(case.spec.capabilities)}, but the module has {sorted(has)}",
    )


def _holder(spec: ModelSpec) -> str:
    """The module that is imported to list a family: that of its entry point, or its package if it is not installed."""
    if registry().specs.get(spec.name) is spec:
        return registry().provider(spec.name).module.partition(":")[0]
    return spec.module.partition(":")[0].partition(".")[0]


def _walk(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of a JSON schema, with its path."""
    yield path, schema
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield from _walk(part, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _walk(schema["items"], f"{path}[]")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(key, []):
            yield from _walk(part, path)


def _open_end(part: Mapping[str, Any]) -> str | None:
    """What one part of a JSON schema leaves without a bound, in words; None if all is bounded."""
    keys, kind = part.keys(), part.get("type")
    if {"enum", "const", "$ref", "anyOf", "oneOf", "allOf"} & keys:
        return None  # it has no open end, or `_walk` gives its parts
    if kind is None:
        return "takes a value of any type; give it a type"
    if kind in ("integer", "number"):
        low, high = {"minimum", "exclusiveMinimum"} & keys, {"maximum", "exclusiveMaximum"} & keys
        return None if low and high else "lacks a lower or an upper bound; use Field(ge=..., le=...)"
    if kind == "array":
        return None if "maxItems" in part else "may have any length; use Field(max_length=...)"
    if kind == "string":
        return None if {"maxLength", "pattern"} & keys else "takes any text; use Literal or Field(max_length=...)"
    if kind == "object":
        return None if part.get("additionalProperties") is False else "takes unknown keys; derive it from zoo.Config"
    return None


def _environment() -> dict[str, str]:
    """An environment in which a new Python imports from the same places as this one."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
