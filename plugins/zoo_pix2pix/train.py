"""Alternating training of section 3.3: D on a real and a translated pair, then G against D and towards the target."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

import zoo
from zoo_pix2pix.model import PatchDiscriminator, Pix2Pix


def train(
    model: Pix2Pix,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 2e-4,
    beta1: float = 0.5,
    decay: zoo.Share = 0.5,
    l1: zoo.Weight = 100.0,
    patch_layers: Annotated[int, Field(ge=0, le=5)] = 3,
    patch_width: zoo.Width = 64,
) -> None:
    """Train G against a new D on pairs (x, y), x the input. lr and beta1 are Adam's, for both nets (section 3.3).

    decay: the share of the run, at its end, over which lr falls linearly to 0, as in the authors' code. l1: lambda, the
    weight of the L1 term (equation 4). patch_layers: how many layers of D halve the side; with 3, it scores patches of
    70x70 (section 4.4). patch_width: feature maps of D's first layer.
    """
    if model.config.norm == "batch":
        raise zoo.ConfigError(
            "norm='batch' is for weights that were trained elsewhere",
            "Give norm='instance-affine': for batches of one image, as in the paper, it is the same in training.",
        )
    config, smallest = model.config, 2 ** (patch_layers + 2)
    if config.image_size < smallest:
        raise zoo.ConfigError(
            f"patch_layers={patch_layers} needs images of at least {smallest} pixels, found {config.image_size}",
            "Give a smaller number: --set patch_layers=1",
        )
    G, D = model, PatchDiscriminator(config.in_channels, config.out_channels, patch_width, patch_layers)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    schedule_G, schedule_D = (zoo.constant_then_linear(optimizer, steps, decay) for optimizer in (opt_G, opt_D))
    schedules = {"schedule_G": schedule_G, "schedule_D": schedule_D}
    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches, **schedules)

    for _ in run.steps(steps):
        x, y = (2 * image - 1 for image in next(batches))
        with run.autocast():
            fake = G(x, run.noise(len(x)))

        # D: half the objective makes it learn slower than G.
        with run.autocast():
            loss_D = (zoo.log_loss_real(D(x, y)) + zoo.log_loss_fake(D(x, fake.detach()))) / 2
        run.minimize(loss_D, opt_D)

        # G: with the same translation, as in the authors' code.
        with run.autocast():
            loss_G = zoo.log_loss_real(D(x, fake))
        distance = l1_distance(fake, y)
        run.minimize(loss_G + l1 * distance, opt_G)
        for schedule in schedules.values():
            schedule.step()
        run.log(loss_D=loss_D, loss_G=loss_G, l1=distance)


def l1_distance(fake: Tensor, y: Tensor) -> Tensor:
    """|y - G(x, z)|, the mean over images, channels and pixels. lambda = 100 is meant for this mean."""
    return (fake.float() - y).abs().mean()
