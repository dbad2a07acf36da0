"""The objective of section 3: D learns from real images and their attributes, and G from a target and the way back."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import zoo
from zoo_stargan.model import Discriminator, StarGAN


def train(
    model: StarGAN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 200_000,
    lr: float = 1e-4,
    beta1: float = 0.5,
    decay: zoo.Share = 0.5,
    n_critic: Annotated[int, Field(ge=1)] = 5,
    lambda_cls: zoo.Weight = 1.0,
    lambda_rec: zoo.Weight = 10.0,
    lambda_gp: zoo.Weight = 10.0,
    lr_classifier: float = 1e-3,
    d_width: zoo.Width = 64,
    d_layers: Annotated[int, Field(ge=1, le=8)] = 6,
) -> None:
    """Train G against a new D on images with attributes (n, k) of 0 and 1. Each step is one of D. G has one step for
    every n_critic of them.

    lr, beta1: Adam's, for both nets. decay: the share of the run, at its end, over which lr falls linearly to 0
    (section 5.3). The lambdas are those of equations 5, 6 and 8. lr_classifier: the learning rate of the small
    classifier C. d_width: feature maps of D's first layer. d_layers: how many layers of D halve the side.
    """
    check(model.config, batches, d_layers)
    G, C, D = model.generator, model.classifier, Discriminator(model.config, d_width, d_layers)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    opt_C = torch.optim.Adam(C.parameters(), lr_classifier, fused=True)
    # Each schedule counts the updates of its own net.
    schedule_G = zoo.constant_then_linear(opt_G, steps // n_critic, decay)
    schedule_D = zoo.constant_then_linear(opt_D, steps, decay)
    schedules = {"schedule_G": schedule_G, "schedule_D": schedule_D}
    run.prepare(model=model, D=D, opt_G=opt_G, opt_D=opt_D, opt_C=opt_C, batches=batches, **schedules)

    for step in run.steps(steps):
        x, original = next(batches)
        x = 2 * x - 1
        target = original[torch.randperm(len(x), device=x.device)]

        # D: real images against translated ones. It learns the attributes from real images alone (equation 2).
        with run.autocast():
            with torch.no_grad():
                fake = G(x, target)
            (src_real, cls_real), (src_fake, _) = D(x), D(fake)
        distance = src_real.float().mean() - src_fake.float().mean()
        cls_D = class_loss(cls_real, original)
        penalty = gradient_penalty(D, x, fake)
        run.minimize(-distance + lambda_cls * cls_D + lambda_gp * penalty, opt_D)
        schedule_D.step()

        # G: its images should look real, have the target attributes, and lead back to x with its own.
        if (step + 1) % n_critic == 0:
            with run.autocast():
                fake = G(x, target)
                src, cls = D(fake)
                back = G(fake, original)
            loss_G, cls_G, rec = -src.float().mean(), class_loss(cls, target), (x - back.float()).abs().mean()
            run.minimize(loss_G + lambda_cls * cls_G + lambda_rec * rec, opt_G)
            schedule_G.step()
            run.log(loss_G=loss_G, cls_G=cls_G, rec=rec)

        # C learns from real images only.
        with run.autocast():
            loss_C = class_loss(C(x), original)
        run.minimize(loss_C, opt_C)
        run.log(distance=distance, cls_D=cls_D, penalty=penalty, loss_C=loss_C)


def class_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """-log D_cls(c | x): binary cross-entropies summed over the attributes, the mean over images."""
    return F.binary_cross_entropy_with_logits(logits.float(), attributes, reduction="none").sum(1).mean()


def gradient_penalty(D: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """E (||grad D_src(x_hat)|| - 1)^2 at a random point between each real image and its translation (equation 8).

    The gradient is that of the sum of an image's patch scores, as in the authors' code, although the adversarial loss
    takes their mean. It is computed in float32: half precision is too coarse for the square of a norm.
    """
    with torch.autocast(real.device.type, enabled=False):
        alpha = torch.rand(len(real), 1, 1, 1, device=real.device)
        x_hat = (alpha * real + (1 - alpha) * fake.detach().float()).requires_grad_()
        (gradient,) = torch.autograd.grad(D(x_hat)[0].sum(), x_hat, create_graph=True)
        norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()  # sqrt has no derivative at 0
        return (norm - 1).square().mean()


def check(config: StarGAN.Config, batches: zoo.Batches, d_layers: int) -> None:
    """ConfigError unless the data have the attributes of the config, and the images are large enough for D."""
    if batches.dataset.names != config.names:
        raise zoo.ConfigError(
            f"the data have the attributes {', '.join(batches.dataset.names)}, the model has {', '.join(config.names)}",
            'Give the same names twice: --column attributes=A,B --set \'names=["A","B"]\'',
        )
    if 2**d_layers > config.image_size:
        raise zoo.ConfigError(
            f"d_layers={d_layers} needs images of at least {2**d_layers} pixels, found {config.image_size}",
            "Give a smaller number: --set d_layers=1",
        )
