"""Minutes from an empty environment to a card of a new family: what its README tells to type, timed line by line.

    python benchmarks/newcomer.py [FOLDER]

Makes a virtual environment in FOLDER (a temporary one by default, removed at the end), installs zoo from this clone,
writes a package with `zoo new`, draws a few dozen pictures, then runs every command of the package's README but
publishing. It installs from the package index, without pip's cache, so what it finds depends on the network; that is
why it is no test.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
FAMILY = "my-model"
PICTURES = """
import random
from pathlib import Path
from PIL import Image, ImageDraw

random.seed(0)
Path("photos").mkdir()
for i in range(64):
    wall, skin = (tuple(random.choices(range(40, 240), k=3)) for _ in range(2))
    x, y, r = random.randint(26, 38), random.randint(26, 38), random.randint(14, 22)
    picture = Image.new("RGB", (64, 64), wall)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((x - r, y - r, x + r, y + r), fill=skin)
    for side in (-1, 1):
        pen.ellipse((x + side * r / 2 - 3, y - 5, x + side * r / 2 + 3, y + 1), fill=(20, 20, 20))
    picture.save(f"photos/{i:02d}.png")
"""


def timed(line: str, cwd: Path, env: dict[str, str]) -> float:
    """Seconds of one line in a shell. SystemExit with its output if it fails."""
    started = time.perf_counter()
    done = subprocess.run(["bash", "-c", line], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{line}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def told(readme: Path) -> list[str]:
    """The commands of a README, without comments; the environment is there already, and nothing is published."""
    code = "".join(re.findall(r"^```sh\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.M | re.S))
    lines = [line.partition("  #")[0].strip() for line in code.splitlines()]
    return [line for line in lines if "venv" not in line and "zoo publish" not in line]


def walk(folder: Path) -> None:
    """Print a row for each command, and the sum."""
    env = os.environ | {"PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}", "PIP_NO_CACHE_DIR": "1"}
    env.pop("PYTHONPATH", None)
    total, package = 0.0, folder / f"zoo-{FAMILY}"
    print("| minutes | command |\n|---:|---|")

    def step(line: str, cwd: Path) -> None:
        nonlocal total
        seconds = timed(line, cwd, env)
        total += seconds
        print(f"| {seconds / 60:.3f} | `{line.replace(str(CLONE), 'CLONE')}` |", flush=True)

    step("python3 -m venv .venv", folder)
    step(f"pip install {CLONE}", folder)
    step(f"zoo new {FAMILY}", folder)
    timed(f"python -c '{PICTURES}'", package, env)  # no part of the walk: a newcomer has pictures
    for line in told(package / "README.md"):
        step(line, package)
    print(f"| {total / 60:.3f} | all of it |")


def main() -> None:
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1]).resolve()
        folder.mkdir(parents=True)
        return walk(folder)
    with tempfile.TemporaryDirectory() as name:
        walk(Path(name))


if __name__ == "__main__":
    main()
