"""Every error a user can cause: what happened, where, and the next command."""

from collections.abc import Iterable


class ZooError(Exception):
    """Base of all errors raised on purpose. `hint` is the next thing to do, on a line of its own."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint


class NotFoundError(ZooError, LookupError):
    """No model, family, card or file of that name."""


class PluginError(ZooError):
    """A plugin that was set aside, or a spec that breaks the contract."""


class MissingExtraError(ZooError, ImportError):
    """What is asked for needs packages that come with an extra, which is not installed; `hint` is the line to type."""


class CapabilityError(ZooError, AttributeError):
    """The model cannot do that; an AttributeError, so `hasattr(model, "encode")` answers honestly."""


class ConfigError(ZooError, ValueError):
    """A configuration that its closed schema refuses."""


class FormatError(ZooError, ValueError):
    """A file that is not what it says it is: broken, hostile, or not matching its hash."""


class HubError(ZooError):
    """The Hub, or the way to it: not reached, not allowed, or it says what cannot be; or its cache is not whole."""


class InputError(ZooError, ValueError):
    """A bad argument: an image, a condition, a count, a seed."""


class DataError(ZooError, ValueError):
    """A data set that is missing, empty, broken or of another kind."""


class TrainingError(ZooError, RuntimeError):
    """Training that cannot go on; the last good checkpoint is kept."""


class StaleWarning(UserWarning):
    """A card of the Hub was loaded from the cache, since the Hub did not say whether it has changed.

    `warnings.simplefilter("error", zoo.StaleWarning)` makes it an error.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known words, or all of them when none is close and they are few."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    return f"Known: {', '.join(names)}." if names and len(names) <= 40 else ""
