"""The laws that every family obeys, for ours and for third parties' tests.

    pytest --zoo-family my-family        # one test per law; the same as the line below in a test module
    test_laws = zoo.testing.laws("my-family")
    zoo.testing.check_family("my-family")  # without pytest: BrokenLaw names all that are broken
    zoo.testing.report("my-family")      # a Result for each law

A law sees the family through its spec and its tiny config alone. `docs/laws.md` states each with its mathematics.
"""

import gc
import inspect
import logging
import math
import multiprocessing
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

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
from zoo.run import Run, checkpoints
from zoo.spec import CAPABILITIES, ModelSpec, Preparation, check_spec

BATCH = 8
CLASSES = 10


class BrokenLaw(ZooError, AssertionError):  # noqa: N818  (what it is, in one word)
    """A family breaks a law; the message says which, and how."""

    def __init__(self, message: str, hint: str | None = None, about: str = "") -> None:
        super().__init__(message, hint)
        self.about = about


@dataclass(frozen=True)
class Table:
    """Every image that a small model can make, (m, c, h, w), with its probability, (m,) float64."""

    module: Any
    levels: int
    images: Tensor
    probabilities: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])


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

    @cached_property
    def stirred(self) -> Any:
        """The tiny model after two steps of its loop and with every parameter moved: no term vanishes any more.

        Fresh from initialisation a scale may be 0 and a running average 1, and what is multiplied by them unseen.
        """
        with _folder() as out, torch.random.fork_rng(devices=[]), torch.no_grad():
            with torch.enable_grad():
                module = self.train(out, 2).eval()
            torch.manual_seed(0)
            for parameter in module.parameters():
                change = 0.1 * torch.randn_like(parameter)
                # A sign may mean something, so numbers grow or shrink; those that are all 0 have none.
                parameter.add_(change * parameter if parameter.any() else change)
        return module

    @cached_property
    def smallest(self) -> "Case":
        """The family at the smallest side that its Config takes, in one channel if it can."""
        choices = ({"image_size": side, "channels": channels} for side in (2, 4) for channels in (1, 3))
        return next(filter(None, (self.smaller(**choice) for choice in choices)), self)

    @cached_property
    def tables(self) -> "list[Table]":
        """The family with images so small that all can be counted; none if they are too many, or continuous.

        Grey images of 3x3 pixels look far, coloured ones of 2x2 look across channels. A field `n_levels` is set to 2.
        """
        found: dict[tuple[int, ...], Table] = {}
        for channels, side in ((1, 3), (3, 2), (1, 2), (1, 4)):
            small = self.smaller(image_size=side, channels=channels, n_levels=2)
            table = small.table if small and len(found) < 2 else None
            if table:
                found[table.shape] = table
        return list(found.values())

    @cached_property
    def table(self) -> "Table | None":
        """All images that the tiny model can make, if they are at most 2**16."""
        with torch.no_grad():
            samples = self.model.module.sample(Noise(0, 0, 256))
            levels, size = _levels(samples), samples[0].numel()
            if levels is None or levels**size > 2**16:
                return None
            digits = torch.cartesian_prod(*[torch.arange(levels)] * size).view(-1, *samples.shape[1:])
            images = digits.float() / (levels - 1)
            return Table(self.stirred, levels, images, self.stirred.log_prob(images).double().exp())

    def smaller(self, **changes: Any) -> "Case | None":
        """The family with another tiny config, as far as its Config has these fields; None if it refuses the values."""
        fields = resolve(self.spec.module).Config.model_fields
        tiny = dict(self.spec.tiny) | {key: value for key, value in changes.items() if key in fields}
        case = Case(replace(self.spec, tiny=tiny))
        try:
            case.build()
        except ZooError:
            return None
        return case

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

    def wrap(self, module: nn.Module, *, device: str = "cpu", **options: Any) -> Model:
        facts = WeightsFacts(dtype="float32", sha256="0" * 64)
        card = CardConfig(
            name="tiny", family=self.spec.name, config=dict(self.spec.tiny), preparation=self.preparation, weights=facts
        )
        return Model(module, self.spec, card, device=device, **options)

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
        self, model: Model, n: int = 4, only: tuple[str, ...] | None = None, seed: int = 0, **options: Any
    ) -> dict[str, Tensor]:
        """What every capability of the model (or only these) gives, by name, on n images or samples of a seed."""
        x, mask = self.images(n), self.mask
        calls: dict[str, Callable[[], Any]] = {
            "sample": lambda: model.sample(n, seed=seed, **options).tensor,
            "encode": lambda: model.encode(x, **options),
            "decode": lambda: model.decode(model.encode(x), **options).tensor,
            "log_prob": lambda: model.log_prob(x, **options),
            "elbo": lambda: model.elbo(x, seed=seed, **options),
            "translate": lambda: model.translate(x, seed=seed, **options).tensor,
            "complete": lambda: model.complete(x, mask, seed=seed, **options).tensor,
            "infer": lambda: _flat(model.infer(x, **options)),
            "features": lambda: model.features(x, **options),
        }
        return {name: calls[name]() for name in only or self.capabilities}


class _Stop(Exception):  # noqa: N818  (no error)
    """Ends a loop in the middle, as a kill would."""


class _Stopping(Batches):
    run: Run
    stop: int
    pause: float = 0
    """Seconds before each batch."""

    def __next__(self) -> Any:
        if self.run.step >= self.stop:
            raise _Stop
        time.sleep(self.pause)
        return super().__next__()


@dataclass(frozen=True)
class Law:
    """One promise, and how it is checked."""

    name: str
    """A sentence: 'no image depends on its batch'."""
    check: Callable[[Case], None]
    about: str
    """What a family keeps it with: `spec`, `Config`, `train`, a capability, or `module` for all of them."""
    remedy: str
    """What to do when it is broken."""
    needs: tuple[str, ...] = ()
    """Capabilities without which it says nothing."""
    tag: str = ""
    """The tag of the spec without which it says nothing."""
    mark: str = ""
    """Of an optional law: what it wants besides, one of `OPTIONAL`."""

    @property
    def slug(self) -> str:
        """The name as one word, which `pytest -k` can find."""
        return self.name.replace(" ", "_")

    def concerns(self, spec: ModelSpec) -> bool:
        """Whether it says anything about the family, as far as the spec tells."""
        return set(self.needs) <= set(spec.capabilities) and (not self.tag or self.tag in spec.tags)


OPTIONAL = {
    "gpu": "needs a CUDA device",
    "compile": "needs a C++ compiler, and minutes",
    "kill": "starts and kills processes",
}
"""Marks of the laws that are left out unless asked for, and why they are."""

LAWS: dict[str, Law] = {}
"""Every law, by its name."""


class _Skip(Exception):  # noqa: N818  (no error)
    """The law cannot be looked at, here or in this family; the message says why."""


@dataclass(frozen=True)
class Result:
    """What came of one law for one family."""

    law: str
    state: Literal["kept", "broken", "skipped"]
    message: str
    """Which promise is broken, where and what to do; or why the law was skipped; or empty."""
    seconds: float
    error: BrokenLaw | None = field(default=None, repr=False, compare=False)


def law(
    *, about: str, remedy: str, needs: tuple[str, ...] = (), tag: str = "", mark: str = ""
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a law under its function's name, as a sentence."""

    def register(check: Callable[[Case], None]) -> Callable[[Case], None]:
        name = check.__name__.removeprefix("law_").replace("_", " ")
        LAWS[name] = Law(name, check, about, remedy, needs, tag, mark)
        return check

    return register


def laws_of(spec: ModelSpec, optional: Iterable[str] = OPTIONAL) -> list[Law]:
    """The laws that say something about a family, and of the optional ones those with these marks."""
    marks = {"", *optional}
    return [law for law in LAWS.values() if law.mark in marks and law.concerns(spec)]


def report(family: str | ModelSpec, optional: Iterable[str] = ()) -> Iterator[Result]:
    """Judge a family by every law, one after another; optional laws by their marks (`OPTIONAL`).

    Raises NotFoundError or PluginError for a family that is not there.
    """
    case = case_of(family)
    return (judge(case, law) for law in laws_of(case.spec, optional))


def check_family(family: str | ModelSpec, optional: Iterable[str] = ()) -> None:
    """Judge a family by every law. Raises one BrokenLaw that names all that do not hold."""
    broken = [result for result in report(family, optional) if result.error]
    if len(broken) == 1:
        raise broken[0].error or AssertionError
    if broken:
        texts = "\n\n".join(result.message for result in broken)
        raise BrokenLaw(f"{len(broken)} laws are broken\n\n{texts}")


def check_law(case: Case, name: str) -> None:
    """Judge by one law. Raises BrokenLaw."""
    error = judge(case, LAWS[name]).error
    if error:
        raise error


def laws(family: str, optional: Iterable[str] = OPTIONAL) -> Callable[..., None]:
    """A test function with one test for each law of an installed family: `test_laws = zoo.testing.laws("my-family")`.

    Optional laws carry pytest's marks `zoo_gpu`, `zoo_compile` and `zoo_kill`, and are left out unless
    `--zoo-optional` asks for them.
    """
    import pytest

    case = case_of(family)
    known = [
        pytest.param(law, id=law.slug, marks=getattr(pytest.mark, f"zoo_{law.mark}") if law.mark else ())
        for law in laws_of(case.spec, optional)
    ]

    @pytest.mark.parametrize("law", known)
    def test_laws(law: Law, request: pytest.FixtureRequest) -> None:
        under_pytest(case, law, request.config.get_verbosity())

    return test_laws


def under_pytest(case: Case, law: Law, verbosity: int) -> None:
    """One law as a test: skipped or failed with its message alone; from -vv on with the traceback too."""
    import pytest

    result = judge(case, law)
    if result.state == "skipped":
        pytest.skip(result.message)
    if result.error and verbosity > 1:
        raise result.error
    if result.error:
        pytest.fail(result.message, pytrace=False)


def case_of(family: str | ModelSpec) -> Case:
    """An installed family, or one that is not installed yet, under test."""
    return Case(family if isinstance(family, ModelSpec) else registry().spec(family))


def judge(case: Case, law: Law) -> Result:
    """Judge a family by one law; whatever goes wrong inside breaks it."""
    started = time.perf_counter()
    skipped, error = "", None
    try:
        if law.needs and not set(law.needs) <= set(case.capabilities):
            raise _Skip(f"{case.spec.name} declares {', '.join(law.needs)}, and its module lacks it")
        law.check(case)
    except _Skip as reason:
        skipped = str(reason)
    except Exception as fault:
        error = _verdict(case, law, fault)
    state: Literal["kept", "broken", "skipped"] = "broken" if error else "skipped" if skipped else "kept"
    return Result(law.name, state, str(error) if error else skipped, time.perf_counter() - started, error)


def _verdict(case: Case, law: Law, fault: Exception) -> BrokenLaw:
    """What went wrong, as a BrokenLaw that says which promise is broken, where and what to do."""
    found = fault.message if isinstance(fault, BrokenLaw) else f"{type(fault).__name__}: {fault}"
    about = getattr(fault, "about", "") or law.about
    where = _line_of(case, fault) or _definition(case, about)
    place = f"\n  at {where}" if where else ""
    error = BrokenLaw(f"{case.spec.name} breaks the law '{law.name}': {found}{place}", law.remedy)
    error.__cause__ = fault
    return error


def _line_of(case: Case, fault: Exception) -> str:
    """The last line of the family's own code that an error came through; empty if it came through none."""
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if _is_own(case, frame.filename)]
    return f"{_short_path(frames[-1].filename)}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""


def _definition(case: Case, about: str) -> str:
    """Where the family defines what a law is about; empty if that cannot be told."""
    try:
        kind = resolve(case.spec.module)
        thing: Any = {"train": lambda: resolve(case.spec.train), "Config": lambda: kind.Config}.get(
            about, lambda: getattr(kind, about, kind)
        )()
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (ZooError, OSError, TypeError, AttributeError):
        return ""
    return f"{_short_path(file)}:{line}, {getattr(thing, '__qualname__', about)}" if file else ""


def _is_own(case: Case, file: str) -> bool:
    """Whether a file belongs to the package (or is the module) that holds the family's network or its loop."""
    for where in (case.spec.module, case.spec.train):
        module = sys.modules.get(where.partition(":")[0])
        home = getattr(module, "__file__", None)
        if home and (
            Path(file) == Path(home) or ("." in where.partition(":")[0] and Path(home).parent in Path(file).parents)
        ):
            return True
    return False


def _short_path(file: str) -> str:
    """As seen from the current folder, where it lies inside."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def expect(good: object, what: str, about: str = "") -> None:
    """Raise BrokenLaw unless good; `about` is what of the family broke it, where the law alone does not tell."""
    if not good:
        raise BrokenLaw(what, about=about)


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
    with _folder() as out:
        before, after = case.build().state_dict(), case.train(out, 2)
    for name, parameter in after.named_parameters():
        expect(not torch.equal(parameter, before[name]), f"{name} did not move in two steps")
        expect(parameter.isfinite().all(), f"{name} is not finite after two steps")


@law(about="module", remedy="Keep all state in parameters and persistent buffers, or compute it from the config.")
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
    with _folder() as out:
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
    with _folder() as out:
        run = _Watched(out, device="cpu", ema=0.9, log_every=100, save_every=100, sample_every=100, progress=False)
        with _Waits(run) as waits:
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


# What the capabilities promise in mathematics


@law(
    about="log_prob",
    remedy="Normalise it: look for a value that sees itself, a lost log-determinant, or cells that are not counted.",
    needs=("log_prob", "sample"),
)
def law_the_density_sums_to_one(case: Case) -> None:
    """Over all images where they are few; over the unit cube, by random points, where a density is continuous.

    Of a continuous density some may lie outside the cube, so there the law is that no more than 1 lies inside.
    """
    for table in case.tables:
        total = table.probabilities.sum().item()
        shape = "x".join(map(str, table.shape))
        expect(
            abs(total - 1) <= 1e-3,
            f"the probabilities of all {len(table.images)} images of {shape} sum to {total:.4g}",
        )
    if not case.tables:
        _check_mass(case.smallest)


def _check_mass(case: Case) -> None:
    """The mean of the density over uniform images: at most 1."""
    module, p = case.stirred, case.preparation
    n = min(1 << 15, (1 << 22) // case.images(1).numel())
    with torch.no_grad():
        if _levels(module.sample(Noise(0, 0, 256))):
            raise _Skip("its images take few values, and even the smallest are too many to count")
        x = Noise(2, 0, n).uniform(p.channels, p.size, p.size)
        density = (module.log_prob(x).double() + x[0].numel() * math.log(256)).exp()
    mean, error = density.mean().item(), density.std().item() / math.sqrt(n)
    expect(mean - 4 * error <= 1.02, f"the density's integral over the unit cube is {mean:.4g} +- {error:.2g}, not 1")


@law(
    about="sample",
    remedy="Draw from the very distribution that log_prob computes: no temperature, no other order, no rounding.",
    needs=("log_prob", "sample"),
)
def law_sampling_agrees_with_the_density(case: Case) -> None:
    """Pearson's chi-square of 8192 samples against the probabilities of all images, five deviations above its mean."""
    n = 8192
    if not case.tables:
        raise _Skip("its images are too many to count")
    for table in case.tables:
        with torch.no_grad():
            samples = table.module.sample(Noise(3, 0, n))
        places = table.levels ** torch.arange(samples[0].numel()).flip(0)
        numbers = ((samples.flatten(1) * (table.levels - 1)).round().long() * places).sum(1)
        observed = torch.bincount(numbers, minlength=len(table.images)).double()
        expected = n * table.probabilities / table.probabilities.sum()  # their sum has a law of its own
        statistic, freedom = _chi_square(observed, expected)
        far = int((observed - expected).abs().argmax())
        expect(
            statistic <= freedom + 5 * math.sqrt(2 * freedom) + 10,
            f"chi-square is {statistic:.0f} at {freedom} degrees of freedom; the image with values "
            f"{table.images[far].flatten().tolist()} came {observed[far]:.0f} times in {n}, not {expected[far]:.0f}",
        )


@law(
    about="log_prob",
    remedy="Mask what comes later in the order of sampling; sample each value from the factor that log_prob takes.",
    needs=("log_prob", "sample"),
    tag="autoregressive",
)
def law_an_autoregressive_model_has_an_order(case: Case) -> None:
    """Samples are x_i = g_i(u_1 ... u_i): the Jacobian dx_i / du_j is triangular in some order of the values.

    Found by differences, since values may be discrete: redraw one number of the noise, see which values change. What
    stands on the diagonal of a triangular map makes its volume: the shares w_i of the numbers that could have stood for
    u_i, all others as they are, without changing x_i, multiply to the probability of the sample; log p(x) is the sum
    of log w_i.
    """
    kind, noise = _one_number_per_value(case)
    for base in noise:
        expect(
            _has_order(_dependence(case.stirred, kind, base)),
            "the values of a sample wait for each other's noise in a circle: they have no order",
            "sample",
        )
    small = case.smaller(image_size=4) or case
    for base in _one_number_per_value(small)[1]:
        _check_shares(small.stirred, kind, base)


def _check_shares(module: Any, kind: str, base: Tensor) -> None:
    """log_prob of one sample against the shares, found by trying `TRIES` numbers in place of each."""
    m = len(base)
    grid = (torch.arange(TRIES) + 0.5) / TRIES
    rows = base.repeat(m, TRIES, 1)
    rows.diagonal(dim1=0, dim2=2).copy_((grid if kind == "uniform" else torch.special.ndtri(grid))[:, None])
    with torch.no_grad():
        x = module.sample(_Given(base[None]))
        said = module.log_prob(x).double().item()
        tried = module.sample(_Given(rows.flatten(0, 1))).reshape(m, TRIES, m).diagonal(dim1=0, dim2=2)
    share = (tried == x.flatten(1)).double().mean(0).clamp_min(0.5 / TRIES)
    # Each share is found within half a try or so, at random.
    slack = 4 * (0.5 / (TRIES * share)).square().sum().sqrt().item()
    if slack > 0.1 * m:
        raise _Skip("its values are so many that the shares of the noise cannot be counted")
    found = share.log().sum().item()
    expect(
        abs(said - found) <= slack,
        f"log_prob is {said:.2f} nats for a sample that its noise makes with {found:.2f} +- {slack / 4:.2f}",
    )


@law(
    about="decode",
    remedy="Undo in decode the steps of encode, each by its inverse and in the opposite order.",
    needs=("encode", "decode", "log_prob"),
)
def law_decode_undoes_encode(case: Case) -> None:
    """decode(encode(x)) = x, and encode(decode(z)) = z, where latents have as many numbers as images."""
    module, x = case.stirred, _inner(case)
    with torch.no_grad():
        z = _square_latents(module, x)
        back = module.decode(z)
        again = module.encode(back)
    expect((back - x).abs().max() <= 1e-3, f"decode(encode(x)) is off by up to {(back - x).abs().max():.2g}")
    far = ((again - z).abs().max() / z.abs().max().clamp_min(1)).item()
    expect(far <= 1e-2, f"encode(decode(z)) is off by up to {far:.2g}", "encode")


@law(
    about="log_prob",
    remedy="Add the log-determinant of each step that encode takes, and -n ln 256 for the cells.",
    needs=("encode", "log_prob", "sample"),
)
def law_log_prob_is_a_change_of_variables(case: Case) -> None:
    """log p(x) = log N(f(x); 0, I) + log |det df/dx| - n ln 256 for the encoder f, by its Jacobian at four images.

    The cells of 8-bit images are 1/255 apart and are called 1/256 wide; the n ln(256/255) between the two are let pass.
    Where samples are not made of one draw of N(0, I) the prior is unknown, and the law is silent.
    """
    module, x = case.smallest.stirred, _inner(case.smallest)
    with torch.no_grad():
        z = _square_latents(module, x).flatten(1).double()
        draws = _draws(module)
        said = module.log_prob(x).double()
    n = z.shape[1]
    if [(kind, numbers.numel()) for kind, numbers in draws] != [("normal", n)]:
        raise _Skip("its samples are not made of one draw of N(0, I), so the prior is unknown")
    log_det = torch.stack([torch.linalg.slogdet(_jacobian(module.encode, image))[1] for image in x])
    found = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) + log_det - n * math.log(256)
    gap, slack = said - found, 1e-3 * n + 1e-4 * found.abs().max().item()
    good = bool(((gap >= -slack) & (gap <= slack + n * math.log(256 / 255))).all()) if gap.isfinite().all() else False
    worst = gap[gap.abs().nan_to_num(math.inf).argmax()].item()
    expect(good, f"log_prob is {worst:+.3g} nats from log N(z; 0, I) + log |det dz/dx| - {n} ln 256")


@law(
    about="elbo",
    remedy="Check the signs of the bound's terms, and that both methods count nats of the same cells.",
    needs=("elbo", "log_prob"),
)
def law_the_elbo_lies_below_log_prob(case: Case) -> None:
    """Its mean over 64 draws, for four images, within four standard errors and a hundredth of a nat per value."""
    module, x, k = case.stirred, case.images(4), 64
    with torch.no_grad():
        bounds = module.elbo(x.repeat_interleave(k, 0), Noise(0, 0, 4 * k)).double().view(4, k)
        exact = module.log_prob(x).double()
    above = bounds.mean(1) - exact - 4 * bounds.std(1) / math.sqrt(k)
    expect(
        above.max() <= 0.01 * x[0].numel(),
        f"the mean of elbo lies {above.max():.3g} nats above log_prob, errors allowed for",
    )


# What a loaded model promises to those who keep it


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


# Optional laws


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
        raise _Skip("there is no CUDA device here")
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
        raise _Skip("torch.compile needs a C++ compiler, and there is none here")
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
        raise _Skip("this system cannot fork processes")
    moments = random.Random(0)
    with _folder() as out:
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
    saved = checkpoints(out)[-1:]
    process.start()
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and checkpoints(out)[-1:] == saved and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(wait)
    exitcode = process.exitcode
    process.kill()
    process.join()
    expect(exitcode in (None, 0), f"the loop in a process of its own ended with exit code {exitcode}")
    expect(checkpoints(out)[-1:] != saved, f"the loop in a process of its own saved nothing in {PATIENCE} seconds")


def _train_slowly(spec: ModelSpec, out: Path) -> None:
    """In a process of its own: resume, save every step, and leave time for a kill."""
    case = Case(spec)
    run = Run(out, seed=0, device="cpu", save_every=1, resume=bool(checkpoints(out)), progress=False)
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


# What the mathematical laws are made of

TRIES = 128
"""Of other numbers in place of one number of the noise, evenly spread."""


def _levels(samples: Tensor) -> int | None:
    """How many values 0 ... 1 the samples take, if they are evenly spaced and at most 16."""
    values = torch.unique(samples)
    if not 2 <= len(values) <= 16:
        return None
    last = round(1 / values.diff().min().item())
    on_grid = (values * last - (values * last).round()).abs().max() <= 1e-4
    return last + 1 if last < 16 and on_grid else None


def _chi_square(observed: Tensor, expected: Tensor) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; the rarest outcomes are put together until 5 are expected."""
    order = expected.argsort()
    # A group ends where the sum passes a multiple of 5, so that each holds about that or more.
    group = (expected[order].cumsum(0) / 5).long()
    empty = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    seen, wanted = (empty.index_add(0, group, part[order]) for part in (observed, expected))
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    return ((seen - wanted).square() / wanted).sum().item(), len(wanted) - 1


class _Recorder(Noise):
    """Noise that keeps what it gave."""

    def __init__(self, seed: int, start: int, stop: int) -> None:
        super().__init__(seed, start, stop)
        self.draws: list[tuple[str, Tensor]] = []

    def normal(self, *shape: int) -> Tensor:
        self.draws.append(("normal", super().normal(*shape)))
        return self.draws[-1][1]

    def uniform(self, *shape: int) -> Tensor:
        self.draws.append(("uniform", super().uniform(*shape)))
        return self.draws[-1][1]

    def categorical(self, classes: int) -> Tensor:
        self.draws.append(("categorical", super().categorical(classes)))
        return self.draws[-1][1]


class _Given(Noise):
    """Noise whose numbers are given, (n, m)."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__(0, 0, len(rows))
        self.rows = rows

    def normal(self, *shape: int) -> Tensor:
        return self.rows.view(-1, *shape)

    uniform = normal


def _draws(module: Any, n: int = 1) -> list[tuple[str, Tensor]]:
    """What n samples draw from their noise."""
    noise = _Recorder(0, 0, n)
    with torch.no_grad():
        module.sample(noise)
    return noise.draws


def _one_number_per_value(case: Case) -> tuple[str, Tensor]:
    """Of which kind the noise of two samples is, and its numbers (2, m), one for each value of the image."""
    draws, size = _draws(case.stirred, 2), case.images(1).numel()
    if len(draws) != 1 or draws[0][0] == "categorical" or draws[0][1][0].numel() != size:
        raise _Skip("its samples draw something else than one number for each value, so their order cannot be seen")
    return draws[0][0], draws[0][1].flatten(1)


def _dependence(module: Any, kind: str, base: Tensor) -> Tensor:
    """(m, m), true at [i, j] where value i of the sample changes with number j of the noise."""
    m = len(base)
    rows = base.repeat(m + 1, 1)
    other = (base + 0.5) % 1 if kind == "uniform" else -base - base.sign()
    rows[1:].diagonal().copy_(other)
    with torch.no_grad():
        x: Tensor = module.sample(_Given(rows)).flatten(1)
    return (x[1:] != x[:1]).T


def _has_order(depends: Tensor) -> bool:
    """Whether the values can be put in an order in which each depends on earlier ones and itself alone."""
    depends = depends & ~torch.eye(len(depends), dtype=torch.bool)
    left = torch.ones(len(depends), dtype=torch.bool)
    while left.any():
        free = left & ~(depends & left).any(1)
        if not free.any():
            return False
        left &= ~free
    return True


def _inner(case: Case) -> Tensor:
    """Four images whose values keep away from 0 and 1, where clamps and logits have their corners."""
    return 0.1 + 0.8 * case.images(4)


def _square_latents(module: Any, x: Tensor) -> Tensor:
    """encode(x), if it has as many numbers as x: together with log_prob, the sign of a bijection."""
    z: Tensor = module.encode(x)
    if z.numel() != x.numel():
        raise _Skip("its latents have fewer numbers than its images, so that decode cannot undo encode")
    return z


def _jacobian(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """(m, m) float64: of latent i with respect to value j of one image. Row i comes from the i-th of m copies."""
    x = image.repeat(image.numel(), 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        gradient: Tensor = torch.autograd.grad(function(x).flatten(1).diagonal().sum(), x)[0]
    return gradient.flatten(1).double()


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
