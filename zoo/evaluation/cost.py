"""Measures what a card costs. It does so in a process of its own, so that only the card counts in its memory."""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from zoo.card import facts as cards
from zoo.card.names import WEIGHTS
from zoo.devices import machine
from zoo.errors import ZooError
from zoo.files import parse_json
from zoo.model import Model, load

TIMES = 5


def cost(folder: Path, device: str) -> cards.Cost:
    """Parameters, bytes, peak memory, and the seconds that 16 images take: the median of five tries, after a first one.

    The new process uses as many threads as this one. ZooError if it fails.
    """
    command = [sys.executable, "-m", "zoo.evaluation.cost", str(folder), device, str(torch.get_num_threads())]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["the process did not say why"])[-1]
        raise ZooError(f"{folder}: the cost of the card could not be measured: {last}")
    return cards.Cost(**parse_json(done.stdout.splitlines()[-1].encode(), "cost"))


def measure(folder: Path, device: str) -> cards.Cost:
    """The same as `cost`, in this process."""
    model = load(folder, device=device)
    go(model)
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        go(model)
        seconds.append(time.perf_counter() - started)
    return cards.Cost(
        parameters=sum(p.numel() for p in model.module.parameters()),
        bytes=(folder / WEIGHTS).stat().st_size,
        memory=peak_memory(model.device),
        seconds=float(f"{sorted(seconds)[TIMES // 2]:.3g}"),
        machine=machine(model.device),
    )


def go(model: Model) -> None:
    """Use the model once: sample, translate or classify 16 images."""
    p = model.preparation
    x = torch.full((16, p.channels, p.size, p.size), 0.5)
    if "sample" in model.spec.capabilities:
        model.sample(16, seed=0)
    elif "translate" in model.spec.capabilities:
        model.translate(x)
    elif "infer" in model.spec.capabilities:
        model.infer(x)
    else:
        model.features(x)


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: on a GPU that of torch, else that of the process; 0 if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if Path("/proc/self/status").is_file():
        # getrusage would not do: there a new process begins with the peak of the process that started it.
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    try:
        print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2]).model_dump()))
    except ZooError as problem:
        sys.exit(problem.message)
