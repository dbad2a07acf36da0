"""What it saves to keep the memory that torch frees: features of 256 images, in two processes, in turns.

python benchmarks/memory.py [--rounds 3]
"""

import argparse
import json
import statistics
import subprocess
import sys

CODE = """
import json, resource, sys, time, torch, zoo
from zoo.devices import keep_memory

keep_memory() if sys.argv[1] == "keep" else None
torch.set_num_threads(1)
model, x = zoo.load("imagenet-lite0", device="cpu"), torch.rand(256, 3, 28, 28)
seconds = []
for _ in range(4):
    before = time.process_time()
    model.features(x, batch_size=256)
    seconds.append(time.process_time() - before)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([sorted(seconds[1:])[1], peak]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, list[list[float]]] = {"give back": [], "keep": []}
    for turn in range(2 * rounds):
        how = list(found)[turn % 2]
        done = subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True)
        found[how].append(json.loads(done.stdout))
    for how, measured in found.items():
        seconds, peak = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{how}: {seconds:.2f} s of the processor, {peak:.0f} MiB at the peak")


if __name__ == "__main__":
    main()
