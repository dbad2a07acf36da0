"""Plugins of other versions of the contract: who loads, who is set aside, and what is said to whom."""

from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

import zoo
from zoo.family import spec as specs
from zoo.family.registry import Registry, registry
from zoo.family.spec import ModelSpec, check_spec

GOOD = registry().spec("dcgan")  # found before any test changes the version


def written_for(api: Any) -> ModelSpec:
    return replace(GOOD, name="other", recipes=(), api=api)


def test_a_spec_that_does_not_say_was_written_for_the_first_contract() -> None:
    assert ModelSpec.__dataclass_fields__["api"].default == 1
    assert zoo.API_VERSION >= specs.OLDEST_API


@pytest.mark.parametrize(
    ("api", "says"),
    [
        (4, "was written for API version 4, this zoo speaks 2 to 3: upgrade genzoo"),
        (1, "was written for API version 1, this zoo speaks 2 to 3: upgrade the plugin"),
        ("2", "api must be a number, found '2'"),
        (True, "api must be a number, found True"),
    ],
)
def test_either_side_is_told_when_it_is_too_old(monkeypatch: pytest.MonkeyPatch, api: Any, says: str) -> None:
    monkeypatch.setattr(specs, "API_VERSION", 3)
    monkeypatch.setattr(specs, "OLDEST_API", 2)
    with pytest.raises(zoo.PluginError, match=says):
        check_spec(written_for(api))


def test_a_plugin_of_an_older_contract_that_still_works_loads_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.cli import families

    monkeypatch.setattr(specs, "API_VERSION", 3)
    check_spec(written_for(2))
    module = ModuleType("zoo_older")
    module.zoo_models = zoo.hookimpl(lambda: [written_for(2)])  # type: ignore[attr-defined]
    monkeypatch.setattr(EntryPoint, "load", lambda self: module)
    (plugin,) = Registry([EntryPoint("other", "zoo_older", "zoo")]).plugins
    assert (plugin.error, plugin.families, plugin.api) == (None, ("other",), 2)
    assert families._state(plugin) == "loaded, of an older contract than 3"


def test_a_spec_with_a_field_of_a_newer_contract_is_set_aside_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("zoo_newer")
    module.zoo_models = zoo.hookimpl(lambda: [ModelSpec(name="x", shiny=True)])  # type: ignore[attr-defined, call-arg]
    monkeypatch.setattr(EntryPoint, "load", lambda self: module)
    (plugin,) = Registry([EntryPoint("newer", "zoo_newer", "zoo")]).plugins
    assert "unexpected keyword argument 'shiny'" in str(plugin.error)
