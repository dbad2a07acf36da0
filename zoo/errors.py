"""Every error that a user can cause. Each says what is wrong, where, and what to do next."""

import re
from collections.abc import Iterable

COMMAND = re.compile(r"\b(zoo [a-z]+|pip|pyinstaller) .*?(?=\. |;|$)")
OPTION = re.compile(r"--(set '?|)([a-z_][\w.-]*)")
CALLED = {"column": "columns", "from": "parent", "list-skipped": "", "no-splits": "splits", "signature": "key"}
"""Arguments in Python that have another name than their option on the command line; empty for what is no argument."""


class ZooError(Exception):
    """Base of all errors that zoo raises on purpose. `hint` says what to do next, on a line of its own.

    A hint speaks of options as the command line has them. The text of the error also says what they are in Python.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        text = f"{message}\n  {hint}" if hint else message
        if names := arguments(hint or ""):
            end = "" if text.endswith(".") else "."
            text += f"{end} In Python: the argument{'s' * (len(names) > 1)} {' and '.join(names)}."
        super().__init__(text)
        self.message = message
        self.hint = hint


class NotFoundError(ZooError, LookupError):
    """There is no model, family, card or file of that name."""


class PluginError(ZooError):
    """A plugin that was set aside, or a spec that breaks the contract."""


class MissingExtraError(ZooError, ImportError):
    """What is asked for needs packages that come with an extra, which is not installed; `hint` is the line to type."""


class CapabilityError(ZooError, AttributeError):
    """The model lacks this capability. It is an AttributeError too, so that `hasattr(model, "encode")` is False."""


class ConfigError(ZooError, ValueError):
    """A configuration with an unknown key, or with a value of the wrong type or range."""


class FormatError(ZooError, ValueError):
    """A file that is broken or hostile, or whose bytes do not match its hash."""


class HubError(ZooError):
    """The Hub cannot be reached, refuses access or sends a wrong answer; or its cache here is incomplete."""


class InputError(ZooError, ValueError):
    """A bad argument: an image, a condition, a count, a seed."""


class DataError(ZooError, ValueError):
    """A data set that is missing, empty, broken or of the wrong kind."""


class TrainingError(ZooError, RuntimeError):
    """Training that cannot go on; the last good checkpoint is kept."""


class ExportError(ZooError, RuntimeError):
    """A method that cannot be traced into a graph, or a graph whose results differ from the method's."""


class StaleWarning(UserWarning):
    """A card was loaded from the cache, because the Hub did not say whether the card has changed.

    `warnings.simplefilter("error", zoo.StaleWarning)` makes it an error.
    """


def arguments(hint: str) -> list[str]:
    """The arguments in Python that are meant by the options in a hint. What stands in a whole command is not among
    them, and a hint that speaks of Python itself needs none."""
    if "--" not in hint or "Python" in hint:
        return []
    found = [name.rstrip(".-") for _, name in OPTION.findall(COMMAND.sub("", hint))]
    return [*dict.fromkeys(filter(None, (CALLED.get(name, name.replace("-", "_")) for name in found)))]


def closest(word: str, known: Iterable[str]) -> list[str]:
    """At most three of the known words that look like this one, the most similar first. Capitals do not count."""
    import difflib

    names = {name.casefold(): name for name in sorted(known)}
    return [names[near] for near in difflib.get_close_matches(word.casefold(), names, n=3, cutoff=0.5)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest words. If none is close, it lists all words, or is empty for more than 40."""
    names = sorted(known)
    close = closest(word, names)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    return f"Choose one of these: {', '.join(names)}." if names and len(names) <= 40 else ""
