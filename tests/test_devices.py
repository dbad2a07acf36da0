"""What the machine decides: precision and threads."""

import json
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Isolated
from torch import nn

import zoo
from zoo import devices
from zoo.card.facts import read_facts
from zoo.devices import Threads, fast_precision, pick_device, slowdown, work_done
from zoo.errors import InputError

CPU = torch.device("cpu")
SMALL = {"image_size": 16, "width": 4, "steps": 2, "batch_size": 8}


def fast_in(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A machine whose passes in half precision take `factor` times as long as in float32."""
    monkeypatch.setattr(devices, "slowdown", lambda device, precision: factor)


def train(out: Path, faces: Path, **options: Any) -> zoo.Model:
    return zoo.train("dcgan-celeba", out=out, data=faces, device="cpu", progress=False, **SMALL | options)


# --- precision


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match=rf"device '{name}' cannot be used here(?s:.*)This machine has cpu") as refused:
        pick_device(name)
    assert "vulkan" not in str(refused.value), "torch lists every kind of device that it has a word for"
    offered = re.search(r"--device (\S+);", str(refused.value))
    assert offered
    assert str(pick_device(offered[1])) == offered[1]


def test_the_device_is_measured_in_a_moment_and_once() -> None:
    started = time.perf_counter()
    factor = slowdown("cpu", "bfloat16")
    assert time.perf_counter() - started < 2
    assert 0.05 < factor < 1000
    assert slowdown("cpu", "bfloat16") == factor


def test_measuring_leaves_the_random_state_alone() -> None:
    slowdown.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    slowdown("cpu", "bfloat16")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(("factor", "precision"), [(0.4, "bfloat16"), (0.9, "float32"), (28, "float32")])
def test_a_processor_computes_in_what_is_clearly_faster(
    factor: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_in(monkeypatch, factor)
    assert fast_precision(CPU) == precision


@pytest.mark.parametrize(
    ("bf16", "capability", "precision"),
    [(True, (9, 0), "bfloat16"), (False, (8, 0), "tf32"), (False, (7, 5), "float32")],
)
def test_a_gpu_is_asked(
    bf16: bool, capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(torch.device("cuda")) == precision


def test_what_auto_came_to_is_in_the_run_and_on_the_card(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_in(monkeypatch, 0.4)
    train(tmp_path / "run", faces)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["precision"] == "bfloat16"
    training = read_facts(tmp_path / "run").training
    assert training is not None
    assert training.precision == "bfloat16"


def test_a_resumed_run_keeps_its_precision_on_another_machine_and_says_that_it_is_slow(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_in(monkeypatch, 0.4)
    train(tmp_path / "run", faces)
    fast_in(monkeypatch, 28)
    with pytest.warns(UserWarning, match=r"bfloat16 is 28 times slower .* keeps the precision") as seen:
        train(tmp_path / "run", faces, steps=3, resume=True)
    assert len(seen) == 1
    training = read_facts(tmp_path / "run").training
    assert training is not None
    assert (training.steps, training.precision) == (3, "bfloat16")


def test_another_precision_than_the_run_began_with_is_refused(faces: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", faces)
    with pytest.raises(zoo.InputError, match="precision was float32, now bfloat16"):
        train(tmp_path / "run", faces, steps=3, resume=True, precision="bfloat16")


def test_a_slow_precision_that_was_asked_for_is_obeyed_with_one_warning(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_in(monkeypatch, 28)
    with pytest.warns(UserWarning, match=r"28 times slower .* Leave precision at auto") as seen:
        train(tmp_path / "run", faces, precision="bfloat16")
    assert len(seen) == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["precision"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_loading_in_a_slow_precision_warns(dtype: str, tiny_card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast_in(monkeypatch, 51)
    with pytest.warns(UserWarning, match=rf"{dtype} is 51 times slower than float32 .* Leave dtype out"):
        zoo.load(tiny_card, device="cpu", dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.load(tiny_card, device="cpu")
        fast_in(monkeypatch, 1.2)
        zoo.load(tiny_card, device="cpu", dtype=dtype)


# --- threads


class Busy:
    """A machine on which others keep so many cores busy, and this process one."""

    def __init__(self, others: float) -> None:
        self.others, self.started = others, time.monotonic()

    def __call__(self) -> tuple[float, float]:
        passed = time.monotonic() - self.started
        return (self.others + 1) * passed, passed


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("others", "free"), [(0, 4), (0.2, 4), (1, 3), (2.9, 1), (4, 1), (9, 1)])
@pytest.mark.usefixtures("four_cores")
def test_threads_are_as_many_as_cores_are_free(others: float, free: int) -> None:
    threads = Threads(Busy(others))
    time.sleep(0.01)
    assert threads.free() == free


@pytest.mark.usefixtures("four_cores")
def test_where_the_system_does_not_tell_nothing_changes() -> None:
    assert Threads(lambda: None).free() == 4


@pytest.mark.usefixtures("four_cores")
def test_never_more_threads_than_torch_was_given() -> None:
    """By OMP_NUM_THREADS, say, or by the program that trains."""
    torch.set_num_threads(2)
    threads = Threads(Busy(0))
    time.sleep(0.01)
    assert threads.free() == 2


@pytest.mark.skipif(work_done() is None, reason="this system does not tell the work of its processes")
def test_the_work_of_this_process_is_part_of_that_of_all() -> None:
    before = work_done()
    started = time.process_time()
    while time.process_time() - started < 0.1:
        pass
    after = work_done()
    assert before is not None
    assert after is not None
    every, own = (now - then for now, then in zip(after, before, strict=True))
    assert own >= 0.1
    assert every >= own - 0.05  # the system counts in hundredths


def threads_of(run: zoo.Run, steps: int = 3) -> list[int]:
    run.prepare(model=nn.Linear(1, 1))
    return [torch.get_num_threads() for _ in run.steps(steps)]


@pytest.mark.usefixtures("four_cores")
def test_a_run_takes_what_is_free_looks_again_and_gives_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free: Callable[[Any], int] = iter([3, 3, 1, 2]).__next__
    monkeypatch.setattr(Threads, "free", lambda self: free())  # type: ignore[call-arg]
    monkeypatch.setattr("zoo.training.threads.LOOK_EVERY", 0)
    assert threads_of(zoo.Run(tmp_path / "run", device="cpu")) == [3, 3, 1]
    assert torch.get_num_threads() == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "3 threads now instead of 4: so many cores are free" in said
    assert "1 thread now instead of 3" in said


@pytest.mark.usefixtures("four_cores")
def test_threads_that_were_asked_for_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Threads, "free", lambda self: 1)
    monkeypatch.setattr("zoo.training.threads.LOOK_EVERY", 0)
    assert threads_of(zoo.Run(tmp_path / "run", device="cpu", progress=False, threads=2)) == [2, 2, 2]
    assert torch.get_num_threads() == 4
    with pytest.raises(zoo.TrainingError, match="threads must be at least 1, found 0"):
        zoo.Run(tmp_path / "other", device="cpu", threads=0)


# --- memory


KEPT = """
import json, resource, time, torch
from zoo.devices import keep_memory

took = keep_memory() if {keep} else False
torch.set_num_threads(1)


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def work():
    for _ in range(20):
        torch.zeros(10_000_000).add_(1)  # 40 MB each; blocks below 32 MB are kept without being asked


work()
before = faults()
work()
print(json.dumps([took, faults() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives the memory back")
def test_memory_that_is_kept_need_not_be_cleared_again(isolated: Isolated) -> None:
    """Counted in pages that the kernel had to bring in."""
    took, kept = isolated(KEPT.format(keep=True))
    _, given_back = isolated(KEPT.format(keep=False))
    assert took
    assert kept < given_back / 4
