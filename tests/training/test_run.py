"""What a run promises: exact resume, checkpoints that survive kills and full disks, and honest helpers."""

import contextlib
import csv
import errno
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import datasets
import pytest
import safetensors.torch
import torch
from tables import classes, flags, write_table
from torch import Tensor, nn

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.errors import InputError, TrainingError
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec, Preparation
from zoo.files import TEMPORARY
from zoo.training import checkpoints
from zoo.training.checkpoints import reached
from zoo.training.run import Run
from zoo.training.stopping import OutOfTime

KILLS = int(os.environ.get("ZOO_KILLS", "20"))
HEAVY = [
    "zoo.training.recipes",
    "datasets",
    "accelerate",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "rich.progress",
    "pytest",
]
"""What a training process imports; an optimizer imports dynamo."""


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes forked from one that has imported everything: each starts in a fraction of a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    return context


def temporaries(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY}*"))


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


# Exact resume, for every family


def families() -> list[str]:
    return [name for name, spec in registry().specs.items() if spec.recipes]


def tiny(spec: ModelSpec) -> dict[str, Any]:
    """What turns a family's first recipe into a run of 40 steps of its tiny model."""
    run = {"steps": 40, "save_every": 20, "log_every": 8, "batch_size": 4, "ema": 0.9, "precision": "float32"}
    prepared = {"channels": spec.recipes[0].preparation.channels} if "channels" in spec.tiny else {}
    return dict(spec.tiny) | prepared | dict(spec.tiny_train) | run


def data_for(spec: ModelSpec, faces: Path, folder: Path) -> Path:
    """The drawn faces with every column that the family's first recipe asks for, and as many classes as it is tiny."""
    recipe, names = spec.recipes[0], spec.tiny.get("names", range(10))
    pictures = sorted(faces.iterdir())
    n = len(pictures)
    columns: dict[str, Any] = {}
    for key, name in recipe.columns.items():
        if key in ("image", "input"):
            columns[name] = datasets.Image(), [{"bytes": p.read_bytes(), "path": None} for p in pictures]
        elif key == "label":
            columns[name] = classes([i % len(names) for i in range(n)], [str(name) for name in names])
        else:
            columns |= {part: flags([(i + k) % 2 == 0 for i in range(n)]) for k, part in enumerate(name.split(","))}
    return write_table(folder, pictures, **columns)


def train_and_dawdle(name: str, out: Path, data: Path, settings: dict[str, Any]) -> None:
    """In a process of its own: train, but slowly once there is a checkpoint, so that a kill comes in the middle."""
    torch.set_num_threads(1)
    quick = Batches.at

    def at(self: Batches, number: int) -> Any:
        time.sleep(0.3 if checkpoints.found(out) else 0)
        return quick(self, number)

    Batches.at = at  # type: ignore[method-assign]
    zoo.train(name, out=out, data=data, device="cpu", progress=False, **settings)


@pytest.mark.parametrize("family", families())
def test_forty_steps_equal_twenty_a_kill_and_twenty_more(
    family: str, faces: Path, tmp_path: Path, processes: Any
) -> None:
    spec = registry().spec(family)
    recipe, settings = spec.recipes[0], tiny(spec)
    data, straight, killed = data_for(spec, faces, tmp_path / "data"), tmp_path / "straight", tmp_path / "killed"

    child = processes.Process(target=train_and_dawdle, args=(recipe.name, killed, data, settings))
    child.start()
    wait_for(lambda: checkpoints.found(killed) or not child.is_alive())
    time.sleep(0.7)
    child.kill()
    child.join()
    assert child.exitcode == -9
    assert [path.name for path in checkpoints.found(killed)] == ["step-00000020"]

    zoo.train(recipe.name, out=straight, data=data, device="cpu", progress=False, **settings)
    zoo.train(recipe.name, out=killed, data=data, device="cpu", progress=False, resume=True, **settings)
    for file in ("model.safetensors", "config.json", "checkpoints/step-00000040/state.safetensors"):
        assert (killed / file).read_bytes() == (straight / file).read_bytes(), file
    assert losses(killed) == losses(straight)
    assert not temporaries(killed)


def losses(out: Path) -> list[dict[str, str]]:
    """log.csv without the clock."""
    with (out / "log.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40
    return rows


# Kills and full disks


class Toy(nn.Module):
    """One number, which its checkpoints are told apart by, and ballast that takes time to write."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.ballast = nn.Parameter(torch.zeros(64, 1024))


def toy_run(out: Path, **options: Any) -> tuple[Run, Toy]:
    run, model = Run(out, device="cpu", progress=False, **({"save_every": 1} | options)), Toy()
    run.prepare(model=model, optimizer=torch.optim.Adam(model.parameters()))
    return run, model


def walk(run: Run, model: Toy, total: int) -> Generator[int]:
    """Steps in which the toy's value is the number of the step."""
    for step in run.steps(total):
        yield step
        with torch.no_grad():
            model.value.fill_(step + 1)
        run.log(value=model.value)


def resumed(out: Path) -> int:
    """The step at which a new run finds itself, once its weights are known to be those of that step."""
    run, model = toy_run(out, resume=True)
    with contextlib.closing(walk(run, model, 10**9)) as steps:
        step = next(steps)
    assert model.value.item() == step
    return step


def save_for_ever(out: Path, report: Connection) -> None:
    """In a process of its own: save at every step, and tell the last step that is known to be saved."""
    for step in walk(*toy_run(out, resume=bool(checkpoints.found(out))), 10**9):
        report.send(step)


def killed_at_random(processes: Any, out: Path, wait: float) -> int:
    """Start a process that saves for ever, kill it, and return the last step that it had saved for sure."""
    reader, writer = processes.Pipe(duplex=False)
    child = processes.Process(target=save_for_ever, args=(out, writer))
    child.start()
    writer.close()
    last: int = reader.recv()
    time.sleep(wait)
    child.kill()
    child.join()
    assert child.exitcode == -9
    with contextlib.suppress(EOFError, OSError), reader:
        while True:
            last = reader.recv()
    return last


def test_a_kill_at_any_moment_loses_no_completed_save(tmp_path: Path, processes: Any) -> None:
    draws, saved = random.Random(0), 0
    for _ in range(KILLS):
        last = killed_at_random(processes, tmp_path, draws.uniform(0, 0.15))
        assert last >= saved
        saved = resumed(tmp_path)
        assert last <= saved <= last + 1
        assert not temporaries(tmp_path)
    assert saved > 1
    with (tmp_path / "log.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))


class FullDisk:
    """Lets so many calls that write to the disk pass, then each leaves half of its bytes and raises ENOSPC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, passing: int) -> None:
        self.passing, self.calls = passing, 0
        writing = [(Path, "mkdir"), (Path, "write_bytes"), (Path, "write_text"), (os, "fsync"), (os, "rename")]
        for owner, name in [*writing, (os, "replace")]:
            monkeypatch.setattr(owner, name, self.wrapped(name, getattr(owner, name)))

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls <= self.passing:
                return function(*arguments, **options)
            if name.startswith("write_"):
                path, content = arguments
                function(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return call


def third_step(out: Path, passing: int) -> int:
    """Save two steps, then a third while the disk fills up; the number of calls it made that write."""
    with contextlib.closing(walk(*toy_run(out), 10)) as steps, pytest.MonkeyPatch.context() as monkeypatch:
        assert [next(steps) for _ in range(3)] == [0, 1, 2]
        disk = FullDisk(monkeypatch, passing)
        try:
            next(steps)
        finally:
            monkeypatch.undo()
    return disk.calls


def test_a_full_disk_at_any_point_of_a_step_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    points = third_step(tmp_path / "free", passing=1000)
    assert points >= 12  # log, folders, files, flushes and renames
    for passing in range(points):
        out = tmp_path / str(passing)
        with pytest.raises(TrainingError, match=r"(?s)cannot write to .*: No space left.*step-0000000[23].*--resume"):
            third_step(out, passing)
        assert "step-00000002" in [path.name for path in checkpoints.found(out)]
        assert not temporaries(out)
        assert resumed(out) in (2, 3)  # 3 when only the flush after the rename failed


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped byte", "cut short", "gone"])
def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(file: str, damage: str, tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path), 3):
        pass
    path = checkpoints.found(tmp_path)[-1] / file
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "gone":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(data[:middle])
    else:
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    assert resumed(tmp_path) == 2


def test_a_fallen_back_run_replaces_the_broken_checkpoint(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path), 3):
        pass
    (tmp_path / "checkpoints" / "step-00000003" / "state.json").write_text("{}")
    for _ in walk(*toy_run(tmp_path, resume=True), 3):
        pass
    assert resumed(tmp_path) == 3


def test_a_run_with_broken_checkpoints_alone_does_not_begin_anew(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path), 2):
        pass
    for path in checkpoints.found(tmp_path):
        (path / "manifest.json").unlink()
    with pytest.raises(TrainingError, match="none of its 2 checkpoints is complete"):
        resumed(tmp_path)


def test_the_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path, save_every=2), 9):
        pass
    assert [path.name for path in checkpoints.found(tmp_path)] == ["step-00000008", "step-00000009"]


def test_a_run_does_not_begin_on_top_of_another(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path), 2):
        pass
    with pytest.raises(InputError, match="already holds a run"):
        next(walk(*toy_run(tmp_path), 2))
    assert resumed(tmp_path) == 2


def test_a_run_with_other_parts_does_not_resume(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path), 2):
        pass
    run = Run(tmp_path, device="cpu", progress=False, resume=True)
    run.prepare(model=Toy(), critic=Toy())
    with pytest.raises(
        TrainingError, match=r"the parts \['model', 'optimizer'\], but this run has \['critic', 'model'\]"
    ):
        next(run.steps(5))


# A deadline


def test_a_deadline_stops_after_a_step_that_is_saved(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path, save_every=100, deadline=time.monotonic())
    with pytest.raises(OutOfTime, match=r"(?s)stopped at step 1 of 9: the time is up.*--resume") as caught:
        for _ in walk(run, model, 9):
            pass
    assert (caught.value.step, caught.value.total) == (1, 9)
    assert [path.name for path in checkpoints.found(tmp_path)] == ["step-00000001"]
    assert not list((tmp_path / "samples").iterdir())
    assert resumed(tmp_path) == 1
    assert reached(tmp_path)[0] == 1


def test_a_run_with_time_enough_or_at_its_end_does_not_stop(tmp_path: Path) -> None:
    for _ in walk(*toy_run(tmp_path / "long", deadline=time.monotonic() + 1000), 3):
        pass
    for _ in walk(*toy_run(tmp_path / "late", deadline=time.monotonic()), 1):  # what is finished was not stopped
        pass
    assert [reached(tmp_path / name)[0] for name in ("long", "late")] == [3, 1]
    assert reached(tmp_path / "nowhere") == (0, 0.0)


def test_a_run_that_a_budget_stopped_again_and_again_equals_one_that_never_stopped(tmp_path: Path, faces: Path) -> None:
    settings = tiny(registry().spec("dcgan")) | {"steps": 5, "image_size": 16}
    options: dict[str, Any] = {"data": faces, "device": "cpu", "progress": False, **settings}
    for k in range(4):
        with pytest.raises(OutOfTime, match=f"at step {k + 1} of 5"):
            zoo.train("dcgan-celeba", out=tmp_path / "stopped", budget=0, resume=k > 0, **options)
        assert not (tmp_path / "stopped" / "config.json").exists()
    zoo.train("dcgan-celeba", out=tmp_path / "stopped", budget=0, resume=True, **options)
    zoo.train("dcgan-celeba", out=tmp_path / "straight", **options)
    for file in ("model.safetensors", "checkpoints/step-00000005/state.safetensors"):
        assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes(), file


# Kernels


@pytest.mark.parametrize(("precision", "fast"), [("float32", False), ("tf32", True), ("bfloat16", True)])
def test_tf32_is_allowed_in_the_loop_alone_and_never_by_float32(precision: str, fast: bool, tmp_path: Path) -> None:
    def flags() -> tuple[bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark

    before = flags()
    run, model = toy_run(tmp_path, precision=precision)
    for _ in walk(run, model, 2):
        assert flags() == (fast, fast, True)
    assert flags() == before
    with contextlib.closing(walk(*toy_run(tmp_path, precision=precision, resume=True), 9)) as steps:
        next(steps)
    assert flags() == before  # a loop that breaks off, too


# Losses that go bad


def test_a_loss_that_is_not_finite_stops_the_run_at_a_good_checkpoint(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path, log_every=2, save_every=4)

    def loop() -> None:
        for step in walk(run, model, 20):
            run.log(loss_D=1.0, loss_G=torch.tensor(float("nan") if step == 6 else 1.0))

    with pytest.raises(TrainingError, match=r"(?s)by step 8: loss_G is nan.*checkpoint is .*step-00000004.*lr"):
        loop()
    assert resumed(tmp_path) == 4


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path)

    def loop() -> None:
        for step in walk(run, model, 20):
            model.ballast.data[3, 5] = float("inf") if step == 2 else 0.0

    with pytest.raises(TrainingError, match=r"(?s)by step 3: model/ballast holds NaN.*step-00000002"):
        loop()
    assert resumed(tmp_path) == 2


# What a loop calls


def test_minimize_gives_gradients_to_its_own_parameters_alone(tmp_path: Path) -> None:
    G, D = nn.Linear(3, 3), nn.Linear(3, 1)
    opt_G = torch.optim.SGD(G.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in G.state_dict().items()}
    loss = D(G(torch.ones(4, 3))).square().mean()
    Run(tmp_path, device="cpu").minimize(loss, opt_G)
    assert all(parameter.grad is None for parameter in D.parameters())
    for name, parameter in G.named_parameters():
        assert torch.allclose(parameter, before[name] - 0.1 * parameter.grad)
        assert parameter.grad.abs().sum() > 0


def test_the_average_is_the_exponential_one_in_closed_form(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path, ema=0.8)
    for _ in walk(run, model, 10):
        pass
    # w_k = k; the average begins at w_1: e_n = d^(n-1) w_1 + (1 - d) sum_k d^(n-k) w_k for k = 2 ... n.
    expected = 0.8**9 + 0.2 * sum(0.8 ** (10 - k) * k for k in range(2, 11))
    assert run.published.value.item() == pytest.approx(expected, rel=1e-6)
    assert model.value.item() == 10


def test_buffers_are_averaged_too(tmp_path: Path) -> None:
    run, model = Run(tmp_path, device="cpu", progress=False, ema=0.5), nn.BatchNorm1d(1)
    run.prepare(model=model)
    for step in run.steps(3):
        model.running_mean.fill_(step + 1.0)
    assert run.published.running_mean.item() == 0.25 * 1 + 0.25 * 2 + 0.5 * 3


def test_without_an_average_the_raw_module_is_published(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path)
    assert run.published is model


def test_the_log_holds_the_means_since_the_last_row(tmp_path: Path) -> None:
    run, model = toy_run(tmp_path, log_every=4, save_every=100)
    for step in run.steps(6):
        run.log(number=float(step), **{"twice": torch.tensor(1.0)} if step % 2 else {})
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = [(int(row["step"]), float(row["number"]), float(row["twice"])) for row in csv.DictReader(file)]
    assert rows == [(4, 1.5, 1.0), (6, 4.5, 1.0)]
    assert model.value.item() == 0


def one_pass(module: nn.Module, noise: zoo.Noise) -> object:
    return module(3 + 2 * noise.normal(5))


def test_settled_statistics_are_those_of_the_passes_whatever_the_average_held(tmp_path: Path) -> None:
    run, model = Run(tmp_path, device="cpu", progress=False, ema=0.9), nn.BatchNorm1d(5)
    run.prepare(model=model)
    run.settle(one_pass)
    for _ in run.steps(2):
        model.running_mean.fill_(100)
    published = run.published
    assert torch.allclose(published.running_mean, torch.full((5,), 3.0), atol=0.15)
    assert torch.allclose(published.running_var, torch.full((5,), 4.0), rtol=0.1)
    assert (published.momentum, published.training) == (model.momentum, model.training)
    saved = safetensors.torch.load_file(tmp_path / "checkpoints" / "step-00000002" / "state.safetensors")
    assert torch.equal(saved["average/module.running_mean"], published.running_mean)


def test_settling_leaves_the_random_state_alone(tmp_path: Path) -> None:
    def draws(folder: Path, settles: bool) -> Tensor:
        run, model = Run(folder, device="cpu", progress=False, ema=0.9, sample_every=1), nn.BatchNorm1d(5)
        run.prepare(model=model)
        if settles:
            run.settle(lambda module, _: module(torch.randn(8, 5)))
        return torch.cat([torch.rand(2) for _ in run.steps(3)])

    assert torch.equal(draws(tmp_path / "plain", False), draws(tmp_path / "settling", True))


def test_clipping_bounds_the_norm_of_all_gradients_together(tmp_path: Path) -> None:
    G = nn.Linear(3, 3)
    Run(tmp_path, device="cpu").minimize(
        1e3 * G(torch.ones(4, 3)).sum(), torch.optim.SGD(G.parameters(), 0.1), clip=0.5
    )
    norm = torch.cat([parameter.grad.flatten() for parameter in G.parameters()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)


def drop_out(out: Path, preview: Callable[[nn.Module], Any] | None, **options: Any) -> nn.Module:
    """A loop whose every step draws random numbers and depends on the module's mode."""
    often = {"sample_every": 2, "save_every": 4} | options
    run = Run(out, device="cpu", progress=False, preview=preview, **often)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    nn.init.eye_(model[0].weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run.prepare(model=model, optimizer=optimizer)
    for _ in run.steps(5):
        assert model.training
        run.minimize(model(run.noise(8).normal(4)).square().mean(), optimizer)
    return model


def test_a_preview_leaves_the_random_state_and_the_mode_alone(tmp_path: Path) -> None:
    modes = []

    def preview(module: nn.Module) -> zoo.Images:
        modes.append(module.training)
        return zoo.Images(torch.rand(4, 3, 8, 8))

    seen, unseen = drop_out(tmp_path / "seen", preview), drop_out(tmp_path / "unseen", None)
    assert modes == [False] * 3  # after steps 2, 4 and the last
    names = sorted(path.name for path in (tmp_path / "seen" / "samples").iterdir())
    assert names == ["step-00000002.png", "step-00000004.png", "step-00000005.png"]
    for name, value in seen.state_dict().items():
        assert torch.equal(value, unseen.state_dict()[name])


# Two processes


def regress(run: Run) -> nn.Module:
    """A loop without noise, so that one process and two can be compared."""
    images = torch.arange(32, dtype=torch.uint8).view(32, 1, 1, 1).expand(32, 1, 2, 2).contiguous()
    dataset = Dataset("ramp", "train", images, labels=torch.arange(32) % 3)
    batches = Batches(dataset, "labelled", 8, preparation=Preparation(2, "L"), rank=run.rank, world=run.world)
    torch.manual_seed(run.rank)  # processes begin apart, and must be brought together
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    for _ in run.steps(6):
        x, y = next(batches)
        run.minimize(nn.functional.cross_entropy(model(x.flatten(1)), y), optimizer)
    return model


def train_family(run: Run, name: str, data: Path) -> nn.Module:
    """The VAE's own loop on its tiny model, without the card."""
    from zoo.card.weights import build
    from zoo.data.source import load_dataset

    spec = registry().spec(name)
    torch.manual_seed(run.rank)
    model, preparation = build(spec, dict(spec.tiny)), Preparation(8, "L")
    batches = Batches(
        load_dataset(data, preparation), spec.batch, 8, preparation=preparation, rank=run.rank, world=run.world
    )
    resolve(spec.train)(model.train(), batches, run, steps=5, **spec.tiny_train)
    return model


def one_of_two(rank: int, out: Path, data: Path) -> None:
    """In a process of its own, as `accelerate launch` would start it, but meeting the other over a file."""
    torch.set_num_threads(1)
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= place | {"GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=2)
    options: dict[str, Any] = {"device": "cpu", "progress": False}
    for what, trained in {
        "ramp": regress(Run(out / "ramp", **options)),
        "vae": train_family(Run(out / "vae", **options), "vae", data),
    }.items():
        safetensors.torch.save_file(trained.state_dict(), out / f"{what}-{rank}.safetensors")
    settings = tiny(registry().spec("vae")) | {"steps": 2}
    zoo.train("vae-mnist", out=out / "card", data=data, **options, **settings)
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_model(tmp_path: Path, faces: Path, processes: Any) -> None:
    out = tmp_path / "two"
    out.mkdir()
    children = [processes.Process(target=one_of_two, args=(rank, out, faces)) for rank in (0, 1)]
    for child in children:
        child.start()
    torch.manual_seed(0)
    alone = regress(Run(tmp_path / "alone", device="cpu", progress=False)).state_dict()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    for what in ("ramp", "vae"):
        first, second = (safetensors.torch.load_file(out / f"{what}-{rank}.safetensors") for rank in (0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first)
    ramp = safetensors.torch.load_file(out / "ramp-0.safetensors")
    assert all(torch.allclose(ramp[name], alone[name], atol=1e-6) for name in ramp)
    assert zoo.load(out / "card").sample(2, seed=0).tensor.shape == (2, 1, 8, 8)
