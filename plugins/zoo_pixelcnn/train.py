"""Maximum likelihood with teacher forcing: all pixels of an image are predicted at once from the real pixels."""

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
    decay: zoo.Share = 0.5,
) -> None:
    """Minimise the mean of -log p(x), in nats per image, by Adam.

    decay: the share of the run, at its end, over which lr falls linearly to 0.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    schedule = zoo.constant_then_linear(optimizer, steps, decay)
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)

    for _ in run.steps(steps):
        x = next(batches)
        with run.autocast():
            nll = -model.log_prob(x).mean()
        run.minimize(nll, optimizer)
        schedule.step()
        run.log(nll=nll)
