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
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.devices import WINDOW, Threads, fast_precision, kernels, machine, pick_device, threads_in_words
from zoo.errors import InputError, TrainingError
from zoo.files import sweep
from zoo.noise import FreshNoise, Noise
from zoo.training import average, checkpoints
from zoo.training.log import Log, Means, bar

PRECISIONS = ("auto", "float32", "tf32", "bfloat16")
"""Of forward passes. auto: whichever the device is fast in. float32: throughout. tf32: on GPUs that can, multiplies and
convolves with 10-bit mantissas. bfloat16: autocast, with tf32 for what stands outside of it."""
LOOK_EVERY = 60
"""Seconds between two looks at how busy the machine is."""


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
        self._average: average.Average | None = None
        self._pass: Callable[[Any, Noise], object] | None = None
        self._means = Means()
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
            self._average = average.Average(parts["model"], self.decay)
            self._parts["average"] = self._average
        return tuple(parts.values())

    def settle(self, forward: Callable[[Any, Noise], object]) -> None:
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
        self._means.add(values)

    def steps(self, total: int) -> Iterator[int]:
        """Step numbers up to `total`, from where the newest good checkpoint stands when the run resumes.

        Between steps: average, log, look at the losses, sample, save. Raises TrainingError when a loss is not finite,
        and OutOfTime when the deadline has passed before the last step.
        """
        if self._resume:
            self._restore()
        elif checkpoints.found(self.out):
            raise InputError(f"{self.out} already holds a run", "Resume it, or begin anew in another folder.")
        if self.rank == 0:
            for folder in (self.out, self.out / "checkpoints", self.out / "samples"):
                folder.mkdir(parents=True, exist_ok=True)
                sweep(folder, older_than=0)
        started, before = time.perf_counter(), self.seconds
        log = Log(self.out, self.step, active=self.rank == 0)
        exact = self.precision == "float32"
        with (
            log,
            self._threaded() as adapt,
            bar(self.step, total, shown=self.progress) as advance,
            kernels(exact=exact),
        ):
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
        self, log: Log, advance: Callable[[int, Mapping[str, float]], None], *, last: bool, stopped: bool
    ) -> None:
        """What is due after this step: losses, a picture, a checkpoint."""
        saving = last or stopped or self.step % self.save_every == 0
        if saving or self.step % self.log_every == 0:
            advance(self.step, log.write(self.step, self.seconds, self._finite_means()))
        pictured = last or self.step % self.sample_every == 0
        if pictured:
            self._settle()
        if pictured and self.preview and self.rank == 0:
            log.picture(self.step, self._sampled())
        if self.rank == 0 and saving:
            self.save()

    def _settle(self) -> None:
        """Every process makes the same passes on the same noise, so that all hold the same statistics."""
        if self._pass is not None:
            average.settle(self.published, self._pass, self.seed, self.device)

    def wait(self) -> None:
        """Until all processes are here."""
        self._process.wait_for_everyone()

    def save(self) -> Path:
        """Write a checkpoint that is whole or not there, then drop the oldest."""
        path = self.out / "checkpoints" / f"step-{self.step:08d}"
        if checkpoints.is_whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
        tensors, parts = checkpoints.flattened(self._parts)
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise TrainingError(self._gone_bad(f"{key} holds NaN or infinite values"))
        tensors["rng/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoints.write(path, tensors, {"step": self.step, "seconds": self.seconds, "parts": parts})
        for old in checkpoints.found(self.out)[: -checkpoints.KEEP]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def _restore(self) -> None:
        path, found = checkpoints.newest(self.out), checkpoints.found(self.out)
        if path is not None:
            self._load(path)
        elif found:
            raise TrainingError(f"{self.out}: none of its {len(found)} checkpoints is whole")

    def _load(self, path: Path) -> None:
        tensors, state = checkpoints.read(path)
        if state["parts"].keys() != self._parts.keys():
            raise TrainingError(f"{path}: holds {sorted(state['parts'])}, this run has {sorted(self._parts)}")
        for name, part in self._parts.items():
            checkpoints.restore(part, state["parts"][name], tensors)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.rank > 0:  # the random state in there is the first process's
            return self._seed()
        torch.set_rng_state(tensors["rng/cpu"])
        if self.device.type == "cuda" and "rng/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng/cuda"], self.device)

    def _seed(self) -> None:
        """Random draws of this process: its own, and others after each resume."""
        torch.manual_seed(self.seed * 1009 + self.rank + 1_000_003 * self.step)

    def _finite_means(self) -> dict[str, float]:
        means = self._means.take()
        bad = [key for key, value in means.items() if value != value or abs(value) == float("inf")]
        if bad:
            raise TrainingError(self._gone_bad(f"{bad[0]} is {means[bad[0]]}"), "Lower the learning rate: --set lr=...")
        return means

    def _gone_bad(self, what: str) -> str:
        return f"training went wrong by step {self.step}: {what}; {self._kept()}"

    def _kept(self) -> str:
        good = checkpoints.found(self.out)
        return f"the last good checkpoint is {good[-1]}" if good else "there was no checkpoint yet"

    def _sampled(self) -> Any:
        """A preview, leaving the random state and the module's mode as they were."""
        module = self.published
        training = module.training
        with average.undisturbed(self.device):
            try:
                return self.preview(module.eval())  # type: ignore[misc]
            finally:
                module.train(training)

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
