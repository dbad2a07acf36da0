"""Supervised training with AdamW (Loshchilov and Hutter 2019) and a warm-up into half a cosine."""

import math

import torch

import zoo
from zoo_judge.model import Judge


def train(
    model: Judge,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 3_000,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
) -> None:
    """Minimise the cross-entropy; lr rises over the first twentieth of the steps, then falls to 0."""

    def rate(step: int) -> float:
        warmup = max(1, steps // 20)
        return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)

    for _ in run.steps(steps):
        x, y = next(batches)
        with run.autocast():
            loss = model.loss(x, y)
        run.minimize(loss, optimizer)
        schedule.step()
        run.log(loss=loss)
