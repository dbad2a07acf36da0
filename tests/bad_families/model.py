"""Models and loops: some that keep every law, and one for each way to break a law."""

import math
import threading
import time
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
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


class SamplesElsewhere(Good):
    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        return noise.normal(4)

    def decode(self, z: Tensor) -> Tensor:
        return self(z)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return self(-self.latents(noise))


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
    """Reproducible and the same in every batch and thread, and yet it takes the user's random state away."""

    lock = threading.Lock()

    def sample(self, noise: zoo.Noise) -> Tensor:
        z = []
        with self.lock:
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


def jittering_train(
    model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10, jitter: float = 0.1
) -> None:
    """Has a `jitter` of its own, beside that of every run."""
    train(model, batches, run, steps=steps)


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


def likelihood_train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    for _ in run.steps(steps):
        run.minimize(-model.log_prob(next(batches)).mean(), optimizer)


class Autoregressive(nn.Module):
    """Binary grey images, pixel by pixel: logits of each are linear in those before it."""

    temperature = 1.0

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=2, le=8)] = 4
        channels: Literal[1] = 1

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size = config.image_size**2
        self.weight = nn.Parameter(torch.randn(size, size))
        self.bias = nn.Parameter(torch.zeros(size))

    def logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return x @ self.weight.tril(-1).T + self.bias

    def log_prob(self, x: Tensor) -> Tensor:
        levels = x.flatten(1).round()
        return -F.binary_cross_entropy_with_logits(self.logits(levels), levels, reduction="none").sum(1)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        side = self.config.image_size
        u = noise.uniform(side * side)
        x = torch.zeros_like(u)
        for i in range(side * side):
            x[:, i] = (u[:, i] < (self.logits(x)[:, i] / self.temperature).sigmoid()).float()
        return x.view(-1, 1, side, side)


class OffByAConstant(Autoregressive):
    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) + 0.1


class CoolSampler(Autoregressive):
    """Draws at a temperature of which log_prob knows nothing."""

    temperature = 0.5


class SeesTheNext(Autoregressive):
    """Scores each pixel by the one after it too, which no sampler can do; too large to count all of its images."""

    class Config(Autoregressive.Config):
        image_size: Annotated[int, Field(ge=5, le=8)] = 5

    def log_prob(self, x: Tensor) -> Tensor:
        levels = x.flatten(1).round()
        logits = self.logits(levels) + F.pad(levels[:, 1:], (0, 1))
        return -F.binary_cross_entropy_with_logits(logits, levels, reduction="none").sum(1)


class GoesInACircle(SeesTheNext):
    """Each pixel is made of two numbers of the noise, in a circle."""

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        side = self.config.image_size
        u = noise.uniform(side * side)
        return ((7 * u + 5 * u.roll(1, 1)) % 1 < 0.5).float().view(-1, 1, side, side)


class Flow(nn.Module):
    """x1, x2 -> e^a (x - 1/2), where x2 is first moved by a linear function of x1; the halves of an image."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=8)] = 4
        channels: Literal[1] = 1

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size = config.image_size**2
        self.a = nn.Parameter(torch.ones(size))
        self.T = nn.Parameter(0.1 * torch.randn(size // 2, size // 2))

    def flow(self, x: Tensor) -> Tensor:
        x1, x2 = (x.flatten(1) - 0.5).chunk(2, 1)
        return self.a.exp() * torch.cat([x1, x2 + x1 @ self.T], 1)

    def log_det(self) -> Tensor:
        return self.a.sum()

    def log_prob(self, x: Tensor) -> Tensor:
        z = self.flow(x)
        prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
        return prior + self.log_det() - z.shape[1] * math.log(256)

    def inverse(self, z: Tensor) -> Tensor:
        side = self.config.image_size
        x1, x2 = (z * (-self.a).exp()).chunk(2, 1)
        x = 0.5 + torch.cat([x1, x2 - x1 @ self.T], 1)
        return x.clamp(0, 1).view(-1, 1, side, side)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return self.inverse(noise.normal(self.config.image_size**2))


class GoodFlow(Flow):
    def encode(self, x: Tensor) -> Tensor:
        return self.flow(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.inverse(z)

    def elbo(self, x: Tensor, noise: zoo.AnyNoise) -> Tensor:
        return self.log_prob((255 * x + noise.uniform(*x.shape[1:])) / 256)


class ForgetsTheCells(Flow):
    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) + x[0].numel() * math.log(256)


class ForgetsToMoveBack(GoodFlow):
    def inverse(self, z: Tensor) -> Tensor:
        side = self.config.image_size
        return (0.5 + z * (-self.a).exp()).clamp(0, 1).view(-1, 1, side, side)


class ForgetsTheDeterminant(GoodFlow):
    def log_det(self) -> Tensor:
        return 0 * self.a.sum()


class PromisesTooMuch(GoodFlow):
    def elbo(self, x: Tensor, noise: zoo.AnyNoise) -> Tensor:
        return super().elbo(x, noise) + 1


class Stumbles(Good):
    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return self(noise.normal(4) @ torch.ones(3, 3))


class Hoards(Good):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.all: list[Tensor] = []

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        self.all.append(noise.normal(4))
        return self(self.all[-1])


class SharesItsDesk(Good):
    """Leaves its numbers lying about for a moment, where another thread may put others."""

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        self.z = noise.normal(4)
        time.sleep(0.002)
        return self(self.z)


class OtherOnADevice(Good):
    """Stands for a mistake that shows on a numbered device alone, such as a GPU."""

    def sample(self, noise: zoo.Noise) -> Tensor:
        z = noise.normal(4)
        return self(z if torch.device(noise.device).index is None else -z)


class OtherWhenCompiled(Good):
    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        return self(noise.normal(4) * (0 if torch.compiler.is_compiling() else 1))


def hashing_train(model: nn.Module, batches: zoo.Batches, run: zoo.Run, *, steps: int = 10) -> None:
    """Python hashes texts in another way in every process."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3 * (1 + hash("zoo") % 10**9 / 10**9))
    run.prepare(model=model, optimizer=optimizer, batches=batches)
    learn(model, batches, run, steps, optimizer)
