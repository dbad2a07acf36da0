"""Figures with their protocol. What is measured follows from what the model can do."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo import cards, hub
from zoo.conditions import Categorical
from zoo.data import LABELS, Dataset, load_dataset
from zoo.errors import InputError
from zoo.model import Model, load
from zoo.noise import Noise
from zoo.recipes import machine
from zoo.registry import registry, resolve

IMPORTANCE_SAMPLES = 1000
IMPORTANCE_IMAGES = 1000
MAX_WEIGHED = 10**9
"""Pixels that the importance-weighted bound decodes in all; it takes fewer images where these are large."""
MAX_DECODED = 1 << 25
"""Pixels that are decoded at once: 128 MiB, and a few times that in the decoder."""
MAX_SAMPLES = 2000
"""Generated images that a distance between sets uses at most."""
PATCH = 7
"""Side of the patches whose distributions the sliced Wasserstein distance compares."""


@dataclass(frozen=True)
class Bench:
    """What every metric may use: the model and both splits, with images in [0, 1]."""

    model: Model
    test: Dataset
    train: Dataset
    data: str
    seed: int
    progress: bool
    judge: Model | None = None
    """A classifier trained apart from the model, if its recipe names one; `infer` gives its verdicts."""

    @cached_property
    def samples(self) -> Tensor:
        """As many samples as there are test images, MAX_SAMPLES at most; drawn once for all that look at them."""
        n = min(len(self.test), MAX_SAMPLES)
        return self.model.sample(n, seed=self.seed, progress=self.progress).tensor

    def given(self, dataset: Dataset, method: str) -> dict[str, Any]:
        """The data set's own labels as conditions of a method that takes them."""
        taken = self.model.conditions_of(method)
        return {"label": dataset.labels} if "label" in taken and dataset.labels is not None else {}

    def images(self, dataset: Dataset) -> Tensor:
        """(n, c, h, w) in [0, 1] as the model takes them; binary images are one fixed draw per seed and split."""
        x = dataset.images.float() / 255
        if self.model.preparation.binarize:
            # A stream of its own: with the seed's, pixels would share their randomness with latents and between splits.
            stream = hashlib.sha256(f"binarize {dataset.split} {self.seed}".encode()).digest()[:8]
            return (Noise(int.from_bytes(stream), 0, len(x)).uniform(*x.shape[1:]) < x).float()
        return x

    def images_like(self, made: Tensor, dataset: Dataset) -> Tensor:
        """What samples are compared with: means of binary pixels with grey values, draws of them with draws."""
        draws = bool(((made == 0) | (made == 1)).all())
        return self.images(dataset) if draws else dataset.images.float() / 255

    def metric(self, name: str, values: Tensor | float, better: str, protocol: str, **more: Any) -> cards.Metric:
        """A Metric of one value, or of the mean of one value per image with its standard error."""
        if isinstance(values, Tensor):
            values = values.double()
            error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
            more = {"uncertainty": error, "n": len(values)} | more
            values = values.mean().item()
        more = {"n": len(self.test), "unit": ""} | more
        return cards.Metric(
            name=name,
            value=_round(values),
            better=better,
            protocol=protocol,
            data=self.data,
            split="test",
            seed=self.seed,
            **{key: _round(value) if isinstance(value, float) else value for key, value in more.items()},
        )


def evaluate(
    name: str | Path,
    *,
    data: str | Path | None = None,
    data_name: str | None = None,
    judge: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    write: bool = False,
    progress: bool = True,
    seed: int = 0,
) -> list[cards.Metric]:
    """Measure a card on the test split of its data set; `write` puts the figures into the card.

    data: the data set, by Hub name or folder; by default the one the card names. data_name: what the figures call it.
    judge: the card of a classifier that judges what the model makes; by default the one that the card's recipe names.
    limit: the first so many images of each split, for a quick look; such figures are not written.
    """
    if write and limit is not None:
        raise InputError(
            "figures on a part of the test split are not written to a card", "Leave --limit or --write out."
        )
    folder = hub.locate(name)
    model, facts = load(folder, device=device), cards.read_facts(folder)
    source, spec = str(data or facts.training.data), model.spec
    columns = facts.training.columns
    # Whatever labels the recipe names are read, also those that its loop does not see.
    kind = next((kind for kind, column in LABELS.items() if column in columns), spec.batch)
    test, train = (
        load_dataset(source, model.preparation, split=split, kind=kind, columns=columns, limit=limit, progress=progress)
        for split in ("test", "train")
    )
    # A card's recipe may be that of a package which is not installed here.
    _, recipe = registry().recipes.get(facts.training.recipe, (None, None))
    named = judge or (recipe.judge if recipe else None)
    verdicts = load(named, device=device) if named else None
    bench = Bench(model, test, train, data_name or _called(source), seed, progress, verdicts)
    metrics = [metric for measure in _measures(bench) for metric in measure(bench)]
    if recipe and bench.data == recipe.data:
        metrics = [_beside(metric, recipe.published.get(metric.name, "")) for metric in metrics]
    if write:
        updated = facts.model_copy(update={"metrics": metrics, "cost": cost(model, folder)})
        cards.write_facts(folder, updated)
    return metrics


def _called(source: str) -> str:
    """A folder goes by its own name, so that no card tells where a disk was mounted."""
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.exists() else source


def _beside(metric: cards.Metric, published: str) -> cards.Metric:
    """With what a paper reports added to what the figure may be compared with."""
    return metric.model_copy(update={"baseline": "; ".join(filter(None, (metric.baseline, published)))})


def _measures(bench: Bench) -> Iterator[Callable[[Bench], list[cards.Metric]]]:
    model, can = bench.model, set(bench.model.spec.capabilities)
    if "elbo" in can:  # a density that has both is not the probability of an image on its grid; its bound is of one
        yield bound
    elif "log_prob" in can:
        yield likelihood
    if {"encode", "decode"} <= can:
        yield reconstruction
    if "sample" in can:
        if model.preparation.size >= PATCH:
            yield distance
            yield sharpness
        yield memorisation
        label = model.conditions.get("label")
        if bench.judge is not None and isinstance(label, Categorical) and label.names == bench.judge.config.names:
            yield class_accuracy
    if "translate" in can and model.spec.batch == "pairs":
        yield paired_error
    if model.spec.evaluation:
        yield resolve(model.spec.evaluation)


def bound(bench: Bench) -> list[cards.Metric]:
    """The evidence lower bound with one draw of z, and with `log_weights` the importance-weighted bound."""
    model, x = bench.model, bench.images(bench.test)
    given = bench.given(bench.test, "elbo")
    elbo = model.elbo(x, seed=bench.seed, batch_size=256, **given)
    told = "given its label; " if given else ""
    protocol = f"{told}one draw per image; {_pixels(model)}"
    found = [bench.metric("elbo", elbo, "higher", protocol, unit="nats")]
    if not model.preparation.binarize:
        found.append(
            bench.metric("bits_per_dim_bound", -elbo / (x[0].numel() * math.log(2)), "lower", protocol, unit="bits/dim")
        )
    if hasattr(model.module, "log_weights"):
        images = min(IMPORTANCE_IMAGES, max(1, MAX_WEIGHED // (IMPORTANCE_SAMPLES * x[0].numel())))
        few = {key: labels[:images] for key, labels in given.items()}
        tight = importance_bound(model, x[:images], IMPORTANCE_SAMPLES, bench.seed, **few)
        protocol = f"{told}log of the mean of k = {IMPORTANCE_SAMPLES} importance weights; {_pixels(model)}"
        found.append(bench.metric("importance_weighted_bound", tight, "higher", protocol, unit="nats"))
    return found


def _pixels(model: Model) -> str:
    if model.preparation.binarize:
        return "binary images, one fixed Bernoulli draw of the grey values"
    return "8-bit values, uniformly dequantised"


def importance_bound(model: Model, x: Tensor, k: int, seed: int, **given: Tensor) -> Tensor:
    """log 1/k sum_k p(x, z_k) / q(z_k | x) for each image, (n,) nats (Burda et al. 2016, equation 8)."""
    parts, batch_size = [], max(1, MAX_DECODED // (k * x[0].numel()))
    for first in range(0, len(x), batch_size):
        rows = x[first : first + batch_size].to(model.device)
        noise = Noise(seed, first, first + len(rows), model.device)
        with torch.no_grad():
            told = {key: value[first : first + batch_size].to(model.device) for key, value in given.items()}
            weights: Tensor = model.module.log_weights(rows, noise, k, **told)
        parts.append((weights.double().logsumexp(1) - math.log(k)).cpu())
    return torch.cat(parts)


def likelihood(bench: Bench) -> list[cards.Metric]:
    """Exact log-likelihood, in nats and in bits per dimension."""
    x = bench.images(bench.test)
    nats = bench.model.log_prob(x, batch_size=256)
    bits = -nats / (x[0].numel() * math.log(2))
    protocol = f"exact; {_pixels(bench.model)}"
    return [
        bench.metric("log_likelihood", nats, "higher", protocol, unit="nats"),
        bench.metric("bits_per_dim", bits, "lower", protocol, unit="bits/dim"),
    ]


def reconstruction(bench: Bench) -> list[cards.Metric]:
    """Root mean square error of decode(encode(x)), per image."""
    x = bench.images(bench.test)
    given = bench.given(bench.test, "encode")
    error = (bench.model.reconstruct(x, batch_size=256, **given).tensor - x).square().flatten(1).mean(1).sqrt()
    return [
        bench.metric("reconstruction_rmse", error, "lower", "root mean square over pixels in [0, 1], mean over images")
    ]


def distance(bench: Bench) -> list[cards.Metric]:
    """Sliced Wasserstein distance of samples to test images, with that of training images as the floor."""
    n = min(len(bench.samples), len(bench.train))
    made = bench.samples[:n]
    real, floor = (bench.images_like(made, split)[:n] for split in (bench.test, bench.train))
    value, least = (1000 * sliced_wasserstein(x, real, bench.seed) for x in (made, floor))
    protocol = (
        f"mean over Laplacian pyramid levels down to 16 pixels (Karras et al. 2018, section 5), times 1000; "
        f"{n} samples against the first {n} test images, 128 patches of 7x7 an image, 512 directions"
    )
    baseline = f"training images: {least:.4g}"
    return [bench.metric("sliced_wasserstein", value, "lower", protocol, n=n, baseline=baseline)]


def sliced_wasserstein(a: Tensor, b: Tensor, seed: int, patches: int = 128, directions: int = 512) -> float:
    """Mean over pyramid levels of the sliced W1 between 7x7 patches of two equally large sets (n, c, h, w).

    Patches of a level are normalised by the mean and deviation of each channel of their own set, as in the paper. Both
    sets are cut at the same places, so that a set is at distance 0 from itself.
    """
    if a.shape != b.shape:
        raise InputError(f"two sets of one shape are needed, found {tuple(a.shape)} and {tuple(b.shape)}")
    draws = torch.Generator().manual_seed(seed)
    distances = [
        _level_distance(*levels, draws, patches, directions) for levels in zip(_pyramid(a), _pyramid(b), strict=True)
    ]
    return sum(distances) / len(distances)


def _level_distance(a: Tensor, b: Tensor, draws: torch.Generator, patches: int, directions: int) -> float:
    """Sliced W1 between the patches of one level: in one dimension, sorting pairs the points as transport does."""
    n, c, h, w = a.shape
    axes = F.normalize(torch.randn(directions, c * PATCH**2, generator=draws), dim=1)
    rows, columns = (torch.randint(side - PATCH + 1, (n, patches, 1, 1), generator=draws) for side in (h, w))
    sets = [_patches(x, rows, columns) for x in (a, b)]
    total = 0.0
    for first in range(0, directions, 64):  # all directions at once would take gigabytes
        one, other = ((axes[first : first + 64] @ x.T).sort(1).values for x in sets)
        total += (one - other).abs().mean(1).sum().item()
    return total / directions


def _pyramid(x: Tensor) -> list[Tensor]:
    """Laplacian levels, halving as long as the result has 16 pixels or more; the last is the low-pass rest."""
    levels = []
    while x.shape[-1] % 2 == 0 and x.shape[-1] >= 32:
        small = F.avg_pool2d(x, 2)
        levels.append(x - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False))
        x = small
    return [*levels, x]


def _patches(x: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """(n * count, c * 49): 7x7 windows with corners (n, count, 1, 1), normalised by channel over the whole set."""
    n, c = x.shape[:2]
    rows, columns = tops + torch.arange(PATCH)[:, None], lefts + torch.arange(PATCH)
    found = x.permute(0, 2, 3, 1)[torch.arange(n).view(n, 1, 1, 1), rows, columns].reshape(-1, PATCH**2, c)
    found = (found - found.mean((0, 1))) / found.std((0, 1)).clamp_min(1e-8)
    return found.flatten(1)


def sharpness(bench: Bench) -> list[cards.Metric]:
    """How much fine detail samples have, as a share of what test images have."""
    made, n = bench.samples, len(bench.samples)
    real = bench.images_like(made, bench.test)[:n]
    protocol = f"mean variance of the Laplacian of {n} samples over that of {n} test images; 1 is as sharp, 0 is flat"
    return [bench.metric("sharpness", (detail(made) / detail(real)).item(), "higher", protocol, n=n)]


def detail(x: Tensor) -> Tensor:
    """Mean over images of the variance over pixels of the 3x3 Laplacian of their grey values."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(x.mean(1, keepdim=True), kernel).flatten(1).var(1).mean()


def class_accuracy(bench: Bench) -> list[cards.Metric]:
    """Of samples asked for by class, the share that the judge sees in that class; against its share on test images."""
    assert bench.judge is not None
    classes = len(bench.judge.module.config.names)
    n = MAX_SAMPLES // classes * classes
    asked = torch.arange(n) % classes
    made = bench.model.sample(n, seed=bench.seed, label=asked)
    right = bench.judge.infer(made, batch_size=256)["label"].argmax(1) == asked
    protocol = f"{n} samples, every class equally often, judged by {bench.judge.name}"
    baseline = ""
    if bench.test.labels is not None:
        seen = bench.judge.infer(bench.test.images.float() / 255, batch_size=256)["label"].argmax(1)
        baseline = f"test images: {(seen == bench.test.labels).float().mean():.4g}"
    return [bench.metric("class_accuracy", right.float(), "higher", protocol, baseline=baseline)]


def memorisation(bench: Bench) -> list[cards.Metric]:
    """How near samples come to the training set, against how near unseen images come: about 1 or more is no copying."""
    samples, n = bench.samples, len(bench.samples)
    train, test = (bench.images_like(samples, split) for split in (bench.train, bench.test))
    made, held_out = nearest(samples, train), nearest(test[:n], train)
    ratio = (made.median() / held_out.median()).item()
    protocol = (
        f"median Euclidean pixel distance to the nearest of {len(train)} training images: "
        f"{n} samples {made.median():.3g}, {n} test images {held_out.median():.3g}; the ratio, "
        f"which is 0 for copies, and below 1 for blurred images too"
    )
    return [bench.metric("nearest_neighbour_ratio", ratio, "higher", protocol, n=n)]


def nearest(x: Tensor, among: Tensor, chunk: int = 256) -> Tensor:
    """Euclidean distance (n,) from each image to its nearest neighbour."""
    flat, found = among.flatten(1), []
    for first in range(0, len(x), chunk):
        rows = x[first : first + chunk].flatten(1)
        # Matrix products find the neighbour fast but leave a copy at a distance above 0; the difference does not.
        neighbour = flat[torch.cdist(rows, flat).argmin(1)]
        found.append((rows - neighbour).square().sum(1).sqrt())
    return torch.cat(found)


def paired_error(bench: Bench) -> list[cards.Metric]:
    """Of a translator of pairs: L1, PSNR and SSIM between the translation and its target."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    target = bench.images(bench.test)
    given = target if bench.test.inputs is None else bench.test.inputs.float() / 255
    made = bench.model.translate(given, prepared=bench.test.inputs is not None, seed=bench.seed).tensor
    l1 = (made - target).abs().flatten(1).mean(1)
    psnr = peak_signal_noise_ratio(made, target, 1.0, reduction="none", dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(made, target, data_range=1.0, reduction="none")
    protocol = "translation with noise of this seed against its target, pixels in [0, 1]"
    return [
        bench.metric("l1", l1, "lower", protocol),
        bench.metric("psnr", psnr, "higher", protocol, unit="dB"),
        bench.metric(
            "ssim", ssim if isinstance(ssim, Tensor) else ssim[0], "higher", protocol + ", 11x11 Gaussian window"
        ),
    ]


def cost(model: Model, folder: Path) -> cards.Cost:
    """What 16 images take, loaded and warm: the median of five goes."""
    p = model.preparation
    x = torch.full((16, p.channels, p.size, p.size), 0.5)

    def go() -> None:
        if "sample" in model.spec.capabilities:
            model.sample(16, seed=0)
        elif "translate" in model.spec.capabilities:
            model.translate(x)
        else:
            model.infer(x)

    go()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        go()
        seconds.append(time.perf_counter() - started)
    return cards.Cost(
        parameters=sum(p.numel() for p in model.module.parameters()),
        bytes=(folder / "model.safetensors").stat().st_size,
        seconds=_round(sorted(seconds)[2]),
        machine=machine(model.device),
    )


def _round(value: float) -> float:
    """Five significant digits: more would only change from machine to machine."""
    return float(f"{value:.5g}")
