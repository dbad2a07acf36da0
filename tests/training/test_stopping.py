"""What signals do to a run: the first one ends it between two steps with a checkpoint, a later one at once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_run import processes, resumed, toy_run, walk  # noqa: F401  (a fixture)

import zoo
from zoo.training.checkpoints import reached
from zoo.training.run import Run
from zoo.training.stopping import ENDING, TOGETHER, Interrupted, Stopped, raised

DEFAULTS = {number: signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL for number in ENDING}


@pytest.fixture(autouse=True)
def _as_from_a_shell() -> Iterator[None]:
    """The handlers that a Python in the foreground begins with, whatever this process began with."""
    before = {number: signal.signal(number, handler) for number, handler in DEFAULTS.items()}
    yield
    found = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert found == DEFAULTS, "the handlers are restored"


def stopped_at(out: Path, *sent: signal.Signals, step: int = 2, wait: float = 0) -> Stopped:
    """Send signals to this process in the middle of a step, and return what the run raises after that step."""
    run, model = toy_run(out, save_every=1000)

    def loop() -> None:
        for now in walk(run, model, 9):
            for number in sent if now == step else ():
                signal.raise_signal(number)
                time.sleep(wait)

    with pytest.raises(Stopped) as caught:
        loop()
    return caught.value


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_run_after_the_step_with_a_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    stop = stopped_at(tmp_path, number)
    assert (stop.step, stop.total, stop.number) == (3, 9, number)
    assert isinstance(stop, KeyboardInterrupt)
    assert resumed(tmp_path) == reached(tmp_path)[0] == 3


def test_signals_that_come_together_are_one(tmp_path: Path) -> None:
    """A shell hands the hang-up on that the kernel sends too."""
    assert stopped_at(tmp_path, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM).number == signal.SIGHUP
    assert resumed(tmp_path) == 3


def test_a_later_signal_acts_at_once(tmp_path: Path) -> None:
    def loop() -> None:
        for step in walk(*toy_run(tmp_path, save_every=1000), 9):
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(TOGETHER + 0.1)
                signal.raise_signal(signal.SIGINT)
                pytest.fail("the step went on")

    with raised(), pytest.raises(Interrupted) as caught:
        loop()
    assert type(caught.value) is Interrupted
    assert caught.value.number == signal.SIGINT
    assert reached(tmp_path)[0] == 0


def test_a_signal_in_the_last_step_stops_nothing(tmp_path: Path) -> None:
    for step in walk(*toy_run(tmp_path), 3):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
    assert reached(tmp_path)[0] == 3


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "of the program"])
def test_a_handler_that_is_no_default_stays(handler: Any, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, handler)
    for _ in walk(*toy_run(tmp_path), 3):
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == handler
    assert reached(tmp_path)[0] == 3
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_loop_that_breaks_off_gives_the_handlers_back(tmp_path: Path) -> None:
    with contextlib.closing(walk(*toy_run(tmp_path), 9)) as steps:
        next(steps)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: [*walk(*toy_run(tmp_path), 2)])
    thread.start()
    thread.join()
    assert reached(tmp_path)[0] == 2


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_before_the_first_step_ends_at_once_and_leaves_nothing(
    number: signal.Signals, tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.training.recipes.read", lambda *_, **__: signal.raise_signal(number))
    with pytest.raises(Interrupted) as caught:
        zoo.train("dcgan-celeba", out=tmp_path / "run", data=faces, device="cpu", progress=False, steps=2)
    assert (type(caught.value), caught.value.number) == (Interrupted, number)
    assert not (tmp_path / "run").exists()


def one_is_told(rank: int, out: Path) -> None:
    """In a process of its own: of two that train together, only the second gets the signal, in step 3."""
    torch.set_num_threads(1)
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= place | {"GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=2)
    run = Run(out / "run", device="cpu", progress=False, log_every=4, save_every=100)
    run.prepare(model=torch.nn.Linear(1, 1))
    try:
        for step in run.steps(12):
            if rank == 1 and step == 2:
                signal.raise_signal(signal.SIGTERM)
    except Stopped as stop:
        (out / f"{rank}.txt").write_text(f"{stop.step} {stop.number}")
    torch.distributed.destroy_process_group()


def test_several_processes_stop_after_the_same_step(tmp_path: Path, processes: Any) -> None:  # noqa: F811
    children = [processes.Process(target=one_is_told, args=(rank, tmp_path)) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [f"4 {signal.SIGTERM}"] * 2
    assert reached(tmp_path / "run")[0] == 4
