"""Distances: each against a closed form, naive loops or another implementation, and the laws it obeys."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.distances import (
    density_coverage,
    detail,
    frechet_distance,
    frechet_error,
    kernel_distance,
    moments,
    nearest,
    precision_recall,
    sliced_wasserstein,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- sliced Wasserstein distance


def pictures(n: int, side: int = 32) -> Tensor:
    """Smooth random images with some detail."""
    rough = torch.rand(n, 3, side // 4, side // 4)
    return nn.functional.interpolate(rough, (side, side), mode="bilinear") * 0.8 + 0.2 * torch.rand(n, 3, side, side)


def distance(a: Tensor, b: Tensor, seed: int = 0, patches: int = 32, directions: int = 64) -> float:
    return sliced_wasserstein(a, b, seed, patches, directions)


def test_a_set_is_at_distance_0_from_itself() -> None:
    x = pictures(10)
    assert distance(x, x) == 0


def test_the_distance_is_symmetric_and_positive() -> None:
    a, b = pictures(10), pictures(10).sqrt()
    assert distance(a, b) == distance(b, a) > 0


def test_the_distance_grows_as_a_set_moves_away() -> None:
    x, noise = pictures(20), torch.rand(20, 3, 32, 32)
    found = [distance(x, (1 - t) * x + t * noise) for t in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[1] > 0.01


def test_the_distance_of_two_samples_of_one_distribution_shrinks_with_their_size() -> None:
    few, many = distance(pictures(10), pictures(10)), distance(pictures(160), pictures(160))
    assert many < few / 2


def test_patches_are_compared_whatever_their_brightness_and_contrast() -> None:
    x = pictures(10)
    assert distance(x, 0.5 * x + 0.3) < 1e-5


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_the_distance_of_flat_images_is_that_of_their_grey_values(power: float) -> None:
    """A patch of a flat image is its value times the vector of 49 ones: one dimension, where W1 sorts.

    Along a random direction u of 49 dimensions that vector has length 7 |u_1| on average, of known mean.
    """
    a = torch.linspace(0, 1, 50)
    b = a**power
    unit = [(v - v.mean()) / v.std(correction=0) for v in (a, b)]
    w1 = (unit[0].sort().values - unit[1].sort().values).abs().mean().item()
    length = 7 * math.exp(math.lgamma(24.5) - math.lgamma(25)) / math.sqrt(math.pi)
    flat = [v.view(50, 1, 1, 1).expand(50, 1, 16, 16) for v in (a, b)]
    assert distance(*flat, patches=4, directions=8192) == pytest.approx(length * w1, rel=0.02, abs=1e-6)


def test_the_distance_is_a_function_of_its_seed() -> None:
    a, b = pictures(10), pictures(10)
    assert distance(a, b, seed=1) == distance(a, b, seed=1) != distance(a, b, seed=2)


def test_sets_of_different_size_are_not_compared() -> None:
    with pytest.raises(zoo.InputError, match="one shape"):
        distance(pictures(4), pictures(5))


# --- nearest neighbours


@pytest.mark.parametrize("chunk", [7, 256])
def test_nearest_finds_what_trying_all_finds(chunk: int) -> None:
    x, among = torch.rand(30, 3, 8, 8), torch.rand(70, 3, 8, 8)
    every = torch.stack([(row - among).square().flatten(1).sum(1).sqrt() for row in x])
    distances, indices = nearest(x, among, chunk)
    assert torch.allclose(distances, every.min(1).values, rtol=1e-6)
    assert torch.equal(indices, every.argmin(1))


def test_a_copy_is_at_distance_0_exactly_from_its_original() -> None:
    among = torch.rand(300, 3, 32, 32)
    distances, indices = nearest(among[100:200], among)
    assert not distances.any()
    assert torch.equal(indices, torch.arange(100, 200))


# --- fine detail


def test_detail_of_a_checkerboard_is_that_of_its_laplacian() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().expand(2, 3, 16, 16)
    assert detail(board).mean().item() == pytest.approx(16, rel=0.02)  # the Laplacian is +4 and -4 in turn
    assert detail(torch.full((2, 3, 16, 16), 0.3)).mean().item() == pytest.approx(0, abs=1e-9)


# --- Fréchet distance


def gaussian(d: int) -> tuple[Tensor, Tensor]:
    """Mean and a well-conditioned covariance with axes of its own."""
    root = torch.randn(d, d, dtype=torch.float64)
    return torch.randn(d, dtype=torch.float64), root @ root.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


def correlated(n: int, d: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d) @ torch.randn(d, d) + shift


def test_moments_are_those_of_the_definition() -> None:
    x = correlated(50, 4, shift=3.0)
    mean, cov = moments(x)
    assert (mean.dtype, cov.dtype) == (torch.float64, torch.float64)
    assert torch.allclose(mean, sum(row.double() for row in x) / 50)
    outer = sum(torch.outer(row - mean, row - mean) for row in x.double())
    assert torch.allclose(cov, outer / 49)


def test_moments_of_one_feature_have_a_matrix_too() -> None:
    mean, cov = moments(torch.tensor([[1.0], [3.0]]))
    assert (mean.tolist(), cov.tolist()) == ([2.0], [[2.0]])


@pytest.mark.parametrize(("m", "s", "n", "t"), [(0, 1, 0, 1), (0, 1, 3, 1), (1, 2, -1, 0.5), (0, 0, 0, 3)])
def test_the_frechet_distance_of_two_gaussians_of_one_dimension(m: float, s: float, n: float, t: float) -> None:
    one, other = ((torch.tensor([mean]), torch.tensor([[deviation**2]])) for mean, deviation in ((m, s), (n, t)))
    assert frechet_distance(*one, *other) == pytest.approx((m - n) ** 2 + (s - t) ** 2, abs=1e-12)


def test_the_frechet_distance_of_commuting_covariances_is_that_of_their_axes() -> None:
    axes = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    s, t = torch.rand(2, 8, dtype=torch.float64)
    m, n = torch.randn(2, 8, dtype=torch.float64)
    found = frechet_distance(m, axes @ s.square().diag() @ axes.T, n, axes @ t.square().diag() @ axes.T)
    assert found == pytest.approx(((m - n).square() + (s - t).square()).sum().item(), rel=1e-10)


def test_the_frechet_distance_of_any_two_covariances_of_two_dimensions() -> None:
    """tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for 2x2 matrices, also those that are not symmetric."""
    for _ in range(20):
        (m, a), (n, b) = gaussian(2), gaussian(2)
        root = ((a @ b).trace() + 2 * (a.det() * b.det()).sqrt()).sqrt()
        expected = (m - n).square().sum() + a.trace() + b.trace() - 2 * root
        assert frechet_distance(m, a, n, b) == pytest.approx(expected.item(), rel=1e-8)


def test_the_frechet_distance_of_translated_gaussians_is_the_squared_translation() -> None:
    mean, cov = gaussian(30)
    step = torch.randn(30, dtype=torch.float64)
    assert frechet_distance(mean, cov, mean + step, cov) == pytest.approx(step.square().sum().item(), rel=1e-10)


def test_a_gaussian_is_at_frechet_distance_0_from_itself_and_from_no_other() -> None:
    mean, cov = gaussian(40)
    assert frechet_distance(mean, cov, mean, cov) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(mean, cov, mean, 1.01 * cov) > 1e-4


def test_the_frechet_distance_is_symmetric_and_its_root_obeys_the_triangle_inequality() -> None:
    for _ in range(20):
        a, b, c = (gaussian(5) for _ in range(3))
        assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*b, *a), rel=1e-10)
        ab, bc, ac = (math.sqrt(frechet_distance(*x, *y)) for x, y in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc


def test_the_frechet_distance_of_fewer_images_than_features_keeps_its_precision() -> None:
    """Rank 1: tr sqrt(uu' vv') = |u.v|. A square root of round-off would leave errors of 1e-8 in each direction."""
    u, v = torch.randn(2, 200, dtype=torch.float64)
    zero = torch.zeros(200)
    found = frechet_distance(zero, torch.outer(u, u), zero, torch.outer(v, v))
    assert found == pytest.approx((u @ u + v @ v - 2 * (u @ v).abs()).item(), rel=1e-11)
    few, others = moments(torch.randn(5, 200)), moments(torch.randn(7, 200))
    assert frechet_distance(*few, *few) == pytest.approx(0, abs=1e-9)
    assert 0 < frechet_distance(*few, *others) < math.inf


def test_a_gaussian_without_spread_is_at_its_distance_to_the_mean() -> None:
    (mean, cov), point = gaussian(6), torch.zeros(6, 6)
    expected = mean.square().sum() + cov.trace()
    assert frechet_distance(mean, cov, torch.zeros(6), point) == pytest.approx(expected.item(), rel=1e-10)


def test_the_frechet_distance_of_features_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Looks(nn.Module):
        num_features = 6

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    real, fake = correlated(200, 6), correlated(150, 6, shift=0.5)
    other = FrechetInceptionDistance(Looks(), normalize=True)
    other.update(real.view(-1, 3, 1, 2), real=True)
    other.update(fake.view(-1, 3, 1, 2), real=False)
    found = frechet_distance(*moments(real), *moments(fake))
    assert found == pytest.approx(other.compute().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mean, cov: (mean, cov[:2]), "second Gaussian: shapes"),
        (lambda mean, cov: (mean[:2], cov[:2, :2]), "second Gaussian: shapes"),
        (lambda mean, cov: (mean * math.nan, cov), "second Gaussian's moments are not finite"),
        (lambda mean, cov: (mean, cov / 0), "second Gaussian's moments are not finite"),
    ],
)
def test_moments_that_are_none_are_refused(change: Callable[..., Any], said: str) -> None:
    good = gaussian(3)
    with pytest.raises(zoo.InputError, match=said):
        frechet_distance(*good, *change(*good))


# --- kernel distance


def naive_mmd(real: list[Tensor], fake: list[Tensor]) -> float:
    def k(x: Tensor, y: Tensor) -> float:
        return (sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / len(x) + 1) ** 3

    m = len(real)
    within = sum(k(s[i], s[j]) for s in (real, fake) for i in range(m) for j in range(m) if i != j)
    return within / (m * (m - 1)) - 2 * sum(k(x, y) for x in real for y in fake) / m**2


def test_the_kernel_distance_is_that_of_loops_over_one_way_to_cut_the_sets() -> None:
    real, fake = torch.randn(4, 3), torch.randn(4, 3) + 1
    ways = []
    for p in permutations(range(4)):
        for q in permutations(range(4)):
            first, second = (
                naive_mmd([real[i] for i in p[part]], [fake[i] for i in q[part]]) for part in (slice(2), slice(2, 4))
            )
            ways.append(((first + second) / 2, abs(first - second) / 2))  # of two values a, b: the error is |a - b| / 2
    found = kernel_distance(real, fake)
    assert any(found == pytest.approx(way, rel=1e-9) for way in ways)


def kernel_distances(shift: float, n: int = 80, blocks: int = 8, d: int = 1) -> Tensor:
    """(400, 2): values and their errors over independent draws of N(0, I) and N(shift, I)."""
    draws = ((torch.randn(n, d), torch.randn(n, d) + shift) for _ in range(400))
    return torch.tensor([kernel_distance(*sets, blocks=blocks) for sets in draws])


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_kernel_distance_is_unbiased_and_its_error_is_its_spread(shift: float) -> None:
    """In one dimension the kernel is the sum of C(3, j) x^j y^j, so MMD^2 sums C(3, j) (E x^j - E y^j)^2."""
    values, errors = kernel_distances(shift).T
    expected = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    spread = values.std().item()
    assert abs(values.mean().item() - expected) < 4 * spread / math.sqrt(400)
    assert errors.square().mean().sqrt().item() == pytest.approx(spread, rel=0.15)


def test_the_kernel_distance_sees_a_shift_and_no_difference_where_there_is_none() -> None:
    value, error = kernel_distance(torch.randn(500, 16), torch.randn(500, 16) + 0.5)
    assert value > 5 * error > 0
    value, error = kernel_distance(torch.randn(500, 16), torch.randn(500, 16))
    assert abs(value) < 4 * error


def test_the_kernel_distance_does_not_depend_on_the_order_of_a_set() -> None:
    """Sorted by class, blocks in order would compare a class with all."""
    classes, labels = 2 * torch.randn(10, 16), torch.randint(10, (2, 500))
    real, fake = (classes[drawn] + 0.1 * torch.randn(500, 16) for drawn in (labels[0].sort().values, labels[1]))
    value, error = kernel_distance(real, fake)
    assert abs(value) < 4 * error


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 300), (301, 207)])
def test_the_kernel_distance_of_collapsed_sets_is_the_kernels_own_at_any_size(n: int, m: int) -> None:
    a, b = torch.randn(2, 8, dtype=torch.float64)
    expected = sum(sign * ((x @ y) / 8 + 1) ** 3 for x, y, sign in ((a, a, 1), (b, b, 1), (a, b, -2)))
    found = kernel_distance(a.expand(n, 8), b.expand(m, 8))
    assert found == pytest.approx((expected.item(), 0), rel=1e-9, abs=1e-9)


def test_blocks_are_of_at_most_100_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.image import kid

    sizes = []
    monkeypatch.setattr(kid, "poly_mmd", lambda x, y: sizes.append((len(x), len(y))) or torch.tensor(1.0))
    kernel_distance(torch.randn(1001, 2), torch.randn(1200, 2))
    assert sizes == [(91, 91)] * 11
    sizes.clear()
    kernel_distance(torch.randn(7, 2), torch.randn(7, 2))
    assert sizes == [(3, 3)] * 2


@pytest.mark.parametrize("blocks", [-1, 0, 1, 6])
def test_blocks_that_give_no_error_are_refused(blocks: int) -> None:
    with pytest.raises(zoo.InputError, match="from 2 to 5 blocks"):
        kernel_distance(torch.randn(10, 2), torch.randn(12, 2), blocks=blocks)


# --- precision, recall, density, coverage


def naive_radius(x: list[list[float]], i: int, k: int) -> float:
    return sorted(math.dist(x[i], y) for j, y in enumerate(x) if j != i)[k - 1]


def naive_inside(centres: Tensor, points: Tensor, k: int) -> list[list[bool]]:
    """Row i: which points are in the ball around centre i."""
    x, y = centres.tolist(), points.tolist()
    radii = [naive_radius(x, i, k) for i in range(len(x))]
    return [[math.dist(center, point) <= radius for point in y] for center, radius in zip(x, radii, strict=True)]


@pytest.mark.parametrize(("n", "m", "k"), [(300, 270, 3), (12, 20, 1), (20, 12, 11)])
def test_precision_recall_density_and_coverage_are_those_of_loops(n: int, m: int, k: int) -> None:
    real, fake = torch.randn(n, 3), 0.7 * torch.randn(m, 3) + 0.8
    ours, theirs = naive_inside(real, fake, k), naive_inside(fake, real, k)
    precision, recall = precision_recall(real, fake, k)
    density, coverage = density_coverage(real, fake, k)
    assert precision.tolist() == [any(column) for column in zip(*ours, strict=True)]
    assert recall.tolist() == [any(column) for column in zip(*theirs, strict=True)]
    assert density.tolist() == pytest.approx([sum(column) / k for column in zip(*ours, strict=True)])
    assert coverage.tolist() == [any(row) for row in ours]


def figures(real: Tensor, fake: Tensor, k: int = 5) -> list[float]:
    """Precision, recall, density, coverage."""
    return [x.double().mean().item() for x in (*precision_recall(real, fake, k), *density_coverage(real, fake, k))]


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("copies", [1, 10])
def test_a_set_has_itself_inside_however_often_an_image_comes(copies: int, offset: float) -> None:
    """A ball holds its centre and its k neighbours, also if it has no size: a generator that collapsed."""
    x = (torch.randn(50, 32) + offset).repeat(copies, 1)
    precision, recall, density, coverage = figures(x, x[torch.randperm(len(x))])
    assert (precision, recall, coverage) == (1, 1, 1)
    assert density == pytest.approx(6 / 5 if copies == 1 else 10 / 5)


def test_sets_far_apart_share_nothing() -> None:
    assert figures(torch.randn(300, 8), torch.randn(300, 8) + 100) == [0, 0, 0, 0]


def test_a_dropped_mode_lowers_recall_and_coverage_but_not_precision() -> None:
    def modes(n: int) -> Tensor:
        return torch.randn(n, 4) + 50 * (torch.arange(n) % 2)[:, None]

    real = modes(400)
    both, one = figures(real, modes(400)), figures(real, torch.randn(400, 4))
    assert one[0] == pytest.approx(both[0], abs=0.05)
    assert one[2] == pytest.approx(both[2], rel=0.15)
    assert one[1] == pytest.approx(both[1] / 2, abs=0.05)
    assert one[3] == pytest.approx(both[3] / 2, abs=0.05)


def test_an_outlier_among_the_real_images_inflates_precision_but_hardly_density() -> None:
    """Naeem et al. 2020, section 3: the outlier's ball is so large that anything is inside, but it is one ball."""
    real, fake = torch.randn(300, 8), torch.randn(300, 8) + 30
    assert figures(real, fake)[::2] == [0, 0]
    real[0] = 80
    assert figures(real, fake)[::2] == [1, pytest.approx(1 / 5)]


def test_density_and_coverage_of_one_distribution_have_their_known_means() -> None:
    """All 30 + 20 images are alike, so the k nearest of a real one are all real with the chance of drawing them so."""
    n, m, k = 30, 20, 3
    draws = [density_coverage(torch.randn(n, 2), torch.randn(m, 2), k) for _ in range(400)]
    alone = math.prod((n - 1 - j) / (n + m - 1 - j) for j in range(k))
    for found, expected in zip(zip(*draws, strict=True), (1, 1 - alone), strict=True):
        means = torch.stack([values.double().mean() for values in found])
        assert abs(means.mean() - expected) < 4 * means.std() / math.sqrt(400)


def test_precision_and_recall_change_places_with_the_sets() -> None:
    a, b = torch.randn(60, 3), torch.randn(50, 3) + 1
    one, other = precision_recall(a, b), precision_recall(b, a)
    assert torch.equal(one[0], other[1])
    assert torch.equal(one[1], other[0])


# --- features that are none

COMPARISONS = (kernel_distance, precision_recall, density_coverage)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("bad", ["real", "fake"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.view(20, 2, 2), r"shape \(n, d\), found \(20, 2, 2\)"),
        (lambda x: x[:3], "images or more, found 3"),
        (lambda x: x.index_fill(0, torch.tensor([2, 7]), math.nan), "2 of 20 images are not finite"),
        (lambda x: x.index_fill(0, torch.tensor([5]), -math.inf), "1 of 20 images are not finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused_with_the_name_of_the_set(
    compare: Callable[..., Any], bad: str, change: Callable[[Tensor], Tensor], said: str
) -> None:
    sets = {"real": torch.randn(20, 4), "fake": torch.randn(20, 4)}
    sets[bad] = change(sets[bad])
    with pytest.raises(zoo.InputError, match=f"{bad}: .*{said}"):
        compare(**sets)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_features_of_two_backbones_are_not_compared(compare: Callable[..., Any]) -> None:
    with pytest.raises(zoo.InputError, match="real 4, fake 5"):
        compare(torch.randn(20, 4), torch.randn(20, 5))


@pytest.mark.parametrize("compare", COMPARISONS[1:])
@pytest.mark.parametrize(("k", "said"), [(0, "at least 1"), (-2, "at least 1"), (20, "21 images or more, found 20")])
def test_an_image_has_at_least_one_neighbour_and_at_most_all_others(
    compare: Callable[..., Any], k: int, said: str
) -> None:
    with pytest.raises(zoo.InputError, match=said):
        compare(torch.randn(20, 4), torch.randn(30, 4), k=k)
    compare(torch.randn(20, 4), torch.randn(30, 4), k=19)


@pytest.mark.parametrize("x", [torch.zeros(1, 3), torch.zeros(3), torch.full((4, 3), math.nan)])
def test_moments_need_two_finite_features(x: Tensor) -> None:
    with pytest.raises(zoo.InputError, match="features: "):
        moments(x)


def test_the_error_of_a_frechet_distance_is_what_it_varies_by_from_set_to_set() -> None:
    mean, cov = torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    sets = torch.randn(200, 400, 4, generator=torch.Generator().manual_seed(0)).double() + 0.5
    varies = torch.tensor([frechet_distance(*moments(x), mean, cov) for x in sets]).std().item()
    errors = torch.tensor([frechet_error(x, mean, cov) for x in sets[:40]]).mean().item()
    assert errors == pytest.approx(varies, rel=0.25)
