"""The machine: its devices, the precision that each is fast in, its threads and its memory."""

import contextlib
import ctypes
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import torch

from zoo.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CLEARLY = 1.3
"""How many times faster a precision must be to be chosen: a measurement on a busy machine is off by less."""
SEVERAL = 2.5
"""How many times slower than float32 a precision may be before zoo warns."""
PASSES, PATIENCE = 6, 0.1
"""How many passes time a precision, and after how many seconds no other pass begins."""
MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Parameters of mallopt(3): how many blocks come from the kernel, and how much idle memory goes back to it."""
WINDOW = 0.25
"""Seconds over which zoo measures the load of the machine when a run begins."""


os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
"""A process that forks has no threads but one in its child, which would wait for the others for ever."""


def dtype_name(dtype: str | torch.dtype | None) -> str:
    """The name of a precision that zoo computes in, given by name or as torch's own; None is float32. InputError for
    any other."""
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}", f"Give one of these: {', '.join(DTYPES)}.")
    return name


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device, or that of a name; `auto` and None are the best one here. InputError for one that this machine does
    not have."""
    if device is None or device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:  # which lists every kind of device that torch has a word for
        raise _no_device(device, "torch knows no device of that name") from error
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _no_device(device, str(error).splitlines()[0]) from error
    return chosen


def _no_device(device: object, why: str) -> InputError:
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    hint = f"This machine has {', '.join(here)}. Give --device {here[-1]}; in Python device={here[-1]!r}."
    return InputError(f"device {str(device)!r} cannot be used here: {why}", hint)


def machine(device: torch.device) -> str:
    """The name of a device as a card shows it: that of the GPU, or of the processor with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"CPU ({model}, {threads_in_words(torch.get_num_threads())})"


def threads_in_words(n: int) -> str:
    return f"{n} thread{'' if n == 1 else 's'}"


# --- precision


def fast_precision(device: torch.device) -> str:
    """The precision that `precision="auto"` stands for: bfloat16 if the device multiplies clearly faster in it, else
    tf32 on a GPU that has it, else float32.

    A GPU tells what it has. Any other device is measured once in a process, in about a tenth of a second.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        return "tf32" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return "bfloat16" if slowdown(device.type, "bfloat16") < 1 / CLEARLY else "float32"


def warn_if_slow(device: torch.device, precision: str, instead: str) -> None:
    """Warn if passes in this precision take several times as long on this device as in float32.

    instead: what to do about it, a whole sentence.
    """
    if device.type == "cuda" or precision not in ("bfloat16", "float16"):
        return
    factor = slowdown(device.type, precision)
    if factor >= SEVERAL:
        warnings.warn(f"{precision} is {factor:.0f} times slower than float32 on this device. {instead}", stacklevel=3)


@cache
def slowdown(device: str, precision: str) -> float:
    """Time of a small convolution in this precision, over its time in float32: below 1 is faster.

    Forward and backward pass count. The result is infinite if the device cannot do it at all.
    """

    def seconds(net: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype) -> float:
        found: list[float] = []
        while len(found) < PASSES and sum(found) < PATIENCE:
            started = time.perf_counter()
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                loss = net(x).float().sum()
            torch.autograd.grad(loss, [*net.parameters()])[0].sum().item()  # .item() waits for the device
            found.append(time.perf_counter() - started)
        return min(found)

    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            net = torch.nn.Sequential(
                torch.nn.Conv2d(32, 32, 3, 1, 1), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3, 1, 1)
            )
            net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = torch.zeros(8, 32, 16, 16, device=device).contiguous(memory_format=torch.channels_last)
            return seconds(net, x, DTYPES[precision]) / seconds(net, x, torch.float32)
    except RuntimeError:
        return float("inf")


@contextlib.contextmanager
def kernels(*, exact: bool) -> Iterator[None]:
    """On CUDA: convolutions by the fastest algorithm for their shapes; TF32 allowed unless `exact`.

    Unlike torch's own defaults, which multiply matrices in float32 but convolve in TF32.
    """
    matmul, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    matmul.allow_tf32 = not exact
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=not exact):
            yield
    finally:
        matmul.allow_tf32 = before


# --- memory


def keep_memory() -> bool:
    """Let this process keep the memory that torch frees, for its next use. True if the C library took the advice.

    glibc gives large blocks back to the kernel at once, and torch frees one after each operation: the kernel then
    clears the same pages again and again. This holds for the whole process, so a program decides it and not a library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    largest = 2**31 - 1
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, largest))


# --- threads


class Threads:
    """Counts the free cores: as many threads should run, but never more than torch had at the beginning.

    Threads wait for each other at every operation. If two share a core with another process, both are several times
    slower than one thread alone.
    look: returns the seconds of work that all processes of the machine have done, and that this process has done; or
    None if the system does not tell, and then the number of threads never changes.
    """

    def __init__(self, look: Callable[[], tuple[float, float] | None] | None = None) -> None:
        self._look = look or work_done
        self._most = torch.get_num_threads()
        self._then, self._before = time.monotonic(), self._look()

    def free(self) -> int:
        """How many cores were free since the last call."""
        now, done = time.monotonic(), self._look()
        passed, before = now - self._then, self._before
        self._then, self._before = now, done
        if before is None or done is None or passed <= 0:
            return self._most
        others = max(0.0, (done[0] - before[0]) - (done[1] - before[1])) / passed
        return max(1, min(self._most, round((os.cpu_count() or 1) - others)))


def work_done() -> tuple[float, float] | None:
    """Seconds of work by all processes since the machine started, and by this one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:8]]
        idle = ticks[3] + ticks[4]  # to wait for a disk is to be idle, too
        return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), time.process_time()
    return None
