"""A picture costs no more than its pixels: hostile files of every format are dealt with fast and in little memory."""

import os
from pathlib import Path

import pytest
from conftest import Isolated
from specimens import HOSTILE

MEASURE = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from specimens import HOSTILE, saved
from zoo import Preparation, ZooError
from zoo.images.prepare import prepare

def memory(key):  # VmRSS: now, VmHWM: the most since it was reset; in kB
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) << 10

def attempt(make):
    path = Path(sys.argv[2])
    path.write_bytes(make())
    Path("/proc/self/clear_refs").write_text("5")
    before, started = memory("VmRSS"), time.process_time()
    try:
        prepare(path, Preparation(size=16))
        outcome = "accepted"
    except ZooError as error:
        outcome = str(error)
    return [outcome, time.process_time() - started, memory("VmHWM") - before - path.stat().st_size]

attempt(lambda: saved("PNG"))
print(json.dumps({name: attempt(make) for name, make in HOSTILE.items()}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory where Linux keeps it")
def test_hostile_files_cost_little_time_and_memory(tmp_path: Path, isolated: Isolated) -> None:
    path = tmp_path / "hostile"
    measured = isolated(MEASURE, os.path.dirname(__file__), str(path))
    assert measured.keys() == HOSTILE.keys()
    for name, (outcome, seconds, growth) in measured.items():
        print(f"{seconds * 1000:7.2f} ms {growth / 2**20:6.2f} MB  {name}: {outcome}")
        assert outcome == "accepted" or str(path) in outcome
        assert seconds < 2, name
        assert growth < 100 << 20, name
