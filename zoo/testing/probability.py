"""The laws of what has a probability: densities, samples, orders, inverses and bounds."""

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
    remedy="Normalise it: look for a value that sees itself, a lost log-determinant, or cells that are not counted.",
    needs=("log_prob", "sample"),
)
def law_the_density_sums_to_one(case: Case) -> None:
    """Over all images where they are few; over the unit cube, by random points, where a density is continuous.

    Of a continuous density some may lie outside the cube, so there the law is that no more than 1 lies inside.
    """
    for table in case.tables:
        total = table.probabilities.sum().item()
        shape = "x".join(map(str, table.shape))
        expect(
            abs(total - 1) <= 1e-3,
            f"the probabilities of all {len(table.images)} images of {shape} sum to {total:.4g}",
        )
    if not case.tables:
        _check_mass(case.smallest)


def _check_mass(case: Case) -> None:
    """The mean of the density over uniform images: at most 1."""
    module, p = case.stirred, case.preparation
    n = min(1 << 15, (1 << 22) // case.images(1).numel())
    with torch.no_grad():
        if grey_levels(module.sample(Noise(0, 0, 256))):
            raise SkippedLaw("its images take few values, and even the smallest are too many to count")
        x = Noise(2, 0, n).uniform(p.channels, p.size, p.size)
        density = (module.log_prob(x).double() + x[0].numel() * math.log(256)).exp()
    mean, error = density.mean().item(), density.std().item() / math.sqrt(n)
    expect(mean - 4 * error <= 1.02, f"the density's integral over the unit cube is {mean:.4g} +- {error:.2g}, not 1")


@law(
    about="sample",
    remedy="Draw from the very distribution that log_prob computes: no temperature, no other order, no rounding.",
    needs=("log_prob", "sample"),
)
def law_sampling_agrees_with_the_density(case: Case) -> None:
    """Pearson's chi-square of 8192 samples against the probabilities of all images, five deviations above its mean."""
    n = 8192
    if not case.tables:
        raise SkippedLaw("its images are too many to count")
    for table in case.tables:
        with torch.no_grad():
            samples = table.module.sample(Noise(3, 0, n))
        places = table.levels ** torch.arange(samples[0].numel()).flip(0)
        numbers = ((samples.flatten(1) * (table.levels - 1)).round().long() * places).sum(1)
        observed = torch.bincount(numbers, minlength=len(table.images)).double()
        expected = n * table.probabilities / table.probabilities.sum()  # their sum has a law of its own
        statistic, freedom = _chi_square(observed, expected)
        far = int((observed - expected).abs().argmax())
        expect(
            statistic <= freedom + 5 * math.sqrt(2 * freedom) + 10,
            f"chi-square is {statistic:.0f} at {freedom} degrees of freedom; the image with values "
            f"{table.images[far].flatten().tolist()} came {observed[far]:.0f} times in {n}, not {expected[far]:.0f}",
        )


@law(
    about="log_prob",
    remedy="Mask what comes later in the order of sampling; sample each value from the factor that log_prob takes.",
    needs=("log_prob", "sample"),
    tag="autoregressive",
)
def law_an_autoregressive_model_has_an_order(case: Case) -> None:
    """Samples are x_i = g_i(u_1 ... u_i): the Jacobian dx_i / du_j is triangular in some order of the values.

    Found by differences, since values may be discrete: redraw one number of the noise, see which values change. What
    stands on the diagonal of a triangular map makes its volume: the shares w_i of the numbers that could have stood for
    u_i, all others as they are, without changing x_i, multiply to the probability of the sample; log p(x) is the sum
    of log w_i.
    """
    kind, noise = _one_number_per_value(case)
    for base in noise:
        expect(
            _has_order(_dependence(case.stirred, kind, base)),
            "the values of a sample wait for each other's noise in a circle: they have no order",
            "sample",
        )
    small = case.smaller(image_size=4) or case
    for base in _one_number_per_value(small)[1]:
        _check_shares(small.stirred, kind, base)


def _check_shares(module: Any, kind: str, base: Tensor) -> None:
    """log_prob of one sample against the shares, found by trying `TRIES` numbers in place of each."""
    m = len(base)
    grid = (torch.arange(TRIES) + 0.5) / TRIES
    rows = base.repeat(m, TRIES, 1)
    rows.diagonal(dim1=0, dim2=2).copy_((grid if kind == "uniform" else torch.special.ndtri(grid))[:, None])
    with torch.no_grad():
        x = module.sample(_Given(base[None]))
        said = module.log_prob(x).double().item()
        tried = module.sample(_Given(rows.flatten(0, 1))).reshape(m, TRIES, m).diagonal(dim1=0, dim2=2)
    share = (tried == x.flatten(1)).double().mean(0).clamp_min(0.5 / TRIES)
    # Each share is found within half a try or so, at random.
    slack = 4 * (0.5 / (TRIES * share)).square().sum().sqrt().item()
    if slack > 0.1 * m:
        raise SkippedLaw("its values are so many that the shares of the noise cannot be counted")
    found = share.log().sum().item()
    expect(
        abs(said - found) <= slack,
        f"log_prob is {said:.2f} nats for a sample that its noise makes with {found:.2f} +- {slack / 4:.2f}",
    )


@law(
    about="decode",
    remedy="Undo in decode the steps of encode, each by its inverse and in the opposite order.",
    needs=("encode", "decode", "log_prob"),
)
def law_decode_undoes_encode(case: Case) -> None:
    """decode(encode(x)) = x, and encode(decode(z)) = z, where latents have as many numbers as images."""
    module, x = case.stirred, _inner(case)
    with torch.no_grad():
        z = _square_latents(module, x)
        back = module.decode(z)
        again = module.encode(back)
    expect((back - x).abs().max() <= 1e-3, f"decode(encode(x)) is off by up to {(back - x).abs().max():.2g}")
    far = ((again - z).abs().max() / z.abs().max().clamp_min(1)).item()
    expect(far <= 1e-2, f"encode(decode(z)) is off by up to {far:.2g}", "encode")


@law(
    about="log_prob",
    remedy="Add the log-determinant of each step that encode takes, and -n ln 256 for the cells.",
    needs=("encode", "log_prob", "sample"),
)
def law_log_prob_is_a_change_of_variables(case: Case) -> None:
    """log p(x) = log N(f(x); 0, I) + log |det df/dx| - n ln 256 for the encoder f, by its Jacobian at four images.

    The cells of 8-bit images are 1/255 apart and are called 1/256 wide; the n ln(256/255) between the two are let pass.
    Where samples are not made of one draw of N(0, I) the prior is unknown, and the law is silent.
    """
    module, x = case.smallest.stirred, _inner(case.smallest)
    with torch.no_grad():
        z = _square_latents(module, x).flatten(1).double()
        draws = _draws(module)
        said = module.log_prob(x).double()
    n = z.shape[1]
    if [(kind, numbers.numel()) for kind, numbers in draws] != [("normal", n)]:
        raise SkippedLaw("its samples are not made of one draw of N(0, I), so the prior is unknown")
    log_det = torch.stack([torch.linalg.slogdet(_jacobian(module.encode, image))[1] for image in x])
    found = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) + log_det - n * math.log(256)
    gap, slack = said - found, 1e-3 * n + 1e-4 * found.abs().max().item()
    good = bool(((gap >= -slack) & (gap <= slack + n * math.log(256 / 255))).all()) if gap.isfinite().all() else False
    worst = gap[gap.abs().nan_to_num(math.inf).argmax()].item()
    expect(good, f"log_prob is {worst:+.3g} nats from log N(z; 0, I) + log |det dz/dx| - {n} ln 256")


@law(
    about="elbo",
    remedy="Check the signs of the bound's terms, and that both methods count nats of the same cells.",
    needs=("elbo", "log_prob"),
)
def law_the_elbo_lies_below_log_prob(case: Case) -> None:
    """Its mean over 64 draws, for four images, within four standard errors and a hundredth of a nat per value."""
    module, x, k = case.stirred, case.images(4), 64
    with torch.no_grad():
        bounds = module.elbo(x.repeat_interleave(k, 0), Noise(0, 0, 4 * k)).double().view(4, k)
        exact = module.log_prob(x).double()
    above = bounds.mean(1) - exact - 4 * bounds.std(1) / math.sqrt(k)
    expect(
        above.max() <= 0.01 * x[0].numel(),
        f"the mean of elbo lies {above.max():.3g} nats above log_prob, errors allowed for",
    )


TRIES = 128
"""Of other numbers in place of one number of the noise, evenly spread."""


def _chi_square(observed: Tensor, expected: Tensor) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; the rarest outcomes are put together until 5 are expected."""
    order = expected.argsort()
    # A group ends where the sum passes a multiple of 5, so that each holds about that or more.
    group = (expected[order].cumsum(0) / 5).long()
    empty = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    seen, wanted = (empty.index_add(0, group, part[order]) for part in (observed, expected))
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    return ((seen - wanted).square() / wanted).sum().item(), len(wanted) - 1


class _Recorder(Noise):
    """Noise that keeps what it gave."""

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
    """Noise whose numbers are given, (n, m)."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__(0, 0, len(rows))
        self.rows = rows

    def normal(self, *shape: int) -> Tensor:
        return self.rows.view(-1, *shape)

    uniform = normal


def _draws(module: Any, n: int = 1) -> list[tuple[str, Tensor]]:
    """What n samples draw from their noise."""
    noise = _Recorder(0, 0, n)
    with torch.no_grad():
        module.sample(noise)
    return noise.draws


def _one_number_per_value(case: Case) -> tuple[str, Tensor]:
    """Of which kind the noise of two samples is, and its numbers (2, m), one for each value of the image."""
    draws, size = _draws(case.stirred, 2), case.images(1).numel()
    if len(draws) != 1 or draws[0][0] == "categorical" or draws[0][1][0].numel() != size:
        raise SkippedLaw("its samples draw something else than one number a value, so their order cannot be seen")
    return draws[0][0], draws[0][1].flatten(1)


def _dependence(module: Any, kind: str, base: Tensor) -> Tensor:
    """(m, m), true at [i, j] where value i of the sample changes with number j of the noise."""
    m = len(base)
    rows = base.repeat(m + 1, 1)
    other = (base + 0.5) % 1 if kind == "uniform" else -base - base.sign()
    rows[1:].diagonal().copy_(other)
    with torch.no_grad():
        x: Tensor = module.sample(_Given(rows)).flatten(1)
    return (x[1:] != x[:1]).T


def _has_order(depends: Tensor) -> bool:
    """Whether the values can be put in an order in which each depends on earlier ones and itself alone."""
    depends = depends & ~torch.eye(len(depends), dtype=torch.bool)
    left = torch.ones(len(depends), dtype=torch.bool)
    while left.any():
        free = left & ~(depends & left).any(1)
        if not free.any():
            return False
        left &= ~free
    return True


def _inner(case: Case) -> Tensor:
    """Four images whose values keep away from 0 and 1, where clamps and logits have their corners."""
    return 0.1 + 0.8 * case.images(4)


def _square_latents(module: Any, x: Tensor) -> Tensor:
    """encode(x), if it has as many numbers as x: together with log_prob, the sign of a bijection."""
    z: Tensor = module.encode(x)
    if z.numel() != x.numel():
        raise SkippedLaw("its latents have fewer numbers than its images, so that decode cannot undo encode")
    return z


def _jacobian(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """(m, m) float64: of latent i with respect to value j of one image. Row i comes from the i-th of m copies."""
    x = image.repeat(image.numel(), 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        gradient: Tensor = torch.autograd.grad(function(x).flatten(1).diagonal().sum(), x)[0]
    return gradient.flatten(1).double()
