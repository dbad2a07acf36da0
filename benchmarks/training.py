"""What training costs beside the nets: a recipe's loop as users run it, and the same loop with all else taken out.

    python benchmarks/training.py [NAME ...] [--steps 20] [--rounds 3]

Both sides run the family's own `train` at the recipe's size, in turns in one process. The full side is `zoo.Run` with
its averaged weights, log and stream of batches; the bare side does the arithmetic of the losses and nothing else, on
batches made beforehand. Images are random numbers: no data set is needed. Checkpoints and pictures, which come once
in a thousand steps, are left out of both.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.card import weights
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.devices import fast_precision
from zoo.family.registry import registry, resolve
from zoo.family.spec import Preparation
from zoo.noise import FreshNoise
from zoo.training.plan import Plan, plan
from zoo.training.run import Run

WARM_UP = 3
"""Steps that are not counted."""


class Bare:
    """What a loop asks of its run, without anything that the nets do not need."""

    def __init__(self, seed: int, precision: str) -> None:
        self.seed, self.precision, self.device = seed, precision, torch.device("cpu")

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        for part in parts.values():
            if isinstance(part, nn.Module):
                part.to(memory_format=torch.channels_last)
        return tuple(parts.values())

    def settle(self, forward: Any) -> None:
        pass

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")

    def noise(self, n: int) -> FreshNoise:
        return FreshNoise(n)

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=parameters)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    def log(self, **values: Any) -> None:
        pass

    def steps(self, total: int) -> Iterator[int]:
        return iter(range(total))


class Clock:
    """Batches that note when they are asked for; with `ready` ones, nothing is made on the way."""

    def __init__(self, batches: Batches, ready: bool) -> None:
        self.batches, self.dataset, self.batch_size = batches, batches.dataset, batches.batch_size
        self.ready = [next(batches) for _ in range(4)] if ready else []
        self.times: list[float] = []
        self.work: list[float] = []
        """Seconds of the processor, where `times` are those of the clock."""

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> "Clock":
        return self

    def __next__(self) -> Any:
        self.times.append(time.perf_counter())
        self.work.append(time.process_time())
        return self.ready[len(self.times) % len(self.ready)] if self.ready else next(self.batches)

    def at(self, number: int) -> Any:
        return self.batches.at(number)

    def state_dict(self) -> dict[str, Any]:
        return self.batches.state_dict()


def made_up(todo: Plan, preparation: Preparation, n: int) -> Dataset:
    """Random images, with as many classes or attributes as the model names."""
    images = torch.randint(0, 256, (n, preparation.channels, preparation.size, preparation.size), dtype=torch.uint8)
    names = tuple(map(str, todo.config.get("names", range(10))))
    labels = {
        "labelled": torch.arange(n) % len(names),
        "attributes": torch.randint(0, 2, (n, len(names))).float(),
        "unpaired": torch.arange(n) % 2,
    }
    inputs = images if todo.batch == "pairs" and not preparation.filter else None
    return Dataset("noise", "train", images, inputs, labels=labels.get(todo.batch), names=names)


def speed(name: str, steps: int, *, bare: bool) -> tuple[float, float]:
    """Of one side: images per second, counting every batch that the loop takes, and processor seconds a step."""
    spec, recipe = registry().recipe(name)
    todo = plan(recipe, spec, {}, name=name, data="noise")
    settings, preparation = todo.settings, Preparation(**todo.preparation)
    torch.manual_seed(0)
    model = weights.build(spec, todo.config)
    source = Batches(
        made_up(todo, preparation, 8 * settings.batch_size),
        todo.batch,
        settings.batch_size,
        preparation=preparation,
        flip=settings.flip,
        jitter=settings.jitter,
        filter=resolve(spec.filters[preparation.filter]) if preparation.filter else None,
    )
    clock = Clock(source, ready=bare)
    with tempfile.TemporaryDirectory() as folder:
        often = {"save_every": 10**9, "sample_every": 10**9, "log_every": settings.log_every}
        # Both sides in what this machine is fast in, and on as many threads.
        precision = fast_precision(torch.device("cpu"))
        full = {"precision": precision, "threads": torch.get_num_threads(), "ema": settings.ema, "progress": False}
        run: Any = Bare(0, precision) if bare else Run(Path(folder) / "run", device="cpu", **full, **often)
        resolve(spec.train)(model.train(), clock, run, steps=steps, **todo.arguments)
    per_step = len(clock.times) // steps  # a critic may take several
    wall, work = (
        statistics.median(b - a for a, b in itertools.pairwise(marks[WARM_UP * per_step :: per_step]))
        for marks in (clock.times, clock.work)
    )
    return per_step * settings.batch_size / wall, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; all by default")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of {options.rounds} rounds in turns")
    print("| recipe | images/s, bare | images/s, run | share of bare | processor s a step |\n|---|---|---|---|---|")
    for name in options.names or sorted(registry().recipes):
        sides: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for turn in range(2 * options.rounds):
            bare = turn % 2 == 0
            sides[bare].append(speed(name, options.steps, bare=bare))
        bare, full = (statistics.median(speeds for speeds, _ in sides[side]) for side in (True, False))
        work = statistics.median(seconds for _, seconds in sides[False])
        print(f"| `{name}` | {bare:.0f} | {full:.0f} | {full / bare:.3f} | {work:.3f} |", flush=True)


if __name__ == "__main__":
    main()
