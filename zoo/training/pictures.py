"""A card's picture and golden numbers, which are a few results of its model. `zoo verify` makes them again."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zoo.errors import NotFoundError
from zoo.images.batch import Images
from zoo.images.prepare import binary
from zoo.model import Model, load
from zoo.noise import Noise

GOLDEN = ("encode", "log_prob", "elbo", "infer", "features")
"""Methods whose results a card records as golden numbers. The picture shows the results of the others."""
GOLDEN_IMAGES = 4


def picture(
    model: Model,
    inputs: str | None,
    shown: Sequence[Mapping[str, Any]] = (),
    columns: int = 12,
) -> Images | None:
    """The picture at the top of a card: samples of seed 0, not chosen by hand. For a translator: inputs, then results.

    inputs: for a translator, the card whose samples are its inputs. They are never images of a data set.
    shown: the conditions of each row of results.
    The result is None for a model that neither samples nor translates, and if the card `inputs` is None or not here.
    """
    if "sample" in model.spec.capabilities:
        return samples(model, shown, columns)
    if inputs is None or "translate" not in model.spec.capabilities:
        return None
    try:
        given = load(inputs).sample(columns, seed=0)
    except NotFoundError:
        return None
    return beside(model, given.tensor, shown)


def samples(model: Model, shown: Sequence[Mapping[str, Any]], columns: int) -> Images:
    """A square of samples of seed 0; or with `shown` a row for each of its entries, all rows from the same noise."""
    if not shown:
        return model.sample(3 * columns, seed=0)
    return Images(torch.cat([model.sample(columns, seed=0, **row).tensor for row in shown]), columns=columns)


def beside(model: Model, images: Any, shown: Sequence[Mapping[str, Any]]) -> Images:
    """Rows of a translator: the images, the model's inputs if it has a filter, and the results for each condition."""
    plain, given = model.prepare(images), model.prepare(images, filtered=True)
    made = [model.translate(given, prepared=True, **row).tensor for row in shown or [{}]]
    rows = [plain, given, *made] if model.preparation.filter else [plain, *made]
    return Images(torch.cat(rows), columns=len(plain))


def pairs(model: Model, inputs: torch.Tensor, targets: torch.Tensor, credit: str) -> Images:
    """Three rows: inputs (n, c, h, w) in [0, 1] of a data set, their translations, and the targets.

    credit: the line that must stand beside images of the data set if they are shown to others.
    """
    made = model.translate(inputs, prepared=True)
    return Images(torch.cat([inputs, made.tensor, targets]), made.info | {"credit": credit}, columns=len(inputs))


def golden(model: Model) -> dict[str, list[float]]:
    """A few values of each method's results on fixed noise images. `zoo verify` computes them again and compares."""
    p = model.preparation
    x = Noise(0, 0, GOLDEN_IMAGES).uniform(p.channels, p.size, p.size)
    x = binary(x) if p.binarize else x
    found: dict[str, list[float]] = {}
    for method in GOLDEN:
        if method in model.spec.capabilities:
            result = getattr(model, method)(x)
            parts = result if isinstance(result, dict) else {"": result}
            found |= {f"{method}.{key}".rstrip("."): _values(value) for key, value in parts.items()}
    return found


def _values(x: torch.Tensor) -> list[float]:
    """At most 16 values, at even distances in a tensor, rounded to six digits."""
    flat = x.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, min(16, len(flat))).long()
    return [float(f"{value:.6g}") for value in flat[places].tolist()]
