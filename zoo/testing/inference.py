"""The laws of what a model computes in use: shapes, seeds, batches, traces, conditions, threads and devices."""

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
        module = case.build(seed=1)  # with another seed, so that anything that the file lacks is different
        state = weights.read_weights(out / WEIGHTS, weights.outline(case.spec, dict(case.spec.tiny)), facts)
        module.load_state_dict(state)
    for name, value in case.outputs(case.wrap(module)).items():
        expect(
            torch.equal(value, first[name]),
            f"{name} gives other results after saving and loading",
        )


@law(
    about="module",
    remedy="Return one finite row for each image. For images return (n, c, h, w), and end in a sigmoid or clamp(0, 1).",
)
def law_outputs_have_their_shape_and_range(case: Case) -> None:
    p, n = case.preparation, 4
    for name, value in case.outputs(case.model, n).items():
        expect(value.isfinite().all(), f"{name} gives values that are not finite")
        expect(len(value) == n, f"{name} gives {len(value)} rows for {n} images")
        if name in ("sample", "decode", "translate", "complete"):
            raw = _raw(case, name)
            shape, wanted = tuple(raw.shape), (n, p.channels, p.size, p.size)
            expect(shape == wanted, f"{name} gives the shape {shape}, expected {wanted}")
            inside = bool((raw >= 0).all() and (raw <= 1).all())
            expect(inside, f"{name} gives values outside [0, 1]: from {raw.min():.3f} to {raw.max():.3f}")
        if name in ("log_prob", "elbo"):
            expect(value.shape == (n,), f"{name} gives the shape {tuple(value.shape)}, expected ({n},)")


@law(about="module", remedy="Draw every random number from `noise`, and use the numbers that you draw.")
def law_the_same_seed_gives_the_same_and_another_does_not(case: Case) -> None:
    first, second = case.outputs(case.model), case.outputs(case.model)
    for name, value in first.items():
        expect(torch.equal(value, second[name]), f"{name} gives other results when it is called again")
    if "sample" in case.capabilities:
        other = case.model.sample(4, seed=1).tensor
        expect(not torch.equal(other, first["sample"]), "sample gives the same images for another seed")
        expect(not torch.equal(first["sample"][0], first["sample"][1]), "sample makes the same image twice")


@law(about="module", remedy="Compute each row from that row alone. Use no statistics over the batch outside training.")
def law_no_image_depends_on_its_batch(case: Case) -> None:
    """Row i is the same alone, in a batch of another size, and at the start of a longer batch."""
    whole = case.outputs(case.model, 4)
    alone, longer = case.outputs(case.model, 4, batch_size=1), case.outputs(case.model, 6)
    for label, other in (("a batch of 1", alone), ("a longer batch", longer)):
        for name, value in other.items():
            far = (value[:4] - whole[name]).abs().max().item()
            scale = max(1.0, whole[name].abs().max().item())
            expect(far <= 1e-4 * scale, f"the result of {name} differs by {far:.2g} in {label}")


@law(about="module", remedy="Draw from `noise` alone, and change no buffer, parameter or gradient outside train.")
def law_inference_leaves_no_trace(case: Case) -> None:
    """A call leaves no gradient, changes no weight or buffer, and does not use the global random state."""
    model = case.wrap(case.build())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with _fresh_random_state():
        state = _random_state()
        outputs = case.outputs(model)
        expect(_random_state() == state, "the methods used the global random state of torch, NumPy or Python")
    for name, value in outputs.items():
        expect(not value.requires_grad, f"the result of {name} keeps a graph of gradients")
    expect(all(p.grad is None for p in model.module.parameters()), "a parameter has a gradient after inference")
    for name, value in model.module.state_dict().items():
        expect(torch.equal(value, before[name]), f"{name} changed during inference")


@law(
    about="module",
    remedy="Compute in float32 what needs high precision: with x.float(), or in torch.autocast(..., enabled=False).",
)
def law_bfloat16_is_close(case: Case) -> None:
    exact = case.outputs(case.model)
    for name, value in case.outputs(case.wrap(case.build(), dtype="bfloat16")).items():
        far = (value - exact[name]).abs().mean().item()
        scale = max(1.0, exact[name].abs().mean().item())
        expect(far <= 0.05 * scale, f"the result of {name} differs by {far:.3f} on average in bfloat16")


@law(about="module", remedy="Use the condition in the method, or do not declare it.")
def law_conditions_change_the_output(case: Case) -> None:
    methods = [name for name in ("sample", "translate") if name in case.capabilities]
    for key, condition in case.model.conditions.items():
        low, high = _extremes(condition)
        for name in methods:
            one, two = (case.outputs(case.model, only=(name,), **{key: value})[name] for value in (low, high))
            expect(not torch.equal(one, two), f"{name} gives the same result for every {key}")


@law(
    about="latents",
    remedy="Let sample draw its latents first, as latents does, and return decode of them. Draw nothing in decode.",
    needs=("sample", "latents", "decode"),
)
def law_decoding_the_latents_of_a_seed_gives_its_samples(case: Case) -> None:
    """With all conditions given, since latents hold none."""
    model = case.model
    given = {key: _extremes(condition)[1] for key, condition in model.conditions_of("sample").items()}
    far = (model.decode(model.latents(4, seed=0), **given).tensor - model.sample(4, seed=0, **given).tensor).abs().max()
    expect(far <= 1e-5, f"decode(latents(n, seed=s)) differs from sample(n, seed=s) by up to {far:.2g}")


@law(about="complete", remedy="Return torch.where(mask, x, made).", needs=("complete",))
def law_completion_keeps_what_was_given(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        made = case.model.complete(x, case.mask, seed=0).tensor
        changed = (made != x) & case.mask
        expect(not changed.any(), f"complete changed {int(changed.sum())} of the values that it was given")


@law(about="complete", remedy="Read x only at pixels where the mask is true.", needs=("complete",))
def law_completion_does_not_see_what_is_missing(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        other = torch.where(case.mask, x, 1 - x)
        first, second = (case.model.complete(images, case.mask, seed=0).tensor for images in (x, other))
        expect(torch.equal(first, second), "complete gives other results if only the missing pixels differ")


@law(about="module", remedy="Keep nothing after a call: no list, cache or attribute may grow.")
def law_repeated_calls_keep_no_memory(case: Case) -> None:
    """After three more calls of every method, no more tensors and bytes are in memory than before."""
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
        f"three calls of each method left {after - before} tensors and {larger - size} bytes in memory",
    )


@law(about="module", remedy="Keep the values of a call in local variables, not in attributes of the module.")
def law_threads_do_not_disturb_each_other(case: Case) -> None:
    """Four threads that call at the same time, each with its own seed, get the same results as alone."""
    model, threads = case.model, 4
    alone = [case.outputs(model, seed=seed) for seed in range(threads)]
    found, faults = _at_once(lambda seed: case.outputs(model, seed=seed), threads)
    if faults:
        raise faults[0]
    for seed, wanted in enumerate(alone):
        for name, value in wanted.items():
            far = (found[seed][name] - value).abs().max().item()
            scale = max(1.0, value.abs().max().item())
            expect(far <= 1e-4 * scale, f"the result of {name} differs by {far:.2g} if other threads call it too", name)


def _at_once(call: Callable[[int], Any], threads: int) -> tuple[dict[int, Any], list[Exception]]:
    """Three calls in each of several threads, which start together and switch often. Returns the last result of each
    thread, and all errors."""
    start, found, faults = threading.Barrier(threads), dict[int, Any](), list[Exception]()

    def work(number: int) -> None:
        start.wait()
        try:
            for _ in range(3):
                found[number] = call(number)
        except Exception as fault:  # the law reports any error that the family raises
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
    """The device for the law of GPUs, if there is one."""
    return "cuda" if torch.cuda.is_available() else None


@law(
    about="module",
    remedy="Make every tensor on the device of the input or of `noise`; or register it as a buffer.",
    mark="gpu",
)
def law_a_gpu_gives_what_the_cpu_gives(case: Case) -> None:
    """The results agree on average within a thousandth, in full float32 precision."""
    device = accelerator()
    if device is None:
        raise SkippedLaw("this machine has no CUDA device")
    wanted = case.outputs(case.model)
    with _full_precision():
        found = case.outputs(case.wrap(case.build(), device=device))
    _expect_close(found, wanted, f"on the device {device}")


COMPILER = "inductor"


@law(
    about="module",
    remedy="Set TORCH_LOGS=graph_breaks,recompiles and run it. Look for branches on torch.compiler.is_compiling().",
    mark="compile",
)
def law_compiling_changes_nothing(case: Case) -> None:
    """With torch.compile the results of each capability agree on average within a thousandth. The noise is not
    compiled."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise SkippedLaw("torch.compile needs a C++ compiler, and this machine has none")
    module = case.build()
    for name in case.capabilities:
        setattr(module, name, torch.compile(getattr(module, name), backend=COMPILER))
    with _noise_outside_graphs():
        found = case.outputs(case.wrap(module))
    _expect_close(found, case.outputs(case.model), "with torch.compile")


def _expect_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], how: str) -> None:
    for name, value in wanted.items():
        far = (found[name] - value).abs().mean().item()
        scale = max(1.0, value.abs().mean().item())
        expect(far <= 1e-3 * scale, f"the result of {name} differs by {far:.2g} on average {how}", name)


@contextmanager
def _only_new_objects() -> Iterator[None]:
    """Hide all objects so far from the garbage collector: it would have a million of them to look at."""
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
    """Draw noise outside of compiled graphs: the generator is NumPy's, with 64-bit words that torch cannot compile.

    The compiler's messages are not shown.
    """
    plain, level = Noise._uniform, logging.root.manager.disable
    disabled: Any = torch.compiler.disable(plain)  # type: ignore[no-untyped-call]
    setattr(Noise, "_uniform", disabled)  # noqa: B010  (replaces a method of zoo, until the end)
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        setattr(Noise, "_uniform", plain)  # noqa: B010
        logging.disable(level)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Turn off TensorFloat-32, which rounds to three digits."""
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
        "decode": lambda: module.decode(case.latents(case.model, 4)),
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
    """Give the three global generators a seed that no family can have set. Their state is restored at the end."""
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
    """The states of the three global generators, in a form that can be compared."""
    array: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), array[1].tolist(), array[2:]
