"""Maximum likelihood with teacher forcing: all the pixels of an image are predicted at once from the real ones."""

import torch

import zoo
from zoo_pixelcnn.model import PixelCNN


def train(
    model: PixelCNN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 1e-3,
    halve_every: int = 0,
) -> None:
    """Minimise the mean of -log p(x), in nats per image, by Adam.

    halve_every: steps after which the step size is halved, again and again; 0 keeps it. Neither depends on `steps`, so
    that a run which is stopped early is what a shorter run would have been.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 ** (step // halve_every if halve_every else 0)
    )
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)

    for _ in run.steps(steps):
        x = next(batches)
        with run.autocast():
            nll = -model.log_prob(x).mean()
        run.minimize(nll, optimizer)
        schedule.step()
        run.log(nll=nll)
