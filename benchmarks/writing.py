"""What `zoo sample -n N --out ...` needs: memory at the peak, and time to write against time to sample.

python benchmarks/writing.py cvae-mnist --n 20000 100000 --out folder zip npz
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

CODE = """
import json, resource, sys, time, torch
from pathlib import Path
from zoo.cli import outputs
from zoo.devices import keep_memory
import zoo

name, n, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
keep_memory()
torch.set_num_threads(1)
model = zoo.load(name, device="cpu")
next(model.stream(64, seed=0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
sampling = writing = 0.0
mark = time.perf_counter()
with outputs.open_pictures(out, n, model, None, {}) as sink:
    number = 0
    for images in model.stream(n, seed=0):
        sampling, mark = sampling + time.perf_counter() - mark, time.perf_counter()
        numbers = range(number, number + len(images))
        sink.add(images, [f"{i:06d}.png" for i in numbers], numbers)
        number = numbers.stop
        writing, mark = writing + time.perf_counter() - mark, time.perf_counter()
writing += time.perf_counter() - mark
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([before, peak, sampling / n * 1000, writing / n * 1000]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card")
    parser.add_argument("--n", type=int, nargs="+", default=[20_000])
    parser.add_argument("--out", nargs="+", default=["folder", "zip", "npz"])
    given = parser.parse_args()
    for kind in given.out:
        for n in given.n:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / ("made" if kind == "folder" else f"made.{kind}")
                command = [sys.executable, "-c", CODE, given.card, str(n), str(out)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            before, peak, sampling, writing = json.loads(done.stdout)
            print(
                f"{given.card}, {n:,} images to {kind}: {before:.0f} MiB after a batch, {peak:.0f} at the peak; "
                f"{sampling:.2f} ms an image to sample, {writing:.2f} to write",
                flush=True,
            )


if __name__ == "__main__":
    main()
