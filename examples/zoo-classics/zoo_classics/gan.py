"""GAN: Goodfellow et al. 2014, "Generative Adversarial Nets".

    min_G max_D  E log D(x) + E log(1 - D(G(z)))

For a fixed G the best D is p_r / (p_r + p_g), and the value there is 2 JS(p_r, p_g) - 2 log 2 (section 4.1). D says
p(real) as a logit.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from zoo_classics.nets import Discriminator, Generator


def train(
    model: Generator,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 2e-4,
    beta1: float = 0.5,
    generator: Literal["non-saturating", "minimax"] = "non-saturating",
) -> None:
    """Algorithm 1 with k = 1: one step of a new D, one of G. lr and beta1 are Adam's, for both.

    generator: minimax is the equation above, whose gradient is gone where D is sure; the paper trains the other.
    """
    G, D = model, Discriminator(model.config)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)
    loss_of_G = {"non-saturating": non_saturating_loss, "minimax": minimax_loss}[generator]

    for _ in run.steps(steps):
        x = 2 * next(batches) - 1
        with run.autocast():
            fake = G(run.noise(len(x)).normal(G.config.latent_dim)).detach()
            loss_D = discriminator_loss(D(x), D(fake))
        run.minimize(loss_D, opt_D)

        with run.autocast():
            loss_G = loss_of_G(D(G(run.noise(len(x)).normal(G.config.latent_dim))))
        run.minimize(loss_G, opt_G)
        run.log(loss_D=loss_D, loss_G=loss_G)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))), from logits: minus the value of the game."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_loss(fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))): its slope in the logit is -D, nothing where D is sure that the sample is fake."""
    return -F.softplus(fake).mean()


def non_saturating_loss(fake: Tensor) -> Tensor:
    """-E log D(G(z)): its slope in the logit is D - 1, strongest where D is sure (section 3)."""
    return F.softplus(-fake).mean()
