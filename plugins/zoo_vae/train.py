"""Auto-encoding variational Bayes, algorithm 1, with estimator B and one draw of z per image."""

import torch

import zoo
from zoo_vae.model import VAE


def train(
    model: VAE,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 50_000,
    lr: float = 1e-3,
    warmup: int = 0,
) -> None:
    """Maximise the bound over encoder and decoder together. The step size falls to 0 along a half cosine.

    warmup: number of steps in which the weight of the KL term rises from 0 to 1 (Bowman et al. 2016); with 0 it is
    always 1.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    schedule = zoo.cosine(optimizer, steps)
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)

    def settle(model: VAE, noise: zoo.Noise) -> None:
        """One pass on training images: the nets and the prior need their statistics."""
        x = batches.at(int(noise.categorical(len(batches))[0]))
        model.bound(x, run.noise(len(x)))

    run.settle(settle)

    for step in run.steps(steps):
        x = next(batches)
        with run.autocast():
            log_likelihood, kl = model.bound(x, run.noise(len(x)))
            beta = min(1.0, (step + 1) / warmup) if warmup else 1.0
            loss = -(log_likelihood - beta * kl).mean()
        run.minimize(loss, optimizer)
        schedule.step()
        run.log(bound=(log_likelihood - kl).mean(), kl=kl.mean())
