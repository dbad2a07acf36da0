"""LSGAN: Mao et al. 2017, "Least Squares Generative Adversarial Networks".

Classification becomes regression. D has no sigmoid; it regresses to b on real images and to a on made ones, and G
wants it to say c:

    L_D = 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2        L_G = 1/2 E (D(G(z)) - c)^2

A made image that D takes for real, but far from the data, still costs (D - c)^2: it is pulled back, where a sigmoid
would be content. With a = 0, b = c = 1 the best D is p_r / (p_r + p_g); with a = -1, b = 1, c = 0, G minimises a
Pearson chi^2 divergence (section 3.2).
"""

import torch
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
    a: float = 0.0,
    b: float = 1.0,
    c: float = 1.0,
) -> None:
    """One step of a new D, one of G. lr and beta1 are Adam's, for both; a, b and c are the codes above."""
    G, D = model, Discriminator(model.config)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, 0.999), fused=True)
    run.prepare(model=G, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)

    for _ in run.steps(steps):
        x = 2 * next(batches) - 1
        with run.autocast():
            fake = G(run.noise(len(x)).normal(G.config.latent_dim)).detach()
            loss_D = least_squares(D(x), b) + least_squares(D(fake), a)
        run.minimize(loss_D, opt_D)

        with run.autocast():
            loss_G = least_squares(D(G(run.noise(len(x)).normal(G.config.latent_dim))), c)
        run.minimize(loss_G, opt_G)
        run.log(loss_D=loss_D, loss_G=loss_G)


def least_squares(scores: Tensor, code: float) -> Tensor:
    """1/2 E (D - code)^2."""
    return (scores - code).square().mean() / 2
