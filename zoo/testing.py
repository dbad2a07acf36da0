"""The laws that every family obeys, for ours and for third parties' tests.

    from zoo.testing import LAWS, check_family
    check_family("my-family")            # all laws; raises BrokenLaw naming the first that fails

A law sees the family through its spec and its tiny config alone.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import weights
from zoo.conditions import Categorical, Condition, Continuous, Flags
from zoo.config import CardConfig
from zoo.data import Batches, Dataset
from zoo.errors import ZooError
from zoo.model import Model
from zoo.noise import Noise
from zoo.registry import registry, resolve
from zoo.run import Run
from zoo.spec import CAPABILITIES, ModelSpec, Preparation, check_spec

BATCH = 8
CLASSES = 10


class BrokenLaw(ZooError, AssertionError):
    """A family breaks a law; the message says which, and how."""


@dataclass
class Case:
    """A family under test: its spec, and a tiny model with data to train it on."""

    spec: ModelSpec

    @cached_property
    def model(self) -> Model:
        """The tiny model, initialised and untrained."""
        return self.wrap(self.build())

    def build(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return weights.build(self.spec, dict(self.spec.tiny))

    @cached_property
    def preparation(self) -> Preparation:
        config = self.build().config
        filters = sorted(self.spec.filters)
        channels = getattr(config, "channels", getattr(config, "in_channels", 3))
        return Preparation(
            size=config.image_size, mode="L" if channels == 1 else "RGB", filter=filters[0] if filters else None
        )

    def wrap(self, module: nn.Module, **options: Any) -> Model:
        facts = weights.WeightsFacts(dtype="float32", sha256="0" * 64)
        card = CardConfig(
            name="tiny", family=self.spec.name, config=dict(self.spec.tiny), preparation=self.preparation, weights=facts
        )
        return Model(module, self.spec, card, device="cpu", **options)

    def images(self, n: int) -> Tensor:
        """Smooth random images, (n, c, size, size) in [0, 1]."""
        p = self.preparation
        noise = Noise(1, 0, n).uniform(p.channels, p.size // 4 + 1, p.size // 4 + 1)
        return nn.functional.interpolate(noise, (p.size, p.size), mode="bilinear")

    def batches(self, run: Run, stop: int) -> "_Stopping":
        """Data of the family's kind, which end the run once `stop` steps are done and saved."""
        x = (self.images(4 * BATCH) * 255).to(torch.uint8)
        labels = {
            "labelled": torch.arange(len(x)) % CLASSES,
            "attributes": (torch.arange(len(x) * CLASSES).view(len(x), CLASSES) % 3 == 0).float(),
        }
        kind, name = self.spec.batch, self.preparation.filter
        inputs = x.flip(0) if kind == "pairs" and name is None else None
        batches = _Stopping(
            Dataset("tiny", "train", x, inputs, labels.get(kind), tuple(map(str, range(CLASSES)))),
            kind,
            BATCH,
            preparation=self.preparation,
            filter=resolve(self.spec.filters[name]) if name else None,
        )
        batches.run, batches.stop = run, stop
        return batches

    def train(self, out: Path, steps: int, *, resume: bool = False, total: int | None = None) -> nn.Module:
        """The tiny model after `steps` steps of the family's own loop of `total`, from a checkpoint if it resumes."""
        module = self.build()
        run = Run(out, seed=0, device="cpu", save_every=steps, resume=resume, progress=False)
        loop, batches = resolve(self.spec.train), self.batches(run, steps)
        with suppress(_Stop):
            loop(module.train(), batches, run, steps=total or steps, **self.spec.tiny_train)
        return module

    def outputs(self, model: Model, n: int = 4, **options: Any) -> dict[str, Tensor]:
        """What every capability of the model gives, by name, on n images or samples of seed 0."""
        x, mask = self.images(n), torch.zeros(self.preparation.size, self.preparation.size, dtype=torch.bool)
        mask[: self.preparation.size // 2] = True
        calls: dict[str, Callable[[], Any]] = {
            "sample": lambda: model.sample(n, seed=0, **options).tensor,
            "encode": lambda: model.encode(x, **options),
            "decode": lambda: model.decode(model.encode(x), **options).tensor,
            "log_prob": lambda: model.log_prob(x, **options),
            "elbo": lambda: model.elbo(x, seed=0, **options),
            "translate": lambda: model.translate(x, seed=0, **options).tensor,
            "complete": lambda: model.complete(x, mask, seed=0, **options).tensor,
            "infer": lambda: _flat(model.infer(x, **options)),
        }
        return {name: calls[name]() for name in self.spec.capabilities}


class _Stop(Exception):
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
    except BrokenLaw:
        raise
    except Exception as error:
        raise BrokenLaw(f"{case.spec.name} breaks '{name}': {type(error).__name__}: {error}") from error


def expect(good: object, what: str) -> None:
    if not good:
        raise BrokenLaw(what)


@law
def law_spec_is_valid(case: Case) -> None:
    check_spec(case.spec)


@law
def law_spec_is_light(case: Case) -> None:
    """Listing must not pay for torch: the package that holds the spec is imported in a fresh interpreter."""
    package = case.spec.module.partition(":")[0].partition(".")[0]
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True)
    expect(done.returncode == 0, f"importing {package} imports torch; import the model in model.py only {done.stderr[-500:]}")


@law
def law_config_is_closed_and_bounded(case: Case) -> None:
    """A config from a stranger must not be able to ask for a model without end."""
    kind = resolve(case.spec.module).Config
    expect(kind.model_config.get("extra") == "forbid", "Config must derive from zoo.Config")
    schema = kind.model_json_schema()
    for path, part in _walk(schema, "Config"):
        types = part.get("type")
        closed = "enum" in part or "const" in part
        if types in ("integer", "number") and not closed:
            expect({"maximum", "exclusiveMaximum"} & part.keys(), f"{path} has no upper bound; use Field(ge=..., le=...)")
        if types == "array":
            expect("maxItems" in part, f"{path} has no max_length")
        if types == "string" and not closed:
            expect({"maxLength", "pattern"} & part.keys(), f"{path} is free text; use Literal or a bound")


@law
def law_capabilities_are_declared_both_ways(case: Case) -> None:
    kind = resolve(case.spec.module)
    has = {name for name in CAPABILITIES if callable(getattr(kind, name, None))}
    expect(has == set(case.spec.capabilities), f"declares {sorted(case.spec.capabilities)}, the module has {sorted(has)}")


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
        module = case.build()
        state = weights.read_weights(out / weights.WEIGHTS, weights.layout(module), facts)
        module.load_state_dict(state)
    for name, value in case.outputs(case.wrap(module)).items():
        expect(torch.equal(value, first[name]), f"{name} differs after a round trip through safetensors")


@law
def law_outputs_have_their_shape_and_range(case: Case) -> None:
    p, n = case.preparation, 4
    for name, value in case.outputs(case.model, n).items():
        expect(value.isfinite().all(), f"{name} is not finite")
        expect(len(value) == n, f"{name} gave {len(value)} rows for {n} images")
        if name in ("sample", "decode", "translate", "complete"):
            raw = _raw(case, name)
            expect(raw.shape[2:] == (p.size, p.size), f"{name} gave {tuple(raw.shape)}, expected side {p.size}")
            expect(bool((raw >= 0).all() and (raw <= 1).all()), f"{name} leaves [0, 1]: {raw.min():.3f} to {raw.max():.3f}")
        if name in ("log_prob", "elbo"):
            expect(value.shape == (n,), f"{name} gave {tuple(value.shape)}, expected ({n},)")


@law
def law_the_same_seed_gives_the_same_and_another_does_not(case: Case) -> None:
    first, second = case.outputs(case.model), case.outputs(case.model)
    for name, value in first.items():
        expect(torch.equal(value, second[name]), f"{name} is not reproducible")
    if "sample" in case.spec.capabilities:
        other = case.model.sample(4, seed=1).tensor
        expect(not torch.equal(other, first["sample"]), "sample ignores its seed")
        expect(not torch.equal(first["sample"][0], first["sample"][1]), "sample makes the same image twice")


@law
def law_no_image_depends_on_its_batch(case: Case) -> None:
    """Alone, in another batch size or as the head of a longer batch: row i is row i."""
    whole = case.outputs(case.model, 4)
    for label, other in {"a batch of 1": case.outputs(case.model, 4, batch_size=1), "a longer batch": case.outputs(case.model, 6)}.items():
        for name, value in other.items():
            far = (value[:4] - whole[name]).abs().max().item()
            scale = max(1.0, whole[name].abs().max().item())
            expect(far <= 1e-4 * scale, f"{name} differs by {far:.2g} in {label}")


@law
def law_inference_leaves_no_trace(case: Case) -> None:
    """No gradient, no change of a weight or buffer, no use of the global random state."""
    model = case.wrap(case.build())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    state = torch.get_rng_state()
    for name, value in case.outputs(model).items():
        expect(not value.requires_grad, f"{name} keeps a gradient graph alive")
    expect(torch.equal(state, torch.get_rng_state()), "the global random state was used; draw from `noise`")
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
def law_conditions_change_the_output(case: Case) -> None:
    methods = [name for name in ("sample", "translate") if name in case.spec.capabilities]
    for key, condition in case.model.conditions.items():
        low, high = _extremes(condition)
        for name in methods:
            one, two = (case.outputs(case.model, **{key: value})[name] for value in (low, high))
            expect(not torch.equal(one, two), f"{name} ignores {key}")


@law
def law_completion_keeps_what_was_given(case: Case) -> None:
    if "complete" in case.spec.capabilities:
        made, half = case.outputs(case.model)["complete"], case.preparation.size // 2
        given = case.model.prepare(case.images(4))
        expect(torch.equal(made[:, :, :half], given[:, :, :half]), "complete changed the pixels it was given")


def _raw(case: Case, name: str) -> Tensor:
    """The module's own output, before the handle clamps it."""
    module, x, noise = case.model.module, case.images(4), Noise(0, 0, 4)
    calls: dict[str, Callable[[], Any]] = {
        "sample": lambda: module.sample(noise),
        "decode": lambda: module.decode(module.encode(x)),
        "translate": lambda: module.translate(case.model.prepare(x, filtered=True), noise),
        "complete": lambda: module.complete(x, torch.ones(4, 1, *x.shape[2:], dtype=torch.bool), noise),
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


def _walk(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every typed part of a JSON schema, with where it stands."""
    yield path, schema
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield from _walk(part, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _walk(schema["items"], f"{path}[]")
    for part in schema.get("anyOf", []):
        yield from _walk(part, path)


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


def _environment() -> dict[str, str]:
    """This interpreter's import path for a fresh one."""
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
