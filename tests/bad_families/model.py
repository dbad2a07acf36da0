"""Models and loops: some that keep every law, and one for each way to break a law."""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo


class Good(nn.Module):
    """One layer from a latent of 4 numbers to an image."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=64)] = 8

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Sequential(nn.Linear(4, 3 * config.image_size**2), nn.Unflatten(1, (3, config.image_size, -1)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z).sigmoid()

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return self(noise.normal(4))


class GoodLabelled(Good):
    conditions: ClassVar = {"label": zoo.Categorical(("cat", "dog"))}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(2, 4)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(z if label is None else z + self.embedding(label))

    def sample(self, noise: zoo.AnyNoise, label: Tensor | None = None) -> Tensor:
        return self(noise.normal(4), label)


class GoodCompleter(Good):
    def complete(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> Tensor:
        return torch.where(mask, x, self.sample(noise))


def train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    learn(model, batches, run, steps, optimizer)


def learn(model: nn.Module, batches: zoo.Batches, run: zoo.Run, steps: int, optimizer: torch.optim.Optimizer) -> None:
    """Pull what the model makes of noise towards the images."""
    for _ in run.steps(steps):
        x, *labels = next(batches) if batches.kind == "labelled" else (next(batches),)
        run.minimize((model(run.noise(len(x)).normal(4), *labels) - x).square().mean(), optimizer)


class UndeclaredEncoder(Good):
    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4]


class IdleParameter(Good):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.idle = nn.Parameter(torch.zeros(3))


class OutOfRange(Good):
    def forward(self, z: Tensor) -> Tensor:
        return 2 * super().forward(z) - 0.5


class BatchStatistics(Good):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.layer.append(nn.BatchNorm2d(3, track_running_stats=False))


class OwnSeeds(Good):
    """Reproducible and the same in every batch, and yet it takes the user's random state away."""

    def sample(self, noise: zoo.Noise) -> Tensor:
        z = []
        for i in range(noise.start, noise.stop):
            torch.manual_seed(1000 * noise.seed + i)
            z.append(torch.randn(4))
        return self(torch.stack(z))


class CountsItsCalls(Good):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("calls", torch.zeros(1))

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        self.calls += 1
        return super().sample(noise)


class IgnoresNoise(Good):
    def sample(self, noise: zoo.Noise) -> Tensor:
        return self(torch.ones(len(noise), 4))


class WrongShape(Good):
    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return super().sample(noise)[:, :1]


class UnsavedState(Good):
    """A tensor that is neither parameter nor buffer is not in the file."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.shift = torch.randn(4)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z + self.shift)


class NeedsPrecision(Good):
    """Turns by whole circles where bfloat16 rounds."""

    def forward(self, z: Tensor) -> Tensor:
        return (300 * self.layer(z)).sin().sigmoid()


class DeafToLabel(GoodLabelled):
    def sample(self, noise: zoo.AnyNoise, label: Tensor | None = None) -> Tensor:
        return self(noise.normal(4))


class PaintsOver(Good):
    def complete(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> Tensor:
        return self.sample(noise)


class Peeks(Good):
    def complete(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> Tensor:
        return torch.where(mask, x, x.mean((1, 2, 3), keepdim=True))


class Unbounded(Good):
    class Config(Good.Config):
        hidden: int = 4


def forgetful_train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    """Leaves the optimizer, and so its moments, out of the checkpoint."""
    optimizer = torch.optim.Adam(model.parameters())
    run.prepare(model=model, batches=batches)
    learn(model, batches, run, steps, optimizer)


def toss(loss: Tensor) -> object:
    """May read what never was on the device."""
    return torch.rand(()).item() < 0.5


look = toss
"""What `looking_train` does with the loss of each step; tests put other functions here."""


def looking_train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    for _ in run.steps(steps):
        x = next(batches)
        loss = (model(run.noise(len(x)).normal(4)) - x).square().mean()
        run.minimize(loss, optimizer)
        run.log(loss=loss)
        look(loss)


def impatient_train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    """Looks at every loss by itself, though `run` looks at them all from time to time."""
    optimizer = torch.optim.Adam(model.parameters())
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    for _ in run.steps(steps):
        x = next(batches)
        loss = (model(run.noise(len(x)).normal(4)) - x).square().mean()
        run.minimize(loss, optimizer)
        if loss > 1e9:
            raise ArithmeticError
