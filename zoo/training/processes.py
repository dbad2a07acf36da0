"""What several processes of one run give each other: first weights and gradients. Each process must make each call."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def broadcast_weights(module: nn.Module) -> None:
    """Copy the weights of the first process to all processes."""
    from accelerate.utils import broadcast

    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(broadcast(tensor.contiguous()))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes."""
    from accelerate.utils import reduce

    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.copy_(reduce(parameter.grad, reduction="mean"))
