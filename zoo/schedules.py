"""How the learning rate goes with the steps of a run."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def constant_then_linear(optimizer: torch.optim.Optimizer, steps: int, decay: float) -> LambdaLR:
    """The learning rate as given, then a straight line down to 0 over the last `decay` of the `steps`.

    decay: a share, 0 to 1: 0 keeps the rate, 1 lets it fall from the first step on. The plan of Isola et al. 2017 and
    Zhu et al. 2017 (code), Choi et al. 2018 (section 5.3), and with 1 of Gulrajani et al. 2017 (appendix F).

    The rate follows from the count of steps alone. A run that is resumed with more `steps` goes on by the longer plan:
    its rate rises again, and falls at the new end.
    """
    return LambdaLR(optimizer, lambda step: min(1.0, (steps - step) / (decay * steps)) if decay and steps else 1.0)


def cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int = 0) -> LambdaLR:
    """The learning rate as given times half a cosine wave, from 1 down to 0 at `steps` (Loshchilov and Hutter 2017,
    section 3, without restarts).

    warmup: so many steps it takes to rise along a straight line first, where that is below the wave.
    """
    rise = max(1, warmup)
    return LambdaLR(optimizer, lambda step: min((step + 1) / rise, 0.5 + 0.5 * math.cos(math.pi * step / steps)))
