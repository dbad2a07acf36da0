"""What zoo says while it works: on stderr, so that stdout holds results alone; in a notebook, below the cell."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")

LINE_EVERY = 30.0
"""Seconds between two lines about the same work, where there is no terminal."""


def say(text: str) -> None:
    """Print a line, above the bar if there is one."""
    if in_notebook():
        print(text)
    else:
        console().print(text, markup=False, highlight=False, soft_wrap=True)


def track(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """The items, with a bar that shows how many are done; without a terminal, with a line now and then."""
    from rich.progress import track

    if console().is_terminal:
        return track(items, description=title, total=total, console=console())
    return _counted(items, total, title)


def _counted(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    said = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            say(f"{title}: {done:,} of {total:,}")
        yield item


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, which shows what its front end gets, and no terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class _Stderr:
    """The process's stderr as it is now. A run does not end because nobody reads what it says: a terminal was closed,
    the reader of a pipe has gone, or there never was a stderr."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            encoding = sys.stderr.encoding or "utf-8"
            sys.stderr.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@cache
def console() -> Any:
    import rich.console

    return rich.console.Console(file=_Stderr(), force_jupyter=False)  # type: ignore[arg-type]
