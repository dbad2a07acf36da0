"""The object `run` that a training loop calls. It has the device, the precision, averages, the log and checkpoints.

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
import copy
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.devices import fast_precision, kernels, pick_device
from zoo.errors import InputError, TrainingError
from zoo.files import sweep
from zoo.noise import FreshNoise, Noise
from zoo.telling import say
from zoo.training import average, checkpoints
from zoo.training.best import Best, Figure, remembered
from zoo.training.log import Log, Means
from zoo.training.processes import average_gradients, broadcast_weights
from zoo.training.progress import Display, display
from zoo.training.stopping import Noted, OutOfTime, Stopped, agreed, noted
from zoo.training.threads import threaded

PRECISIONS = ("auto", "float32", "tf32", "bfloat16")
"""Precisions of forward passes. auto: the fastest one on the device. float32: everything in float32. tf32: products and
convolutions with 10-bit mantissas, on GPUs that have it. bfloat16: autocast, and tf32 for what is outside of it."""


class Run:
    """One training run in the folder `out`. The loop calls the run; the run never calls the loop.

    preview: a function that is called with the averaged module every `sample_every` steps and returns `Images`, which
    are saved as a picture; the first picture comes after half a minute. figure: what is measured of that module every
    `evaluate_every` steps, and at the end. The checkpoint where it is best is kept beside the newest two. resume: go on
    from the newest checkpoint, or from this one. precision: `auto` stands for the fastest one on the device. threads:
    of the CPU; by default as many as are free, measured when the run begins and every minute.
    deadline: a time of `time.monotonic()`. After the first step that ends later, the run saves and raises OutOfTime.
    claim: a function that is called just before the run first writes to `out`, once it is known that it can begin.
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
        evaluate_every: int = 0,
        resume: bool | Path = False,
        progress: bool = True,
        preview: Callable[[nn.Module], Any] | None = None,
        figure: Figure | None = None,
        deadline: float | None = None,
        claim: Callable[[], None] = lambda: None,
    ) -> None:
        from accelerate import PartialState

        if precision not in PRECISIONS:
            raise TrainingError(f"unknown precision {precision!r}", f"Give one of these: {', '.join(PRECISIONS)}.")
        if threads is not None and threads < 1:
            raise TrainingError(f"threads must be at least 1, found {threads}", "Give a larger number, or none.")
        self.out, self.seed, self.decay = Path(out), seed, ema
        chosen = pick_device(str(device))
        self._process = PartialState(cpu=chosen.type == "cpu")
        self.device = self._process.device if device == "auto" else chosen
        self.precision = fast_precision(self.device) if precision == "auto" else precision
        self.threads = threads
        self.rank, self.world = self._process.process_index, self._process.num_processes
        self.log_every, self.save_every, self.sample_every = log_every, save_every, sample_every
        self.progress, self.preview = progress and self.rank == 0, preview
        self.evaluate_every, self.figure = evaluate_every, figure if evaluate_every else None
        self.deadline, self._claim = deadline, claim
        self.step = 0
        self.seconds = 0.0
        self._resume = resume
        self._parts: dict[str, Any] = {}
        self._average: average.Average | None = None
        self._pass: Callable[[Any, Noise], object] | None = None
        self._means = Means()
        self.best: Best | None = None
        self._seed()

    @property
    def published(self) -> nn.Module:
        """The module that goes into the card: the averaged one if there is an average."""
        module: nn.Module = self._parts["model"] if self._average is None else self._average.module
        return module

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        """Register by name all parts that a resumed run needs: modules, optimizers, schedules and batches.

        Modules move to the device. The module with the name `model` is averaged and goes into the card. Returns the
        parts in their order.
        """
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                part.to(self.device).to(memory_format=torch.channels_last)
                if self.world > 1:
                    broadcast_weights(part)
            self._parts[name] = part
        if self.decay and "model" in parts:
            self._average = average.Average(parts["model"], self.decay)
            self._parts["average"] = self._average
        return tuple(parts.values())

    def settle(self, forward: Callable[[Any, Noise], object]) -> None:
        """Measure the published module's running statistics again for each picture and at the end. These are the
        statistics of batch norms, and of any part that has `reset_running_stats` and a `momentum` as they have.

        Averaged weights need statistics of their own: with those of the raw weights, or their average, images look
        pale. `forward(module, noise)` makes one pass in the way that the module will be used, on noise for 64 samples.
        """
        self._pass = forward

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """A context for forward passes, in bfloat16 if that is the run's precision. Compute exact losses outside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def noise(self, n: int) -> FreshNoise:
        """Noise for n training samples, on the device."""
        return FreshNoise(n, self.device)

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> None:
        """One step of `optimizer` on `loss`. Only the optimizer's parameters get gradients: G's loss never changes D.

        clip: the largest norm that all gradients together may have.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=parameters)
        if self.world > 1:
            average_gradients(parameters)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    def log(self, **values: Tensor | float) -> None:
        """Add values to the means that are written every `log_every` steps. This does not wait for the device."""
        self._means.add(values)

    def steps(self, total: int) -> Iterator[int]:
        """The numbers of the steps up to `total`. A resumed run begins at its newest complete checkpoint.

        Between the steps it averages, logs, checks the losses, makes pictures and saves. Raises TrainingError if a loss
        is not finite or the folder cannot be written, OutOfTime if the deadline has passed before the last step,
        Stopped if a signal asks the process to end, and InputError if the folder holds another run.
        """
        if self._resume:
            self._restore()
        elif checkpoints.found(self.out):
            raise InputError(
                f"{self.out} already holds a run", "Resume it with resume=True, or begin a new run in another folder."
            )
        exact = self.precision == "float32"
        with (
            noted(aloud=self.progress) as signals,
            self._opened(total) as log,
            threaded(self.device, self.threads, self._say) as adapt,
            display(self.step, total, self.device, shown=self.progress) as shown,
            kernels(exact=exact),
        ):
            started, before = time.perf_counter(), self.seconds
            if self.step >= total:  # only the card is to be made, perhaps of a checkpoint from the middle of a run
                self._settle(self.published)
            while self.step < total:
                yield self.step
                self.step += 1
                self.seconds = before + time.perf_counter() - started
                if self._average is not None:
                    self._average.update_parameters(self._parts["model"])
                stop = self._reason_to_stop(total, signals) if self.step < total else None
                try:
                    self._record(log, shown, last=self.step == total, stopped=stop is not None)
                except OSError as error:
                    raise self._unwritable(error) from error
                if stop:
                    raise stop
                adapt()

    def _opened(self, total: int) -> Log:
        """The log, once all processes are here and the first one has made the folder ready."""
        self.wait()  # all must have checked `out` before the first one writes to it
        if self.rank == 0:
            try:
                self._claim()
                for folder in (self.out, self.out / "checkpoints", self.out / "samples"):
                    folder.mkdir(parents=True, exist_ok=True)
                    sweep(folder, older_than=0)
            except OSError as error:
                raise self._unwritable(error) from error
        return Log(self.out, self.step, active=self.rank == 0 and self.step < total)

    def _unwritable(self, error: OSError) -> TrainingError:
        message = f"cannot write to {self.out}: {error.strerror or error}; {self._kept()}"
        return TrainingError(message, "Make room on the disk. Then add --resume to the same command.")

    def _say(self, text: str) -> None:
        if self.progress:
            say(text)

    def _reason_to_stop(self, total: int, signals: Noted) -> OutOfTime | Stopped | None:
        """Why to stop after this step, if so. Several processes decide it together, at the steps that are logged."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        number = signals.number or 0
        if self.world > 1:
            if self.step % self.log_every:
                return None
            late, number = agreed(self.device, late, number)
        if number:
            return Stopped(self.step, total, self.out, number)
        return OutOfTime(self.step, total, self.out) if late else None

    def _record(self, log: Log, shown: Display, *, last: bool, stopped: bool) -> None:
        """Write what is due after this step: losses, a figure, a picture, a checkpoint."""
        measuring = self.figure is not None and not stopped and (last or self.step % self.evaluate_every == 0)
        saving = last or stopped or self.step % self.save_every == 0
        means = self._finite_means() if saving or measuring or self.step % self.log_every == 0 else {}
        if last:
            self._settle(self.published)
        if measuring and self.rank == 0:
            before = self.best
            means |= self._measured(last)
            saving = saving or self.best is not before
        shown.advance(self.step, log.write(self.step, self.seconds, means))
        if self.preview and self.rank == 0 and (last or self.step % self.sample_every == 0 or log.lacks_a_picture()):
            log.picture(self.step, self._looked_at(self.preview, last))
        if self.rank == 0 and saving:
            self.save()

    def _measured(self, last: bool) -> dict[str, float]:
        """The figure as it is now, told and compared with the best one."""
        assert self.figure is not None
        value = self._looked_at(self.figure.of, last)
        before, self.best = self.best, self.figure.best(self.step, value, self.best)
        best = "" if self.best is before else ", the best so far"
        self._say(f"step {self.step:,}: {self.figure.name} {value:.5g}{best}")
        return {self.figure.name: value}

    def _settle(self, module: nn.Module) -> None:
        """Measure the statistics. Every process makes the same passes on the same noise, so that all get the same."""
        if self._pass is not None:
            average.settle(module, self._pass, self.seed, self.device)

    def wait(self) -> None:
        """Wait until all processes have come to this call."""
        self._process.wait_for_everyone()

    def save(self) -> Path:
        """Write a checkpoint, then remove all but the newest two and the best. Returns its folder.

        It appears only once it is complete. TrainingError if a tensor holds NaN or infinite values.
        """
        path = checkpoints.at(self.out, self.step)
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
        best = None if self.best is None else asdict(self.best)
        checkpoints.write(path, tensors, {"step": self.step, "seconds": self.seconds, "parts": parts, "best": best})
        checkpoints.prune(self.out, self.best.step if self.best else None)
        return path

    def _restore(self) -> None:
        found = checkpoints.found(self.out)
        path = self._resume if isinstance(self._resume, Path) else checkpoints.newest(self.out)
        if path is not None:
            self._load(path)
        elif found:
            raise TrainingError(
                f"{self.out}: none of its {len(found)} checkpoints is complete", "Begin a new run in another folder."
            )

    def _load(self, path: Path) -> None:
        tensors, state = checkpoints.read(path)
        if state["parts"].keys() != self._parts.keys():
            raise TrainingError(
                f"{path} holds the parts {sorted(state['parts'])}, but this run has {sorted(self._parts)}",
                "Resume with the version of the family that began the run, or begin a new run in another folder.",
            )
        for name, part in self._parts.items():
            checkpoints.restore(part, state["parts"][name], tensors)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.best = remembered(self.out, state)
        if self.rank > 0:  # the checkpoint holds the random state of the first process
            return self._seed()
        torch.set_rng_state(tensors["rng/cpu"])
        if self.device.type == "cuda" and "rng/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng/cuda"], self.device)

    def _seed(self) -> None:
        """Seed torch's generators: with other numbers in each process, and after a resume of the others."""
        torch.manual_seed(self.seed * 1009 + self.rank + 1_000_003 * self.step)

    def _finite_means(self) -> dict[str, float]:
        means = self._means.take()
        bad = [key for key, value in means.items() if value != value or abs(value) == float("inf")]
        if bad:
            hint = "Try a smaller learning rate, in another folder: --set lr=VALUE --out FOLDER"
            raise TrainingError(self._gone_bad(f"{bad[0]} is {means[bad[0]]}"), hint)
        return means

    def _gone_bad(self, what: str) -> str:
        return f"training went wrong by step {self.step}: {what}; {self._kept()}"

    def _kept(self) -> str:
        good = checkpoints.found(self.out)
        return f"the last good checkpoint is {good[-1]}" if good else "there was no checkpoint yet"

    def _looked_at(self, look: Callable[[nn.Module], Any], last: bool) -> Any:
        """What `look` gives for the published module. Before the last step it gets a settled copy, so that looking
        changes nothing in the run."""
        module = self.published if last else copy.deepcopy(self.published)
        if not last:
            self._settle(module)
        training = module.training
        with average.undisturbed(self.device):
            try:
                return look(module.eval())
            finally:
                module.train(training)
