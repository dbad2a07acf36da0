"""How many threads of the CPU a run uses."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from zoo.devices import WINDOW, Threads, threads_in_words

LOOK_EVERY = 60
"""Seconds after which a run measures again how busy the machine is."""


@contextlib.contextmanager
def threaded(device: torch.device, threads: int | None, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Use as many threads as were asked for, or as are free. Yields a function that now and then measures again.

    say: is told when the number changes. In the end the number is what it was before.
    """
    before = torch.get_num_threads()
    adapting = threads is None and device.type == "cpu" and before > 1
    load, looked = Threads(), time.monotonic()

    def adapt() -> None:
        nonlocal looked
        if adapting and time.monotonic() - looked >= LOOK_EVERY:
            looked = time.monotonic()
            _use(load.free(), say)

    try:
        if adapting:
            time.sleep(WINDOW)
            _use(load.free(), say)
        elif threads is not None:
            torch.set_num_threads(threads)
        yield adapt
    finally:
        torch.set_num_threads(before)


def _use(threads: int, say: Callable[[str], None]) -> None:
    before = torch.get_num_threads()
    if threads != before:
        torch.set_num_threads(threads)
        say(f"The run uses {threads_in_words(threads)} now instead of {before}: so many cores are free.")
