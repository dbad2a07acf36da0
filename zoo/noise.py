"""Randomness for samples: one counter-based stream per sample.

Sample i of seed s is the same whatever the batch size, the device or the number of processes: its numbers come from the
Philox 4x64 counter generator (Salmon et al. 2011) keyed by (s, i), are drawn on the CPU, and only then move to the device.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputError


class AnyNoise(Protocol):
    """What a module may ask of its noise; n is the number of samples."""

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) draws of N(0, 1)."""

    def uniform(self, *shape: int) -> Tensor:
        """(n, *shape) draws of U(0, 1), float32, 0 and 1 excluded."""

    def categorical(self, classes: int) -> Tensor:
        """(n,) int64 draws, uniform over 0 ... classes - 1."""


class Noise:
    """Reproducible noise for samples start ... stop - 1 of a seed. Each call draws fresh numbers."""

    def __init__(self, seed: int, start: int, stop: int, device: torch.device | str = "cpu") -> None:
        if not 0 <= seed < 2**64:
            raise InputError(f"seed must be an integer from 0 to 2**64 - 1, found {seed}")
        self.seed, self.start, self.stop, self.device = seed, start, stop, device
        self._calls = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def normal(self, *shape: int) -> Tensor:
        # The inverse CDF in float64, rounded to float32: no pairing of draws, and no dependence on vector widths.
        return torch.special.ndtri(self._uniform(shape)).float().to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        # 24 bits fit float32 exactly, so rounding cannot reach 0 or 1.
        bits = np.floor(self._uniform(shape).numpy() * 2**24) + 0.5
        return torch.from_numpy(np.minimum(bits, 2**24 - 1) * 2.0**-24).float().to(self.device)

    def categorical(self, classes: int) -> Tensor:
        return (self._uniform(()) * classes).long().clamp_max(classes - 1).to(self.device)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        """(n, *shape) float64 in (0, 1) on the CPU."""
        call, self._calls = self._calls, self._calls + 1
        size = int(np.prod(shape, dtype=np.int64))
        raw = np.stack(
            [
                np.random.Philox(key=[self.seed, i], counter=[0, 0, call, 0]).random_raw(size)
                for i in range(self.start, self.stop)
            ]
        )
        return torch.from_numpy(((raw >> np.uint64(11)) + 0.5) * 2.0**-53).reshape(-1, *shape)


class FreshNoise:
    """Noise for training: torch's own generator, drawn on the device. `Run` saves and restores its state."""

    def __init__(self, n: int, device: torch.device | str = "cpu") -> None:
        self.n, self.device = n, device

    def __len__(self) -> int:
        return self.n

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, device=self.device)

    def categorical(self, classes: int) -> Tensor:
        return torch.randint(classes, (self.n,), device=self.device)
