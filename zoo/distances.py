"""Distances between sets of images or of features, and from an image to a set. All are functions of tensors alone."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import InputError

PATCH = 7
"""Side, in pixels, of the patches that the sliced Wasserstein distance compares."""
FEWEST = 50
"""Fewest images of a set whose features can say something about its distribution."""
BLOCK = 100
"""Most images of a set in one block of the kernel distance."""
GROUPS = 10
"""Number of groups that the jackknife leaves out, one after the other."""
CHUNK = 256
"""Number of images whose distances to a whole set are in memory at once: 20 MB for a set of 10,000 images."""
ROUND_OFF = 1e-6
"""Features nearer to each other than this share of their length count as equal, since they are float32."""


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
    for first in range(0, directions, 64):  # all directions at once would take gigabytes of memory
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


def detail(x: Tensor) -> Tensor:
    """(n,): for each image, the variance of the 3x3 Laplacian of its grey values, over its pixels."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(x.mean(1, keepdim=True), kernel).flatten(1).var(1)


def nearest(x: Tensor, among: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Euclidean distance (n,) from each image to its nearest neighbour, and the neighbour's index (n,)."""
    flat, distances, indices = among.flatten(1), [], []
    for rows in torch.split(x.flatten(1), chunk):
        # Matrix products find the neighbour fast, but give a copy a distance above 0. The difference gives exactly 0.
        found = torch.cdist(rows, flat).argmin(1)
        distances.append((rows - flat[found]).square().sum(1).sqrt())
        indices.append(found)
    return torch.cat(distances), torch.cat(indices)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) of features (n, d), in float64. InputError for fewer than two rows."""
    _check(2, "a covariance", features=features)
    x = features.double()
    mean = x.mean(0)
    return mean, (x - mean).T @ (x - mean) / (len(x) - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (AB)^1/2), squared units of the features (Heusel et al. 2017, equation 6).

    Means (d,) and covariances (d, d) are those of `moments`. Covariances may be singular, as those of fewer than d
    images are. With few images the distance is too large on average, so compare only figures of equally many images.
    InputError for moments that are not finite or do not fit together.
    """
    for name, mean, cov in (("first", mean_a, cov_a), ("second", mean_b, cov_b)):
        d = mean_a.numel()
        if mean.shape != (d,) or cov.shape != (d, d):
            shapes = f"mean {tuple(mean.shape)}, covariance {tuple(cov.shape)}"
            raise InputError(f"{name} Gaussian: shapes (d,) and (d, d) with d = {d} are needed, found {shapes}")
        if not (mean.isfinite().all() and cov.isfinite().all()):
            raise InputError(f"the {name} Gaussian's moments are not finite")
    apart = (mean_a.double() - mean_b.double()).square().sum()
    spread = cov_a.double().trace() + cov_b.double().trace()
    # With A = KK' and B = LL', the eigenvalues of AB are the squared singular values of K'L. Singular values keep the
    # precision that the square roots of AB's eigenvalues lose: those of round-off are 1e-8 instead of 1e-16.
    overlap = torch.linalg.svdvals(_factor(cov_a).T @ _factor(cov_b)).sum()
    return max(0.0, float(apart + spread - 2 * overlap))


def frechet_error(features: Tensor, mean: Tensor, cov: Tensor, groups: int = GROUPS) -> float:
    """Standard error of the Fréchet distance of features (n, d) to a fixed Gaussian, mean (d,) and cov (d, d).

    It says how much the distance varies from one set of as many samples to another. The jackknife leaves out one of
    `groups` groups at a time (Efron and Tibshirani 1993, chapter 11). The error of the fixed Gaussian does not count.
    """
    _check(2 * groups, f"a jackknife of {groups} groups", features=features)
    parts = torch.arange(len(features)) % groups
    left = [frechet_distance(*moments(features[parts != group]), mean, cov) for group in range(groups)]
    return float(math.sqrt(groups - 1) * torch.tensor(left, dtype=torch.float64).std(correction=0))


def _factor(cov: Tensor) -> Tensor:
    """L with L L' = cov, (d, d); negative eigenvalues, which are round-off, are taken as 0."""
    values, vectors = torch.linalg.eigh(cov.double())
    factor: Tensor = vectors * values.clamp_min(0).sqrt()
    return factor


def kernel_distance(real: Tensor, fake: Tensor, blocks: int | None = None) -> tuple[float, float]:
    """Unbiased squared MMD of features (n, d), and its standard error (Binkowski et al. 2018, section 4).

    The kernel is (x.y / d + 1)^3. Each set is cut at random, always in the same way, into disjoint blocks of at most
    BLOCK images, or into so many `blocks`. The value is the mean over pairs of blocks (Zaremba et al. 2013). The pairs
    are independent of each other, so their spread gives the standard error. For sets of one distribution the value is 0
    on average, so it may be negative. Images that are left over, in the larger set or after the division into blocks,
    do not count. InputError for features that are not finite or of two widths, and for fewer images than two blocks of
    two.
    """
    from torchmetrics.image.kid import poly_mmd

    _check(4, "two blocks of two", real=real, fake=fake)
    n = min(len(real), len(fake))
    blocks = max(2, math.ceil(n / BLOCK)) if blocks is None else blocks
    if not 2 <= blocks <= n // 2:
        raise InputError(
            f"{n} images cannot make {blocks} blocks of two or more images", f"Give from 2 to {n // 2} blocks."
        )
    # Not in their own order: a set sorted by class would have blocks of one class, a translation would meet its input.
    draws = torch.Generator().manual_seed(0)
    cut = [
        x[torch.randperm(len(x), generator=draws)[: n // blocks * blocks].to(x.device)].double().chunk(blocks)
        for x in (real, fake)
    ]
    found = torch.stack([poly_mmd(*pair) for pair in zip(*cut, strict=True)])
    return found.mean().item(), (found.std() / math.sqrt(blocks)).item()


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Whether each fake is in the manifold of the real ones (n_fake,), and each real in that of the fakes (n_real,).

    The means of these booleans are improved precision and recall (Kynkaanniemi et al. 2019, equations 1 and 2). The
    manifold of features (n, d) is the union of balls around them; each ball reaches to the k-th nearest neighbour of
    its centre. InputError for features that are not finite or of two widths, and unless 1 <= k < n for both sets.
    """
    _check_neighbours(k, real, fake)
    precision, recall = (
        torch.stack([inside.any(0) for inside in _inside(centres, points, k)]).any(0)
        for centres, points in ((real, fake), (fake, real))
    )
    return precision, recall


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """For each fake the number of real balls that it is in, divided by k (n_fake,); for each real whether a fake is in
    its ball (n_real,).

    Their means are density and coverage (Naeem et al. 2020, section 3). Balls and errors are those of
    `precision_recall`. For two sets of one distribution the density is 1 on average, and the coverage is about
    1 - 2^-k if the sets are large and of equal size.
    """
    _check_neighbours(k, real, fake)
    counts, covered = zip(*((inside.sum(0), inside.any(1)) for inside in _inside(real, fake, k)), strict=True)
    return torch.stack(counts).sum(0) / k, torch.cat(covered)


def _inside(centres: Tensor, points: Tensor, k: int) -> Iterator[Tensor]:
    """For chunks of centres, whether each point (columns) is in the closed ball up to the centre's k-th neighbour."""
    centres, points = centres.double(), points.double()
    for rows in torch.split(centres, CHUNK):
        radii = torch.cdist(rows, centres).kthvalue(k + 1, dim=1).values  # the nearest is the centre itself
        # Otherwise round-off would decide about copies, and about the k-th neighbour itself.
        yield torch.cdist(rows, points) <= (radii + ROUND_OFF * rows.norm(dim=1))[:, None]


def _check_neighbours(k: int, real: Tensor, fake: Tensor) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1, found {k}", "Give a larger number of neighbours.")
    _check(k + 1, f"k = {k} neighbours", real=real, fake=fake)


def _check(least: int, purpose: str, **sets: Tensor) -> None:
    """InputError that names the set, unless all sets are finite features (n, d) of one width and n >= least."""
    for name, x in sets.items():
        if x.ndim != 2:
            raise InputError(f"{name}: expected features of shape (n, d), found {tuple(x.shape)}")
        if len(x) < least:
            raise InputError(
                f"{name}: {purpose} of features needs {least} images or more, found {len(x)}", "Give more images."
            )
        if bad := int((~x.isfinite()).any(1).sum()):
            raise InputError(f"{name}: features of {bad} of {len(x)} images are not finite")
    if len({x.shape[1] for x in sets.values()}) > 1:
        widths = ", ".join(f"{name} {x.shape[1]}" for name, x in sets.items())
        raise InputError(f"the features have different widths: {widths}", "Take both from the same backbone.")
