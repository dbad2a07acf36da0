"""What a law is: a promise that every family keeps, how it is checked, and what to do when it is broken."""

from collections.abc import Callable
from dataclasses import dataclass

from zoo.errors import ZooError
from zoo.family.spec import ModelSpec
from zoo.testing.case import Case


class BrokenLaw(ZooError, AssertionError):  # noqa: N818  (what it is, in one word)
    """A family breaks a law; the message says which, and how."""

    def __init__(self, message: str, hint: str | None = None, about: str = "") -> None:
        super().__init__(message, hint)
        self.about = about


@dataclass(frozen=True)
class Law:
    """One promise, and how it is checked."""

    name: str
    """A sentence: 'no image depends on its batch'."""
    check: Callable[[Case], None]
    about: str
    """What a family keeps it with: `spec`, `Config`, `train`, a capability, or `module` for all of them."""
    remedy: str
    """What to do when it is broken."""
    needs: tuple[str, ...] = ()
    """Capabilities without which it says nothing."""
    tag: str = ""
    """The tag of the spec without which it says nothing."""
    mark: str = ""
    """Of an optional law: what it wants besides, one of `OPTIONAL`."""

    @property
    def slug(self) -> str:
        """The name as one word, which `pytest -k` can find."""
        return self.name.replace(" ", "_")

    def concerns(self, spec: ModelSpec) -> bool:
        """Whether it says anything about the family, as far as the spec tells."""
        return set(self.needs) <= set(spec.capabilities) and (not self.tag or self.tag in spec.tags)


OPTIONAL = {
    "gpu": "needs a CUDA device",
    "compile": "needs a C++ compiler, and minutes",
    "kill": "starts and kills processes",
}
"""Marks of the laws that are left out unless asked for, and why they are."""
LAWS: dict[str, Law] = {}
"""Every law, by its name."""


class SkippedLaw(Exception):  # noqa: N818  (no error)
    """The law cannot be looked at, here or in this family; the message says why."""


def law(
    *, about: str, remedy: str, needs: tuple[str, ...] = (), tag: str = "", mark: str = ""
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a law under its function's name, as a sentence."""

    def register(check: Callable[[Case], None]) -> Callable[[Case], None]:
        name = check.__name__.removeprefix("law_").replace("_", " ")
        LAWS[name] = Law(name, check, about, remedy, needs, tag, mark)
        return check

    return register


def expect(good: object, what: str, about: str = "") -> None:
    """Raise BrokenLaw unless good; `about` is what of the family broke it, where the law alone does not tell."""
    if not good:
        raise BrokenLaw(what, about=about)
