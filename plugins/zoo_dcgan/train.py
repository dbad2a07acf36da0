"""Alternating training of section 3, with the non-saturating loss of G (Goodfellow et al. 2014, section 3)."""

import torch
from torch import Tensor

import zoo
from zoo_dcgan.augment import Policy, augment
from zoo_dcgan.model import DCGAN, Discriminator, draw_latent


def train(
    model: DCGAN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 50_000,
    lr: float = 2e-4,
    beta1: float = 0.5,
    augmentation: Policy = "",
) -> None:
    """Train G against a new D. lr and beta1 are Adam's, for both nets (section 4).

    augmentation: differentiable augmentation of all images that D sees, any of color,translation,cutout (Zhao et al.
    2020). The paper does not have it. It is needed if there are few images.
    """
    G, D = model, Discriminator(model.config)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)
    run.settle(lambda G, noise: G(draw_latent(model.config, noise)))

    def logits(x: Tensor) -> Tensor:
        return D(augment(x, augmentation))

    for _ in run.steps(steps):
        x = 2 * next(batches) - 1

        # D gets a real batch and a fake batch, each in a pass of its own, so that batch norm does not mix them.
        with run.autocast():
            fake = G(draw_latent(G.config, run.noise(len(x)))).detach()
            loss_D = zoo.log_loss_real(logits(x)) + zoo.log_loss_fake(logits(fake))
        run.minimize(loss_D, opt_D)

        # G gets new latents, with the labels of real and fake exchanged.
        with run.autocast():
            loss_G = zoo.log_loss_real(logits(G(draw_latent(G.config, run.noise(len(x))))))
        run.minimize(loss_G, opt_G)
        run.log(loss_D=loss_D, loss_G=loss_G)
