"""The laws that every family obeys, each with what to do when it is broken.

A law sees the family through its spec and its tiny config alone. `docs/laws.md` states each with its mathematics.
"""

import gc
import logging
import multiprocessing
import os
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.card import weights
from zoo.card.names import WEIGHTS
from zoo.family.conditions import Categorical, Condition, Continuous, Flags
from zoo.family.registry import registry, resolve
from zoo.family.spec import CAPABILITIES, ModelSpec, check_spec
from zoo.noise import Noise
from zoo.testing.case import Case, scratch
from zoo.testing.law import SkippedLaw, expect, law
from zoo.testing.waits import Waits, Watched
from zoo.training import checkpoints
from zoo.training.run import Run


@law(about="spec", remedy="Correct the field in the ModelSpec that zoo_models() returns.")
def law_spec_is_valid(case: Case) -> None:
    check_spec(case.spec)


@law(
    about="spec",
    remedy="Keep the package's __init__.py to the spec: everything that imports torch goes into model.py or train.py.",
)
def law_spec_is_light(case: Case) -> None:
    """Listing must not pay for torch: what holds the spec is imported in a fresh interpreter."""
    holder = _holder(case.spec)
    stop = f"sys.exit('{holder} imports torch; leave that to model.py')"
    hook = f"lambda event, names: event == 'import' and names[0] == 'torch' and {stop}"
    code = f"import sys; sys.addaudithook({hook}); import {holder}"
    done = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=False)
    expect(done.returncode == 0, done.stderr.strip()[-500:])


@law(
    about="Config", remedy="Derive Config from zoo.Config and bound each field: Annotated[int, Field(ge=..., le=...)]."
)
def law_config_is_closed_and_bounded(case: Case) -> None:
    """A config from a stranger must not be able to ask for a model without end."""
    for path, part in _walk(resolve(case.spec.module).Config.model_json_schema(), "Config"):
        missing = _open_end(part)
        expect(missing is None, f"{path} {missing}")


@law(about="module", remedy="Make ModelSpec.capabilities list just the methods that the module has.")
def law_capabilities_are_declared_both_ways(case: Case) -> None:
    kind = resolve(case.spec.module)
    has = {name for name in CAPABILITIES if callable(getattr(kind, name, None))}
    expect(
        has == set(case.spec.capabilities), f"declares {sorted(case.spec.capabilities)}, the module has {sorted(has)}"
    )


@law(
    about="train",
    remedy="Use each parameter in a loss, or make it a buffer; what only training needs belongs into train.",
)
def law_every_parameter_moves_in_training(case: Case) -> None:
    """Two real steps of the family's own loop; a parameter that stays is not connected to a loss."""
    with scratch() as out:
        before, after = case.build().state_dict(), case.train(out, 2)
    for name, parameter in after.named_parameters():
        expect(not torch.equal(parameter, before[name]), f"{name} did not move in two steps")
        expect(parameter.isfinite().all(), f"{name} is not finite after two steps")


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


@law(about="train", remedy="Give run.prepare everything that must survive: model, optimizers, batches, schedules.")
def law_a_resumed_run_equals_one_that_never_stopped(case: Case) -> None:
    """Four steps, and two steps, a new process's worth of objects and two more: bit for bit."""
    with scratch() as out:
        straight = case.train(out / "straight", 4, total=4).state_dict()
        case.train(out / "stopped", 2, total=4)
        resumed = case.train(out / "stopped", 4, total=4, resume=True).state_dict()
    for name, value in straight.items():
        expect(torch.equal(value, resumed[name]), f"{name} differs after a resume")


@law(about="train", remedy="Let it stay on the device, or give run.log what is to be read.")
def law_a_step_does_not_wait_for_the_device(case: Case) -> None:
    """A GPU works behind the loop; whoever reads one of its numbers, or hands it one the slow way, lets it run dry.

    Seen on the CPU, after a first step that may make things ready: reads of tensors that would lie on the device,
    results whose shape the host must know, and copies to the device that block. Tensors that were made without a
    device, such as the toss of a coin, lie on the host and may be read. An input filter may wait: it stands for data
    that others would bring ready-made.
    """
    with scratch() as out:
        run = Watched(out, device="cpu", ema=0.9, log_every=100, save_every=100, sample_every=100, progress=False)
        with Waits(run) as waits:
            batches = case.batches(run, 3)
            if batches.filter is not None:
                batches.filter = waits.overlooking(batches.filter)
            case.loop(run, batches, 100)
    expect(not waits.found, "; ".join(waits.found))


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


KILLS, STEPS, PATIENCE = 2, 30, 120
HEAVY = ("zoo.testing", "accelerate", "torch._dynamo", "torch.utils.tensorboard")
"""What a training process imports; those that are killed are forked from one that has it all."""


@law(
    about="train",
    remedy="Draw what must be the same from run.noise or torch's generator, and give run.prepare what must survive.",
    mark="kill",
)
def law_a_killed_run_resumes_to_the_same_bits(case: Case) -> None:
    """The loop in a process of its own, killed at random moments and resumed in the next, against one never stopped."""
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
    """Train on in a new process, and kill it so long after it has saved something new."""
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
    """In a process of its own: resume, save every step, and leave time for a kill."""
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


def _holder(spec: ModelSpec) -> str:
    """The module that is imported to list a family: its entry point's, or before it is installed its package."""
    if registry().specs.get(spec.name) is spec:
        return registry().provider(spec.name).module.partition(":")[0]
    return spec.module.partition(":")[0].partition(".")[0]


def _walk(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of a JSON schema, with where it stands."""
    yield path, schema
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield from _walk(part, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _walk(schema["items"], f"{path}[]")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(key, []):
            yield from _walk(part, path)


def _open_end(part: Mapping[str, Any]) -> str | None:
    """What one part of a JSON schema leaves without an end."""
    keys, kind = part.keys(), part.get("type")
    if {"enum", "const", "$ref", "anyOf", "oneOf", "allOf"} & keys:
        return None  # closed by itself, or looked at part by part
    if kind is None:
        return "takes anything; give it a type"
    if kind in ("integer", "number"):
        low, high = {"minimum", "exclusiveMinimum"} & keys, {"maximum", "exclusiveMaximum"} & keys
        return None if low and high else "lacks a bound; use Field(ge=..., le=...)"
    if kind == "array":
        return None if "maxItems" in part else "may be of any length; use Field(max_length=...)"
    if kind == "string":
        return None if {"maxLength", "pattern"} & keys else "is free text; use Literal or Field(max_length=...)"
    if kind == "object":
        return None if part.get("additionalProperties") is False else "takes unknown keys; derive it from zoo.Config"
    return None


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


def _environment() -> dict[str, str]:
    """This interpreter's import path for a fresh one."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
