"""What stands between a plugin and the program that loads it: a plugin's code may print, raise or close anything."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from types import FrameType
from typing import Any

from zoo.errors import PluginError
from zoo.family.converter import Converter
from zoo.family.spec import ModelSpec, Preparation, Recipe

STANDARD = (1, 2)
"""File descriptors of stdout and stderr."""


@contextmanager
def guarded(who: str) -> Iterator[None]:
    """Let the code of a plugin run. What it writes to stdout goes to stderr, and what it breaks is put back.

    who: the plugin, in words. Raises what the code raises, and PluginError if the code closed a stream or took folders
    out of sys.path. KeyboardInterrupt comes out of it only if the user has pressed Ctrl-C, whatever the code made of
    that; one that the code has raised by itself is a PluginError.
    """
    with _interrupts(who), _streams(), _search_path():
        yield


@contextmanager
def _interrupts(who: str) -> Iterator[None]:
    """Tell the user's Ctrl-C from a KeyboardInterrupt that a plugin raises."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    # Python gives signals to the main thread alone, so no other thread sees a Ctrl-C.
    watched = callable(before) and threading.current_thread() is threading.main_thread()

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if callable(before):
            before(number, frame)

    if watched:
        signal.signal(signal.SIGINT, note)
    try:
        yield
        if pressed and before is signal.default_int_handler:  # the plugin has caught it
            raise KeyboardInterrupt
    except BaseException as error:
        if pressed:
            raise KeyboardInterrupt(f"{who} was loading; ZOO_PLUGINS says which plugins may load") from error
        if isinstance(error, KeyboardInterrupt):
            raise PluginError("it raised KeyboardInterrupt, though nobody pressed Ctrl-C") from error
        raise
    finally:
        if watched:
            signal.signal(signal.SIGINT, before)


class _Aside(io.RawIOBase):
    """What a plugin gets for stdout: it leads to stderr, also for those who keep it."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if sys.stderr is not None:
            sys.stderr.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


@contextmanager
def _streams() -> Iterator[None]:
    """Lead stdout to stderr: that of Python, and that of other code and of programs which a plugin starts."""
    stdout, stderr = sys.stdout, sys.stderr
    aside = io.TextIOWrapper(io.BufferedWriter(_Aside()), "utf-8", "backslashreplace", line_buffering=True)
    _flush(stdout)
    kept = {number: copy for number in STANDARD if (copy := _copy(number)) is not None}
    if kept.keys() == {*STANDARD}:
        os.dup2(2, 1)
    sys.stdout = aside
    try:
        yield
        closed = [stream for stream in (stdout, stderr, aside) if stream is not None and stream.closed]
        if closed or not all(map(_is_open, kept)):
            raise PluginError("it closed stdout or stderr")
    finally:
        _flush(aside)
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        sys.stdout, sys.stderr = _opened(stdout, 1), _opened(stderr, 2)


def _flush(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
        stream.flush()


def _copy(number: int) -> int | None:
    """A copy of a file descriptor; None if it is closed."""
    try:
        return os.dup(number)
    except OSError:
        return None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _opened(stream: Any, number: int) -> Any:
    """The stream, or another one for the same file descriptor if it is closed."""
    closed = stream is not None and stream.closed
    return os.fdopen(number, "w", encoding=stream.encoding, errors=stream.errors, closefd=False) if closed else stream


@contextmanager
def _search_path() -> Iterator[None]:
    """Keep the folders where modules are found. A plugin may add to them."""
    before, folders = sys.path, [*sys.path]
    try:
        yield
        lost = [folder for folder in folders if folder not in sys.path]
        if lost:
            raise PluginError(f"it took {len(lost)} of {len(folders)} folders out of sys.path")
    finally:
        now = sys.path if isinstance(sys.path, list) else []
        before[:] = now if all(folder in now for folder in folders) else folders
        sys.path = before


def plain(value: Any) -> Any:
    """A copy of what a plugin declares, of plain values alone, so that nothing in it can run code or change later.

    PluginError for a value that is no text, number, list, mapping, or one of the classes that zoo gives to plugins.
    """
    kinds = [kind for kind in (ModelSpec, Recipe, Preparation, Converter) if isinstance(value, kind)]
    if kinds:
        return kinds[0](**{field.name: _field(value, field.name) for field in fields(kinds[0])})
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value)) if type(value) in (tuple, list) else [*map(plain, value)]
    raise PluginError(f"a spec is made of plain values, and {type(value).__name__} is none")


def _field(owner: Any, name: str) -> Any:
    try:
        return plain(getattr(owner, name))
    except Exception as error:
        raise PluginError(f"its field {name} cannot be read: {said(error)}") from error


def said(error: BaseException) -> str:
    """The kind of an error and its text, or the text alone of an error that a plugin's author has to mend."""
    try:
        text = str.__str__(str(error))
    except BaseException:  # its text is code of the plugin too
        text = "(its message cannot be shown)"
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
