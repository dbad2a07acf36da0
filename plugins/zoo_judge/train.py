"""Supervised training with AdamW (Loshchilov and Hutter 2019). The learning rate rises, then falls as half a cosine."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

import zoo
from zoo_judge.augment import mix, vary
from zoo_judge.model import Backbone, Judge


def train(
    model: Judge,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 3_000,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    pretrained: str = "",
    varied: bool = False,
    mixed: Annotated[float, Field(ge=0, le=10)] = 0.0,
) -> None:
    """Minimise the cross-entropy. lr rises over the first twentieth of the steps, then falls to 0.

    pretrained: a card from whose network, without its classifier, the training starts; empty for random weights.
    varied: augment each image by a random window and random light. mixed: the alpha of mixup; with 0 there is none.
    """
    if pretrained:
        start_from(model, pretrained)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay, fused=True)
    schedule = zoo.cosine(optimizer, steps, warmup=steps // 20)
    run.prepare(model=model, optimizer=optimizer, schedule=schedule, batches=batches)
    run.settle(lambda model, noise: model(batches.at(int(noise.categorical(len(batches))[0]))[0]))

    for _ in run.steps(steps):
        x, y = next(batches)
        x = vary(x) if varied else x
        x, y = mix(x, y, mixed, len(model.config.names)) if mixed else (x, y)
        with run.autocast():
            loss = model.loss(x, y)
        run.minimize(loss, optimizer)
        schedule.step()
        run.log(loss=loss)


def train_backbone(
    model: Backbone,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 100_000,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
) -> None:
    """Learn features in the task of `train`: with a linear classifier, which is not published."""
    classes = len(batches.dataset.names)
    classifier = nn.Linear(model.net.num_features, classes)
    parameters = [*model.parameters(), *classifier.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)
    schedule = zoo.cosine(optimizer, steps, warmup=steps // 20)
    run.prepare(model=model, classifier=classifier, optimizer=optimizer, schedule=schedule, batches=batches)

    for _ in run.steps(steps):
        x, y = next(batches)
        with run.autocast():
            logits = classifier(model.features(x))
        loss = F.cross_entropy(logits.float(), y)
        run.minimize(loss, optimizer)
        schedule.step()
        run.log(loss=loss)


def start_from(model: Judge, card: str) -> None:
    """Copy the tensors of the card's network, without its classifier. ConfigError unless they fit."""
    given, own = zoo.load(card, device="cpu").module.net.state_dict(), model.net.state_dict()
    classifier = model.net.pretrained_cfg["classifier"] + "."
    given = {key: value for key, value in given.items() if not key.startswith(classifier)}
    misfits = [key for key, value in given.items() if key not in own or own[key].shape != value.shape]
    if misfits:
        raise zoo.ConfigError(
            f"the card {card} does not fit the network: {misfits[0]} is missing or has another shape",
            "Give the backbone, widths and channels of that card, or leave pretrained empty. 'zoo info' shows them.",
        )
    model.net.load_state_dict(own | given)
