"""Loads the specs of all installed plugins. A broken plugin is set aside, and the others still work."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

import pluggy

from zoo._version import DISTRIBUTION
from zoo.errors import InputError, NotFoundError, PluginError, did_you_mean
from zoo.extras import explained
from zoo.family import hookspecs
from zoo.family.guard import guarded, plain, said
from zoo.family.spec import API_VERSION, ModelSpec, Recipe, check_spec


@dataclass(frozen=True)
class Plugin:
    """One entry point: its families, or why it was set aside."""

    name: str
    """Name of the entry point. By convention it is that of the family, so that we know what a broken plugin lacks."""
    module: str
    distribution: str
    version: str
    families: tuple[str, ...] = ()
    seconds: float = 0.0
    """Time that its import took."""
    api: int = API_VERSION
    """The oldest version of the contract that one of its families was written for."""
    error: str | None = None
    cause: BaseException | None = field(default=None, repr=False, compare=False)
    claims: tuple[str, ...] = ()
    """Families and cards that a plugin which was set aside would have provided, as far as they are known."""

    @property
    def left_out(self) -> bool:
        """Whether it was set aside without a fault, because of ZOO_PLUGINS."""
        return isinstance(self.cause, LeftOutError)

    @property
    def folder(self) -> Path | None:
        """Folder of the package that the entry point names; None for a single module, and for a plugin set aside."""
        module = sys.modules.get(self.module.partition(":")[0])
        paths = getattr(module, "__path__", None) if module and not self.error else None
        return Path(next(iter(paths))) if paths else None


CARDS = "-cards"
"""Stands behind a distribution's name in the names of those that hold cards of its families and no code."""


class Registry:
    """The families of all installed plugins. `specs` maps family -> spec, `plugins` records every entry point."""

    def __init__(self, points: Iterable[EntryPoint], wanted: "Wanted | None" = None) -> None:
        self.wanted = wanted or Wanted()
        self.specs: dict[str, ModelSpec] = {}
        self.recipes: dict[str, tuple[ModelSpec, Recipe]] = {}
        self.plugins: list[Plugin] = []
        # First come, first served must not depend on the order in which distributions are found on disk:
        # built-in families first, then by distribution.
        for point in sorted(points, key=lambda p: (_distribution(p)[0] != DISTRIBUTION, _distribution(p), p.name)):
            self._add(point)

    def _add(self, point: EntryPoint) -> None:
        started = time.perf_counter()
        distribution, version = _distribution(point)
        record: dict[str, Any] = {}
        specs: list[Any] = []
        try:
            self.wanted.check(point.name, distribution)
            with guarded(f"plugin {point.name} of {distribution} {version}"):
                specs += _specs(point)
            self._check(specs)
        except KeyboardInterrupt:  # the user's own: the guard lets no other one out
            raise
        except BaseException as error:  # a plugin may raise anything at import, SystemExit too
            record["error"] = said(error)
            record["cause"] = error
            record["claims"] = tuple(name for _, name in _names(specs))
        else:
            self.specs.update({spec.name: spec for spec in specs})
            self.recipes.update({recipe.name: (spec, recipe) for spec in specs for recipe in spec.recipes})
            record["families"] = tuple(spec.name for spec in specs)
            record["api"] = min((spec.api for spec in specs), default=API_VERSION)
        record["seconds"] = time.perf_counter() - started
        self.plugins.append(Plugin(point.name, point.value, distribution, version, **record))

    def _check(self, specs: list[ModelSpec]) -> None:
        """PluginError unless every spec keeps the contract and every name is free."""
        for spec in specs:
            check_spec(spec)
        owners = {("family", name): self.provider(name).distribution for name in self.specs}
        owners |= {
            ("card", name): self.provider(spec.name).distribution
            for spec in self.specs.values()
            for name in cards_of(spec)
        }
        for kind, name in _names(specs):
            if (kind, name) in owners:
                raise PluginError(f"{kind} {name!r} is taken by {owners[kind, name]}")
            owners[kind, name] = "the same plugin"

    def provider(self, family: str) -> Plugin:
        """The plugin that provides a family."""
        return next(plugin for plugin in self.plugins if family in plugin.families)

    def spec(self, family: str) -> ModelSpec:
        """The spec of a family. NotFoundError with suggestions; PluginError when its plugin was set aside."""
        if family in self.specs:
            return self.specs[family]
        self.refuse_set_aside(family)
        raise NotFoundError(f"no family {family!r} is installed", self._hint(family, self.specs))

    def recipe(self, name: str) -> tuple[ModelSpec, Recipe]:
        """The recipe that makes a card, with the spec of its family. Raises what `spec` raises."""
        if name in self.recipes:
            return self.recipes[name]
        self.refuse_set_aside(name)
        raise NotFoundError(f"no recipe {name!r}", self._hint(name, self.recipes))

    def packaged_cards(self) -> Iterator[tuple[str, Path]]:
        """Where the packages of plugins may hold the cards of a family, each with its name: `cards/NAME`, beside the
        modules of the family's plugin, then in packages of cards alone that are called after its distribution."""
        for spec in self.specs.values():
            owner = self.provider(spec.name)
            alone = [plugin for plugin in self.plugins if _holds_cards_of(plugin, owner.distribution)]
            folders = [plugin.folder for plugin in (owner, *alone) if plugin.folder is not None]
            yield from ((name, folder / "cards" / name) for name in cards_of(spec) for folder in folders)

    def package_of_cards(self, card: str) -> str:
        """The distribution that holds a card if that of its family does not: called like it, with `-cards` behind."""
        families = (spec.name for spec in self.specs.values() if card in cards_of(spec))
        owners = (self.provider(family).distribution for family in families)
        return next(owners, DISTRIBUTION) + CARDS

    def refuse_set_aside(self, name: str) -> None:
        """PluginError with the reason if a plugin that was set aside would have provided this family or card."""
        for plugin in self.plugins:
            if plugin.error and name in (plugin.name, *plugin.claims):
                raise PluginError(
                    f"{name!r}: plugin {plugin.module} of {plugin.distribution} {plugin.version} "
                    f"was set aside: {plugin.error}",
                    _mend(plugin),
                ) from plugin.cause

    def origin(self, where: str) -> Plugin | None:
        """The plugin one of whose specs holds this import string."""
        for spec in self.specs.values():
            if where in (spec.module, spec.train, *spec.filters.values()):
                return self.provider(spec.name)
        return None

    @property
    def lacking(self) -> str:
        """Why there is no plugin at all, not even ours; empty if there is one."""
        if self.plugins:
            return ""
        return (
            f"No plugin is found, since this program lacks the metadata of {DISTRIBUTION}, which list its families. "
            f"Whoever froze or zipped it must put them in: pyinstaller --copy-metadata {DISTRIBUTION}"
        )

    def _hint(self, word: str, known: Iterable[str]) -> str:
        aside = sorted(plugin.name for plugin in self.plugins if plugin.error)
        more = f"Set aside: {', '.join(aside)}; 'zoo plugins' tells why." if aside else self.lacking
        return f"{did_you_mean(word, known)} {more}".strip()


def _specs(point: EntryPoint) -> list[ModelSpec]:
    """The specs that a plugin's hook returns, not yet checked."""
    module = point.load()
    if _is_cards_alone(module):
        return []
    # A manager of its own: nothing that a broken plugin leaves behind in pluggy can reach the next one.
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    # Raises for a hook of ours that does not exist: pluggy would ignore a misspelt one.
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise PluginError(f"{point.value} implements no hook; mark zoo_models() with @zoo.hookimpl")
    specs: list[ModelSpec] = []
    for result in manager.hook.zoo_models():
        if not isinstance(result, Iterable):
            raise PluginError(f"zoo_models() must return a list of ModelSpec objects, found {type(result).__name__}")
        specs.extend(result)
    if not specs:
        raise PluginError("zoo_models() returned no ModelSpec")
    return [plain(spec) for spec in specs]


def _is_cards_alone(module: Any) -> bool:
    """Whether a package is a folder `cards` without a line of code."""
    has_code = getattr(module, "__file__", None) is not None
    return not has_code and any((Path(path) / "cards").is_dir() for path in getattr(module, "__path__", ()))


def _holds_cards_of(plugin: Plugin, distribution: str) -> bool:
    return not plugin.families and plugin.distribution.startswith(distribution + CARDS)


def cards_of(spec: ModelSpec) -> dict[str, str]:
    """The cards that a family may have, of its recipes and converted ones: name -> summary."""
    return {recipe.name: recipe.summary for recipe in spec.recipes} | dict(spec.converted)


def _names(specs: list[ModelSpec]) -> list[tuple[str, str]]:
    """Every name that the specs claim, with its kind. Objects of a wrong type claim none."""
    good = [spec for spec in specs if isinstance(spec, ModelSpec) and isinstance(spec.recipes, tuple | list)]
    cards = [recipe.name for spec in good for recipe in spec.recipes if isinstance(recipe, Recipe)]
    cards += [name for spec in good if isinstance(spec.converted, Mapping) for name in spec.converted]
    return [("family", spec.name) for spec in good] + [("card", name) for name in cards]


def _distribution(point: EntryPoint) -> tuple[str, str]:
    try:
        if point.dist is not None:
            return str(point.dist.name or "unknown"), str(point.dist.version or "0")
    except Exception:  # a half-written distribution has entry points but no readable metadata
        pass
    return "unknown", "0"


def _mend(plugin: Plugin) -> str:
    name = plugin.distribution
    if plugin.left_out:
        return "Unset ZOO_PLUGINS, or add the plugin to it. 'zoo plugins' lists all plugins."
    return (
        f"Upgrade or remove it: pip install --upgrade {name}, or pip uninstall {name}. 'zoo plugins' lists all plugins."
    )


class LeftOutError(PluginError):
    """A plugin that ZOO_PLUGINS does not let in."""


@dataclass(frozen=True)
class Wanted:
    """Which plugins may load: $ZOO_PLUGINS.

    It holds words with commas between them: `all`, `builtin`, or the name of a distribution or an entry point. A `-` in
    front of a word leaves that out. If there are only such words, everything else may load; without a word, nothing.
    """

    words: tuple[str, ...] = ("all",)

    def check(self, name: str, distribution: str) -> None:
        """PluginError for a plugin that is left out. It is raised before the plugin is imported."""
        kinds = {"all", name, distribution} | ({"builtin"} if distribution == DISTRIBUTION else set())
        refused = {word[1:] for word in self.words if word.startswith("-")}
        allowed = {word for word in self.words if not word.startswith("-")} or ({"all"} if refused else set())
        if kinds & refused or not kinds & allowed:
            raise LeftOutError(f"left out by ZOO_PLUGINS={','.join(self.words)}")


@cache
def registry() -> Registry:
    """The installed families, found once in a process. InputError if ZOO_PLUGINS names a plugin that is not there."""
    points, words = _entry_points(), os.environ.get("ZOO_PLUGINS", "all").replace(" ", "")
    wanted = Wanted(tuple(filter(None, words.split(","))))
    known = {"all", "builtin", *(point.name for point in points), *(_distribution(point)[0] for point in points)}
    for word in wanted.words:
        if not word.startswith("-") and word not in known:
            raise InputError(f"ZOO_PLUGINS={words}: no plugin {word!r} is installed", did_you_mean(word, known))
    return Registry(points, wanted)


def _entry_points() -> list[EntryPoint]:
    try:
        return list(entry_points(group=hookspecs.PROJECT))
    except Exception:  # the entry points of a distribution cannot be parsed: skip that one
        return [point for distribution in distributions() for point in _entry_points_of(distribution)]


def _entry_points_of(distribution: Distribution) -> Iterator[EntryPoint]:
    try:
        yield from distribution.entry_points.select(group=hookspecs.PROJECT)
    except Exception:
        return


def resolve(where: str) -> Any:
    """The object that an import string names. PluginError, with its plugin, if it cannot be imported; MissingExtraError
    if that is for want of a package of an extra."""
    module, _, attribute = where.partition(":")
    try:
        with guarded(where) if module not in sys.modules else nullcontext():
            return getattr(import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a family's module may raise anything at import
        plugin = registry().origin(where)
        whose = f" of {plugin.distribution} {plugin.version}" if plugin else ""
        if missing := explained(error, f"{where!r}{whose}"):
            raise missing from error
        message = f"cannot import {where!r}{whose}: {said(error)}"
        raise PluginError(message, _mend(plugin) if plugin else None) from error
