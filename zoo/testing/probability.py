"""The laws of models with a probability: densities, samples, orders, inverses and bounds."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.noise import Noise
from zoo.testing.case import Case, grey_levels
from zoo.testing.law import SkippedLaw, expect, law


@law(
    about="log_prob",
    remedy="Normalise log_prob. Look for a value that sees itself, a missing log-determinant, or cells without volume.",
    needs=("log_prob", "sample"),
)
def law_the_density_sums_to_one(case: Case) -> None:
    """If there are few images, the sum is over all of them. For a continuous density it is an integral over the unit
    cube, by random points. A part of the density may be outside the cube, so the integral may be at most 1.
    """
    for table in case.tables:
        total = table.probabilities.sum().item()
        shape = "x".join(map(str, table.shape))
        expect(
            abs(total - 1) <= 1e-3,
            f"the probabilities of all {len(table.images)} images of {shape} have the sum {total:.4g}, not 1",
        )
    if not case.tables:
        _check_mass(case.smallest)


def _check_mass(case: Case) -> None:
    """BrokenLaw if the mean of the density over uniform images is more than 1."""
    module, p = case.stirred, case.preparation
    n = min(1 << 15, (1 << 22) // case.images(1).numel())
    with torch.no_grad():
        if grey_levels(module.sample(Noise(0, 0, 256))):
            raise SkippedLaw("its pixels have few levels, and even its smallest images are too many to list")
        x = Noise(2, 0, n).uniform(p.channels, p.size, p.size)
        density = (module.log_prob(x).double() + x[0].numel() * math.log(256)).exp()
    mean, error = density.mean().item(), density.std().item() / math.sqrt(n)
    found = f"{mean:.4g} +- {error:.2g}"
    expect(mean - 4 * error <= 1.02, f"the integral of the density over the unit cube is {found}, more than 1")


@law(
    about="sample",
    remedy="Draw from the same distribution that log_prob computes: without temperature, another order or rounding.",
    needs=("log_prob", "sample"),
)
def law_sampling_agrees_with_the_density(case: Case) -> None:
    """Pearson's chi-square of 8192 samples and the probabilities of all images is at most five standard deviations
    above its mean."""
    n = 8192
    if not case.tables:
        raise SkippedLaw("even its smallest images are too many to list")
    for table in case.tables:
        with torch.no_grad():
            samples = table.module.sample(Noise(3, 0, n))
        places = table.levels ** torch.arange(samples[0].numel()).flip(0)
        numbers = ((samples.flatten(1) * (table.levels - 1)).round().long() * places).sum(1)
        observed = torch.bincount(numbers, minlength=len(table.images)).double()
        expected = n * table.probabilities / table.probabilities.sum()  # another law is about their sum
        statistic, freedom = _chi_square(observed, expected)
        far = int((observed - expected).abs().argmax())
        expect(
            statistic <= freedom + 5 * math.sqrt(2 * freedom) + 10,
            f"chi-square is {statistic:.0f} with {freedom} degrees of freedom. The image with the values "
            f"{table.images[far].flatten().tolist()} came {observed[far]:.0f} times in {n} samples, and log_prob says "
            f"{expected[far]:.0f}",
        )


@law(
    about="log_prob",
    remedy="Mask values that come later in the order of sampling. Sample each value from the factor in log_prob.",
    needs=("log_prob", "sample"),
    tag="autoregressive",
)
def law_an_autoregressive_model_has_an_order(case: Case) -> None:
    """Samples are x_i = g_i(u_1 ... u_i): the Jacobian dx_i / du_j is triangular in some order of the values.

    Values may be discrete, so differences take the place of derivatives: draw one number of the noise again, and see
    which values change. The diagonal of a triangular map gives its volume. Let w_i be the share of the numbers that
    u_i can be without changing x_i, with all other numbers as they are. Then log p(x) is the sum of log w_i.
    """
    kind, noise = _one_number_per_value(case)
    for base in noise:
        expect(
            _has_order(_dependence(case.stirred, kind, base)),
            "the values of a sample have no order: some depend on each other's noise in a circle",
            "sample",
        )
    small = case.smaller(image_size=4) or case
    for base in _one_number_per_value(small)[1]:
        _check_shares(small.stirred, kind, base)


def _check_shares(module: Any, kind: str, base: Tensor) -> None:
    """Compare log_prob of one sample with its shares. For each share, `TRIES` numbers take the place of one number."""
    m = len(base)
    grid = (torch.arange(TRIES) + 0.5) / TRIES
    rows = base.repeat(m, TRIES, 1)
    rows.diagonal(dim1=0, dim2=2).copy_((grid if kind == "uniform" else torch.special.ndtri(grid))[:, None])
    with torch.no_grad():
        x = module.sample(_Given(base[None]))
        said = module.log_prob(x).double().item()
        tried = module.sample(_Given(rows.flatten(0, 1))).reshape(m, TRIES, m).diagonal(dim1=0, dim2=2)
    share = (tried == x.flatten(1)).double().mean(0).clamp_min(0.5 / TRIES)
    # Each share has a random error of about half a try.
    slack = 4 * (0.5 / (TRIES * share)).square().sum().sqrt().item()
    if slack > 0.1 * m:
        raise SkippedLaw("its images have too many values to count the shares of the noise")
    found = share.log().sum().item()
    expect(
        abs(said - found) <= slack,
        f"log_prob is {said:.2f} nats for a sample, but its noise gives {found:.2f} +- {slack / 4:.2f}",
    )


@law(
    about="decode",
    remedy="Undo in decode the steps of encode, each by its inverse and in the opposite order.",
    needs=("encode", "decode", "log_prob"),
)
def law_decode_undoes_encode(case: Case) -> None:
    """decode(encode(x)) = x, and encode(decode(z)) = z, if latents have as many numbers as images."""
    module, x = case.stirred, _inner(case)
    with torch.no_grad():
        z = _square_latents(module, x)
        back = module.decode(z)
        again = module.encode(back)
    expect((back - x).abs().max() <= 1e-3, f"decode(encode(x)) differs from x by up to {(back - x).abs().max():.2g}")
    far = ((again - z).abs().max() / z.abs().max().clamp_min(1)).item()
    expect(far <= 1e-2, f"encode(decode(z)) differs from z by up to {far:.2g}", "encode")


@law(
    about="log_prob",
    remedy="Add the log-determinant of each step that encode takes, and -n ln 256 for the cells.",
    needs=("encode", "log_prob", "sample"),
)
def law_log_prob_is_a_change_of_variables(case: Case) -> None:
    """log p(x) = log N(f(x); 0, I) + log |det df/dx| - n ln 256 for the encoder f, by its Jacobian at four images.

    The levels of 8-bit images are 1/255 apart, but a cell counts as 1/256 wide. The difference of n ln(256/255) is
    allowed. If samples are not made from one draw of N(0, I), the prior is unknown, and the law is skipped.
    """
    module, x = case.smallest.stirred, _inner(case.smallest)
    with torch.no_grad():
        z = _square_latents(module, x).flatten(1).double()
        draws = _draws(module)
        said = module.log_prob(x).double()
    n = z.shape[1]
    if [(kind, numbers.numel()) for kind, numbers in draws] != [("normal", n)]:
        raise SkippedLaw("its samples are not made from one draw of N(0, I), so the prior is unknown")
    log_det = torch.stack([torch.linalg.slogdet(_jacobian(module.encode, image))[1] for image in x])
    found = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) + log_det - n * math.log(256)
    gap, slack = said - found, 1e-3 * n + 1e-4 * found.abs().max().item()
    good = bool(((gap >= -slack) & (gap <= slack + n * math.log(256 / 255))).all()) if gap.isfinite().all() else False
    worst = gap[gap.abs().nan_to_num(math.inf).argmax()].item()
    expect(good, f"log_prob differs by {worst:+.3g} nats from log N(z; 0, I) + log |det dz/dx| - {n} ln 256")


@law(
    about="elbo",
    remedy="Check the signs of the bound's terms, and that both methods count nats of the same cells.",
    needs=("elbo", "log_prob"),
)
def law_the_elbo_lies_below_log_prob(case: Case) -> None:
    """The mean of elbo over 64 draws is at most log_prob, for four images. Four standard errors and a hundredth of a
    nat per value are allowed."""
    module, x, k = case.stirred, case.images(4), 64
    with torch.no_grad():
        bounds = module.elbo(x.repeat_interleave(k, 0), Noise(0, 0, 4 * k)).double().view(4, k)
        exact = module.log_prob(x).double()
    above = bounds.mean(1) - exact - 4 * bounds.std(1) / math.sqrt(k)
    expect(
        above.max() <= 0.01 * x[0].numel(),
        f"the mean of elbo is {above.max():.3g} nats above log_prob, after four standard errors are allowed",
    )


TRIES = 128
"""How many numbers, at even distances, are tried in the place of one number of the noise."""


def _chi_square(observed: Tensor, expected: Tensor) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom. Rare outcomes are grouped until at least 5 are expected."""
    order = expected.argsort()
    # A group ends where the sum passes a multiple of 5, so that each group holds about 5 or more.
    group = (expected[order].cumsum(0) / 5).long()
    empty = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    seen, wanted = (empty.index_add(0, group, part[order]) for part in (observed, expected))
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    return ((seen - wanted).square() / wanted).sum().item(), len(wanted) - 1


class _Recorder(Noise):
    """Noise that records its draws."""

    def __init__(self, seed: int, start: int, stop: int) -> None:
        super().__init__(seed, start, stop)
        self.draws: list[tuple[str, Tensor]] = []

    def normal(self, *shape: int) -> Tensor:
        self.draws.append(("normal", super().normal(*shape)))
        return self.draws[-1][1]

    def uniform(self, *shape: int) -> Tensor:
        self.draws.append(("uniform", super().uniform(*shape)))
        return self.draws[-1][1]

    def categorical(self, classes: int) -> Tensor:
        self.draws.append(("categorical", super().categorical(classes)))
        return self.draws[-1][1]


class _Given(Noise):
    """Noise with given numbers, (n, m)."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__(0, 0, len(rows))
        self.rows = rows

    def normal(self, *shape: int) -> Tensor:
        return self.rows.view(-1, *shape)

    uniform = normal


def _draws(module: Any, n: int = 1) -> list[tuple[str, Tensor]]:
    """The draws that n samples take from their noise."""
    noise = _Recorder(0, 0, n)
    with torch.no_grad():
        module.sample(noise)
    return noise.draws


def _one_number_per_value(case: Case) -> tuple[str, Tensor]:
    """The kind of noise of two samples, and its numbers (2, m), one for each value of the image."""
    draws, size = _draws(case.stirred, 2), case.images(1).numel()
    if len(draws) != 1 or draws[0][0] == "categorical" or draws[0][1][0].numel() != size:
        raise SkippedLaw("its samples do not draw exactly one number for each value, so their order cannot be seen")
    return draws[0][0], draws[0][1].flatten(1)


def _dependence(module: Any, kind: str, base: Tensor) -> Tensor:
    """(m, m), true at [i, j] if value i of the sample changes with number j of the noise."""
    m = len(base)
    rows = base.repeat(m + 1, 1)
    other = (base + 0.5) % 1 if kind == "uniform" else -base - base.sign()
    rows[1:].diagonal().copy_(other)
    with torch.no_grad():
        x: Tensor = module.sample(_Given(rows)).flatten(1)
    return (x[1:] != x[:1]).T


def _has_order(depends: Tensor) -> bool:
    """Whether there is an order in which each value depends only on earlier ones and itself."""
    depends = depends & ~torch.eye(len(depends), dtype=torch.bool)
    left = torch.ones(len(depends), dtype=torch.bool)
    while left.any():
        free = left & ~(depends & left).any(1)
        if not free.any():
            return False
        left &= ~free
    return True


def _inner(case: Case) -> Tensor:
    """Four images with values away from 0 and 1, where clamps and logits are not smooth."""
    return 0.1 + 0.8 * case.images(4)


def _square_latents(module: Any, x: Tensor) -> Tensor:
    """encode(x). SkippedLaw unless it has as many numbers as x: with log_prob, that is the sign of a bijection."""
    z: Tensor = module.encode(x)
    if z.numel() != x.numel():
        raise SkippedLaw("its latents have fewer numbers than its images, so that decode cannot undo encode")
    return z


def _jacobian(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """(m, m) float64: the derivative of latent i by value j of one image. Row i comes from the i-th of m copies."""
    x = image.repeat(image.numel(), 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        gradient: Tensor = torch.autograd.grad(function(x).flatten(1).diagonal().sum(), x)[0]
    return gradient.flatten(1).double()
