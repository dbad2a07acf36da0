"""Why a run stops before its last step: a signal, or the end of its time. It stops between two steps and can go on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from zoo.errors import TrainingError

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals of Ctrl-C, of a machine that wants the process to end, and of a terminal that was closed."""
TOGETHER = 0.5
"""Seconds within which signals count as one. A shell and the kernel both tell that a terminal was closed."""
NOTICE = b"\nThe run stops after this step, with a checkpoint. Another signal stops it at once.\n"

Handler = Callable[[int, FrameType | None], Any]


class OutOfTime(TrainingError):  # noqa: N818  (what it is; nothing went wrong)
    """A run has stopped at its deadline, between two steps. It can go on from its checkpoint."""

    def __init__(self, step: int, total: int, out: Path) -> None:
        super().__init__(f"stopped at step {step} of {total}: the time is up", _how_to_go_on(out))
        self.step, self.total = step, total


class Interrupted(KeyboardInterrupt):
    """A signal has ended what was going on. `number` is that of the signal."""

    def __init__(self, number: int, message: str = "interrupted", hint: str = "") -> None:
        self.message, self.number = f"{message} by {signal.Signals(number).name}", number
        super().__init__(f"{self.message}\n  {hint}" if hint else self.message)


class Stopped(Interrupted):
    """A signal has stopped a run between two steps. It can go on from its checkpoint."""

    def __init__(self, step: int, total: int, out: Path, number: int) -> None:
        super().__init__(number, f"stopped at step {step} of {total}", _how_to_go_on(out))
        self.step, self.total = step, total


def _how_to_go_on(out: Path) -> str:
    return (
        f"To go on with the run in {out}, add --resume to the same command; in Python resume=True. "
        f"To make a card of it as it is: zoo finish {out}"
    )


class Noted:
    """The first signal that came, or None."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.when = 0.0


@contextlib.contextmanager
def noted(*, aloud: bool) -> Iterator[Noted]:
    """Note the first signal that asks the process to end, and go on. A later one acts as it did before.

    aloud: say on stderr that the signal has come.
    """
    found = Noted()

    def note(number: int, frame: FrameType | None) -> None:
        if found.number is None:
            found.number, found.when = number, time.monotonic()
            if aloud:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    os.write(2, NOTICE)  # a print could be called in the middle of another print
        elif time.monotonic() - found.when > TOGETHER:
            for other, handler in before.items():
                signal.signal(other, handler)
            signal.raise_signal(number)

    with _handled(note) as before:
        yield found


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let these signals raise Interrupted, so that nothing half made is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[dict[int, Any]]:
    """Handle the signals of ENDING so; yields the handlers before, which are restored in the end.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored. Handlers of the program around it stay too. Only
    the main thread can handle signals; in others nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in ENDING}
        before = {number: now for number, now in found.items() if _may_go(now)}
    handler.__dict__["of_zoo"] = True
    for number in before:
        signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, now in before.items():
            signal.signal(number, now)


def _may_go(handler: Any) -> bool:
    """Whether a handler is a default, or one of ours."""
    return handler in (signal.SIG_DFL, signal.default_int_handler) or hasattr(handler, "of_zoo")


def agreed(device: torch.device, late: bool, number: int) -> tuple[bool, int]:
    """What several processes decide together: whether it is late for one of them, and the signal that one has got.

    The answer is the same for all, so none stops while another waits for its gradients.
    """
    from accelerate.utils import gather

    most = gather(torch.tensor([[int(late), number]], device=device)).amax(0)
    return bool(most[0]), int(most[1])
