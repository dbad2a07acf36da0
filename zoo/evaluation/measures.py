"""Measures the figures, each with its protocol. Which ones there are depends on what the model can do."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from zoo.card import facts as cards
from zoo.distances import (
    FEWEST,
    GROUPS,
    PATCH,
    density_coverage,
    detail,
    frechet_distance,
    frechet_error,
    kernel_distance,
    nearest,
    precision_recall,
    sliced_wasserstein,
)
from zoo.evaluation import features
from zoo.evaluation.bench import MAX_SAMPLES, Bench, mean_and_error
from zoo.evaluation.features import Backbone, Statistics
from zoo.family.conditions import Categorical
from zoo.family.registry import resolve
from zoo.images.prepare import binary_draw, is_binary
from zoo.model import Model
from zoo.noise import Noise

IMPORTANCE_SAMPLES = 1000
IMPORTANCE_IMAGES = 1000
MAX_WEIGHED = 10**9
"""Number of pixels that the importance-weighted bound decodes in all. It uses fewer images if they are large."""
MAX_DECODED = 1 << 25
"""Number of pixels that are decoded at once. They take 128 MiB, and a few times as much in the decoder."""
RESAMPLES = 500
"""Number of resamples in the bootstrap, which gives a ratio its standard error."""
MOST_DIMENSIONS = 512
"""Most features (d) with which a Fréchet distance gets a standard error: it takes ten more distances, of order d^3."""


def measures(bench: Bench) -> Iterator[Callable[[Bench], list[cards.Metric]]]:
    model, can = bench.model, set(bench.model.spec.capabilities)
    if "elbo" in can:  # with both, log_prob is a density, and elbo bounds the probability of an image on its grid
        yield bound
    elif "log_prob" in can:
        yield likelihood
    if {"encode", "decode"} <= can:
        yield reconstruction
    paired = "translate" in can and model.spec.batch == "pairs"
    if "sample" in can or paired:
        if model.preparation.size >= PATCH:
            yield distance
            yield sharpness
        if bench.backbone is not None and len(bench.test) >= FEWEST:
            yield fidelity
    if {"sample", "translate"} & can:
        yield memorisation
    if "sample" in can:
        label = model.conditions.get("label")
        if bench.judge is not None and isinstance(label, Categorical) and label.names == bench.judge.config.names:
            yield class_accuracy
    if paired:
        yield paired_error
    if model.spec.evaluation:
        yield resolve(model.spec.evaluation)


def bound(bench: Bench) -> list[cards.Metric]:
    """The evidence lower bound from one draw of z; and the importance-weighted bound if there is `log_weights`."""
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
        rows = bench.some(bench.test, images)
        few = {key: labels[rows] for key, labels in given.items()}
        tight = importance_bound(model, x[rows], IMPORTANCE_SAMPLES, bench.seed, **few)
        chosen = "" if len(rows) == len(x) else f"{len(rows)} random test images; "
        protocol = f"{told}{chosen}log of the mean of k = {IMPORTANCE_SAMPLES} importance weights; {_pixels(model)}"
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
    """Root mean square error of decode(encode(x)) for each image."""
    x = bench.images(bench.test)
    given = bench.given(bench.test, "encode")
    error = (bench.model.reconstruct(x, batch_size=256, **given).tensor - x).square().flatten(1).mean(1).sqrt()
    return [
        bench.metric("reconstruction_rmse", error, "lower", "root mean square over pixels in [0, 1], mean over images")
    ]


def distance(bench: Bench) -> list[cards.Metric]:
    """Sliced Wasserstein distance of samples to test images. The floor is that of training images."""
    n = min(len(bench.samples), len(bench.train))
    made = bench.samples[:n]
    real, floor = (bench.images_like(made, split, n) for split in (bench.test, bench.train))
    value, least = (1000 * sliced_wasserstein(x, real, bench.seed) for x in (made, floor))
    protocol = (
        f"mean over Laplacian pyramid levels down to 16 pixels (Karras et al. 2018, section 5), times 1000; "
        f"{n} {_what(bench)} against {n} random test images, 128 patches of 7x7 an image, 512 directions"
    )
    return [bench.metric("sliced_wasserstein", value, "lower", protocol, n=n, floor=least)]


def _what(bench: Bench) -> str:
    return "samples" if "sample" in bench.model.spec.capabilities else "translations of test images"


def sharpness(bench: Bench) -> list[cards.Metric]:
    """How much fine detail the samples have, divided by how much test images have."""
    made, n = bench.samples, len(bench.samples)
    ours, real = (detail(x) for x in (made, bench.images_like(made, bench.test, n)))
    value, error = ratio(ours, real, lambda x: x.mean(-1), bench.seed)
    protocol = (
        f"mean variance of the Laplacian of {n} {_what(bench)} over that of {n} random test images; 1 is as sharp, "
        "0 is flat"
    )
    return [bench.metric("sharpness", value, "higher", protocol, n=n, uncertainty=error)]


def fidelity(bench: Bench) -> list[cards.Metric]:
    """How far samples are from test images in the backbone's features, and how much of them they cover; and how far
    they are in the features of the second backbone.

    For the floor, as many training images are measured in the place of the samples.
    """
    assert bench.backbone is not None
    return [*_seen_by(bench, bench.backbone), *(_seen_by(bench, bench.second)[:2] if bench.second else [])]


def _seen_by(bench: Bench, backbone: Backbone) -> list[cards.Metric]:
    """The two distances in a backbone's features, then precision, recall, density and coverage."""
    n = min(len(bench.samples), len(bench.train))
    made, train, test = (
        backbone(bench.samples[:n]),
        bench.seen(bench.train, backbone, n),
        bench.seen(bench.test, backbone),
    )
    real, some = _reference(bench, backbone, test), test[bench.some(bench.test, n)]
    found, floor = (_compared(x, some, real, backbone) for x in (made, train))
    source = cards.Reference(
        backbone=backbone.name, weights=backbone.weights, resize=backbone.resize, statistics=real.sha256, n=real.n
    )
    sets = f"{n} {_what(bench)} against {{}} test images in features of {backbone.name}"
    return [
        bench.metric(
            name,
            value,
            "lower" if name in backbone.names() else "higher",
            f"{protocol}; {sets.format(real.n if name == backbone.names()[0] else f'{n} random')}",
            n=n,
            uncertainty=error,
            floor=floor[name][0],
            reference=source,
        )
        for (name, (value, error)), protocol in zip(found.items(), FIDELITY, strict=True)
    ]


FIDELITY = (
    "Fréchet distance between Gaussians fitted to features (Heusel et al. 2017)",
    "unbiased squared MMD with the kernel (x.y/d + 1)^3 (Binkowski et al. 2018), mean over blocks",
    "share inside the manifold of test images, k = 3 (Kynkäänniemi et al. 2019)",
    "share of test images inside the manifold of what is measured, k = 3 (Kynkäänniemi et al. 2019)",
    "in how many balls of test images one lies, over k = 5 (Naeem et al. 2020)",
    "share of test images with one in their ball, k = 5 (Naeem et al. 2020)",
)
"""Protocols of the figures that `_compared` returns, in the same order."""


def _compared(
    made: Tensor, real: Tensor, statistics: Statistics, backbone: Backbone
) -> dict[str, tuple[float, float | None]]:
    """The figures of features (n, d), each with its standard error if it has one."""
    fd, kd = backbone.names()
    ours = features.statistics(made)
    distance = frechet_distance(ours.mean, ours.covariance, statistics.mean, statistics.covariance)
    precision, recall = precision_recall(real, made)
    density, coverage = density_coverage(real, made)
    shares = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
    means = {key: mean_and_error(values.double()) for key, values in shares.items()}
    error = None
    if ours.mean.numel() <= MOST_DIMENSIONS and len(made) >= 2 * GROUPS:
        error = frechet_error(made, statistics.mean, statistics.covariance)
    return {fd: (distance, error), kd: kernel_distance(real, made), **means}


def _reference(bench: Bench, backbone: Backbone, test: Tensor) -> Statistics:
    """Moments of the real images. Those in the backbone's card are taken if they are of these images, so that all
    evaluations use the same."""
    here = features.statistics(test)
    if backbone is not bench.backbone:
        return here
    shipped = bench.shipped.get("binary" if is_binary(bench.samples) else "test")
    return shipped if shipped is not None and shipped.agrees(here) else here


def moments(bench: Bench) -> dict[str, Statistics]:
    """The statistics for the card of a judge: moments of its features of test images, for each kind of image."""
    eyes, test = features.of_judge(bench.model), bench.test.images.float() / 255
    images = {"test": test, "binary": binary_draw(test, bench.test.split, bench.seed)}
    return {kind: features.statistics(eyes(images[kind])) for kind in features.kinds(bench.model.preparation)}


def class_accuracy(bench: Bench) -> list[cards.Metric]:
    """The share of samples of a class in which the scoring classifier sees that class; the ceiling is the same share
    of test images."""
    assert bench.judge is not None
    classes = len(bench.judge.module.config.names)
    n = MAX_SAMPLES // classes * classes
    asked = torch.arange(n) % classes
    made = bench.model.sample(n, seed=bench.seed, label=asked)
    right = bench.judge.infer(made, batch_size=256)["label"].argmax(1) == asked
    protocol = f"{n} samples, every class equally often, judged by {bench.judge.name}"
    ceiling = None if bench.test.labels is None else bench.hit_rates.mean().item()
    return [bench.metric("class_accuracy", right.float(), "higher", protocol, ceiling=ceiling)]


def memorisation(bench: Bench) -> list[cards.Metric]:
    """How near samples are to training images, divided by how near test images are. At 1 or more nothing is copied."""
    samples, n = bench.samples, len(bench.samples)
    train, test = bench.images_like(samples, bench.train), bench.images_like(samples, bench.test, n)
    made, held_out = (nearest(x, train)[0].minimum(nearest(x.flip(3), train)[0]) for x in (samples, test))
    value, error = ratio(made, held_out, lambda x: x.median(-1).values, bench.seed)
    protocol = (
        f"median Euclidean pixel distance to the nearest of {len(train)} training images and their mirror images: "
        f"{n} {_what(bench)} {made.median():.3g}, {n} random test images {held_out.median():.3g}; the ratio, "
        f"which is 0 for copies, and below 1 for blurred images too"
    )
    return [bench.metric("nearest_neighbour_ratio", value, "higher", protocol, n=n, uncertainty=error)]


def ratio(a: Tensor, b: Tensor, summary: Callable[[Tensor], Tensor], seed: int) -> tuple[float, float | None]:
    """summary(a) / summary(b) of values (n,) and (m,), and its standard error from the bootstrap (Efron 1979).

    The standard error is None if one of the two has a single value.
    """
    if min(len(a), len(b)) < 2:
        return (summary(a) / summary(b)).item(), None
    draws = torch.Generator().manual_seed(seed)
    again = [x[torch.randint(len(x), (RESAMPLES, len(x)), generator=draws)] for x in (a, b)]
    return (summary(a) / summary(b)).item(), (summary(again[0]) / summary(again[1])).std().item()


def paired_error(bench: Bench) -> list[cards.Metric]:
    """For a translator of pairs: L1, PSNR and SSIM between a translation and its target."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    made = bench.samples
    target = bench.images(bench.test)[bench.some(bench.test, len(made))]
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
