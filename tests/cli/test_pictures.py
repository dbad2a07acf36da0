"""Commands that take files and make files: names, archives, tables, and what is kept when something fails."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import inputs, outputs
from zoo.cli.jobs import JOBS
from zoo.family.spec import CAPABILITIES, Preparation

Run = Callable[..., Any]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with folders of 28x28 pictures, and with what is no picture."""
    folder = tmp_path / "digits"
    images = zoo.load("cvae-mnist", device="cpu").sample(4, seed=0)
    for name, picture in zip(("b.png", "a/b.jpg", "a/b.png", "ü [1].png"), images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "._b.png").write_bytes(b"no picture either")
    return folder


MADE = ["a/b.jpg.png", "a/b.png.png", "b.png", "ü [1].png"]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def break_one(folder: Path) -> Path:
    broken = folder / "a" / "b.png"
    broken.write_bytes(broken.read_bytes()[:90])
    return broken


# The table of commands.


def test_every_capability_has_a_command() -> None:
    needed = {name for job in JOBS for name in zoo.Model.__dict__[job.method].capabilities}
    assert needed | {"sample", "latents"} == set(CAPABILITIES)


@pytest.mark.parametrize("job", [job for job in JOBS if job.gives == "pictures"], ids=lambda job: job.name)
def test_a_command_writes_what_its_method_returns(job: Any, run: Run, digits: Path, tmp_path: Path) -> None:
    name = {"translate": "pix2pix-edges2celeba"}.get(job.method, "cvae-mnist")
    model = zoo.load(name, device="cpu")
    file, other, mask = digits / "b.png", digits / "ü [1].png", torch.arange(28)[:, None].expand(28, 28) < 14
    words, arguments, given = {
        "translate": ([file], (file,), {}),
        "decode": (["codes.npy"], (model.encode(file) if hasattr(model, "encode") else None,), {"label": "7"}),
        "reconstruct": ([file], (file,), {"label": "7"}),
        "complete": ([file, "--keep", "top:0.5"], (file, mask), {"seed": 0}),
        "interpolate": ([file, other, "--steps", 3], (file, other), {"steps": 3, "label": "7"}),
        "traverse": ([file, "--dim", 1, "--values", "-1,2"], (file,), {"dim": 1, "values": [-1.0, 2.0], "label": "7"}),
        "swap": ([file, "--source", "label=3"], (file,), {"source": {"label": "3"}, "label": "7"}),
    }[job.method]
    if job.codes:
        np.save(tmp_path / "codes.npy", arguments[0].numpy())
    condition = ["--label", "7"] if "label" in given else []
    result = run(job.name, name, *words, *condition, "--out", "made.npz")
    assert result.exit_code == 0, result.output
    expected = getattr(model, job.method)(*arguments, **given)
    assert result.stdout.startswith(f"wrote made.npz: {len(expected)} image")
    with np.load(tmp_path / "made.npz") as made:
        assert np.abs(made["arr_0"] / 255 - expected.numpy()).max() < 1 / 255 + 1e-4


@pytest.mark.parametrize(
    ("command", "card"),
    [("encode", "vae-mnist"), ("features", "judge-mnist"), ("infer", "judge-mnist"), ("elbo", "vae-mnist")],
)
def test_a_table_names_the_file_of_each_row_and_an_array_has_the_same_numbers(
    command: str, card: str, run: Run, digits: Path, tmp_path: Path
) -> None:
    printed = run(command, card, digits, "--batch-size", 3).stdout
    assert run(command, card, digits, "--out", "made.csv").stdout == "wrote made.csv: 4 rows\n"
    assert run(command, card, digits, "--out", "made.npy").exit_code == 0
    head, *rows = csv.reader(io.StringIO((tmp_path / "made.csv").read_text(encoding="utf-8")))
    assert head[0] == "file"
    assert [row[0] for row in rows] == ["b.png", "ü [1].png", "a/b.jpg", "a/b.png"]
    numbers = np.array([row[1:] for row in rows], dtype=np.float32)
    array = np.load(tmp_path / "made.npy")
    assert np.allclose(array.reshape(4, -1), numbers)
    again = np.array([row[1:] for row in csv.reader(io.StringIO(printed))][1:], dtype=np.float32)
    assert np.allclose(numbers, again, atol=1e-3)


def test_what_a_model_tells_apart_stands_in_the_columns_names(run: Run, digits: Path) -> None:
    head = run("infer", "judge-mnist", digits / "b.png").stdout.splitlines()[0]
    assert head == "file," + ",".join(f"label={i}" for i in range(10))


def test_several_arrays_do_not_fit_one_npy(run: Run, digits: Path, tmp_path: Path) -> None:
    result = run("infer", "infogan-mnist", digits, "--out", "made.npy")
    assert (result.exit_code, "category, style" in result.stderr, ".csv" in result.stderr) == (1, True, True)
    assert not (tmp_path / "made.npy").exists()


def test_codes_come_back_from_both_kinds_of_table(run: Run, digits: Path, tmp_path: Path) -> None:
    for suffix in ("npy", "csv"):
        run("encode", "vae-mnist", digits, "--out", f"codes.{suffix}")
        assert run("decode", "vae-mnist", f"codes.{suffix}", "--out", suffix).exit_code == 0
    assert tree(tmp_path / "npy") == [f"{i:05d}.png" for i in range(4)]
    for name in tree(tmp_path / "npy"):
        assert (tmp_path / "npy" / name).read_bytes() == (tmp_path / "csv" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["encode", "dcgan-celeba", "digits"], 1, "Cards that can: "),
        (["reconstruct", "vae-mnist", "nothing", "--out", "x"], 1, "nothing: no such file or folder"),
        (["reconstruct", "vae-mnist", "empty", "--out", "x"], 1, "holds no picture"),
        (["reconstruct", "vae-mnist", "digits", "--out", "digits"], 1, "is the folder with the pictures"),
        (["reconstruct", "vae-mnist", "digits", "digits", "--out", "x"], 1, "would become digits/"),
        (["reconstruct", "vae-mnist", "digits", "--out", "x.csv"], 1, ".webp, or a folder"),
        (["reconstruct", "vae-mnist", "digits", "--out", "x.png", "--skip-existing"], 1, "only with a folder"),
        (["encode", "vae-mnist", "digits", "--out", "x.png"], 1, ".csv, .npy"),
        (["encode", "vae-mnist", "digits", "--out", "x"], 1, "needs a suffix"),
        (["complete", "cvae-mnist", "digits", "--out", "x"], 2, "Give one of --mask and --keep"),
        (
            ["complete", "cvae-mnist", "digits", "--keep", "left:0.2", "--mask", "digits/b.png", "--out", "x"],
            2,
            "one of",
        ),
        (["complete", "cvae-mnist", "digits", "--keep", "top:2", "--out", "x"], 1, "top:0.5"),
        (["interpolate", "vae-mnist", "digits/b.png", "--out", "x"], 2, "Give 2 files"),
        (["traverse", "vae-mnist", "digits/b.png", "--values", "1,b", "--out", "x"], 2, "--values -2,0,2"),
        (["decode", "vae-mnist", "digits/b.png", "--out", "x"], 1, "not codes"),
        (["swap", "cvae-mnist", "digits", "--source", "label", "--out", "x"], 2, "--source label=3"),
        (["sample", "vae-mnist", "--shard", "5/4", "--seed", "1"], 2, "--shard 2/4"),
        (["sample", "vae-mnist", "--shard", "2/4"], 2, "Give --seed too"),
        (["sample", "vae-mnist", "--shard", "1/4", "-n", "2", "--seed", "1"], 1, "has none"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    words: list[str], status: int, said: str, run: Run, digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = run(*words)
    assert (result.exit_code, said in result.stderr) == (status, True), result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits", "empty"]


# Folders in, folders out.


def test_names_and_folders_are_kept(run: Run, digits: Path, tmp_path: Path) -> None:
    """Two pictures that would get one name keep their suffixes too. What lies in --out is not read."""
    for _ in range(2):
        assert run("reconstruct", "vae-mnist", digits, "--out", digits / "made", "--force").exit_code == 0
        assert tree(digits / "made") == MADE
    shutil.move(digits / "made", tmp_path / "made")
    shutil.copytree(digits, tmp_path / "more")
    assert run("reconstruct", "vae-mnist", digits, "more", digits / "b.png", "--out", "all").exit_code == 0
    assert tree(tmp_path / "all") == sorted(
        ["b.png", *(f"{top}/{name}" for top in ("digits", "more") for name in MADE)]
    )


def test_a_linked_folder_is_followed_once(digits: Path) -> None:
    (digits / "a" / "up").symlink_to(digits)
    (digits / "again").symlink_to(digits / "a")
    assert len(inputs.find_pictures([str(digits)], None)) == 4


def test_a_picture_comes_out_the_same_whatever_its_batch(run: Run, digits: Path, tmp_path: Path) -> None:
    """Also where the model draws noise, and where only some are still to be made."""
    command = ["complete", "cvae-mnist", digits, "--keep", "top:0.5"]
    run(*command, "--out", "one", "--batch-size", 1)
    run(*command, "--out", "all")
    (tmp_path / "all" / "b.png").unlink()
    before = {name: (tmp_path / "all" / name).stat().st_mtime_ns for name in tree(tmp_path / "all")}
    refused = run(*command, "--out", "all")
    assert (refused.exit_code, "--skip-existing" in refused.stderr) == (1, True)
    rest = run(*command, "--out", "all", "--skip-existing")
    assert rest.stdout == "wrote all: 1 image, seed 0; 3 were there already\n"
    assert {name: (tmp_path / "all" / name).stat().st_mtime_ns for name in before} == before
    for name in MADE:
        one, many = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("one", "all"))
        assert np.abs(one - many).max() <= 1


@pytest.mark.parametrize("changed", [["--seed", 2], ["--seed", 1, "--label", 4]])
def test_what_another_command_made_is_not_taken_for_done(changed: list[Any], run: Run, tmp_path: Path) -> None:
    run("sample", "cvae-mnist", "-n", 2, "--seed", 1, "--label", 3, "--out", "made")
    result = run("sample", "cvae-mnist", "-n", 3, "--label", 3, *changed, "--out", "made", "--skip-existing")
    assert (result.exit_code, "was not made by this command" in result.stderr) == (1, True)
    assert len(tree(tmp_path / "made")) == 2


@pytest.mark.parametrize("out", ["made", "made.csv"])
def test_a_broken_picture_is_left_out_and_told(out: str, run: Run, digits: Path, tmp_path: Path) -> None:
    broken, command = break_one(digits), "encode" if out == "made.csv" else "reconstruct"
    result = run(command, "vae-mnist", digits, "--out", out, "--batch-size", 2)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"left out {broken}: ")
    assert f"wrote {out}: 3 " in result.stdout
    if out == "made":
        assert tree(tmp_path / out) == [name for name in MADE if name != "a/b.png.png"]
    else:
        assert "a/b.png" not in (tmp_path / out).read_text(encoding="utf-8")


@pytest.mark.parametrize(("command", "out"), [("reconstruct", "x.zip"), ("reconstruct", "x.png"), ("encode", "x.npy")])
def test_one_file_is_not_made_without_the_broken_picture(
    command: str, out: str, run: Run, digits: Path, tmp_path: Path
) -> None:
    broken = break_one(digits)
    result = run(command, "vae-mnist", digits, "--out", out)
    assert (result.exit_code, str(broken) in result.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.mark.parametrize(
    ("word", "kept"),
    [("top:0.25", [(0, 0), (0, 3)]), ("bottom:0.25", [(3, 0), (3, 3)]), ("left:0.25", [(0, 0), (3, 0)])],
)
def test_a_side_is_the_part_it_names(word: str, kept: list[tuple[int, int]]) -> None:
    mask = inputs.read_side(word, Preparation(size=4))
    assert int(mask.sum()) == 4
    assert all(bool(mask[place]) for place in kept)


def test_a_mask_is_cropped_as_photos_are_unless_it_has_the_models_size(tmp_path: Path) -> None:
    half = Image.new("L", (8, 8))
    half.paste(255, (0, 0, 8, 2))
    half.save(tmp_path / "mask.png")
    assert inputs.read_mask(str(tmp_path / "mask.png"), Preparation(size=8, crop=0.5)).sum() == 16
    assert inputs.read_mask(str(tmp_path / "mask.png"), Preparation(size=4, crop=0.5)).sum() == 0


# Many samples.


def test_shards_are_one_call_cut_into_parts(run: Run, tmp_path: Path) -> None:
    command = ["sample", "cvae-mnist", "-n", 10, "--seed", 1, "--label", '["0","1","2","3","4","5","6","7","8","9"]']
    run(*command, "--out", "whole.npz")
    with np.load(tmp_path / "whole.npz") as whole:
        images, labels = whole["arr_0"], whole["label"]
    assert labels.tolist() == [*range(10)]
    sizes = []
    for i in range(1, 5):
        assert run(*command, "--shard", f"{i}/4", "--out", "parts").exit_code == 0
        run(*command, "--shard", f"{i}/4", "--out", f"{i}.npz")
        with np.load(tmp_path / f"{i}.npz") as part:
            first = sum(sizes)
            sizes.append(len(part["arr_0"]))
            assert np.abs(part["arr_0"].astype(int) - images[first : first + sizes[-1]]).max() <= 1
            assert part["label"].tolist() == labels[first : first + sizes[-1]].tolist()
    assert sizes == [2, 3, 2, 3]
    assert tree(tmp_path / "parts") == [f"{i:05d}.png" for i in range(10)]


def test_names_of_more_than_100_000_samples_sort_by_number(run: Run, tmp_path: Path) -> None:
    """All parts of a call have names of one length."""
    for shard in ("1/50001", "50001/50001"):
        run("sample", "cvae-mnist", "-n", 100_002, "--seed", 1, "--shard", shard, "--out", "made.zip", "--force")
        with zipfile.ZipFile(tmp_path / "made.zip") as archive:
            numbers = [0, 1] if shard[0] == "1" else [100_000, 100_001]
            assert archive.namelist() == [f"{number:06d}.png" for number in numbers]


@pytest.mark.parametrize("out", ["made", "made.zip"])
def test_ctrl_c_leaves_whole_files_and_no_archive(out: str, run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    stream = zoo.Model.stream

    def interrupted(self: zoo.Model, *words: Any, **given: Any) -> Any:
        yield next(stream(self, *words, **given))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zoo.Model, "stream", interrupted)
        result = run("sample", "cvae-mnist", "-n", 6, "--seed", 1, "--batch-size", 2, "--out", out)
    assert result.exit_code == 130
    if out == "made":
        assert tree(tmp_path / out) == ["00000.png", "00001.png"]
        assert "with --seed 1 --skip-existing makes the rest" in result.stderr
        again = run("sample", "cvae-mnist", "-n", 6, "--seed", 1, "--out", out, "--skip-existing")
        assert again.stdout == "wrote made: 4 images, seed 1; 2 were there already\n"
    else:
        assert list(tmp_path.iterdir()) == []


def test_an_interrupted_process_leaves_whole_files_and_says_how_to_make_the_rest(tmp_path: Path) -> None:
    """Ctrl-C in a process of its own, at any moment."""
    heedful = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heedful}; from zoo.cli.parser import main; main()"
    command = ["sample", "cvae-mnist", "-n", "30000", "--seed", "1", "--out", "made", "--device", "cpu"]
    options: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code, *command], env=env, **options) as process:
        try:
            while process.poll() is None and len(list((tmp_path / "made").glob("*.png"))) < 70:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert (
        errors
        == "made keeps what is made. The same command with --seed 1 --skip-existing makes the rest.\nInterrupted.\n"
    )
    files = tree(tmp_path / "made")
    assert files == [f"{i:05d}.png" for i in range(len(files))]
    for name in files:
        with Image.open(tmp_path / "made" / name) as picture:
            picture.load()


def test_a_bar_is_for_terminals_and_goes_to_stderr(monkeypatch: Any, capsys: Any) -> None:
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with outputs.bar(3, "[sampling]") as advance:
            advance(3)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("[sampling]" in shown.err, "3/3" in shown.err) == (terminal, terminal)
