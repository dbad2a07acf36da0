"""Random numbers for samples: each sample has a stream of its own.

Sample i of seed s is the same for every batch size, device and number of processes. Its numbers come from the generator
Philox 4x64 (Salmon et al. 2011), which computes block number c of a stream from c alone. Each call has a stream of its
own, in which sample i owns fixed blocks. The numbers are drawn on the CPU and then moved to the device.
"""

import hashlib
import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.values import whole


def seed_for(what: str) -> int:
    """A seed for one purpose, different from the seeds for other purposes."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8])


class AnyNoise(Protocol):
    """The random numbers that a module can draw. n is the number of samples."""

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) draws of N(0, 1)."""

    def uniform(self, *shape: int) -> Tensor:
        """(n, *shape) draws of U(0, 1), float32, never 0 or 1."""

    def categorical(self, classes: int) -> Tensor:
        """(n,) int64 draws, uniform over 0 ... classes - 1."""


class Noise:
    """Reproducible noise for the samples start ... stop - 1 of a seed. Each call draws new numbers.

    InputError unless seed, start and stop are integers from 0 to 2**64 - 1, and start is not above stop.
    """

    def __init__(self, seed: int, start: int, stop: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.start, self.stop = whole("seed", seed), whole("start", start), whole("stop", stop)
        if self.start > self.stop:
            raise InputError(f"start must not be above stop, found {start} and {stop}")
        self.device = device
        self._calls = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def normal(self, *shape: int) -> Tensor:
        # The inverse CDF: unlike other methods it neither pairs draws nor depends on the width of vector instructions.
        numbers: Tensor = torch.special.ndtri(self._uniform(shape))
        return numbers.float().to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        # 23 bits and a half are exact in float32, so that no number is rounded to 0 or 1.
        return (((self._uniform(shape) * 2**23).floor() + 0.5) * 2.0**-23).float().to(self.device)

    def categorical(self, classes: int) -> Tensor:
        return (self._uniform(()) * classes).long().clamp_max(classes - 1).to(self.device)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        """(n, *shape) float64 in (0, 1) on the CPU."""
        n, size = len(self), math.prod(shape)
        blocks = math.ceil(size / 4)  # a counter makes four numbers
        stream = np.random.Philox(key=self.seed + (self._calls << 64), counter=self.start * blocks)
        self._calls += 1
        raw = stream.random_raw(n * blocks * 4).reshape(n, blocks * 4)[:, :size]
        # 52 bits and a half are exact in float64, so that no number is rounded to 0 or 1.
        return torch.from_numpy(((raw >> np.uint64(12)) + 0.5) * 2.0**-52).reshape(n, *shape)


class FreshNoise:
    """Noise for training, drawn on the device by torch's own generator. `Run` saves and restores its state."""

    def __init__(self, n: int, device: torch.device | str = "cpu") -> None:
        self.n, self.device = n, device

    def __len__(self) -> int:
        return self.n

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        # torch.rand may give 0, whose logarithm is infinite.
        return torch.rand(self.n, *shape, device=self.device).clamp_min_(2.0**-25)

    def categorical(self, classes: int) -> Tensor:
        return torch.randint(classes, (self.n,), device=self.device)
