"""Maximum likelihood (section 4.1): new noise in the cell of each pixel, Adam, and a limit for the gradient's norm."""

import math
from typing import Any

import torch

import zoo
from zoo_realnvp.model import Conv, Coupling, RealNVP


def train(
    model: RealNVP,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 1e-3,
    weight_decay: float = 5e-5,
    clip: float = 100.0,
    decay: zoo.Share = 0.5,
) -> None:
    """Minimise bits per dimension by Adam.

    weight_decay: L2 penalty on the scales of weight norm and tanh only. clip: the largest norm of all gradients
    together.
    decay: the share of the run, at its end, over which lr falls linearly to 0.
    """
    scaled = [m for m in model.modules() if isinstance(m, Conv | Coupling)]
    scales = [m.g if isinstance(m, Conv) else m.scale for m in scaled]
    ids = {id(scale) for scale in scales}
    others = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    groups: list[dict[str, Any]] = [{"params": scales, "weight_decay": weight_decay}, {"params": others}]
    optimizer = torch.optim.Adam(groups, lr, fused=True)
    schedule = zoo.constant_then_linear(optimizer, steps, decay)
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)

    def settle(model: RealNVP, noise: zoo.Noise) -> None:
        """One pass on training images: a flow needs the statistics of its data."""
        x = batches.at(int(noise.categorical(len(batches))[0]))
        model.elbo(x, run.noise(len(x)))

    run.settle(settle)
    bits = math.log(2) * model.config.channels * model.config.image_size**2

    for _ in run.steps(steps):
        x = next(batches)
        with run.autocast():
            bits_per_dim = -model.elbo(x, run.noise(len(x))).mean() / bits
        run.minimize(bits_per_dim, optimizer, clip=clip)
        schedule.step()
        run.log(bits_per_dim=bits_per_dim)
