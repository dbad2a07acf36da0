"""The hook that a plugin implements. It is the only one."""

from collections.abc import Iterable

import pluggy

from zoo.family.spec import ModelSpec

PROJECT = "zoo"
"""The pluggy project name and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def zoo_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Return the specs of the model families this plugin provides: plain data, no torch imported."""
