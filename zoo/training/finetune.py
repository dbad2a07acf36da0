"""Training that begins from the weights of a card."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from zoo.card import weights
from zoo.card.config import CardConfig, Parent, read_config
from zoo.card.facts import Facts, read_facts
from zoo.card.names import FACTS
from zoo.data.batches import domain_rows
from zoo.data.source import Dataset
from zoo.errors import ConfigError, InputError
from zoo.family.registry import registry
from zoo.family.spec import Recipe
from zoo.hub.places import Place, find
from zoo.training.claims import begun
from zoo.training.plan import Plan

SMALL = 2000
"""A data set with fewer images than this is small."""
SHARE = 0.1
"""Share of the recipe's steps that a card is trained further with."""
SETTLED = 10
"""Averaged weights forget where they began: the average is over the last tenth of the steps, e**-10 is left of it."""
DECAY = 0.999
"""The largest decay of the averaged weights."""
CHOSEN = ("batch_size", "ema", "flip")
"""Settings of the run that are chosen by the data set, where they are not given."""


@dataclass(frozen=True)
class Start:
    """The card that a training begins from."""

    place: Place
    card: CardConfig
    facts: Facts | None

    @property
    def parent(self) -> Parent:
        """What the new card says of this one."""
        repository, terms = (self.facts.repository, self.facts.data_terms) if self.facts else ("", "")
        return Parent(
            name=self.card.name,
            sha256=self.card.weights.sha256,
            repository=self.place.repo or repository,
            terms=terms,
        )

    def recipe(self, name: str | None) -> Recipe:
        """The recipe of that name, else the card's own, with the card's config and preparation.

        InputError if there is none, or if it is one of another family.
        """
        trained = self.facts.training if self.facts else None
        if name is None and trained is None:
            raise InputError(
                f"{self.card.name} does not say which recipe trained it",
                f"Give a recipe of the family {self.card.family!r}: zoo train NAME --from ...",
            )
        spec, recipe = registry().recipe(name or trained.recipe)  # type: ignore[union-attr]
        if spec.name != self.card.family:
            raise InputError(
                f"{self.card.name} is a card of the family {self.card.family!r}, and {recipe.name} is a recipe of "
                f"{spec.name!r}",
                "Leave the recipe out: then it is the card's own.",
            )
        return dataclasses.replace(recipe, config=self.card.config, preparation=self.card.preparation)

    def load_into(self, model: nn.Module) -> None:
        """Give a model of the same config the card's weights."""
        model.load_state_dict(weights.load_module(self.place.folder)[0].state_dict())

    def check_fits(self, todo: Plan) -> None:
        """ConfigError if the card's weights do not fit the model that is planned."""
        spec = registry().spec(todo.family)
        if weights.outline(spec, todo.config) != weights.outline(spec, self.card.config):
            now, before = todo.config, self.card.config
            changed = [f"{key}={now[key]}" for key in now if now[key] != before.get(key)]
            raise ConfigError(
                f"the weights of {self.card.name} do not fit a model with {', '.join(changed)}",
                "Leave these out. A model of another shape is trained from the beginning, without --from.",
            )


def start_from(name: str | Path) -> Start:
    """The card of that name, folder or repository. Raises as `zoo.load`."""
    place = find(name)
    facts = read_facts(place.folder) if (place.folder / FACTS).is_file() else None
    return Start(place, read_config(place.folder), facts)


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with a tenth of its steps: the weights are good already."""
    steps = {"steps": max(1, round(SHARE * recipe.train["steps"]))} if "steps" in recipe.train else {}
    return dataclasses.replace(recipe, train={**recipe.train, **steps})


def remembered(out: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, with what the run in `out` chose by its data set in the place of what is not given."""
    before = begun(out) or {"settings": {}}
    chosen = {key: before["settings"][key] for key in CHOSEN if key in before["settings"]}
    given = {key.rpartition(".")[2] for key in overrides}
    return {key: value for key, value in chosen.items() if key not in given} | dict(overrides)


def suited(todo: Plan, dataset: Dataset, given: Collection[str]) -> tuple[Plan, list[str]]:
    """The plan, with settings that suit the data set in the place of the recipe's, and a line about each.

    given: the settings that the user gave. These stay.
    """
    free = {key.rpartition(".")[2] for key in given}.isdisjoint
    settings: dict[str, Any] = {}
    said = []
    available = min(map(len, domain_rows(dataset, todo.batch)))
    decay = round(max(0.0, min(todo.settings.ema or DECAY, DECAY, 1 - SETTLED / todo.steps)), 4)
    if free({"batch_size"}) and available < todo.settings.batch_size:
        settings["batch_size"] = 1 << (max(available, 1).bit_length() - 1)
        said.append(f"batch_size={settings['batch_size']}: there are {available} images")
    if free({"ema"}) and decay != todo.settings.ema:
        settings["ema"] = decay
        why = "the card's weights are the average over the last steps" if decay else "so few steps need no average"
        said.append(f"ema={decay}: {why}")
    flips = todo.settings.flip or todo.preparation["mode"] != "RGB"  # digits and letters are grey
    if free({"flip"}) and len(dataset) < SMALL and not flips:
        settings["flip"] = True
        said.append(f"flip=true: {len(dataset):,} images are few, so half of them are mirrored")
    return dataclasses.replace(todo, settings=todo.settings.model_copy(update=settings)), said
