"""Averaged weights, and the running statistics that belong to them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.noise import Noise

SETTLING = 64
"""Number of passes that measure running statistics, and number of samples in each pass."""


class Average(AveragedModel):
    """An exponential average of parameters and buffers. It starts at their first values.

    The parent class would copy its count to the device at every step, and the training would wait for that.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update_parameters(self, model: nn.Module) -> None:
        pairs: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}
        for mine, other in zip(_tensors(self.module), _tensors(model), strict=True):
            pairs.setdefault(mine.dtype, []).append((mine, other))
        first = bool(self.n_averaged == 0)  # the count stays on the CPU, whatever the device is
        for group in pairs.values():
            mean, latest = map(list, zip(*group, strict=True))
            torch._foreach_copy_(mean, latest) if first else self.average(mean, latest, self.n_averaged)
        self.n_averaged += 1


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (parameter.detach() for parameter in module.parameters())
    yield from (buffer.detach() for buffer in module.buffers())


def settle(module: nn.Module, forward: Callable[[nn.Module, Noise], object], seed: int, device: torch.device) -> None:
    """Measure the running statistics of a module again, with passes on noise that depends on the seed alone."""
    norms: list[Any] = [part for part in module.modules() if hasattr(part, "reset_running_stats")]
    if not norms:
        return
    momenta, training = [norm.momentum for norm in norms], module.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all passes
    noise = Noise(seed, 0, SETTLING, device)
    module.train()
    with undisturbed(device):
        for _ in range(SETTLING):
            forward(module, noise)
    module.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """For passes that are not part of the training: without gradients, and the random state is restored."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        yield
