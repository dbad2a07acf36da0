"""A run for the tests of training loops: it trains as any run does, writes no file, and keeps what the loop did."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo


@dataclass(frozen=True)
class Call:
    """One pass of a watched net, its tensors detached."""

    net: str
    given: tuple[Any, ...]
    gave: tuple[Any, ...]
    update: int
    """How many updates came before."""


@dataclass(frozen=True)
class Update:
    """One step of an optimizer."""

    optimizer: str
    """The name that the loop prepared it under."""
    loss: float
    rate: float
    """The learning rate of its first group."""
    clip: float | None
    reach: Mapping[str, list[Tensor | None]]
    """Of each watched net, the loss's gradient at each parameter; None where the loss does not lead there."""
    steps: Mapping[str, list[bool]]
    """Of each watched net, whether each parameter changed."""
    gradients: Mapping[str, Mapping[str, Tensor]]
    """Of each watched net, by parameter, those that the optimizer was given."""

    @property
    def reached(self) -> set[str]:
        """The nets where a gradient of the loss is not 0."""
        return {net for net, found in self.reach.items() if any(g is not None and bool(g.any()) for g in found)}

    @property
    def moved(self) -> set[str]:
        """The nets with a parameter that changed."""
        return {net for net, changes in self.steps.items() if any(changes)}


class Recorder(zoo.Run):
    """nets: those to watch, each by a name and where it stands among the loop's parts: {"E": "model.E", "D": "D"}.

    noise: what the loop is given for n samples, instead of fresh noise.
    """

    def __init__(
        self,
        out: Path,
        nets: Mapping[str, str] | None = None,
        noise: Callable[[int], zoo.AnyNoise] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(out, device="cpu", progress=False, **settings)
        self.places, self.given = nets or {}, noise
        self.parts: dict[str, Any] = {}
        self.nets: dict[str, nn.Module] = {}
        self.before: dict[str, nn.Module] = {}
        """Copies of the watched nets as they began."""
        self.calls: list[Call] = []
        self.updates: list[Update] = []
        self.logged: list[dict[str, float]] = []

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        prepared = super().prepare(**parts)
        self.parts = parts
        for name, place in self.places.items():
            part, _, inside = place.partition(".")
            self.nets[name] = parts[part].get_submodule(inside)
        self.before = copy.deepcopy(self.nets)
        for name, net in self.nets.items():
            net.register_forward_hook(lambda _, given, gave, name=name: self._keep(name, given, gave))
        return prepared

    def _keep(self, net: str, given: tuple[Any, ...], gave: Any) -> None:
        gave = gave if isinstance(gave, tuple) else (gave,)
        self.calls.append(Call(net, _detached(given), _detached(gave), len(self.updates)))

    def steps(self, total: int) -> Iterator[int]:
        yield from range(total)

    def noise(self, n: int) -> Any:
        return super().noise(n) if self.given is None else self.given(n)

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> None:
        rate = optimizer.param_groups[0]["lr"]
        reach = {name: _gradients(loss, net) for name, net in self.nets.items()}
        before = {name: [p.detach().clone() for p in net.parameters()] for name, net in self.nets.items()}
        for net in self.nets.values():
            net.zero_grad()
        super().minimize(loss, optimizer, clip=clip)
        (name,) = (name for name, part in self.parts.items() if part is optimizer)
        steps = {
            name: [not torch.equal(*pair) for pair in zip(before[name], net.parameters(), strict=True)]
            for name, net in self.nets.items()
        }
        gradients = {
            name: {key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None}
            for name, net in self.nets.items()
        }
        self.updates.append(Update(name, loss.item(), rate, clip, reach, steps, gradients))

    def log(self, **values: Tensor | float) -> None:
        self.logged.append({key: torch.as_tensor(value).detach().item() for key, value in values.items()})

    def seen(self, net: str, update: int | None = None) -> list[Call]:
        """The calls of a net; after so many updates and before the next, if given."""
        return [call for call in self.calls if call.net == net and update in (None, call.update)]

    @property
    def losses(self) -> list[float]:
        return [update.loss for update in self.updates]

    @property
    def rates(self) -> list[float]:
        return [update.rate for update in self.updates]

    @property
    def moved(self) -> list[set[str]]:
        """The nets that each update moved."""
        return [update.moved for update in self.updates]

    @property
    def reached(self) -> list[set[str]]:
        """The nets that the loss of each update reached."""
        return [update.reached for update in self.updates]


def _gradients(loss: Tensor, net: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(net.parameters()), retain_graph=True, allow_unused=True))


def _detached(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.detach() if isinstance(value, Tensor) else value for value in values)
