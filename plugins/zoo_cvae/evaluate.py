"""Measures how likely missing parts are, what the latent knows about the label, and whether a swapped label shows."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from zoo_cvae.completion import quadrants, reparameterise

IMAGES, DRAWS, CHUNK = 1000, 100, 50
"""Number of test images that are completed, draws of z for each, and images that are scored at once."""
GIVEN = {
    1: ("bottom left", (False, False, True, False)),
    2: ("left half", (True, False, True, False)),
    3: ("all but bottom right", (True, True, True, False)),
}


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """Figures of both uses of the model. That of swapped labels needs a scoring classifier with the same labels."""
    x, labels = bench.images(bench.test), torch.as_tensor(bench.test.labels)
    return [
        *completions(bench, x[bench.some(bench.test, IMAGES)]),
        leakage(bench, x, labels),
        *swapped(bench, x, labels),
    ]


def completions(bench: zoo.Bench, x: Tensor) -> list[zoo.Metric]:
    """-log p(y | x) in nats with one, two and three quadrants given, beside that of the baseline net (section 5)."""
    found = []
    methods: dict[Literal["mc", "is"], str] = {"mc": "draws from the prior", "is": "importance weights"}
    for count, (where, given) in GIVEN.items():
        mask = quadrants(torch.tensor([given]), x.shape[-1])
        alone = scores(bench, x, mask, "baseline").mean()
        for method, name in methods.items():
            protocol = f"-log p(y | x), missing pixels only, {where} given: the mean of {DRAWS} {name}; binary images"
            values = -scores(bench, x, mask, method)
            found.append(
                bench.metric(
                    f"completion_nll_{count}_given_{method}",
                    values,
                    "lower",
                    protocol,
                    unit="nats",
                    baseline=f"baseline net: {-alone:.4g}",
                )
            )
    return found


def scores(bench: zoo.Bench, x: Tensor, mask: Tensor, method: Literal["baseline", "mc", "is"]) -> Tensor:
    """log p(y | x) of each image, (n,) nats: exact for the baseline, otherwise from DRAWS draws of z."""
    net, device, found = bench.model.module.completion, bench.model.device, []
    for first in range(0, len(x), CHUNK):
        rows = x[first : first + CHUNK].to(device)
        masks = mask.to(device).expand(len(rows), -1, -1, -1)
        with torch.no_grad():
            if method == "baseline":
                found.append(net.baseline_log_prob(rows, masks).cpu())
                continue
            noise = zoo.Noise(bench.seed, first, first + len(rows), device)
            weights = net.log_weights(rows, masks, noise, DRAWS, method)
            found.append((weights.double().logsumexp(1) - math.log(DRAWS)).cpu())
    return torch.cat(found)


def leakage(bench: zoo.Bench, x: Tensor, labels: Tensor) -> zoo.Metric:
    """How well a linear probe reads the label from the latent, which should not know it.

    The probe gets draws from the posterior. The means of a latent that is not used, scaled up, would tell more than a
    decoder can use.
    """
    z, half = draws(bench, x, labels), len(x) // 2
    right = (probe(z[:half], labels[:half])(z[half:]) == labels[half:]).float()
    protocol = "accuracy of a linear probe of draws from the posterior, fitted on half of the test set, on the other"
    guess = (labels[half:] == labels[:half].mode().values).float().mean()
    return bench.metric("label_leakage", right, "lower", protocol, baseline=f"always the commonest label: {guess:.4g}")


def draws(bench: zoo.Bench, x: Tensor, labels: Tensor) -> Tensor:
    """One z ~ q(z | x, c) for each image, (n, latent_dim)."""
    module, device, found = bench.model.module, bench.model.device, []
    for first in range(0, len(x), 256):
        rows, c = (item[first : first + 256].to(device) for item in (x, labels))
        noise = zoo.Noise(bench.seed, first, first + len(rows), device)
        with torch.no_grad():
            mu, log_var = module.posterior(rows, c)
            found.append(reparameterise(mu, log_var, noise.normal(module.config.latent_dim)).cpu())
    return torch.cat(found)


def probe(z: Tensor, labels: Tensor) -> "Probe":
    """Multinomial logistic regression on standardised latents."""
    found = Probe(z, int(labels.max()) + 1)
    optimizer = torch.optim.LBFGS([found.weight, found.bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(found.logits(z), labels) + 1e-4 * found.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return found


class Probe:
    """Fit a linear classifier of latents (n, d) to labels (n,)."""

    def __init__(self, z: Tensor, classes: int) -> None:
        self.mean, self.scale = z.mean(0), z.std(0).clamp_min(1e-6)
        self.weight = torch.zeros(z.shape[1], classes, requires_grad=True)
        self.bias = torch.zeros(classes, requires_grad=True)

    def logits(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.scale @ self.weight + self.bias

    def __call__(self, z: Tensor) -> Tensor:
        return self.logits(z).argmax(1)


def swapped(bench: zoo.Bench, x: Tensor, labels: Tensor) -> list[zoo.Metric]:
    """How often the scoring classifier sees the new label of a test image that was decoded with another label."""
    judge, names = bench.judge, bench.model.config.names
    if judge is None or not set(names) <= set(judge.config.names):
        return []
    columns = torch.tensor([judge.config.names.index(name) for name in names])
    other = zoo.Noise(bench.seed, 0, len(x)).categorical(len(names) - 1)
    target = (labels + 1 + other) % len(names)
    made = bench.model.swap(x, source={"label": labels}, label=target)

    right = (judge.infer(made.tensor, batch_size=256)["label"].argmax(1) == columns[target]).float()
    protocol = f"share of test images, encoded with their label and decoded with another, judged by {judge.name} as it"
    ceiling = bench.hit_rates[target].mean().item()
    return [bench.metric("swap_accuracy", right, "higher", protocol, ceiling=ceiling)]
