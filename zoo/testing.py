"""The laws that every family obeys, for ours and for third parties' tests.

    from zoo.testing import LAWS, check_family
    check_family("my-family")            # all laws; raises BrokenLaw naming the first that fails

A law sees the family through its spec and its tiny config alone.
"""

import os
import random
import secrets
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo import weights
from zoo.conditions import Categorical, Condition, Continuous, Flags
from zoo.config import CardConfig, WeightsFacts
from zoo.data import Batches, Dataset
from zoo.errors import ZooError
from zoo.folder import WEIGHTS
from zoo.model import Model
from zoo.noise import Noise
from zoo.registry import registry, resolve
from zoo.run import Run
from zoo.spec import CAPABILITIES, ModelSpec, Preparation, check_spec

BATCH = 8
CLASSES = 10


class BrokenLaw(ZooError, AssertionError):  # noqa: N818  (what it is, in one word)
    """A family breaks a law; the message says which, and how."""


@dataclass
class Case:
    """A family under test: its spec, and a tiny model with data to train it on."""

    spec: ModelSpec

    @cached_property
    def model(self) -> Model:
        """The tiny model, initialised and untrained."""
        return self.wrap(self.build())

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """Those that are declared and there; one law compares the two, the others look at what can be called."""
        kind = resolve(self.spec.module)
        return tuple(name for name in self.spec.capabilities if callable(getattr(kind, name, None)))

    def build(self, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return weights.build(self.spec, dict(self.spec.tiny))

    @cached_property
    def preparation(self) -> Preparation:
        config: Any = self.build().config
        filters = sorted(self.spec.filters)
        channels = getattr(config, "channels", getattr(config, "in_channels", 3))
        return Preparation(
            size=config.image_size, mode="L" if channels == 1 else "RGB", filter=filters[0] if filters else None
        )

    def wrap(self, module: nn.Module, **options: Any) -> Model:
        facts = WeightsFacts(dtype="float32", sha256="0" * 64)
        card = CardConfig(
            name="tiny", family=self.spec.name, config=dict(self.spec.tiny), preparation=self.preparation, weights=facts
        )
        return Model(module, self.spec, card, device="cpu", **options)

    def images(self, n: int) -> Tensor:
        """Smooth random images, (n, c, size, size) in [0, 1]."""
        p = self.preparation
        noise = Noise(1, 0, n).uniform(p.channels, p.size // 4 + 1, p.size // 4 + 1)
        return nn.functional.interpolate(noise, (p.size, p.size), mode="bilinear")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the classes or attributes in the data: those the model declares, or ten of no meaning."""
        kinds = self.model.conditions.values()
        known = [kind.names for kind in kinds if isinstance(kind, Categorical | Flags)]
        return known[0] if known else tuple(map(str, range(CLASSES)))

    @property
    def mask(self) -> Tensor:
        """(size, size), true for the upper half: what a completion is given."""
        side = self.preparation.size
        return (torch.arange(side) < side // 2)[:, None].expand(side, side)

    def batches(self, run: Run, stop: int) -> "_Stopping":
        """Data of the family's kind, which end the run once `stop` steps are done and saved."""
        x = (self.images(4 * BATCH) * 255).to(torch.uint8)
        kind, name, k = self.spec.batch, self.preparation.filter, len(self.names)
        labels = {
            "labelled": torch.arange(len(x)) % k,
            "attributes": (torch.arange(len(x) * k).view(len(x), k) % 3 == 0).float(),
            "unpaired": torch.arange(len(x)) % 2,
        }
        inputs = x.flip(0) if kind == "pairs" and name is None else None
        batches = _Stopping(
            Dataset("tiny", "train", x, inputs, labels.get(kind), self.names),
            kind,
            BATCH,
            preparation=self.preparation,
            filter=resolve(self.spec.filters[name]) if name else None,
        )
        batches.run, batches.stop = run, stop
        return batches

    def train(self, out: Path, steps: int, *, resume: bool = False, total: int | None = None) -> nn.Module:
        """The tiny model after `steps` steps of the family's own loop of `total`, from a checkpoint if it resumes."""
        run = Run(out, seed=0, device="cpu", save_every=steps, resume=resume, progress=False)
        return self.loop(run, self.batches(run, steps), total or steps)

    def loop(self, run: Run, batches: "_Stopping", total: int) -> nn.Module:
        """The tiny model after the first of `total` steps of the family's own loop, until the batches end it."""
        module = self.build()
        with suppress(_Stop):
            resolve(self.spec.train)(module.train(), batches, run, steps=total, **self.spec.tiny_train)
        return module

    def outputs(
        self, model: Model, n: int = 4, only: tuple[str, ...] | None = None, **options: Any
    ) -> dict[str, Tensor]:
        """What every capability of the model (or only these) gives, by name, on n images or samples of seed 0."""
        x, mask = self.images(n), self.mask
        calls: dict[str, Callable[[], Any]] = {
            "sample": lambda: model.sample(n, seed=0, **options).tensor,
            "encode": lambda: model.encode(x, **options),
            "decode": lambda: model.decode(model.encode(x), **options).tensor,
            "log_prob": lambda: model.log_prob(x, **options),
            "elbo": lambda: model.elbo(x, seed=0, **options),
            "translate": lambda: model.translate(x, seed=0, **options).tensor,
            "complete": lambda: model.complete(x, mask, seed=0, **options).tensor,
            "infer": lambda: _flat(model.infer(x, **options)),
            "features": lambda: model.features(x, **options),
        }
        return {name: calls[name]() for name in only or self.capabilities}


class _Stop(Exception):  # noqa: N818  (no error)
    """Ends a loop in the middle, as a kill would."""


class _Stopping(Batches):
    run: Run
    stop: int

    def __next__(self) -> Any:
        if self.run.step >= self.stop:
            raise _Stop
        return super().__next__()


Law = Callable[[Case], None]
LAWS: dict[str, Law] = {}


def law(function: Law) -> Law:
    """Register a law under its function's name, as a sentence."""
    LAWS[function.__name__.removeprefix("law_").replace("_", " ")] = function
    return function


def check_family(family: str | ModelSpec) -> None:
    """Run every law over a family. Raises BrokenLaw for the first that does not hold."""
    case = Case(family if isinstance(family, ModelSpec) else registry().spec(family))
    for name in LAWS:
        check_law(case, name)


def check_law(case: Case, name: str) -> None:
    """Run one law; whatever goes wrong inside becomes a BrokenLaw that names it."""
    try:
        LAWS[name](case)
    except BrokenLaw as fault:
        raise BrokenLaw(f"{case.spec.name} breaks the law '{name}': {fault.message}") from None
    except Exception as error:
        raise BrokenLaw(f"{case.spec.name} breaks the law '{name}': {type(error).__name__}: {error}") from error


def expect(good: object, what: str) -> None:
    if not good:
        raise BrokenLaw(what)


@law
def law_spec_is_valid(case: Case) -> None:
    check_spec(case.spec)


@law
def law_spec_is_light(case: Case) -> None:
    """Listing must not pay for torch: what holds the spec is imported in a fresh interpreter."""
    holder = _holder(case.spec)
    stop = f"sys.exit('{holder} imports torch; leave that to model.py')"
    hook = f"lambda event, names: event == 'import' and names[0] == 'torch' and {stop}"
    code = f"import sys; sys.addaudithook({hook}); import {holder}"
    done = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=False)
    expect(done.returncode == 0, done.stderr.strip()[-500:])


@law
def law_config_is_closed_and_bounded(case: Case) -> None:
    """A config from a stranger must not be able to ask for a model without end."""
    for path, part in _walk(resolve(case.spec.module).Config.model_json_schema(), "Config"):
        missing = _open_end(part)
        expect(missing is None, f"{path} {missing}")


@law
def law_capabilities_are_declared_both_ways(case: Case) -> None:
    kind = resolve(case.spec.module)
    has = {name for name in CAPABILITIES if callable(getattr(kind, name, None))}
    expect(
        has == set(case.spec.capabilities), f"declares {sorted(case.spec.capabilities)}, the module has {sorted(has)}"
    )


@law
def law_every_parameter_moves_in_training(case: Case) -> None:
    """Two real steps of the family's own loop; a parameter that stays is not connected to a loss."""
    with _folder() as out:
        before, after = case.build().state_dict(), case.train(out, 2)
    for name, parameter in after.named_parameters():
        expect(not torch.equal(parameter, before[name]), f"{name} did not move in two steps")
        expect(parameter.isfinite().all(), f"{name} is not finite after two steps")


@law
def law_saving_and_loading_changes_no_bit(case: Case) -> None:
    first = case.outputs(case.model)
    with _folder() as out:
        facts = weights.save_weights(case.model.module, out)
        module = case.build(seed=1)  # so that whatever the file lacks differs
        state = weights.read_weights(out / WEIGHTS, weights.outline(case.spec, dict(case.spec.tiny)), facts)
        module.load_state_dict(state)
    for name, value in case.outputs(case.wrap(module)).items():
        expect(
            torch.equal(value, first[name]),
            f"{name} differs after saving and loading; keep state in parameters and buffers",
        )


@law
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


@law
def law_the_same_seed_gives_the_same_and_another_does_not(case: Case) -> None:
    first, second = case.outputs(case.model), case.outputs(case.model)
    for name, value in first.items():
        expect(torch.equal(value, second[name]), f"{name} is not reproducible")
    if "sample" in case.capabilities:
        other = case.model.sample(4, seed=1).tensor
        expect(not torch.equal(other, first["sample"]), "sample ignores its seed")
        expect(not torch.equal(first["sample"][0], first["sample"][1]), "sample makes the same image twice")


@law
def law_no_image_depends_on_its_batch(case: Case) -> None:
    """Alone, in another batch size or as the head of a longer batch: row i is row i."""
    whole = case.outputs(case.model, 4)
    alone, longer = case.outputs(case.model, 4, batch_size=1), case.outputs(case.model, 6)
    for label, other in (("a batch of 1", alone), ("a longer batch", longer)):
        for name, value in other.items():
            far = (value[:4] - whole[name]).abs().max().item()
            scale = max(1.0, whole[name].abs().max().item())
            expect(far <= 1e-4 * scale, f"{name} differs by {far:.2g} in {label}")


@law
def law_inference_leaves_no_trace(case: Case) -> None:
    """No gradient, no change of a weight or buffer, no use of the global random state."""
    model = case.wrap(case.build())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with _fresh_random_state():
        state = _random_state()
        outputs = case.outputs(model)
        expect(_random_state() == state, "the global random state was used; draw from `noise`")
    for name, value in outputs.items():
        expect(not value.requires_grad, f"{name} keeps a gradient graph alive")
    expect(all(p.grad is None for p in model.module.parameters()), "a parameter was given a gradient")
    for name, value in model.module.state_dict().items():
        expect(torch.equal(value, before[name]), f"{name} changed during inference")


@law
def law_bfloat16_is_close(case: Case) -> None:
    exact = case.outputs(case.model)
    for name, value in case.outputs(case.wrap(case.build(), dtype="bfloat16")).items():
        far = (value - exact[name]).abs().mean().item()
        scale = max(1.0, exact[name].abs().mean().item())
        expect(far <= 0.05 * scale, f"{name} in bfloat16 is off by {far:.3f} on average")


@law
def law_a_resumed_run_equals_one_that_never_stopped(case: Case) -> None:
    """Four steps, and two steps, a new process's worth of objects and two more: bit for bit."""
    with _folder() as out:
        straight = case.train(out / "straight", 4, total=4).state_dict()
        case.train(out / "stopped", 2, total=4)
        resumed = case.train(out / "stopped", 4, total=4, resume=True).state_dict()
    for name, value in straight.items():
        expect(torch.equal(value, resumed[name]), f"{name} differs after a resume; register it with run.prepare")


@law
def law_a_step_does_not_wait_for_the_device(case: Case) -> None:
    """A GPU works behind the loop; whoever reads one of its numbers, or hands it one the slow way, lets it run dry.

    Seen on the CPU, after a first step that may make things ready: reads of tensors that would lie on the device,
    results whose shape the host must know, and copies to the device that block. Tensors that were made without a
    device, such as the toss of a coin, lie on the host and may be read. An input filter may wait: it stands for data
    that others would bring ready-made.
    """
    with _folder() as out:
        run = _Watched(out, device="cpu", ema=0.9, log_every=100, save_every=100, sample_every=100, progress=False)
        with _Waits(run) as waits:
            batches = case.batches(run, 3)
            if batches.filter is not None:
                batches.filter = waits.overlooking(batches.filter)
            case.loop(run, batches, 100)
    expect(not waits.found, f"{'; '.join(waits.found)}: let it stay on the device, or give run.log what is to be read")


@law
def law_conditions_change_the_output(case: Case) -> None:
    methods = [name for name in ("sample", "translate") if name in case.capabilities]
    for key, condition in case.model.conditions.items():
        low, high = _extremes(condition)
        for name in methods:
            one, two = (case.outputs(case.model, only=(name,), **{key: value})[name] for value in (low, high))
            expect(not torch.equal(one, two), f"{name} ignores {key}")


@law
def law_completion_keeps_what_was_given(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        made = case.model.complete(x, case.mask, seed=0).tensor
        changed = (made != x) & case.mask
        expect(not changed.any(), f"complete changed {int(changed.sum())} of the values it was given")


@law
def law_completion_does_not_see_what_is_missing(case: Case) -> None:
    if "complete" in case.capabilities:
        x = case.images(4)
        other = torch.where(case.mask, x, 1 - x)
        first, second = (case.model.complete(images, case.mask, seed=0).tensor for images in (x, other))
        expect(torch.equal(first, second), "complete gives other results when only the missing pixels differ")


class _Watched(Run):
    """A run whose modules count as lying on the device, as they would if it were not the host itself."""

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        prepared = super().prepare(**parts)
        for module in (part for part in parts.values() if isinstance(part, nn.Module)):
            for tensor in (*module.parameters(), *module.buffers()):
                _place(tensor, host=False)
        return prepared


READS = {
    *("item", "tolist", "cpu", "numpy", "equal", "allclose", "is_nonzero"),
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "__format__"),
}
SHAPED_BY_VALUES = {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"}
MADE_OF_NUMBERS = {"tensor", "as_tensor", "new_tensor"}


class _Waits(TorchFunctionMode):
    """Notes every call after the first step for which the host would have to wait for the device.

    Where a tensor would lie follows from how it was made: without a device, or from others on the host alone, on the
    host; otherwise on the device.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.found: list[str] = []
        self.looking = True

    def overlooking(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The function, of which nothing is noted."""

        def call(x: Tensor) -> Tensor:
            self.looking = False
            result = function(x)
            self.looking = True
            return result

        return call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, tensors = getattr(func, "__name__", ""), [*_tensors_in((args, kwargs))]
        on_host = [_is_on_host(tensor) for tensor in tensors]
        fault = _fault(name, args, kwargs, on_host)
        if fault and self.looking and self.run.step > 0:
            self.found = [*dict.fromkeys([*self.found, f"{fault} at {_caller()}"])]
        result = func(*args, **kwargs)
        explicit = kwargs.get("device") not in (None, "cpu") or (name in ("to", "cuda") and not _stays(args, kwargs))
        for tensor in _tensors_in(result):
            if explicit or not any(tensor is given for given in tensors):
                _place(tensor, host=all(on_host) and not explicit)
        return result


def _fault(name: str, args: Any, kwargs: Any, on_host: list[bool]) -> str | None:
    """What in one call makes the host wait, if anything does."""
    device = kwargs.get("device") not in (None, "cpu")
    if name in MADE_OF_NUMBERS and (device or name == "new_tensor"):
        return f"{name}(...) copies numbers to the device"
    if not on_host:
        return None
    if not all(on_host):
        if name in READS or (name == "to" and "cpu" in (*args, *kwargs.values())):
            return f"{name}() reads from the device"
        if name in SHAPED_BY_VALUES or (name == "where" and len(args) + len(kwargs) == 1):
            return f"{name}() has a shape that depends on values"
        if name in ("__getitem__", "__setitem__"):
            return _index_fault(args[1])
        if name == "copy_" and any(on_host) and not kwargs.get("non_blocking"):
            return "copy_() between host and device"
    elif name in ("to", "cuda") and not _stays(args, kwargs) and not kwargs.get("non_blocking"):
        return f"{name}() copies to the device and waits; say non_blocking=True"
    return None


def _index_fault(index: Any) -> str | None:
    """Of indexing a tensor on the device."""
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
            return "a mask as an index has a shape that depends on values"
        if isinstance(part, list) or (isinstance(part, Tensor) and part.ndim > 0 and _is_on_host(part)):
            return "an index from the host is copied to the device"
        if isinstance(part, slice) and not all(map(_is_on_host, _tensors_in(part))):
            return "a bound of a slice is read from the device"
    return None


def _stays(args: Any, kwargs: Any) -> bool:
    """Whether a call of `to` names no device: then it changes the number format or the layout alone."""
    named = (*args[1:], *kwargs.values())
    return not any(isinstance(value, torch.device | str | Tensor) for value in named)


def _caller() -> str:
    """File and line, in the family's code or in ours, of the call that is being looked at."""
    passed = (os.path.dirname(torch.__file__), __file__)
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(passed)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, slice):
        yield from _tensors_in([value.start, value.stop, value.step])


def _place(tensor: Tensor, *, host: bool) -> None:
    tensor._zoo_on_host = host  # type: ignore[attr-defined]


def _is_on_host(tensor: Tensor) -> bool:
    return bool(getattr(tensor, "_zoo_on_host", False))


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


def _flat(value: Any) -> Tensor:
    """Codes as one table, whatever the family calls them."""
    if isinstance(value, Mapping):
        return torch.cat([_flat(value[key]).float() for key in sorted(value)], dim=1)
    tensor: Tensor = value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
    return tensor


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


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
