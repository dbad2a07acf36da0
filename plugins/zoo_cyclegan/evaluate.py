"""Measures translations between two domains: whether they reach the domain, can be undone, and change nothing else."""

from torch import Tensor

import zoo

DROWNING = 0.025
"""Standard deviation, in [0, 1], of noise that hides fine detail. In the range [-1, 1] of the nets it is 0.05."""


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """Both directions on the test images of both domains: their errors and, if there is a scoring classifier for the
    domains, what it sees."""
    domains, labels = bench.model.module.config.domains, bench.test.labels
    x, found = bench.images(bench.test), []
    if bench.model.module.F is None:
        return []  # each figure needs the way back, too
    for source, target in ((0, 1), (1, 0)):
        real, wanted = x[labels == source], x[labels == target]
        if len(real) and len(wanted):
            made = bench.model.translate(real, to=domains[target]).tensor
            found += errors(bench, real, made, domains[source])
            found += identity(bench, wanted, domains[target])
            found += verdicts(bench, real, made, wanted, target)
    return found


def errors(bench: zoo.Bench, real: Tensor, made: Tensor, source: str) -> list[zoo.Metric]:
    """The error of an image that is translated and back again, without and with noise on the translation.

    A translator may hide the original in details that nobody sees, and so come back to it (Chu et al. 2017). Then the
    error is much larger with noise.
    """
    noisy = made + DROWNING * zoo.Noise(bench.seed, 0, len(made)).normal(*made.shape[1:])
    plain, drowned = (l1(bench.model.translate(x.clamp(0, 1), to=source).tensor, real) for x in (made, noisy))
    protocol = f"{source} test images, there and back; mean absolute error over pixels in [0, 1]"
    way = f"the translation itself: {l1(made, real).mean():.4g}"
    return [
        bench.metric(f"cycle_l1_{source}", plain, "lower", protocol, baseline=way),
        bench.metric(
            f"cycle_l1_drowned_{source}",
            drowned,
            "lower",
            f"{protocol}; N(0, {DROWNING}) added to the translation, which drowns what it hides in fine detail",
            baseline=f"without noise: {plain.mean():.4g}",
        ),
    ]


def identity(bench: zoo.Bench, wanted: Tensor, target: str) -> list[zoo.Metric]:
    """How much a translation changes an image that is in the target domain already."""
    same = bench.model.translate(wanted, to=target).tensor
    protocol = f"{target} test images translated to {target}; mean absolute error over pixels in [0, 1]"
    return [bench.metric(f"identity_l1_{target}", l1(same, wanted), "lower", protocol)]


def verdicts(bench: zoo.Bench, real: Tensor, made: Tensor, wanted: Tensor, target: int) -> list[zoo.Metric]:
    """Whether translations show the attribute of the target domain, and keep the other attributes.

    An attribute with the same last word as a domain (Brown_Hair beside Black_Hair) is about the same thing, and may
    change.
    """
    judge, columns = bench.judge, bench.test.names
    names = judge.module.config.names if judge is not None else ()
    if judge is None or not set(columns) <= set(names):
        return []
    before, after, there = (judge.infer(x, batch_size=256)["attributes"] > 0.5 for x in (real, made, wanted))
    place, domain = names.index(columns[target]), bench.model.module.config.domains[target]
    protocol = f"share of translations to {domain} in which {judge.name} sees {columns[target]}"
    ceiling, already = (seen[:, place].float().mean().item() for seen in (there, before))
    beside = {"ceiling": ceiling, "baseline": f"before translation: {already:.4g}"}
    found = [bench.metric(f"arrived_{domain}", after[:, place].float(), "higher", protocol, **beside)]
    moved = tuple(column.rpartition("_")[2] for column in columns)
    for i, name in enumerate(names):
        if not name.endswith(moved):
            protocol = f"share of translations to {domain} for which the verdict of {judge.name} on {name} stays"
            stays = (before[:, i] == after[:, i]).float()
            found.append(bench.metric(f"kept_{name.lower()}_{domain}", stays, "higher", protocol))
    return found


def l1(a: Tensor, b: Tensor) -> Tensor:
    """(n,): mean absolute difference of each pair of images."""
    return (a - b).abs().flatten(1).mean(1)
