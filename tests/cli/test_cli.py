"""The command `zoo`: through its console script where the process matters, in-process for the rest."""

import ast
import inspect
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import zoo
from zoo.card import facts as cards
from zoo.cli.given import OWN_OPTIONS
from zoo.cli.jobs import JOBS
from zoo.cli.parser import app
from zoo.errors import COMMAND, arguments
from zoo.evaluation.report import Check
from zoo.family.conditions import Categorical, Condition, Continuous, Flags
from zoo.family.registry import Plugin, cards_of, registry
from zoo.hub import places as hub
from zoo.training import checkpoints

ZOO = Path(sys.executable).with_name("zoo")
ENVIRONMENT = os.environ | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", "COLUMNS": "40"}

TINY = ["--set", "width=4", "--set", "latent-dim=8", "--image-size", "16", "--batch-size", "8", "--device", "cpu"]
TINY += ["--set", "precision=float32", "--set", "save_every=1", "--set", "loop.augmentation=color,cutout"]


def process(*command: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own, with warnings as errors."""
    given = {"env": ENVIRONMENT} | options
    return subprocess.run([*map(str, command)], check=False, capture_output=True, text=True, timeout=120, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """The folder of `zoo train` on drawn faces, two steps."""
    out = tmp_path_factory.mktemp("runs") / "x"
    words = ["train", "dcgan-celeba", "--data", str(faces), "--out", str(out), "--steps", "2", *TINY]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"zoo info {out}" in result.stdout
    return out


def takes(card: Path, conditions: dict[str, Condition], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every DCGAN these conditions, and the card of one too."""
    from zoo_dcgan.model import DCGAN

    from zoo.card.config import read_config
    from zoo.card.facts import write_config

    monkeypatch.setattr(DCGAN, "conditions", conditions, raising=False)
    write_config(card, read_config(card).model_copy(update={"conditions": conditions}))


def conditioned(card: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor | None]:
    """Give a DCGAN's card three conditions; the returned dict holds what the last call to `sample` was given."""
    from zoo_dcgan.model import DCGAN

    got: dict[str, torch.Tensor | None] = {}
    plain = DCGAN.sample

    def sample(self: DCGAN, noise: zoo.Noise, **given: torch.Tensor | None) -> torch.Tensor:
        got.update(given)
        return plain(self, noise)

    conditions: dict[str, Condition] = {
        "label": Categorical(("5", "7", "nine")),
        "attributes": Flags(("Blond_Hair", "Smiling")),
        "code": Continuous(-2, 2),
    }
    takes(card, conditions, monkeypatch)
    monkeypatch.setattr(DCGAN, "sample", sample)
    return got


# The process: what it imports, how it ends.


def test_listing_imports_neither_torch_nor_numpy_nor_pydantic() -> None:
    code = (
        "import sys; sys.argv = ['zoo', 'list']; from zoo.cli.parser import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'numpy', 'pydantic', 'PIL'} & sys.modules.keys()))"
    )
    done = process(sys.executable, "-c", code)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_version_is_that_of_the_package() -> None:
    assert process(ZOO, "--version").stdout == f"zoo {zoo.__version__}\n"


def test_a_closed_pipe_is_quiet() -> None:
    for command in ("list", "list --json"):
        # The reader is gone before the first word is written.
        done = process("bash", "-c", f"(sleep 1; exec {ZOO} {command}) | true")
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("PYTHONIOENCODING=cp1251 zoo info dcgan-celeba", 0),
        ("PYTHONIOENCODING=cp932 zoo info dcgan-celeba", 0),
        ("PYTHONIOENCODING=ascii zoo info dcgan-celeba", 0),
        ("PYTHONIOENCODING=cp1251 zoo info 顔-été-😀", 1),
        ("zoo plugins >&-", 0),
        ("zoo list <&-", 0),
        ("zoo info nobody 2>&-", 1),
        ("zoo list <&- >&- 2>&-", 0),
        ("zoo list >/dev/full", 1),
    ],
)
def test_no_console_or_pipe_makes_a_command_fall(command: str, status: int) -> None:
    """Encodings that lack a character, streams that are closed, a disk that is full."""
    done = process("sh", "-c", command.replace("zoo", f"{sys.executable} -m zoo", 1), errors="replace")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_json_stays_json_in_an_encoding_that_lacks_its_characters() -> None:
    code = "from zoo.cli.terminal import open_streams, print_json; open_streams(); print_json('é 顔 😀')"
    for encoding in ("ascii", "cp1251", "cp932"):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, check=True, capture_output=True, env=ENVIRONMENT | {"PYTHONIOENCODING": encoding}
        )
        assert json.loads(done.stdout.decode(encoding)) == "é 顔 😀"


def test_an_error_is_a_line_and_a_hint_on_stderr_and_status_1(tmp_path: Path) -> None:
    done = process(ZOO, "sample", "dcgan-celebs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: no card 'dcgan-celebs'\n  Did you mean 'dcgan-celeba'.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_zoo_traceback_shows_where_an_error_came_from(tmp_path: Path) -> None:
    done = process(ZOO, "info", "dcgan-celebs", env=ENVIRONMENT | {"ZOO_TRACEBACK": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "NotFoundError" in done.stderr


@pytest.mark.parametrize(
    "words", [["lst"], ["list", "--famly", "dcgan"], ["sample"], ["sample", "x", "-n", "many"], ["train", "x"]]
)
def test_a_usage_error_ends_with_status_2(run: Callable[..., Any], words: list[str]) -> None:
    assert run(*words).exit_code == 2


# A shell starts its background jobs, this test suite perhaps among them, deaf to Ctrl-C; Python keeps them so.
HEEDFUL = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def training(tmp_path: Path, faces: Path) -> list[str]:
    """A command that trains for ever in tmp_path/run, but heeds signals."""
    words = ["train", "dcgan-celeba", "--data", faces, "--out", tmp_path / "run", *TINY, "--steps", 100_000]
    words += ["--set", "save_every=100000", "--set", "log_every=1"]
    return [sys.executable, "-c", HEEDFUL, ZOO, *map(str, words)]


def begun(out: Path, process: "subprocess.Popen[Any]", terminal: int | None = None) -> None:
    """Wait until the run has a step in its log. What it writes to a terminal is read, so that it can go on."""
    while not (out / "log.csv").exists() and process.poll() is None:
        if select.select([] if terminal is None else [terminal], [], [], 0.05)[0]:
            os.read(terminal, 1 << 16)  # type: ignore[arg-type]


def test_interrupting_a_training_saves_and_says_how_to_go_on(tmp_path: Path, faces: Path) -> None:
    out, words = tmp_path / "run", training(tmp_path, faces)
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=ENVIRONMENT, **options) as process:
        try:
            begun(out, process)
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    step, _ = checkpoints.reached(out)
    assert step > 0
    assert re.search(rf"stopped at step {step} of 100000 by SIGTERM. To go on:\n  zoo train .* --resume\n$", errors)
    assert "stopped" not in output
    assert not (out / "config.json").exists()


def test_a_closed_terminal_stops_a_training_with_a_checkpoint(tmp_path: Path, faces: Path) -> None:
    """The process leads the session of a terminal, as a shell does. What it says then has nowhere to go."""
    out, words = tmp_path / "run", training(tmp_path, faces)
    ours, its = pty.openpty()
    lead = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    options: dict[str, Any] = {"stdin": its, "stdout": its, "stderr": its, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", lead, *words], env=ENVIRONMENT, **options) as process:
        os.close(its)
        try:
            begun(out, process, ours)
            os.close(ours)
            process.wait(300)
        finally:
            process.kill()
    assert checkpoints.reached(out)[0] > 0


# list, plugins, info


def test_list_shows_every_recipe_with_its_state(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "bundled", lambda: {"dcgan-celeba": Path("somewhere")})
    entries = json.loads(run("list", "--json").stdout)
    cards = [name for spec in registry().specs.values() for name in cards_of(spec)]
    assert [entry["name"] for entry in entries] == sorted(cards)
    states = {entry["name"]: entry["state"] for entry in entries}
    assert states.pop("dcgan-celeba") == "bundled"
    assert states == {name: "trainable" if name in registry().recipes else "converted" for name in states}


def test_list_says_where_the_weights_of_a_card_would_come_from(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "bundled", dict)
    monkeypatch.setattr(hub, "elsewhere", lambda: {"dcgan-celeba": Path("somewhere")})

    def states() -> dict[str, str]:
        return {entry["name"]: entry["state"] for entry in json.loads(run("list", "--json").stdout)}

    monkeypatch.delenv("ZOO_NAMESPACE", raising=False)
    assert states()["dcgan-celeba"] == "in genzoo-cards"
    monkeypatch.setenv("ZOO_NAMESPACE", "us")
    assert states()["dcgan-celeba"] == "on the Hub: us/dcgan-celeba"
    assert states()["vae-mnist"] == "trainable"


def test_list_can_keep_to_one_family_and_suggests_for_an_unknown_one(run: Callable[..., Any]) -> None:
    assert {e["family"] for e in json.loads(run("list", "--family", "dcgan", "--json").stdout)} == {"dcgan"}
    wrong = run("list", "--family", "dcgn")
    assert wrong.exit_code == 1
    assert "Did you mean 'dcgan'" in wrong.stderr


def test_output_into_a_pipe_is_whole_lines_whatever_the_width() -> None:
    lines = process(ZOO, "list").stdout.splitlines()  # COLUMNS is 40
    row = next(line for line in lines if line.startswith("dcgan-celeba "))
    assert re.split(r"\s{2,}", row)[:4] == [
        "dcgan-celeba",
        "dcgan",
        "unconditional-image-generation",
        "sample, latents, decode",
    ]
    assert "\x1b" not in "".join(lines)


def test_plugins_shows_what_was_set_aside_and_why(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Plugin("bad", "bad_plugin", "bad-dist", "1.2", error="ImportError: no [module] \x1b[31mred")
    monkeypatch.setattr(registry(), "plugins", [*registry().plugins, broken])
    entries = {entry["plugin"]: entry for entry in json.loads(run("plugins", "--json").stdout)}
    assert entries["dcgan"]["families"] == ["dcgan"]
    assert (entries["bad"]["state"], entries["bad"]["distribution"]) == ("set aside", "bad-dist")
    table = run("plugins")
    assert table.exit_code == 0
    assert "no [module]" in table.stdout
    assert "\x1b" not in table.stdout
    assert "'zoo plugins' says why" in run("list").stderr


def test_info_of_a_recipe_without_card_says_how_to_train_it(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "bundled", dict)
    shown = run("info", "dcgan-celeba").stdout
    assert "zoo train dcgan-celeba --out runs/dcgan-celeba" in shown
    assert json.loads(run("info", "dcgan-celeba", "--json").stdout)["preparation"]["size"] == 64


def test_info_of_a_card_shows_its_facts(run: Callable[..., Any], trained: Path) -> None:
    facts = cards.read_facts(trained)
    metric = cards.Metric(
        name="fid",
        value=12.345,
        better="lower",
        data="drawn",
        split="test",
        n=48,
        seed=3,
        protocol="Heusel et al. 2017",
    )
    cards.write_facts(trained, facts.model_copy(update={"metrics": [metric]}))
    shown = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in run("info", trained).stdout.splitlines())
    assert shown["card"].startswith("dcgan-faces")  # the folder it was trained on
    assert shown["can"] == "sample, latents, decode"
    assert shown["folder"] == str(trained)
    assert shown["images"].startswith("16x16 RGB")
    assert "43 images" in shown["training"]  # of 48, of which 5 are held out
    assert "2 steps of 8" in shown["training"]
    assert "augmentation=color,cutout" in shown["settings"]
    assert "12.35; lower is better; drawn, test, 48 images, seed 3. Heusel" in shown["figure fid"]
    assert shown["licence"].startswith("other: ")
    whole = json.loads(run("info", trained, "--json").stdout)
    assert whole["weights"]["sha256"]
    assert whole["metrics"][0]["value"] == 12.345


def test_info_shows_a_card_without_facts_and_its_conditions(
    run: Callable[..., Any], tiny_card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioned(tiny_card, monkeypatch)
    shown = run("info", tiny_card)
    assert shown.exit_code == 0
    assert re.search(r"condition label +one of 5, 7, nine", shown.stdout)
    assert json.loads(run("info", tiny_card, "--json").stdout)["conditions"]["code"] == "a number from -2 to 2"


def test_where_prints_the_folder_alone_and_how_it_was_found_beside(run: Callable[..., Any], tiny_card: Path) -> None:
    found = run("info", tiny_card, "--where")
    assert found.stdout == f"{tiny_card}\n"
    assert found.stderr.splitlines() == ["1. folder: this one", "2. bundled: not asked", "3. Hub: not asked"]


# sample


def test_sample_writes_a_png_that_knows_its_seed(run: Callable[..., Any], tiny_card: Path, tmp_path: Path) -> None:
    result = run("sample", tiny_card, "-n", 4, "--seed", 7, "--out", "faces.png")
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote faces.png: 4 images, seed 7\n"
    with Image.open(tmp_path / "faces.png") as picture:
        assert (picture.size, picture.mode) == ((2 * 16 + 2, 2 * 16 + 2), "RGB")
        assert picture.text["seed"] == "7"  # type: ignore[attr-defined]
        assert picture.text["model"] == "dcgan-tiny"  # type: ignore[attr-defined]


def test_a_seed_decides_the_bytes_of_the_file(run: Callable[..., Any], tiny_card: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("sample", tiny_card, "-n", 3, "--seed", seed, "--out", f"{name}.png", "--batch-size", 1 + (name == "b"))
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_without_out_the_file_is_named_after_model_and_seed(
    run: Callable[..., Any], tiny_card: Path, tmp_path: Path
) -> None:
    results = [run("sample", tiny_card, "-n", 1) for _ in range(2)]
    written = {path.name for path in tmp_path.glob("*.png")}
    assert len(written) == 2
    for result in results:
        name, seed = re.fullmatch(r"wrote (\S+): 1 image, seed (\d+)\n", result.stdout).groups()  # type: ignore[union-attr]
        assert name == f"dcgan-tiny-seed{seed}.png"
        assert name in written


def test_an_existing_file_is_overwritten_only_with_force(
    run: Callable[..., Any], tiny_card: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")
    refused = run("sample", tiny_card, "-n", 1, "--out", taken)
    assert refused.exit_code == 1
    assert f"{taken} exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert taken.read_bytes() == b"mine"
    assert run("sample", tiny_card, "-n", 1, "--out", taken, "--force").exit_code == 0
    assert taken.read_bytes() != b"mine"


def test_a_folder_takes_the_next_samples_but_not_the_same_again(
    run: Callable[..., Any], tiny_card: Path, tmp_path: Path
) -> None:
    more = ["sample", tiny_card, "-n", 2, "--seed", 0, "--out", "many"]
    assert run(*more).exit_code == 0
    assert run(*more, "--start", 2).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [f"{i:05d}.png" for i in range(4)]
    again = run(*more, "--start", 3)
    assert again.exit_code == 1
    assert "00003.png" in again.stderr


@pytest.mark.parametrize("out", ["faces.gif", "faces.tar.gz"])
def test_a_format_that_cannot_be_written_is_refused(run: Callable[..., Any], tiny_card: Path, out: str) -> None:
    result = run("sample", tiny_card, "--out", out)
    assert result.exit_code == 1
    assert ".webp" in result.stderr


def test_pictures_are_not_written_to_the_standard_output(
    run: Callable[..., Any], tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("sample", str(tiny_card), "-n", "1", "--out", "-")
    assert result.exit_code == 1
    assert "standard output" in result.stderr
    assert not Path("-").exists()


def test_an_error_of_the_file_system_is_a_line(run: Callable[..., Any], tiny_card: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("sample", tiny_card, "-n", 1, "--out", "file/faces.png")
    assert result.exit_code == 1
    assert re.fullmatch(r"error: .*file.*\n", result.stderr)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--label", "7"], "label", [1, 1]),  # the class of that name, not number 7
        (["--label=2"], "label", [2, 2]),
        (["--set", "label=nine"], "label", [2, 2]),
        (["--label", '["5", "7"]'], "label", [0, 1]),
        (["--Blond_Hair", "true"], "attributes", [[1.0, -1.0]] * 2),
        (["--Blond-Hair", "false", "--set", "Smiling=true"], "attributes", [[0.0, 1.0]] * 2),
        (["--code", "-1.5"], "code", [[-1.5]] * 2),
    ],
)
def test_conditions_go_by_name(
    run: Callable[..., Any],
    tiny_card: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    key: str,
    value: list[Any],
) -> None:
    got = conditioned(tiny_card, monkeypatch)
    result = run("sample", tiny_card, *words, "-n", 2, "--out", "x.png")
    assert result.exit_code == 0, result.output
    tensor = got.pop(key)
    assert tensor is not None
    assert tensor.nan_to_num(-1.0).tolist() == value
    assert set(got.values()) == {None}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--lable", "7"], 2, "Did you mean '--label'"),
        (["--sed", "7"], 2, "Did you mean '--seed'"),
        (["--forc"], 2, "Did you mean '--force'"),
        (["-x", "3"], 2, "no option '-x'"),
        (["--set", "seed=4"], 2, "without --set: --seed VALUE"),
        (["--label"], 2, "needs a value, one of 5, 7, nine"),
        (["surplus"], 2, "'surplus'"),
        (["--set", "label"], 2, "KEY=VALUE"),
        (["--set", "=7"], 2, "KEY=VALUE"),
        (["--set", "lable=7"], 1, "Did you mean 'label'"),
        (["--label", "8"], 1, "label"),
        (["--code", "3"], 1, "from -2 to 2"),
        (["-n", "0"], 1, "n must be a whole number from 1"),
    ],
)
def test_a_wrong_condition_or_option_is_refused_by_name(
    run: Callable[..., Any],
    tiny_card: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    status: int,
    said: str,
) -> None:
    conditioned(tiny_card, monkeypatch)
    result = run("sample", tiny_card, "--out", "x.png", *words)
    assert result.exit_code == status
    assert said in result.stderr
    assert not (tmp_path / "x.png").exists()


def test_a_condition_before_the_name_is_told_its_place(run: Callable[..., Any], tiny_card: Path) -> None:
    result = run("sample", "--label", "7", tiny_card)
    assert result.exit_code == 2
    assert "Conditions come after the card: zoo sample NAME --label VALUE" in result.stderr


# translate


def test_translate_of_a_model_that_cannot_says_what_it_can(
    run: Callable[..., Any], tiny_card: Path, faces: Path
) -> None:
    result = run("translate", tiny_card, faces / "000.png", "--out", "x.png")
    assert result.exit_code == 1
    assert "cannot translate" in result.stderr
    assert "It has: sample, latents, decode." in result.stderr


@pytest.fixture
def translator(tiny_card: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny card made to translate: an image comes out inverted where its `Smiling` flag says so."""
    import dataclasses

    from zoo_dcgan.model import DCGAN

    def translate(self: DCGAN, x: torch.Tensor, noise: zoo.Noise, attributes: torch.Tensor) -> torch.Tensor:
        return torch.where(attributes[:, 1, None, None, None] == 1, 1 - x, x)

    spec = dataclasses.replace(registry().spec("dcgan"), capabilities=("translate",))
    monkeypatch.setitem(registry().specs, "dcgan", spec)
    takes(tiny_card, {"attributes": Flags(("Blond_Hair", "Smiling"))}, monkeypatch)
    monkeypatch.setattr(DCGAN, "translate", translate, raising=False)
    return tiny_card


def test_translate_takes_images_and_then_conditions(
    run: Callable[..., Any], translator: Path, faces: Path, tmp_path: Path
) -> None:
    images = [faces / "000.png", faces / "001.png"]
    result = run("translate", translator, *images, "--Smiling", "true", "--out", "made")
    assert result.exit_code == 0, result.output
    given, made = (
        zoo.load(translator).prepare(images),
        zoo.load(translator).prepare(sorted((tmp_path / "made").iterdir())),
    )
    assert torch.allclose(made, 1 - given, atol=1e-6)


def test_a_corrupt_image_is_named(run: Callable[..., Any], translator: Path, faces: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((faces / "000.png").read_bytes()[:200])
    result = run("translate", translator, faces / "001.png", broken, "--Smiling", "true", "--out", "made.png")
    assert result.exit_code == 1
    assert str(broken) in result.stderr
    assert not (tmp_path / "made.png").exists()


# train and evaluate


def test_a_trained_folder_samples(run: Callable[..., Any], trained: Path) -> None:
    assert run("sample", trained, "-n", 2, "--out", "x.png").exit_code == 0
    assert zoo.load(trained).config.width == 4


def test_resume_goes_on_and_needs_to_be_asked_for(
    run: Callable[..., Any], trained: Path, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    shutil.copytree(trained, out)
    again = ["train", "dcgan-celeba", "--data", faces, "--out", out, "--steps", 3, *TINY]
    refused = run(*again)
    assert refused.exit_code == 1
    assert "--resume" in refused.stderr
    assert run(*again, "--resume").exit_code == 0
    assert cards.read_facts(out).training.steps == 3


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["dcgan-celbea"], 1, "Did you mean 'dcgan-celeba'"),
        (["dcgan-celeba", "--set", "widht=4"], 1, "Did you mean 'width'"),
        (["dcgan-celeba", "--set", "width=wide"], 1, "width"),
        (["dcgan-celeba", "--set", "config.lr=1"], 1, "no setting 'config.lr'"),
        (["dcgan-celeba", "--set", "lr"], 2, "KEY=VALUE"),
        (["dcgan-celeba", "--set", "device=cpu"], 2, "'device'"),
        (["dcgan-celeba", "--steps", "0"], 2, "--steps"),
        (["dcgan-celeba", "--family", "dcgan"], 2, "--family works only together with --all"),
        (["dcgan-celeba", "--all", "--limit", "3"], 2, "Leave out NAME, --limit or --all"),
        (["dcgan-celeba", "--data", "a.png", "--data", "b.png"], 1, "there is no file a.png"),
        ([], 2, "Give the name of a recipe"),
        (["dcgan-celeba", "--resume"], 1, "no run in"),
        (["dcgan-celeba", "--data", "./nowhere"], 1, "nowhere"),
    ],
)
def test_a_training_that_cannot_begin_says_why(
    run: Callable[..., Any], words: list[str], status: int, said: str
) -> None:
    result = run("train", *words, "--out", "run")
    assert result.exit_code == status
    assert said in result.stderr


def test_a_usage_error_repeats_what_was_typed_with_what_it_lacks(run: Callable[..., Any]) -> None:
    result = run("train", "dcgan-celeba", "--data", "my photos")
    assert result.exit_code == 2
    assert "zoo train dcgan-celeba --data 'my photos' --out runs/dcgan-celeba" in " ".join(result.stderr.split())
    result = run("train", "dcgan-celeba", "photos", "--out", "run")
    assert result.exit_code == 2
    assert "--data photos" in result.stderr


def test_an_option_of_one_letter_is_suggested(run: Callable[..., Any], tiny_card: Path) -> None:
    result = run("sample", tiny_card, "--n", 4)
    assert result.exit_code == 2
    assert "Did you mean '-n'?" in result.stderr


def test_too_many_images_for_a_grid_are_told_what_to_type(run: Callable[..., Any], tiny_card: Path) -> None:
    result = run("sample", tiny_card, "-n", 10**7, "--out", "x.png")
    assert result.exit_code == 1
    assert "zoo sample NAME -n 10000000 --out FOLDER" in result.stderr


def test_evaluate_shows_the_figures_it_gets(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    metric = cards.Metric(
        name="fid", value=12.345, better="lower", data="drawn", split="test", n=48, seed=3, protocol="of a test"
    )

    def evaluate(name: str, **given: Any) -> list[cards.Metric]:
        asked.update(given, name=name)
        return [metric]

    monkeypatch.setattr(zoo, "evaluate", evaluate, raising=False)
    options = ("--limit", 5, "--seed", 3, "--backbone", "resnet18", "--neighbours", "near.png")
    shown = run("evaluate", "dcgan-tiny", "--data", "folder", *options)
    assert re.split(r"\s{2,}", shown.stdout.splitlines()[1])[:3] == ["fid", "12.35", "lower"]
    assert (asked["name"], asked["data"], asked["limit"], asked["seed"]) == ("dcgan-tiny", "folder", 5, 3)
    assert (asked["backbone"], asked["neighbours"]) == ("resnet18", Path("near.png"))
    assert json.loads(run("evaluate", "dcgan-tiny", "--json").stdout)[0]["protocol"] == "of a test"


@pytest.mark.parametrize(("state", "status"), [("pass", 0), ("skipped", 0), ("fail", 1)])
def test_verify_shows_a_row_a_check_and_ends_with_1_if_one_failed(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, state: Any, status: int
) -> None:
    asked: dict[str, Any] = {}

    def verify(name: str, **given: Any) -> list[Check]:
        asked.update(given, name=name)
        return [Check("weights", "pass"), Check("files", state, found="notes\x1b[31m.txt", why="move it")]

    monkeypatch.setattr(zoo, "verify", verify, raising=False)
    result = run("verify", "dcgan-tiny", "--data", "folder", "--judge", "judge-tiny")
    assert (result.exit_code, result.stderr) == (status, "")
    assert re.split(r"\s{2,}", result.stdout.splitlines()[2]) == [
        "dcgan-tiny",
        "files",
        state,
        "notes[31m.txt",
        "move it",
    ]
    expected = {"data": "folder", "judge": "judge-tiny", "key": None, "device": "auto", "progress": False}
    assert asked == {"name": "dcgan-tiny"} | expected
    found = run("verify", "dcgan-tiny", "--json")
    assert found.exit_code == status
    assert [(entry["card"], entry["state"]) for entry in json.loads(found.stdout)] == [
        ("dcgan-tiny", "pass"),
        ("dcgan-tiny", state),
    ]


def test_verify_of_an_unknown_card_is_a_line_with_a_suggestion(run: Callable[..., Any]) -> None:
    result = run("verify", "dcgan-celebs")
    assert result.exit_code == 1
    assert re.fullmatch(r"error: no card 'dcgan-celebs'\n  Did you mean 'dcgan-celeba'.*\n", result.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "folder"], "For the folder type ./folder"),
        (["info", "dcgan-celeba@v1"], "org/dcgan-celeba@v1"),
        (["verify", "vae-mnist", "--all"], "Give either vae-mnist or --all, not both"),
        (["verify"], "Give the name of a card, or --all"),
        (["verify", "--all", "--judge", "x"], "Leave --data and --judge out"),
        (["publish", "vae-mnist", "--all", "--to", "org"], "Give either vae-mnist or --all, not both"),
        (["publish", "vae-mnist", "--to", "org/name"], "Give --yes to send"),
        (["translate", "cyclegan-celeba-blond", "--to", "blond", "--out", "x.png"], "photo.jpg --out x.png"),
        (["check", "dcgan", "--optional", "gpus"], "Did you mean 'gpu'"),
        (["train", "dcgan-celeba"], "zoo train dcgan-celeba --out runs/dcgan-celeba"),
    ],
)
def test_what_stops_a_command_says_what_to_type(
    run: Callable[..., Any], tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    result = run(*words)
    assert (result.exit_code, said in result.stderr) == (1 if words[0] == "info" else 2, True), result.stderr


def commands() -> "dict[str, typer.core.TyperCommand]":
    return typer.main.get_command(app).commands  # type: ignore[attr-defined, no-any-return]


def shown(name: str, width: int) -> list[str]:
    """The lines of a command's help, or of that of `zoo` itself."""
    return CliRunner().invoke(app, [*filter(None, [name]), "--help"], terminal_width=width).stdout.splitlines()


def test_every_command_and_option_explains_itself() -> None:
    """In sentences, and not as a word that goes on after the option's name: "Of the grid."."""
    for name, command in commands().items():
        for help in (command.help, *(getattr(param, "help", None) for param in command.params if param.name != "ctx")):
            assert help, name
            assert re.fullmatch(r"(?s)(?!Of |As |For )[A-Z]\S* \S+ .*\.", help), (name, help)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ["", *commands()])
def test_help_fits_a_screen_and_ends_with_examples_that_the_command_takes(name: str, width: int) -> None:
    lines = shown(name, width)
    assert len(lines) <= 50
    assert max(map(len, lines)) <= width
    start = next(i for i, line in enumerate(lines) if line in ("Example:", "Examples:"))
    for line in lines[start + 1 :]:
        program, command, *words = shlex.split(line)
        assert (program, command) == ("zoo", name or command)
        taken = commands()[command].make_context(command, [*words])
        conditions = {word for word in taken.args if word.startswith("-")}
        assert not conditions or conditions <= {f"--{key}" for key in zoo.load(words[0]).conditions}


def test_the_list_of_commands_cuts_no_sentence_off() -> None:
    lines = shown("", 80)
    ends = [i for i, line in enumerate(lines) if not line]
    start = lines.index("Commands:")
    listed = lines[start + 1 : next(end for end in ends if end > start)]
    jobs = [job.name for job in JOBS]
    assert [line.split()[0] for line in listed] == [name for name in commands() if name not in jobs]
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    named = " ".join(lines[lines.index(OF_CARDS) + 1 : lines.index("Examples:")])
    assert [word.strip(",") for word in named.split()] == jobs
    assert len(lines) <= 35


OF_CARDS = "Commands that some cards can do, as 'zoo info' says:"


def sentences(node: ast.AST) -> Iterator[str]:
    """The texts in code, with `X` for what is filled in. Docstrings and comments are left out."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from sentences(child)


def test_options_in_hints_exist_and_are_named_as_arguments_in_python() -> None:
    """A hint is for both: what it calls --card-name is card_name in Python, and the error says so there."""
    import zoo.scaffold.package
    from zoo.training.plan import Settings

    options = {
        option
        for command in commands().values()
        for param in command.params
        for option in [*param.opts, *param.secondary_opts]
    }
    calls = (
        zoo.train,
        zoo.train_all,
        zoo.finish,
        zoo.evaluate,
        zoo.verify,
        zoo.publish,
        zoo.load,
        zoo.scaffold.package.Answers,
    )
    known = {name for call in calls for name in inspect.signature(call).parameters} | Settings.model_fields.keys()
    known |= {"steps", "image_size", "lr", "names", "set"}  # of recipes; and a name that the text leaves open
    told = [
        text
        for path in sorted(Path(zoo.__file__).parent.rglob("*.py"))
        if "cli" not in path.parts and path.name != "pytest_plugin.py"
        for text in sentences(ast.parse(path.read_text(encoding="utf-8")))
        if " " in text and arguments(text)
    ]
    assert len(told) > 20
    for text in told:
        bare = COMMAND.sub("", text)
        assert {*re.findall(r"--[a-z][a-z-]*[a-z]", bare)} <= options, text
        assert {*arguments(text)} <= known, text


def test_an_error_in_python_names_arguments_and_on_the_command_line_options(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "фото").mkdir()
    with pytest.raises(zoo.ConfigError, match=r"--card-name dcgan-faces\. In Python: the argument card_name\.$"):
        zoo.train("dcgan-celeba", data=tmp_path / "фото", out=tmp_path / "run")
    said = run("train", "dcgan-celeba", "--data", tmp_path / "фото", "--out", tmp_path / "run").stderr
    assert "--card-name dcgan-faces" in said
    assert "Python" not in said


@pytest.mark.parametrize(
    ("hint", "names"),
    [
        ("Give another folder: --out FOLDER", ["out"]),
        ("To go on add --resume. To begin anew: --out FOLDER", ["resume", "out"]),
        ("Try --set lr=VALUE or --set 'loop.names=[1]'", ["lr", "loop.names"]),
        ("Say which: --column image=NAME, and give --signature KEY.", ["columns", "key"]),
        ("Train it: zoo train NAME --out FOLDER", []),
        ("Upgrade it: pip install --upgrade genzoo", []),
        ("Give --device cpu; in Python device='cpu'.", []),
        ("zoo-tool -- no option", []),
    ],
)
def test_what_an_option_in_a_hint_is_in_python(hint: str, names: list[str]) -> None:
    assert arguments(hint) == names


def test_the_commands_and_options_that_errors_tell_of_exist() -> None:
    """`'zoo list'`, or `zoo list` after a colon, in any text of the core."""
    told = [
        match
        for path in sorted(Path(zoo.__file__).parent.rglob("*.py"))
        for text in sentences(ast.parse(path.read_text(encoding="utf-8")))
        for match in re.finditer(r"(?:'|: )zoo ([a-z]+)((?: [^\s';]+)*)", text)
    ]
    assert len(told) > 20
    for match in told:
        command = commands().get(match[1])
        assert command is not None, match[0]
        options = {option for param in command.params for option in [*param.opts, *param.secondary_opts]}
        assert {word for word in match[2].split() if re.fullmatch(r"--[a-z-]+", word)} <= options, match[0]


@pytest.mark.parametrize("name", [name for name, (_, recipe) in registry().recipes.items() if recipe.larger])
def test_what_a_card_offers_for_a_gpu_is_a_run_that_can_be_planned(name: str, run: Callable[..., Any]) -> None:
    """All is well with it but the data, of which there are none."""
    result = run("train", name, "--data", "./none", "--out", "out", *shlex.split(registry().recipe(name)[1].larger))
    assert (result.exit_code, "no folder none" in result.output) == (1, True), result.output


ARGUMENTS = [
    key for key, value in inspect.signature(zoo.train).parameters.items() if value.kind is not value.VAR_KEYWORD
]


@pytest.mark.parametrize("key", ARGUMENTS)
def test_what_is_no_setting_is_refused_with_the_way_to_give_it(key: str, run: Callable[..., Any]) -> None:
    result = run("train", "dcgan-celeba", "--out", "out", "--set", f"{key}=1")
    assert result.exit_code == 2
    assert f"'{key}' is no setting of a recipe" in " ".join(result.output.replace("│", " ").split())
    options = {
        option
        for param in typer.main.get_command(app).commands["train"].params
        for option in [*param.opts, *param.secondary_opts]
    }  # type: ignore[attr-defined]
    assert OWN_OPTIONS[key].startswith(("NAME", "zoo.train")) or OWN_OPTIONS[key] in options
