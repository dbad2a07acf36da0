"""From the command to the first step and the first picture, for folders of small files, with the memory at the peak.

    python benchmarks/first_hour.py [--files 300 10000 200000]

Makes so many JPEG files of 32x32 pixels in two folders, and trains `vae-celeba` at 32x32 on them, as a user does. A run
is stopped by SIGTERM after its first picture. The first run has an empty cache, the second has what the first one left
there. The files themselves were just written, so the system still has them in memory.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLONE = Path(__file__).resolve().parent.parent
SIDE = 32
POLL = 0.02
"""Seconds between two looks at the folder of the run."""


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds since the command was given, and MiB."""

    step: float
    picture: float
    stopped: float
    """Seconds from the signal to the end."""
    mib: float


def make(folder: Path, n: int) -> None:
    """Write n files. Each has a colour and some noise of its own, so that no two are equal."""
    draws = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
    for i in range(n):
        colour = draws.integers(0, 224, (1, 1, 3))
        values = (colour + draws.integers(0, 32, (SIDE, SIDE, 3))).astype(np.uint8)
        Image.fromarray(values).save(folder / ("cats", "dogs")[i % 2] / f"{i:06d}.jpg", quality=80)


def train(data: Path, out: Path, cache: Path) -> Cost:
    """One run, up to its first picture."""
    command = f"train vae-celeba --data {data} --out {out} --image-size {SIDE} --steps 1000000 --device cpu"
    words = [sys.executable, "-m", "zoo", *command.split(), "--set", "log_every=1"]
    env = os.environ | {"ZOO_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(CLONE), str(CLONE / "plugins")])}
    started = time.perf_counter()
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    step = _wait(process, started, (out / "log.csv").is_file)
    picture = _wait(process, started, lambda: any((out / "samples").glob("step-*.png")))
    asked = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 128 + signal.SIGTERM:
        raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Cost(step, picture, time.perf_counter() - asked, usage.ru_maxrss / unit)


def _wait(process: "subprocess.Popen[bytes]", started: float, there: Callable[[], bool]) -> float:
    """Seconds from the start until something is there. SystemExit if the process ends before."""
    while not there():
        if process.poll() is not None:
            raise SystemExit(f"the run ended before its first picture, with exit code {process.returncode}")
        time.sleep(POLL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[300, 10_000, 200_000])
    print("| files | cache | first step s | first picture s | stopped after s | peak MiB |\n|---|---|---|---|---|---|")
    for n in parser.parse_args().files:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder / "photos", n)
            for cache in ("empty", "filled"):
                cost = train(folder / "photos", folder / cache, folder / "cache")
                numbers = f"{cost.step:.1f} | {cost.picture:.1f} | {cost.stopped:.1f} | {cost.mib:.0f}"
                print(f"| {n:,} | {cache} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
