"""What is told of a card that is held against what it says of itself: a check, and how one is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.card.facts import Facts
from zoo.errors import DataError, MissingExtraError, ZooError
from zoo.model import Model

Value = str | float


@dataclass(frozen=True)
class Check:
    """One thing that a card says, held against what is found."""

    what: str
    state: Literal["pass", "fail", "skipped"]
    expected: Value = ""
    found: Value = ""
    tolerance: Value = ""
    why: str = ""
    """Why it failed or was skipped, and what to do."""


@dataclass(frozen=True)
class Card:
    """A card that loads, and what its checks need beside it."""

    name: str
    """As it was asked for, so that commands in hints can be repeated."""
    folder: Path
    model: Model
    facts: Facts
    judge: Path | None
    progress: bool

    @property
    def remedy(self) -> str:
        return f"'zoo evaluate {self.name} --write' measures and records"


def guarded(what: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """A check that cannot be made has failed; the others go on. Data that are not there are no fault of the card."""
    try:
        return checks()
    except DataError:
        raise
    except Exception as error:  # a family's own code may raise anything
        return [failed(what, error)]


def failed(what: str, error: Exception) -> Check:
    if isinstance(error, MissingExtraError):  # no fault of the card
        return Check(what, "skipped", why=str(error))
    return Check(what, "fail", why=str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}")


def held(what: str, good: bool, expected: Value = "", found: Value = "", tolerance: Value = "", why: str = "") -> Check:
    """`why` explains a failure; a check that passed needs no words."""
    return Check(what, "pass" if good else "fail", expected, found, tolerance, "" if good else why)
