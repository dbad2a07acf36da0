"""What starting up costs: whole processes, medians of five, wall and processor seconds, peak memory.

    python benchmarks/startup.py [CARD]

CARD is a name or folder; by default a bundled card, or else an untrained 16x16 DCGAN. `import torch` and loading a card
are run in turns, so that a machine that is busy for a while slows both.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

RUNS = 5
LIST = "import zoo; zoo.list_models()"
LOAD = "import sys, zoo; zoo.load(sys.argv[1], device='cpu')"

# In a process of its own: the memory of a large parent would count as its children's.
TINY_CARD = """
import sys
from pathlib import Path
from zoo import Preparation
from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig
from zoo.family.conditions import declared
from zoo.family.registry import registry

folder, spec = Path(sys.argv[1]), registry().spec("dcgan")
module = weights.build(spec, dict(spec.tiny))
config = CardConfig(
    name="dcgan-tiny",
    family="dcgan",
    config=module.config.model_dump(mode="json"),
    preparation=Preparation(size=16),
    conditions=declared(module),
    weights=weights.save_weights(module, folder),
)
cards.write_config(folder, config)
"""


@dataclass(frozen=True)
class Cost:
    """Of one process, or the medians of several."""

    wall: float
    cpu: float
    mib: float


def run(command: list[str]) -> Cost:
    """Run a command once, to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(cost, key) for cost in costs) for key in ("wall", "cpu", "mib")))


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def in_turns(commands: dict[str, list[str]]) -> dict[str, Cost]:
    """Medians; one round that is not counted fills the file caches."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(RUNS + 1):
        for name, command in commands.items():
            cost = run(command)
            costs[name] += [cost] if turn else []
    return {name: median(found) for name, found in costs.items()}


def default_card(folder: Path) -> str:
    listed = subprocess.run(
        python("import zoo; print(*zoo.list_models())"), check=True, capture_output=True, text=True
    ).stdout.split()
    if listed:
        return listed[0]
    subprocess.run(python(TINY_CARD, str(folder)), check=True)
    return str(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        card = sys.argv[1] if len(sys.argv) > 1 else default_card(Path(folder))
        light = {"python -c pass": python("pass"), "list_models()": python(LIST)}
        script = Path(sys.executable).parent / "zoo"
        if script.is_file():
            light["zoo list"] = [str(script), "list"]
        heavy = {"import torch": python("import torch"), f"load({Path(card).name!r})": python(LOAD, card)}
        costs = in_turns(light) | in_turns(heavy)
    width = max(map(len, costs))
    print(f"{'':{width}}  wall s   cpu s     MiB   (medians of {RUNS})")
    for name, cost in costs.items():
        print(f"{name:{width}}  {cost.wall:6.3f}  {cost.cpu:6.3f}  {cost.mib:6.1f}")
    torch, load = (costs[name] for name in heavy)
    print(f"load / import torch: wall {load.wall / torch.wall:.2f}, cpu {load.cpu / torch.cpu:.2f}")


if __name__ == "__main__":
    main()
