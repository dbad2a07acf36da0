"""What a training loop calls: device, precision, averaged weights, log, checkpoints, exact resume.

A loop reads like the paper's algorithm:

    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)
    for _ in run.steps(steps):
        x = next(batches)
        with run.autocast():
            loss = ...
        run.minimize(loss, opt_D)
        run.log(loss_D=loss)
"""

import contextlib
import csv
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.devices import WINDOW, Threads, fast_precision, machine, pick_device, threads_in_words
from zoo.errors import FormatError, InputError, TrainingError
from zoo.files import new_folder, read_json, sha256, sweep, to_json, write_atomically
from zoo.noise import FreshNoise, Noise

PRECISIONS = ("auto", "float32", "tf32", "bfloat16")
"""Of forward passes. auto: whichever the device is fast in. float32: throughout. tf32: on GPUs that can, multiplies and
convolves with 10-bit mantissas. bfloat16: autocast, with tf32 for what stands outside of it."""
KEEP = 2
"""Checkpoints kept: the newest, and the one before in case the disk lies."""
LOOK_EVERY = 60
"""Seconds between two looks at how busy the machine is."""
SETTLING = 64
"""Passes that measure batch-norm statistics, each of as many samples."""


class OutOfTime(TrainingError):  # noqa: N818  (what it is; nothing went wrong)
    """A run has stopped at its deadline, between two steps, with all that it needs to go on in a checkpoint."""

    def __init__(self, step: int, total: int, out: Path) -> None:
        super().__init__(f"stopped at step {step} of {total}: the time is up", f"To go on, resume the run in {out}.")
        self.step, self.total = step, total


class Run:
    """One training run in the folder `out`. It is called by the loop and calls nothing of the loop back.

    preview: called with the averaged module at every `sample_every` steps; what it returns is saved as a grid.
    precision: `auto` becomes what the device is fast in. threads: of the CPU; by default as many as are free, looked at
    when the run begins and every minute.
    deadline: by `time.monotonic()`; the first step that ends after it is saved and is the last: OutOfTime.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        seed: int = 0,
        precision: str = "auto",
        threads: int | None = None,
        ema: float = 0.0,
        device: str | torch.device = "auto",
        log_every: int = 50,
        save_every: int = 1000,
        sample_every: int = 1000,
        resume: bool = False,
        progress: bool = True,
        preview: Callable[[nn.Module], Any] | None = None,
        deadline: float | None = None,
    ) -> None:
        from accelerate import PartialState

        if precision not in PRECISIONS:
            raise TrainingError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
        if threads is not None and threads < 1:
            raise TrainingError(f"threads must be at least 1, found {threads}")
        self.out, self.seed, self.decay = Path(out), seed, ema
        chosen = pick_device(str(device))
        self._process = PartialState(cpu=chosen.type == "cpu")
        self.device = self._process.device if device == "auto" else chosen
        self.precision = fast_precision(self.device) if precision == "auto" else precision
        self.threads = threads
        self.rank, self.world = self._process.process_index, self._process.num_processes
        self.log_every, self.save_every, self.sample_every = log_every, save_every, sample_every
        self.progress, self.preview = progress and self.rank == 0, preview
        self.deadline = deadline
        self.step = 0
        self.seconds = 0.0
        self._resume = resume
        self._parts: dict[str, Any] = {}
        self._average: _Average | None = None
        self._pass: Callable[[nn.Module, Noise], object] | None = None
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._seed()

    @property
    def published(self) -> nn.Module:
        """The module that becomes the card: the averaged one when there is an average."""
        module: nn.Module = self._parts["model"] if self._average is None else self._average.module
        return module

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        """Register everything that a resumed run must find again: modules, optimizers, schedulers, batches, by name.

        Modules move to the device. `model` is the one that is averaged and published. Returns the parts in order.
        """
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                part.to(self.device).to(memory_format=torch.channels_last)
                self._broadcast(part)
            self._parts[name] = part
        if self.decay and "model" in parts:
            self._average = _Average(parts["model"], self.decay)
            self._parts["average"] = self._average
        return tuple(parts.values())

    def settle(self, forward: Callable[[nn.Module, Noise], object]) -> None:
        """Measure the published module's running statistics anew before each picture and at the end: those of batch
        norms, and of any part that like them has `reset_running_stats` and a `momentum`.

        Running statistics of the raw weights, or an average of them, do not fit averaged weights: images wash out.
        `forward(module, noise)` makes one pass as the module will be used, `noise` being that of 64 samples.
        """
        self._pass = forward

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Forward passes in bfloat16 where the run asks for it; losses that must be exact go outside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def noise(self, n: int) -> FreshNoise:
        """Training noise for n samples on the device."""
        return FreshNoise(n, self.device)

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> None:
        """One step of `optimizer` on `loss`. Only its own parameters get gradients: G's loss cannot reach D.

        clip: the largest norm that all gradients together may have.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=parameters)
        if self.world > 1:
            self._average_gradients(parameters)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    def log(self, **values: Tensor | float) -> None:
        """Add to the running means that are written every `log_every` steps. Costs no wait for the device."""
        for key, value in values.items():
            tensor = value.detach().float() if isinstance(value, Tensor) else torch.tensor(float(value))
            self._sums[key] = self._sums[key] + tensor if key in self._sums else tensor
            self._counts[key] = self._counts.get(key, 0) + 1

    def steps(self, total: int) -> Iterator[int]:
        """Step numbers up to `total`, from where the newest good checkpoint stands when the run resumes.

        Between steps: average, log, look at the losses, sample, save. Raises TrainingError when a loss is not finite,
        and OutOfTime when the deadline has passed before the last step.
        """
        if self._resume:
            self._restore()
        elif checkpoints(self.out):
            raise InputError(f"{self.out} already holds a run", "Resume it, or begin anew in another folder.")
        if self.rank == 0:
            for folder in (self.out, self.out / "checkpoints", self.out / "samples"):
                folder.mkdir(parents=True, exist_ok=True)
                sweep(folder, older_than=0)
        started, before = time.perf_counter(), self.seconds
        log = _Log(self.out, self.step, active=self.rank == 0)
        exact = self.precision == "float32"
        with log, self._threaded() as adapt, self._bar(total) as advance, kernels(exact=exact):
            while self.step < total:
                yield self.step
                self.step += 1
                self.seconds = before + time.perf_counter() - started
                if self._average is not None:
                    self._average.update_parameters(self._parts["model"])
                last = self.step == total
                stopped = not last and self._out_of_time()
                try:
                    self._record(log, advance, last=last, stopped=stopped)
                except OSError as error:
                    message = f"cannot write to {self.out}: {error.strerror or error}; {self._kept()}"
                    raise TrainingError(message, "Make room, then go on with --resume.") from error
                if stopped:
                    raise OutOfTime(self.step, total, self.out)
                adapt()

    @contextlib.contextmanager
    def _threaded(self) -> Iterator[Callable[[], None]]:
        """As many threads as were asked for, or as are free: gives what looks again, once in a while."""
        before = torch.get_num_threads()
        adapting = self.threads is None and self.device.type == "cpu" and before > 1
        load, looked = Threads(), time.monotonic()

        def adapt() -> None:
            nonlocal looked
            if adapting and time.monotonic() - looked >= LOOK_EVERY:
                looked = time.monotonic()
                self._use(load.free())

        try:
            if adapting:
                time.sleep(WINDOW)
                self._use(load.free())
            elif self.threads is not None:
                torch.set_num_threads(self.threads)
            self._say(f"on {machine(self.device)}, in {self.precision}")
            yield adapt
        finally:
            torch.set_num_threads(before)

    def _use(self, threads: int) -> None:
        before = torch.get_num_threads()
        if threads != before:
            torch.set_num_threads(threads)
            self._say(f"{threads_in_words(threads)} instead of {before}: as many cores are free")

    def _say(self, text: str) -> None:
        if self.progress:
            import rich

            rich.get_console().print(text, markup=False, highlight=False)

    def _out_of_time(self) -> bool:
        """Whether to stop after this step; several processes look at it together, at the steps that are logged."""
        if self.deadline is None:
            return False
        late = time.monotonic() >= self.deadline
        if self.world == 1:
            return late
        if self.step % self.log_every:
            return False
        from accelerate.utils import reduce

        # The sum is the same for all: none stops while another waits for its gradients.
        return bool(reduce(torch.tensor(float(late), device=self.device), reduction="sum") > 0)

    def _record(
        self, log: "_Log", advance: Callable[[int, Mapping[str, float]], None], *, last: bool, stopped: bool
    ) -> None:
        """What is due after this step: losses, a picture, a checkpoint."""
        saving = last or stopped or self.step % self.save_every == 0
        if saving or self.step % self.log_every == 0:
            advance(self.step, log.write(self.step, self.seconds, self._means()))
        pictured = last or self.step % self.sample_every == 0
        if pictured:
            self._settle()
        if pictured and self.preview and self.rank == 0:
            log.picture(self.step, self._sampled())
        if self.rank == 0 and saving:
            self.save()

    def _settle(self) -> None:
        """Every process makes the same passes on the same noise, so that all hold the same statistics."""
        module = self.published
        norms: list[Any] = [part for part in module.modules() if hasattr(part, "reset_running_stats")]
        if self._pass is None or not norms:
            return
        momenta, training = [norm.momentum for norm in norms], module.training
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all passes
        noise = Noise(self.seed, 0, SETTLING, self.device)
        module.train()
        with self._undisturbed():
            for _ in range(SETTLING):
                self._pass(module, noise)
        module.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def wait(self) -> None:
        """Until all processes are here."""
        self._process.wait_for_everyone()

    def save(self) -> Path:
        """Write a checkpoint that is whole or not there, then drop the oldest."""
        path = self.out / "checkpoints" / f"step-{self.step:08d}"
        if _whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
        tensors: dict[str, Tensor] = {}
        state = {name: _flatten(part.state_dict(), name, tensors) for name, part in self._parts.items()}
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise TrainingError(self._gone_bad(f"{key} holds NaN or infinite values"))
        tensors["rng/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        _write_checkpoint(path, tensors, {"step": self.step, "seconds": self.seconds, "parts": state})
        for old in checkpoints(self.out)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def _restore(self) -> None:
        """The newest checkpoint whose manifest holds; a broken one is passed over."""
        found = checkpoints(self.out)
        good = next((path for path in reversed(found) if _whole(path)), None)
        if good is not None:
            self._load(good)
        elif found:
            raise TrainingError(f"{self.out}: none of its {len(found)} checkpoints is whole")

    def _load(self, path: Path) -> None:
        tensors = safetensors.torch.load((path / "state.safetensors").read_bytes())
        state = read_json(path / "state.json", limit=64 << 20)
        if state["parts"].keys() != self._parts.keys():
            raise TrainingError(f"{path}: holds {sorted(state['parts'])}, this run has {sorted(self._parts)}")
        for name, part in self._parts.items():
            part.load_state_dict(_unflatten(state["parts"][name], tensors))
            if isinstance(part, torch.optim.Optimizer):
                _lay_out_like_parameters(part)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.rank > 0:  # the random state in there is the first process's
            return self._seed()
        torch.set_rng_state(tensors["rng/cpu"])
        if self.device.type == "cuda" and "rng/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng/cuda"], self.device)

    def _seed(self) -> None:
        """Random draws of this process: its own, and others after each resume."""
        torch.manual_seed(self.seed * 1009 + self.rank + 1_000_003 * self.step)

    def _means(self) -> dict[str, float]:
        means = {key: (self._sums[key] / self._counts[key]).item() for key in self._sums}
        self._sums, self._counts = {}, {}
        bad = [key for key, value in means.items() if value != value or abs(value) == float("inf")]
        if bad:
            raise TrainingError(self._gone_bad(f"{bad[0]} is {means[bad[0]]}"), "Lower the learning rate: --set lr=...")
        return means

    def _gone_bad(self, what: str) -> str:
        return f"training went wrong by step {self.step}: {what}; {self._kept()}"

    def _kept(self) -> str:
        good = checkpoints(self.out)
        return f"the last good checkpoint is {good[-1]}" if good else "there was no checkpoint yet"

    def _sampled(self) -> Any:
        """A preview, leaving the random state and the module's mode as they were."""
        module = self.published
        training = module.training
        with self._undisturbed():
            try:
                return self.preview(module.eval())  # type: ignore[misc]
            finally:
                module.train(training)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Passes that are no part of the training: no gradient, and the random state as it was."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []), torch.no_grad():
            yield

    @contextlib.contextmanager
    def _bar(self, total: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
        from rich import progress as rich

        times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
        columns = (rich.BarColumn(), rich.MofNCompleteColumn(), *times, rich.TextColumn("{task.description}"))
        with rich.Progress(*columns, disable=not self.progress) as bar:
            task = bar.add_task("", total=total, completed=self.step)
            yield lambda step, means: bar.update(task, completed=step, description=describe(means))

    def _broadcast(self, module: nn.Module) -> None:
        """All processes start from the weights of the first."""
        if self.world > 1:
            from accelerate.utils import broadcast

            with torch.no_grad():
                for tensor in module.state_dict().values():
                    tensor.copy_(broadcast(tensor.contiguous()))

    def _average_gradients(self, parameters: list[Tensor]) -> None:
        from accelerate.utils import reduce

        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.copy_(reduce(parameter.grad, reduction="mean"))


class _Average(AveragedModel):
    """An exponential average of parameters and buffers, begun at their first values.

    The parent's update would copy its count to the device at every step, and wait for that.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update_parameters(self, model: nn.Module) -> None:
        pairs: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}
        for mine, other in zip(_tensors(self.module), _tensors(model), strict=True):
            pairs.setdefault(mine.dtype, []).append((mine, other))
        first = bool(self.n_averaged == 0)  # a count on the CPU, whatever the device
        for group in pairs.values():
            mean, latest = map(list, zip(*group, strict=True))
            torch._foreach_copy_(mean, latest) if first else self.average(mean, latest, self.n_averaged)
        self.n_averaged += 1


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (parameter.detach() for parameter in module.parameters())
    yield from (buffer.detach() for buffer in module.buffers())


@contextlib.contextmanager
def kernels(*, exact: bool) -> Iterator[None]:
    """On CUDA: convolutions by the fastest algorithm for their shapes; TF32 allowed unless `exact`.

    Unlike torch's own defaults, which multiply matrices in float32 but convolve in TF32.
    """
    matmul, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    matmul.allow_tf32 = not exact
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=not exact):
            yield
    finally:
        matmul.allow_tf32 = before


def describe(means: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in means.items())


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((out / "checkpoints").glob("step-*"))


def reached(out: Path) -> tuple[int, float]:
    """The step of a run's newest whole checkpoint and the seconds of training up to it; 0 and 0 before the first."""
    for path in reversed(checkpoints(out)):
        if _whole(path):
            state = read_json(path / "state.json", limit=64 << 20)
            return int(state["step"]), float(state["seconds"])
    return 0, 0.0


def _whole(path: Path) -> bool:
    """Whether a checkpoint is all there: its manifest, which was written last, matches every file."""
    try:
        hashes = read_json(path / "manifest.json")
        return bool(hashes) and all(sha256(path / name) == digest for name, digest in hashes.items())
    except (FormatError, OSError, AttributeError):
        return False


def _write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    # Cloned: parts may share storage (an average made of views), which the format does not allow.
    data = safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    with new_folder(path) as temporary:
        (temporary / "state.safetensors").write_bytes(data)
        (temporary / "state.json").write_text(to_json(state))
        hashes = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(to_json(hashes))


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A state dict as JSON; its tensors move to `tensors` and leave their name behind. Keys keep their type."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"items": [[key, _flatten(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    return {"value": value}


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _unflatten(item, tensors) for key, item in content}
    return [_unflatten(item, tensors) for item in content] if kind == "list" else content


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give restored moments the strides of their parameters: fused kernels walk both as they lie in memory."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)


class _Log:
    """Losses as CSV and TensorBoard, sample grids as PNG. On resume, rows after the checkpoint are dropped."""

    def __init__(self, out: Path, step: int, active: bool) -> None:
        self.out, self.step, self.active = out, step, active
        self.path = out / "log.csv"
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> "_Log":
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step + 1)
            if self.path.is_file():
                with self.path.open(newline="") as file:
                    self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self.step]
        return self

    def __exit__(self, *error: object) -> None:
        if self.active:
            self.board.close()

    def write(self, step: int, seconds: float, means: dict[str, float]) -> dict[str, float]:
        if not self.active or not means:
            return means
        self.rows.append({"step": step, "seconds": round(seconds, 1), **means})
        for key, value in means.items():
            self.board.add_scalar(key, value, step)
        # Written whole each time: the columns may grow, and a killed run leaves no half row.
        write_atomically(self.path, self._table)
        return means

    def _table(self, path: Path) -> None:
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def picture(self, step: int, images: Any) -> None:
        images.save(self.out / "samples" / f"step-{step:08d}.png")
        self.board.add_image("samples", torch.from_numpy(_rgb(images)), step, dataformats="HWC")


def _rgb(images: Any) -> Any:
    import numpy as np

    return np.array(images.grid().convert("RGB"))
