"""What a law is: a promise that every family keeps, its test, and what to do if a family breaks it."""

from collections.abc import Callable
from dataclasses import dataclass

from zoo.errors import ZooError
from zoo.family.spec import ModelSpec
from zoo.testing.case import Case


class BrokenLaw(ZooError, AssertionError):  # noqa: N818  (the name says what it is)
    """A family breaks a law. The message says which law, and how."""

    def __init__(self, message: str, hint: str | None = None, about: str = "") -> None:
        super().__init__(message, hint)
        self.about = about


@dataclass(frozen=True)
class Law:
    """One promise, and its test."""

    name: str
    """The promise as a sentence: 'no image depends on its batch'."""
    check: Callable[[Case], None]
    about: str
    """The part of a family that keeps it: `spec`, `Config`, `train`, a capability, or `module` for all capabilities."""
    remedy: str
    """What to do if the law is broken."""
    needs: tuple[str, ...] = ()
    """Capabilities that a family must have, or else the law is not about it."""
    tag: str = ""
    """Tag that a family's spec must have, or else the law is not about it."""
    mark: str = ""
    """Mark of an optional law, one of `OPTIONAL`; empty for other laws."""

    @property
    def slug(self) -> str:
        """The name as one word, so that `pytest -k` can find it."""
        return self.name.replace(" ", "_")

    def concerns(self, spec: ModelSpec) -> bool:
        """Whether the law is about this family, as far as the spec tells."""
        return set(self.needs) <= set(spec.capabilities) and (not self.tag or self.tag in spec.tags)


OPTIONAL = {
    "gpu": "needs a CUDA device",
    "compile": "needs a C++ compiler, and takes minutes",
    "kill": "starts and kills processes",
}
"""Marks of the laws that run only if they are asked for, and the reason."""
LAWS: dict[str, Law] = {}
"""Every law, by its name."""


class SkippedLaw(Exception):  # noqa: N818  (it is not an error)
    """The law cannot be tested, on this machine or in this family. The message says why."""


def law(
    *, about: str, remedy: str, needs: tuple[str, ...] = (), tag: str = "", mark: str = ""
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a law. The name of its function, as a sentence, is the name of the law."""

    def register(check: Callable[[Case], None]) -> Callable[[Case], None]:
        name = check.__name__.removeprefix("law_").replace("_", " ")
        LAWS[name] = Law(name, check, about, remedy, needs, tag, mark)
        return check

    return register


def expect(good: object, what: str, about: str = "") -> None:
    """Raise BrokenLaw unless `good` is true. what: what was found. about: the part of the family that breaks the law,
    if it differs from that of the law."""
    if not good:
        raise BrokenLaw(what, about=about)
