"""Both splits of the data that a card is measured on."""

from collections.abc import Mapping
from typing import Any

from zoo.card.made import Training
from zoo.data.columns import LABELS
from zoo.data.held import Held, parted
from zoo.data.layout import Reading
from zoo.data.opening import Given, open_source
from zoo.data.source import NAMES, Dataset, read, some
from zoo.errors import DataError
from zoo.family.spec import Preparation
from zoo.model import Model
from zoo.telling import say


class Splits:
    """A test split and a train split: those of the data set; else the images that were held out of the card's
    training, and the others.

    said: how the data are read, where it differs from the training: `pairs`, `splits`, `skip_broken`.
    The labels are in the order of the model's names, whatever their order in the data. Raises DataError.
    """

    def __init__(
        self,
        training: Training,
        model: Model,
        data: Given,
        said: Mapping[str, Any],
        limit: int | None,
        progress: bool,
    ) -> None:
        reading: Any = training.reading | {key: value for key, value in said.items() if value is not None}
        columns = training.columns
        # All labels that the recipe names are read, even if its loop does not use them.
        self.kind = next((kind for kind, column in LABELS.items() if column in columns), model.spec.batch)
        self._columns, self._limit, self._progress = columns, limit, progress
        self._source = open_source(data, kind=self.kind, columns=columns, reading=Reading(**reading))
        out = training.held_out
        self._held = None if out is None else Held(out.seed, out.threshold)
        self._told = False
        self._names = training.names or getattr(model.config, NAMES.get(self.kind, ""), None)

    def prepared(self, preparation: Preparation, kind: str | None = None) -> dict[str, Dataset]:
        """The images of both splits, prepared in this way, by the names of the splits."""
        kind = kind or self.kind
        own = "test" in self._source.splits
        if not own and self._held is None:
            raise DataError(
                f"{self._source.name} has no split 'test', and the card was trained without a part held out",
                "Give a folder with the folders train and test: --data FOLDER",
            )
        if own or self._held is None:
            found = {split: self._read(preparation, split, kind, self._limit) for split in ("test", "train")}
        else:
            found = self._parted(preparation, kind, self._held)
        if self._progress and not self._told:
            whence = "of its test split" if own else "that the card was not trained on"
            say(f"{self._source.name}: {len(found['test']):,} images {whence}")
        self._told = True
        return found

    def _parted(self, preparation: Preparation, kind: str, held: Held) -> dict[str, Dataset]:
        test, train = parted(self._read(preparation, "train", kind, None), held)
        if not len(test) or not len(train):
            raise DataError(
                f"{self._source.name}: none of its {len(test) + len(train):,} images are "
                f"{'new to the card' if len(train) else 'like those that it was trained on'}",
                "Give the folder that the card was trained on, or one with a test split: --data FOLDER",
            )
        return {split.split: self._cut(split) for split in (test, train)}

    def _cut(self, dataset: Dataset) -> Dataset:
        return dataset.rows(some(len(dataset), self._limit), dataset.split)

    def _read(self, preparation: Preparation, split: str, kind: str, limit: int | None) -> Dataset:
        names = self._names if kind == self.kind else None
        return read(
            self._source,
            preparation,
            split=split,
            kind=kind,
            columns=self._columns,
            names=names,
            limit=limit,
            progress=self._progress,
        )[0]
