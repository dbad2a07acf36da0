"""The laws of a family's training loop: every parameter learns, and a resumed run goes on as if it had not stopped."""

import multiprocessing
import random
import time
from pathlib import Path

import torch

from zoo.family.spec import ModelSpec
from zoo.testing.case import Case, scratch
from zoo.testing.law import SkippedLaw, expect, law
from zoo.testing.waits import Waits, Watched
from zoo.training import checkpoints
from zoo.training.run import Run


@law(
    about="train",
    remedy="Use each parameter in a loss, or make it a buffer. Make networks that only training needs in train.",
)
def law_every_parameter_moves_in_training(case: Case) -> None:
    """After two real steps of the family's own loop, a parameter that has not changed is in no loss."""
    with scratch() as out:
        before, after = case.build().state_dict(), case.train(out, 2)
    for name, parameter in after.named_parameters():
        expect(not torch.equal(parameter, before[name]), f"{name} did not change in two steps")
        expect(parameter.isfinite().all(), f"{name} is not finite after two steps")


@law(about="train", remedy="Give run.prepare everything that a resume needs: model, optimizers, batches, schedules.")
def law_a_resumed_run_equals_one_that_never_stopped(case: Case) -> None:
    """Four steps give the same bits as two steps, then two more with all objects made new, as in a new process."""
    with scratch() as out:
        straight = case.train(out / "straight", 4, total=4).state_dict()
        case.train(out / "stopped", 2, total=4)
        resumed = case.train(out / "stopped", 4, total=4, resume=True).state_dict()
    for name, value in straight.items():
        expect(torch.equal(value, resumed[name]), f"{name} differs after a resume")


@law(about="train", remedy="Leave tensors on the device. Give values that you want to read to run.log.")
def law_a_step_does_not_wait_for_the_device(case: Case) -> None:
    """A GPU works later than the loop, from a queue. A loop that waits for one of its results leaves the queue empty.

    This is tested on the CPU, after a first step that may prepare things. The law finds reads of tensors that would be
    on the device, results whose shape the host must know, and copies to the device that wait. Tensors that are made
    without a device, like a random choice of the loop, are on the host and may be read. An input filter may wait: it
    takes the place of data that could be prepared before.
    """
    with scratch() as out:
        run = Watched(out, device="cpu", ema=0.9, log_every=100, save_every=100, sample_every=100, progress=False)
        with Waits(run) as waits:
            batches = case.batches(run, 3)
            if batches.filter is not None:
                batches.filter = waits.overlooking(batches.filter)
            case.loop(run, batches, 100)
    expect(not waits.found, "; ".join(waits.found))


KILLS, STEPS, PATIENCE = 2, 30, 120
HEAVY = ("zoo.testing", "accelerate", "torch._dynamo", "torch.utils.tensorboard")
"""What a training process imports. The processes that are killed are forked from one that has imported it all."""


@law(
    about="train",
    remedy="Draw random numbers from run.noise or torch's generator, and give run.prepare everything a resume needs.",
    mark="kill",
)
def law_a_killed_run_resumes_to_the_same_bits(case: Case) -> None:
    """The loop runs in a process that is killed at random moments, and resumes in another. The result has the same bits
    as without a kill."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise SkippedLaw("this system cannot fork processes")
    moments = random.Random(0)
    with scratch() as out:
        straight = case.train(out / "straight", STEPS).state_dict()
        for _ in range(KILLS):
            _kill_one(case, out / "killed", moments.uniform(0, 0.1))
        resumed = case.train(out / "killed", STEPS, resume=True).state_dict()
    for name, value in straight.items():
        expect(torch.equal(value, resumed[name]), f"{name} differs after {KILLS} kills and resumes")


def _kill_one(case: Case, out: Path, wait: float) -> None:
    """Go on with the training in a new process, and kill it `wait` seconds after it has saved a new checkpoint."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    process = context.Process(target=_train_slowly, args=(case.spec, out), daemon=True)
    saved = checkpoints.found(out)[-1:]
    process.start()
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and checkpoints.found(out)[-1:] == saved and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(wait)
    exitcode = process.exitcode
    process.kill()
    process.join()
    expect(exitcode in (None, 0), f"the loop in a process of its own ended with exit code {exitcode}")
    expect(
        checkpoints.found(out)[-1:] != saved, f"the loop in a process of its own saved nothing in {PATIENCE} seconds"
    )


def _train_slowly(spec: ModelSpec, out: Path) -> None:
    """Train in a process of its own: resume, save every step, and leave time to be killed."""
    case = Case(spec)
    run = Run(
        out,
        seed=0,
        precision="float32",
        device="cpu",
        threads=1,
        save_every=1,
        resume=bool(checkpoints.found(out)),
        progress=False,
    )
    batches = case.batches(run, STEPS)
    batches.pause = 0.1
    case.loop(run, batches, STEPS)
