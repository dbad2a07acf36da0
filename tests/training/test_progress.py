"""What a run says while it trains, on a terminal, in a pipe and in a notebook; and its first picture."""

import errno
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rich.console
import torch
from test_run import drop_out, toy_run, walk

import zoo
from zoo.telling import say
from zoo.training import checkpoints, progress
from zoo.training.progress import Bar, Display, Lines, Notebook, display

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time stands still until it is told to pass by so many seconds."""
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == "", "stdout is for results"
    return err.splitlines()


def test_in_a_pipe_a_run_says_how_long_it_takes_and_then_a_line_every_half_minute(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with display(0, 1000, CPU, shown=True) as shown:
        for step in range(1, 101):
            clock(60 if step == 1 else 2)  # the first step is slow, and is not counted
            shown.advance(step, {"loss": step / 4} if step % 50 == 0 else None)
    first, estimate, *lines = said(capsys)
    assert first == "step 1 of 1,000"
    assert estimate == "990 more steps will take about 33 minutes."
    assert len(lines) == 198 // 30
    assert lines[0] == "step 16 of 1,000  33 minutes left"
    assert lines[-1] == "step 91 of 1,000  loss 12.5  30 minutes left"


def test_a_run_of_a_few_steps_is_not_estimated(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with display(0, 10, CPU, shown=True) as shown:
        for step in range(1, 11):
            clock(1)
            shown.advance(step)
    assert said(capsys) == []


def test_on_a_terminal_the_bar_moves_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "console", lambda: console)
    with display(5, 20, CPU, shown=True) as shown:
        assert isinstance(shown, Bar)
        for step in range(6, 21):
            shown.advance(step, {"loss": 0.5} if step == 10 else None)
            assert shown.bar.tasks[0].completed == step
    assert "20/20" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()


class Cell:
    """The front end of a notebook without widgets: outputs of plain text that can be replaced."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, data: Any, *, raw: bool, display_id: bool) -> "Cell":
        assert (raw, display_id) == (True, True)
        self.update(data, raw=raw)
        return self

    def update(self, data: Any, *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


def test_in_a_notebook_one_line_changes_without_widgets(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell()
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=cell.display))
    with display(0, 8, CPU, shown=True) as shown:
        assert isinstance(shown, Notebook)
        for step in range(1, 9):
            clock(0.3)
            shown.advance(step, {"loss": float(step)})
    assert cell.shown[0] == "step 0 of 8"
    assert len(cell.shown) == 1 + 4  # every half second
    assert cell.shown[-1].startswith(f"[{'#' * 24}] step 8 of 8  loss 8")


def test_nothing_is_shown_unless_asked_for() -> None:
    assert type(display(0, 8, CPU, shown=False)) is Display


@pytest.mark.parametrize("stream", ["closed terminal", "ascii", "none"])
def test_a_run_goes_on_whatever_becomes_of_its_output(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    written = io.BytesIO()
    streams = {"closed terminal": Gone(), "ascii": io.TextIOWrapper(written, "ascii"), "none": None}
    monkeypatch.setattr(sys, "stderr", streams[stream])
    say("фото")
    run, model = toy_run(tmp_path)
    run.progress = True
    for _ in walk(run, model, 2):
        pass
    assert checkpoints.reached(tmp_path)[0] == 2
    if stream == "ascii":
        sys.stderr.flush()
        assert written.getvalue().startswith(b"????\n")


def test_moving_on_costs_next_to_nothing() -> None:
    """At most a tenth of a millisecond a step, ten times what it takes."""
    shown = Lines(0, 10**6, CPU).__enter__()
    began = time.process_time()
    for step in range(20, 2020):
        shown.advance(step)
    assert (time.process_time() - began) / 2000 < 1e-4


def test_the_first_picture_comes_early_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preview(module: torch.nn.Module) -> zoo.Images:
        module[0].weight.data.zero_()  # type: ignore[operator,union-attr]
        return zoo.Images(torch.rand(4, 3, 8, 8))

    plain = drop_out(tmp_path / "plain", None)
    monkeypatch.setattr("zoo.training.log.FIRST_PICTURE", 0.0)
    early = drop_out(tmp_path / "early", preview, sample_every=4)
    names = sorted(path.name for path in (tmp_path / "early" / "samples").iterdir())
    assert names == ["step-00000001.png", "step-00000004.png", "step-00000005.png"]
    states = [tmp_path / name / "checkpoints" / "step-00000004" / "state.safetensors" for name in ("plain", "early")]
    assert states[0].read_bytes() == states[1].read_bytes()
    assert plain.training
    assert early.training
