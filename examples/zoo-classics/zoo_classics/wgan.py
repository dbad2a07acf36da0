"""WGAN: Arjovsky, Chintala, Bottou 2017, "Wasserstein GAN", with weight clipping.

    W(p_r, p_g) = max over 1-Lipschitz f of  E f(x) - E f(G(z))

f is a net whose weights are kept in [-c, c]: so it is K-Lipschitz for some K that nobody knows, and the estimate is in
proportion to W. Unlike the Jensen-Shannon divergence, W falls as two distributions that do not meet come nearer.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo_classics.nets import Discriminator, Generator


def train(
    model: Generator,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 50_000,
    n_critic: Annotated[int, Field(ge=1)] = 5,
    c: Annotated[float, Field(gt=0)] = 0.01,
    lr: float = 5e-5,
) -> None:
    """Algorithm 1: n_critic steps of a new critic f, each followed by clipping, then one of G; `steps` counts G's.

    lr: RMSProp's, for both. The paper saw momentum make the critic unstable.
    """
    G, f = model, Discriminator(model.config)
    opt_G = torch.optim.RMSprop(G.parameters(), lr)
    opt_f = torch.optim.RMSprop(f.parameters(), lr)
    run.prepare(model=G, f=f, opt_G=opt_G, opt_f=opt_f, batches=batches)

    for _ in run.steps(steps):
        for _ in range(n_critic):
            x = 2 * next(batches) - 1
            with run.autocast():
                fake = G(run.noise(len(x)).normal(G.config.latent_dim)).detach()
                distance = critic_gap(f(x), f(fake))
            run.minimize(-distance, opt_f)
            clip(f, c)
            run.log(wasserstein=distance)

        with run.autocast():
            loss_G = -f(G(run.noise(len(x)).normal(G.config.latent_dim))).mean()
        run.minimize(loss_G, opt_G)


def critic_gap(real: Tensor, fake: Tensor) -> Tensor:
    """E f(x) - E f(G(z)): in proportion to the Wasserstein distance where f is at its best."""
    return real.mean() - fake.mean()


@torch.no_grad()
def clip(f: nn.Module, c: float) -> None:
    """Every parameter into [-c, c], biases too."""
    for parameter in f.parameters():
        parameter.clamp_(-c, c)
