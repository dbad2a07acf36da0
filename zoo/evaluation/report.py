"""A check of a card, and how one is made. It compares what the card says with what is found."""

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
    """One thing that a card says, compared with what is found."""

    what: str
    state: Literal["pass", "fail", "skipped"]
    expected: Value = ""
    found: Value = ""
    tolerance: Value = ""
    why: str = ""
    """Why the check failed or was skipped, and what to do."""


@dataclass(frozen=True)
class Card:
    """A loaded card, with all that its checks need."""

    name: str
    """The name as the user gave it, so that the commands in hints work."""
    folder: Path
    model: Model
    facts: Facts
    judge: Path | None
    progress: bool

    @property
    def remedy(self) -> str:
        """The first words of a hint: they need an object after them."""
        return f"'zoo evaluate {self.name} --write' measures and records"


def guarded(what: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """The result of `checks`. If they raise an error, that is one failed check, and the others still run.

    Only DataError is raised on: it is not the card's fault if the data are missing.
    """
    try:
        return checks()
    except DataError:
        raise
    except Exception as error:  # a family's own code may raise anything
        return [failed(what, error)]


def failed(what: str, error: Exception) -> Check:
    if isinstance(error, MissingExtraError):  # that is not the card's fault
        return Check(what, "skipped", why=str(error))
    return Check(what, "fail", why=str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}")


def held(what: str, good: bool, expected: Value = "", found: Value = "", tolerance: Value = "", why: str = "") -> Check:
    """A check that passed or failed. `why` explains a failure, and is left out if the check passed."""
    return Check(what, "pass" if good else "fail", expected, found, tolerance, "" if good else why)
