"""A family under test: its spec, and a tiny model with data to train it on."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.card import weights
from zoo.card.config import CardDraft
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.errors import ZooError
from zoo.family.conditions import Categorical, Flags
from zoo.family.registry import resolve
from zoo.family.spec import ModelSpec, Preparation
from zoo.model import Model
from zoo.noise import Noise
from zoo.training.run import Run

BATCH = 8
CLASSES = 10


@dataclass(frozen=True)
class Table:
    """Every image that a small model can make, (m, c, h, w), and the probability of each, (m,) float64."""

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
        """The capabilities that the spec declares and the module has. One law compares spec and module."""
        kind = resolve(self.spec.module)
        return tuple(name for name in self.spec.capabilities if callable(getattr(kind, name, None)))

    @cached_property
    def stirred(self) -> Any:
        """The tiny model after two steps of its loop, with every parameter changed, so that every term counts.

        In a new model a scale may be 0 and a running average 1. Then nobody sees whether they are used correctly.
        """
        with scratch() as out, torch.random.fork_rng(devices=[]), torch.no_grad():
            with torch.enable_grad():
                module = self.train(out, 2).eval()
            torch.manual_seed(0)
            for parameter in module.parameters():
                change = 0.1 * torch.randn_like(parameter)
                # A sign may matter, so numbers only grow or shrink. A tensor of zeros has no signs to keep.
                parameter.add_(change * parameter if parameter.any() else change)
        return module

    @cached_property
    def smallest(self) -> "Case":
        """The family with the smallest images that its Config takes, with one channel if it takes that."""
        choices = ({"image_size": side, "channels": channels} for side in (2, 4) for channels in (1, 3))
        return next(filter(None, (self.smaller(**choice) for choice in choices)), self)

    @cached_property
    def tables(self) -> "list[Table]":
        """The family with images so small that all of them can be listed. Empty if they are too many, or continuous.

        Grey images of 3x3 pixels test more distant pixels; coloured ones of 2x2 test channels. A field `n_levels` of
        the Config is set to 2.
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
        """All images that the tiny model can make; None if they are more than 2**16."""
        with torch.no_grad():
            samples = self.model.module.sample(Noise(0, 0, 256))
            levels, size = grey_levels(samples), samples[0].numel()
            if levels is None or levels**size > 2**16:
                return None
            digits = torch.cartesian_prod(*[torch.arange(levels)] * size).view(-1, *samples.shape[1:])
            images = digits.float() / (levels - 1)
            return Table(self.stirred, levels, images, self.stirred.log_prob(images).double().exp())

    def smaller(self, **changes: Any) -> "Case | None":
        """The family with another tiny config, without fields that its Config lacks. None if it refuses a value."""
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
        card = CardDraft(name="tiny", family=self.spec.name, config=dict(self.spec.tiny), preparation=self.preparation)
        return Model(module, self.spec, card, device=device, **options)

    def images(self, n: int) -> Tensor:
        """Smooth random images, (n, c, size, size) in [0, 1]."""
        p = self.preparation
        noise = Noise(1, 0, n).uniform(p.channels, p.size // 4 + 1, p.size // 4 + 1)
        return nn.functional.interpolate(noise, (p.size, p.size), mode="bilinear")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the classes or attributes in the data: those that the model declares, or else ten numbers."""
        kinds = self.model.conditions.values()
        known = [kind.names for kind in kinds if isinstance(kind, Categorical | Flags)]
        return known[0] if known else tuple(map(str, range(CLASSES)))

    @property
    def mask(self) -> Tensor:
        """(size, size), true for the upper half, which a completion is given."""
        side = self.preparation.size
        return (torch.arange(side) < side // 2)[:, None].expand(side, side)

    def batches(self, run: Run, stop: int) -> "_Stopping":
        """Data of the family's kind. They end the run when `stop` steps are done and saved."""
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
        """The tiny model after `steps` of `total` steps of the family's own loop. `resume` begins at a checkpoint."""
        run = Run(
            out,
            seed=0,
            precision="float32",
            device="cpu",
            threads=torch.get_num_threads(),
            save_every=steps,
            resume=resume,
            progress=False,
        )
        return self.loop(run, self.batches(run, steps), total or steps)

    def loop(self, run: Run, batches: "_Stopping", total: int) -> nn.Module:
        """The tiny model after the family's own loop of `total` steps, or as many of them as the batches allow."""
        module = self.build()
        with suppress(_Stop):
            resolve(self.spec.train)(module.train(), batches, run, steps=total, **self.spec.tiny_train)
        return module

    def outputs(
        self, model: Model, n: int = 4, only: tuple[str, ...] | None = None, seed: int = 0, **options: Any
    ) -> dict[str, Tensor]:
        """The result of every capability (or of these only), by name, for n images, or for n samples of a seed."""
        x, mask = self.images(n), self.mask
        calls: dict[str, Callable[[], Any]] = {
            "sample": lambda: model.sample(n, seed=seed, **options).tensor,
            "latents": lambda: model.latents(n, seed=seed),
            "encode": lambda: model.encode(x, **options),
            "decode": lambda: model.decode(self.latents(model, n), **options).tensor,
            "log_prob": lambda: model.log_prob(x, **options),
            "elbo": lambda: model.elbo(x, seed=seed, **options),
            "translate": lambda: model.translate(x, seed=seed, **options).tensor,
            "complete": lambda: model.complete(x, mask, seed=seed, **options).tensor,
            "infer": lambda: flat(model.infer(x, **options)),
            "features": lambda: model.features(x, **options),
        }
        return {name: calls[name]() for name in only or self.capabilities}

    def latents(self, model: Model, n: int) -> Tensor:
        """Latents (n, ...) to decode: of images, or those of a seed for a family that cannot encode."""
        return model.encode(self.images(n)) if "encode" in self.capabilities else model.latents(n, seed=0)


class _Stop(Exception):  # noqa: N818  (no error)
    """Ends a loop in the middle, as if it was killed."""


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


def grey_levels(samples: Tensor) -> int | None:
    """The number of levels from 0 to 1 that the samples have, if they have at most 16 at even distances; else None."""
    values = torch.unique(samples)
    if not 2 <= len(values) <= 16:
        return None
    last = round(1 / values.diff().min().item())
    on_grid = (values * last - (values * last).round()).abs().max() <= 1e-4
    return last + 1 if last < 16 and on_grid else None


def flat(value: Any) -> Tensor:
    """Codes as one tensor, whatever names the family gives them."""
    if isinstance(value, Mapping):
        return torch.cat([flat(value[key]).float() for key in sorted(value)], dim=1)
    tensor: Tensor = value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
    return tensor


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
