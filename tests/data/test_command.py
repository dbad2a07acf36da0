"""The real command line, in a process of its own, on data as people have them."""

import subprocess
import sys
from pathlib import Path

import layouts


def zoo(*words: str, at: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "zoo", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=at)


def test_the_list_of_what_is_left_out_names_every_file_and_trains_nothing(tmp_path: Path) -> None:
    data = layouts.with_litter(tmp_path / "data")
    (data / "dogs" / "1.png").write_bytes(b"<html>404</html>")
    done = zoo("train", "dcgan-celeba", "--data", "data", "--image-size", "16", "--list-skipped", at=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in (
        "notes.txt: no image (.txt)",
        "mine: a run or a card of zoo",
        "1.png: not a",
        "loop: a link to a folder",
    ):
        assert name in done.stdout
    assert "7 files are left out" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "elsewhere.png"]


def test_a_shells_list_of_files_is_trained_on_and_a_mistyped_folder_is_told_at_once(tmp_path: Path) -> None:
    layouts.pictures(tmp_path / "photos", [f"a [{i}].png" for i in range(12)])
    files = [f"photos/a [{i}].png" for i in range(12)]
    settings = ["--steps", "1", "--batch-size", "4", "--image-size", "16", "--device", "cpu", "--set", "width=4"]
    done = zoo("train", "dcgan-celeba", "--out", "run", *settings, "--data", *files, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 images; 1 of them held out" in " ".join(done.stderr.split())
    done = zoo("train", "dcgan-celeba", "--out", "other", "--data", "photso", at=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: data: there is no folder photso\n  Did you mean photos?\n"
