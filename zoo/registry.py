"""Entry points -> specs. Each plugin is loaded in its own guard: a broken one harms nobody else."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from zoo import hookspecs
from zoo.errors import NotFoundError, PluginError, did_you_mean
from zoo.spec import ModelSpec, Recipe, check_spec


@dataclass(frozen=True)
class Plugin:
    """One entry point: its families, or why it was set aside."""

    name: str
    """Name of the entry point; by convention the family's, so a broken plugin can be named by what it would provide."""
    module: str
    distribution: str
    version: str
    families: tuple[str, ...] = ()
    seconds: float = 0.0
    """Time its import took."""
    error: str | None = None
    cause: BaseException | None = field(default=None, repr=False, compare=False)


class Registry:
    """The families of all installed plugins. `specs` maps family -> spec, `plugins` records every entry point."""

    def __init__(self, points: Iterator[EntryPoint] | list[EntryPoint]) -> None:
        self.specs: dict[str, ModelSpec] = {}
        self.plugins: list[Plugin] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        # First come, first served must not depend on the order in which distributions are found on disk:
        # built-in families first, then by distribution.
        for point in sorted(points, key=lambda p: (_distribution(p)[0] != "genzoo", _distribution(p)[0], p.name)):
            self._add(point)

    def _add(self, point: EntryPoint) -> None:
        started = time.perf_counter()
        distribution, version = _distribution(point)
        record = {"name": point.name, "module": point.value, "distribution": distribution, "version": version}
        try:
            specs = self._load(point)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything at import, SystemExit too
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, PluginError) else str(error)
            self.plugins.append(Plugin(**record, error=reason, cause=error, seconds=time.perf_counter() - started))
            return
        for spec in specs:
            self.specs[spec.name] = spec
        families = tuple(spec.name for spec in specs)
        self.plugins.append(Plugin(**record, families=families, seconds=time.perf_counter() - started))

    def _load(self, point: EntryPoint) -> list[ModelSpec]:
        """The plugin's checked specs; on any error the plugin is unregistered again."""
        module = point.load()
        self._manager.register(module, name=point.name)
        try:
            # Raises for a hook of ours that does not exist, so that a misspelt one is not silently ignored.
            self._manager.check_pending()
            callers = self._manager.get_hookcallers(module) or []
            if not callers:
                raise PluginError(f"{point.value} implements no hook; mark zoo_models() with @zoo.hookimpl")
            only = self._manager.subset_hook_caller(
                "zoo_models", [plugin for plugin in self._manager.get_plugins() if plugin is not module]
            )
            specs = [spec for result in only() for spec in result]
            self._check(specs)
        except BaseException:
            self._manager.unregister(plugin=module)
            raise
        return specs

    def _check(self, specs: list[ModelSpec]) -> None:
        cards = {recipe.name: spec.name for spec in self.specs.values() for recipe in spec.recipes}
        for spec in specs:
            check_spec(spec)
            if spec.name in self.specs:
                raise PluginError(f"family {spec.name!r} is taken by {self.provider(spec.name).distribution}")
            for recipe in spec.recipes:
                if recipe.name in cards:
                    raise PluginError(f"card {recipe.name!r} is taken by family {cards[recipe.name]!r}")

    def provider(self, family: str) -> Plugin:
        """The plugin that provides a family."""
        return next(plugin for plugin in self.plugins if family in plugin.families)

    def spec(self, family: str) -> ModelSpec:
        """The spec of a family. NotFoundError with suggestions; PluginError when its plugin was set aside."""
        if family in self.specs:
            return self.specs[family]
        for plugin in self.plugins:
            if plugin.error and plugin.name == family:
                raise PluginError(
                    f"family {family!r}: plugin {plugin.module} of {plugin.distribution} {plugin.version} "
                    f"was set aside: {plugin.error}",
                    f"Mend or remove it: pip uninstall {plugin.distribution}; 'zoo plugins' lists all.",
                ) from plugin.cause
        raise NotFoundError(f"no family {family!r} is installed", did_you_mean(family, self.specs))

    def recipe(self, name: str) -> tuple[ModelSpec, Recipe]:
        """The recipe that makes a card, with its family. NotFoundError with suggestions."""
        for spec in self.specs.values():
            for recipe in spec.recipes:
                if recipe.name == name:
                    return spec, recipe
        known = [recipe.name for spec in self.specs.values() for recipe in spec.recipes]
        raise NotFoundError(f"no recipe {name!r}", did_you_mean(name, known))


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "0")


@cache
def registry() -> Registry:
    """The installed families, found once per process. ZOO_PLUGINS=builtin leaves third-party plugins out."""
    points = list(entry_points(group=hookspecs.PROJECT))
    if os.environ.get("ZOO_PLUGINS") == "builtin":
        points = [point for point in points if _distribution(point)[0] == "genzoo"]
    return Registry(points)


def resolve(where: str) -> Any:
    """The object behind an import string. PluginError naming it when it cannot be imported."""
    module, _, attribute = where.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"cannot import {where!r}: {error}") from error
