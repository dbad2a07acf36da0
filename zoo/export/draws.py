"""What a module draws: noted once from any family's code, then drawn without it, and handed in as tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from zoo.noise import AnyNoise


@dataclass(frozen=True)
class Draw:
    """One call of a method of the noise."""

    kind: Literal["normal", "uniform", "categorical"]
    arguments: tuple[int, ...]
    """The shape for one sample; of a categorical draw the number of classes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """For one sample."""
        return () if self.kind == "categorical" else self.arguments

    def of(self, noise: AnyNoise) -> Tensor:
        """The numbers, (n, *shape)."""
        numbers: Tensor = getattr(noise, self.kind)(*self.arguments)
        return numbers


class Noted:
    """Noise that keeps what is drawn from it: each `Draw`, and its numbers."""

    def __init__(self, noise: AnyNoise) -> None:
        self._noise = noise
        self.draws: list[Draw] = []
        self.numbers: list[Tensor] = []

    def normal(self, *shape: int) -> Tensor:
        return self._note(Draw("normal", shape))

    def uniform(self, *shape: int) -> Tensor:
        return self._note(Draw("uniform", shape))

    def categorical(self, classes: int) -> Tensor:
        return self._note(Draw("categorical", (classes,)))

    def _note(self, draw: Draw) -> Tensor:
        self.draws.append(draw)
        self.numbers.append(draw.of(self._noise))
        return self.numbers[-1]


class Given:
    """Noise that hands out these tensors in their order, whatever is asked for."""

    def __init__(self, numbers: Iterable[Tensor]) -> None:
        self._numbers: Iterator[Tensor] = iter(numbers)

    def normal(self, *shape: int) -> Tensor:
        return next(self._numbers)

    def uniform(self, *shape: int) -> Tensor:
        return next(self._numbers)

    def categorical(self, classes: int) -> Tensor:
        return next(self._numbers)
