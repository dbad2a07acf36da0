"""The laws of what a model computes when it is used: shapes, seeds, batches, traces, conditions, threads, devices."""

import gc
import logging
import random
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.card import weights
from zoo.card.names import WEIGHTS
from zoo.family.conditions import Categorical, Condition, Continuous, Flags
from zoo.noise import Noise
from zoo.testing.case import Case, scratch
from zoo.testing.law import SkippedLaw, expect, law


@law(about="module", remedy="Keep all state in parameters and persistent buffers, or compute it from the config.")
def law_saving_and_loading_changes_no_bit(case: Case) -> None:
    first = case.outputs(case.model)
    with scratch() as out:
        facts = weights.save_weights(case.model.module, out)
        module = case.build(seed=1)  # so that whatever the file lacks differs
        state = weights.read_weights(out / WEIGHTS, weights.outline(case.spec, dict(case.spec.tiny)), facts)
        module.load_state_dict(state)
    for name, value in case.outputs(case.wrap(module)).items():
        expect(
            torch.equal(value, first[name]),
            f"{name} differs after saving and loading",
        )


@law(about="module", remedy="Return (n, c, h, w) in [0, 1], end in a sigmoid or clamp(0, 1); one finite row per image.")
def law_outputs_have_their_shape_and_range(case: Case) -> None:
    p, n = case.preparation, 4
    for name, value in case.outputs(case.model, n).items():
        expect(value.isfinite().all(), f"{name} is not finite")
        expect(len(value) == n, f"{name} gave {len(value)} rows for {n} images")
        if name in ("sample", "decode", "translate", "complete"):
            raw = _raw(case, name)
            shape, wanted = tuple(raw.shape), (n, p.channels, p.size, p.size)
            expect(shape == wanted, f"{name} gave shape {shape}, expected {wanted}")
            inside = bool((raw >= 0).all() and (raw <= 1).all())
            expect(inside, f"{name} leaves [0, 1]: {raw.min():.3f} to {raw.max():.3f}")
        if name in ("log_prob", "elbo"):
            expect(value.shape == (n,), f"{name} gave {tuple(value.shape)}, expected ({n},)")


@law(about="module", remedy="Draw every random number from `noise`, and use what was drawn.")
def law_the_same_seed_gives_the_same_and_another_does_not(case: Case) -> None:
    first, second = case.outputs(case.model), case.outputs(case.model)
    for name, value in first.items():
        expect(torch.equal(value, second[name]), f"{name} is not reproducible")
    if "sample" in case.capabilities:
        other = case.model.sample(4, seed=1).tensor
        expect(not torch.equal(other, first["sample"]), "sample ignores its seed")
        expect(not torch.equal(first["sample"][0], first["sample"][1]), "sample makes the same image twice")


@law(about="module", remedy="Compute each row from that row alone: no statistics over the batch outside training.")
def law_no_image_depends_on_its_batch(case: Case) -> None:
    """Alone, in another batch size or as the head of a longer batch: row i is row i."""
    whole = case.outputs(case.model, 4)
    alone, longer = case.outputs(case.model, 4, batch_size=1), case.outputs(case.model, 6)
    for label, other in (("a batch of 1", alone), ("a longer batch", longer)):
        for name, value in other.items():
            far = (value[:4] - whole[name]).abs().max().item()
            scale = max(1.0, whole[name].abs().max().item())
            expect(far <= 1e-4 * scale, f"{name} differs by {far:.2g} in {label}")


@law(about="module", remedy="Draw from `noise` alone, and change no buffer, parameter or gradient outside train.")
def law_inference_leaves_no_trace(case: Case) -> None:
    """No gradient, no change of a weight or buffer, no use of the global random state."""
    model = case.wrap(case.build())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with _fresh_random_state():
        state = _random_state()
        outputs = case.outputs(model)
        expect(_random_state() == state, "the global random state was used")
    for name, value in outputs.items():
        expect(not value.requires_grad, f"{name} keeps a gradient graph alive")
    expect(all(p.grad is None for p in model.module.parameters()), "a parameter was given a gradient")
    for name, value in model.module.state_dict().items():
        expect(torch.equal(value, before[name]), f"{name} changed during inference")


@law(
    about="module", remedy="Compute what needs precision in float32: x.float(), or torch.autocast(..., enabled=False)."
)
def law_bfloat16_is_close(case: Case) -> None:
    exact = case.outputs(case.model)
    for name, value in case.outputs(case.wrap(case.build(), dtype="bfloat16")).items():
        far = (value - exact[name]).abs().mean().item()
        scale = max(1.0, exact[name].abs().mean().item())
        expect(far <= 0.05 * scale, f"{name} in bfloat16 is off by {far:.3f} on average")


@law(about="module", remedy="Use the condition in the method, or do not declare it.")
def law_conditions_change_the_output(case: Case) -> None:
    methods = [name for name in ("sample", "translate") if name in case.capabilities]
    for key, condition in case.model.conditions.items():
        low, high = _extremes(condition)
        for name in methods:
            one, two = (case.outputs(case.model, only=(name,), **{key: value})[name] for value in (low, high))
            expect(not torch.equal(one, two), f"{name} ignores {key}")


@law(about="complete", remedy="End in torch.where(mask, x, made).", needs=("complete",))
def law_completion_keeps_what_was_given(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        made = case.model.complete(x, case.mask, seed=0).tensor
        changed = (made != x) & case.mask
        expect(not changed.any(), f"complete changed {int(changed.sum())} of the values it was given")


@law(about="complete", remedy="Read x only where the mask is true.", needs=("complete",))
def law_completion_does_not_see_what_is_missing(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        other = torch.where(case.mask, x, 1 - x)
        first, second = (case.model.complete(images, case.mask, seed=0).tensor for images in (x, other))
        expect(torch.equal(first, second), "complete gives other results when only the missing pixels differ")


@law(about="module", remedy="Keep nothing of a call: no list, cache or attribute that grows.")
def law_repeated_calls_keep_no_memory(case: Case) -> None:
    """Tensors alive after three calls of everything, and after three more."""
    model = case.wrap(case.build())

    def alive() -> tuple[int, int]:
        for _ in range(3):
            case.outputs(model)
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
        return len(tensors), sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    with _only_new_objects():
        (before, size), (after, larger) = alive(), alive()
    expect(
        after <= before and larger <= size,
        f"three calls of each method left {after - before} tensors and {larger - size} bytes behind",
    )


@law(about="module", remedy="Keep what belongs to a call in local variables, not on the module.")
def law_threads_do_not_disturb_each_other(case: Case) -> None:
    """Four threads with seeds of their own, at once, get what each gets alone."""
    model, threads = case.model, 4
    alone = [case.outputs(model, seed=seed) for seed in range(threads)]
    found, faults = _at_once(lambda seed: case.outputs(model, seed=seed), threads)
    if faults:
        raise faults[0]
    for seed, wanted in enumerate(alone):
        for name, value in wanted.items():
            far = (found[seed][name] - value).abs().max().item()
            scale = max(1.0, value.abs().max().item())
            expect(far <= 1e-4 * scale, f"{name} differs by {far:.2g} while other threads call it", name)


def _at_once(call: Callable[[int], Any], threads: int) -> tuple[dict[int, Any], list[Exception]]:
    """Three calls in each of several threads that start together and take turns often: last results, and errors."""
    start, found, faults = threading.Barrier(threads), dict[int, Any](), list[Exception]()

    def work(number: int) -> None:
        start.wait()
        try:
            for _ in range(3):
                found[number] = call(number)
        except Exception as fault:  # whatever the family raises is the law's to report
            faults.append(fault)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return found, faults


def accelerator() -> str | None:
    """The device on which the law of GPUs holds its trial, if there is one."""
    return "cuda" if torch.cuda.is_available() else None


@law(
    about="module",
    remedy="Make every tensor on the device of the input or of `noise`, or register it as a buffer.",
    mark="gpu",
)
def law_a_gpu_gives_what_the_cpu_gives(case: Case) -> None:
    """On average within a thousandth, in full float32 precision."""
    device = accelerator()
    if device is None:
        raise SkippedLaw("there is no CUDA device here")
    wanted = case.outputs(case.model)
    with _full_precision():
        found = case.outputs(case.wrap(case.build(), device=device))
    _expect_close(found, wanted, f"on {device}")


COMPILER = "inductor"


@law(
    about="module",
    remedy="Run it with TORCH_LOGS=graph_breaks,recompiles, and look for branches on torch.compiler.is_compiling().",
    mark="compile",
)
def law_compiling_changes_nothing(case: Case) -> None:
    """Each capability's method through torch.compile, on average within a thousandth; noise is drawn as ever."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise SkippedLaw("torch.compile needs a C++ compiler, and there is none here")
    module = case.build()
    for name in case.capabilities:
        setattr(module, name, torch.compile(getattr(module, name), backend=COMPILER))
    with _noise_outside_graphs():
        found = case.outputs(case.wrap(module))
    _expect_close(found, case.outputs(case.model), "compiled")


def _expect_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], how: str) -> None:
    for name, value in wanted.items():
        far = (found[name] - value).abs().mean().item()
        scale = max(1.0, value.abs().mean().item())
        expect(far <= 1e-3 * scale, f"{name} {how} is off by {far:.2g} on average", name)


@contextmanager
def _only_new_objects() -> Iterator[None]:
    """What is there already is out of sight of the garbage collector, which has a million things to look at else."""
    mine = gc.get_freeze_count() == 0
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


@contextmanager
def _noise_outside_graphs() -> Iterator[None]:
    """The counter generator is NumPy's, on 64-bit words that the compiler has no name for. Its diary is not kept."""
    plain, level = Noise._uniform, logging.root.manager.disable
    disabled: Any = torch.compiler.disable(plain)  # type: ignore[no-untyped-call]
    setattr(Noise, "_uniform", disabled)  # noqa: B010  (a method of ours, for a while)
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        setattr(Noise, "_uniform", plain)  # noqa: B010
        logging.disable(level)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without TensorFloat-32, which rounds to three digits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _raw(case: Case, name: str) -> Tensor:
    """The module's own output, before the handle clamps it."""
    module, x, noise = case.model.module, case.images(4), Noise(0, 0, 4)
    calls: dict[str, Callable[[], Any]] = {
        "sample": lambda: module.sample(noise),
        "decode": lambda: module.decode(module.encode(x)),
        "translate": lambda: module.translate(case.model.prepare(x, filtered=True), noise),
        "complete": lambda: module.complete(x, case.mask.expand(4, 1, *x.shape[2:]), noise),
    }
    with torch.no_grad():
        raw: Tensor = calls[name]()
    return raw


def _extremes(condition: Condition) -> tuple[Any, Any]:
    if isinstance(condition, Categorical):
        return condition.names[0], condition.names[-1]
    if isinstance(condition, Flags):
        return dict.fromkeys(condition.names, False), dict.fromkeys(condition.names, True)
    assert isinstance(condition, Continuous)
    return [condition.low] * condition.size, [condition.high] * condition.size


@contextmanager
def _fresh_random_state() -> Iterator[None]:
    """The three global generators in a state that no family's own seeding can have left behind; restored at the end."""
    python, array, seed = random.getstate(), np.random.get_state(), secrets.randbits(32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def _random_state() -> tuple[Any, ...]:
    """The three global generators, as something that can be compared."""
    array: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), array[1].tolist(), array[2:]
