"""The trap table of the VAE."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from recording import Recorder
from torch import Tensor, nn
from torch.distributions import Bernoulli, LowRankMultivariateNormal, MultivariateNormal, Normal, kl_divergence
from zoo_vae.model import VAE, FittedPrior, StandardPrior, bernoulli_log_prob, gaussian_log_prob, kl_to_standard
from zoo_vae.train import train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.evaluation.figures import Bench
from zoo.family.registry import registry
from zoo.testing import Case

BINARY = VAE.Config(image_size=8, latent_dim=3, widths=(4,), hidden=8)
GAUSSIAN = BINARY.model_copy(update={"likelihood": "gaussian"})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Given:
    """Noise whose draws are known: these normal ones, and uniform ones that are all `u`."""

    def __init__(self, epsilon: Tensor, u: float = 0.5) -> None:
        self.epsilon, self.u = epsilon, u

    def normal(self, *shape: int) -> Tensor:
        return self.epsilon.view(-1, *shape)

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((1, *shape), self.u)

    def categorical(self, classes: int) -> Tensor:
        raise AssertionError("a VAE draws no classes")


class Constant(nn.Module):
    """Gives one row whatever it is given."""

    def __init__(self, *values: float, shape: tuple[int, ...] = (-1,)) -> None:
        super().__init__()
        self.row, self.shape = torch.tensor(values), shape

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), len(self.row)).view(len(x), *self.shape)


class Affine(nn.Module):
    """x -> A x + b on flattened rows, given the shape of the result."""

    def __init__(self, a: Tensor, b: Tensor, *shape: int) -> None:
        super().__init__()
        self.a, self.b, self.shape = a, b, shape

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.a.T + self.b).view(len(x), *self.shape)


def binary_images(n: int, side: int = 8) -> Tensor:
    return (torch.rand(n, 1, side, side) < 0.5).float()


def bound_by_distributions(model: VAE, x: Tensor, epsilon: Tensor) -> Tensor:
    """log p(x | z) - KL for each image, from the definitions alone."""
    mu, log_var = model.posterior(x)
    posterior = Normal(mu, log_var.exp().sqrt())
    output = model.decoder(mu + posterior.stddev * epsilon)
    likelihood = Bernoulli(logits=output) if model.log_scale is None else Normal(output, model.log_scale.exp())
    kl = kl_divergence(posterior, Normal(torch.zeros_like(mu), torch.ones_like(mu)))
    return likelihood.log_prob(x).flatten(1).sum(1) - kl.sum(1)


# --- the bound: sums, not means


def test_the_loss_of_one_image_is_the_sum_over_its_pixels_and_latents(tmp_path: Path) -> None:
    model, x, epsilon = VAE(BINARY), binary_images(1), torch.randn(1, 3)
    expected = -bound_by_distributions(model, x, epsilon)
    run = Recorder(tmp_path, noise=lambda n: Given(epsilon))
    train(model, iter([x]), run, steps=1, lr=0.0)
    assert run.losses == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_bound_of_a_gaussian_decoder_is_that_of_the_dequantised_image() -> None:
    model, x, epsilon = VAE(GAUSSIAN), (torch.rand(4, 1, 8, 8) * 255).round() / 255, torch.randn(4, 3)
    expected = bound_by_distributions(model, (255 * x + 0.25) / 256, epsilon) - 64 * math.log(256)
    assert torch.allclose(model.elbo(x, Given(epsilon, u=0.25)), expected, atol=1e-3)


def test_duplicating_the_batch_leaves_the_loss_as_it_is(tmp_path: Path) -> None:
    x, epsilon = binary_images(3), torch.randn(3, 3)
    once, twice = (Recorder(tmp_path, noise=lambda n: Given(epsilon.repeat(n // 3, 1))) for _ in range(2))
    for run, batch in ((once, x), (twice, x.repeat(2, 1, 1, 1))):
        torch.manual_seed(0)
        train(VAE(BINARY), iter([batch]), run, steps=1, lr=0.0)
    assert twice.losses == pytest.approx(once.losses, abs=1e-4)


def test_warmup_weighs_the_kl_term_alone(tmp_path: Path) -> None:
    model, x, epsilon = VAE(BINARY), binary_images(2), torch.randn(2, 3)
    log_likelihood, kl = (term.mean().item() for term in model.bound(x, Given(epsilon)))
    run = Recorder(tmp_path, noise=lambda n: Given(epsilon))
    train(model, iter([x] * 5), run, steps=5, lr=0.0, warmup=4)
    weights = [0.25, 0.5, 0.75, 1.0, 1.0]
    assert run.losses == pytest.approx([weight * kl - log_likelihood for weight in weights], abs=1e-4)


def test_a_uniform_bernoulli_model_costs_784_ln_2() -> None:
    model = VAE(VAE.Config(latent_dim=2, widths=(4,), hidden=8))
    model.encoder, model.decoder = Constant(0, 0, 0, 0), Constant(*[0] * 784, shape=(1, 28, 28))
    assert model.elbo(binary_images(3, 28), zoo.Noise(0, 0, 3)).tolist() == pytest.approx([-543.43] * 3, abs=0.005)


# --- the KL term


@pytest.mark.parametrize(("mu", "sigma", "kl"), [(1, 2, 1.306853), (0, 0.5, 0.318147), (0, 1, 0)])
def test_the_kl_to_the_prior(mu: float, sigma: float, kl: float) -> None:
    log_var = torch.full((2, 3), 2 * math.log(sigma))
    assert kl_to_standard(torch.full((2, 3), float(mu)), log_var).tolist() == pytest.approx([3 * kl] * 2, abs=3e-6)


def test_the_kl_to_the_prior_agrees_with_monte_carlo() -> None:
    prior, posterior = Normal(0.0, 1.0), Normal(1.0, 2.0)
    z = posterior.sample((1_000_000,))
    draws = (posterior.log_prob(z) - prior.log_prob(z)).double()
    closed = kl_to_standard(torch.tensor([[1.0]]), torch.tensor([[2 * math.log(2)]])).item()
    assert abs(draws.mean().item() - closed) < 3 * draws.std().item() / 1000


def test_the_encoder_speaks_of_log_sigma_squared_to_the_draw_and_to_the_kl() -> None:
    s, drawn = 0.3, []
    model = VAE(VAE.Config(image_size=4, latent_dim=1, widths=(1,), hidden=1))
    model.encoder = Constant(0.7, 2 * math.log(s))
    model.decoder.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0]))
    _, kl = model.bound(torch.zeros(100_000, 1, 4, 4), zoo.Noise(0, 0, 100_000))
    assert drawn[0].std().item() == pytest.approx(s, rel=0.01)
    assert drawn[0].mean().item() == pytest.approx(0.7, abs=0.005)
    assert kl[0].item() == pytest.approx(0.5 * (0.7**2 + s**2 - 1 - 2 * math.log(s)), abs=1e-5)


def test_log_sigma_squared_is_kept_within_10() -> None:
    model = VAE(BINARY)
    model.encoder = Constant(50, -50, 0, 99, -99, 3)
    mu, log_var = model.posterior(torch.zeros(1, 1, 8, 8))
    assert mu.tolist() == [[50, -50, 0]]
    assert log_var.tolist() == [[10, -10, 3]]


# --- gradients and learning


def test_the_reconstruction_pulls_on_the_encoder_through_z() -> None:
    """With the draw held still, the difference quotient along the gradient to phi is the gradient's length."""
    model, x, noise = VAE(BINARY), binary_images(4), Given(torch.randn(4, 3))
    for net in (model.encoder, model.decoder):
        for i, module in enumerate(net):
            net[i] = nn.Softplus() if isinstance(module, nn.ReLU) else module  # no kinks, so that quotients converge
    phi = list(model.encoder.parameters())
    gradients = torch.autograd.grad(model.bound(x, noise)[0].sum(), phi)
    assert all(gradient.any() for gradient in gradients)
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()

    def moved(step: float) -> float:
        with torch.no_grad():
            for p, gradient in zip(phi, gradients, strict=True):
                p.add_(step * gradient / length)
            return model.bound(x, noise)[0].sum().item()

    step = 0.01
    ahead, behind = moved(step), moved(-2 * step)
    assert (ahead - behind) / (2 * step) == pytest.approx(length.item(), rel=0.02)


def test_eight_binary_images_are_learned_to_less_than_a_nat(tmp_path: Path) -> None:
    """A sigmoid before a loss that takes logits could not get below 64 log(1 + 1/e) = 20 nats."""
    x = binary_images(8)
    model = VAE(VAE.Config(image_size=8, latent_dim=4, widths=(16,), hidden=64))
    # A warm-up far longer than the run: the KL term, which rightly holds a VAE back, is hardly weighed.
    train(model, iter([x] * 300), Recorder(tmp_path), steps=300, lr=1e-2, warmup=30_000)
    with torch.no_grad():
        log_likelihood, _ = model.bound(x.repeat(50, 1, 1, 1), zoo.Noise(0, 0, 400))
        assert -log_likelihood.mean().item() < 1
        assert (model.decode(model.encode(x)).round() == x).float().mean() > 0.98


def test_likelihoods_agree_with_torch_distributions() -> None:
    x, output, scale = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor(0.3)
    bernoulli = Bernoulli(logits=output).log_prob(x.round()).flatten(1).sum(1)
    assert torch.allclose(bernoulli_log_prob(x.round(), output), bernoulli, atol=1e-4)
    normal = Normal(output, scale).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(gaussian_log_prob(x, output, scale.log()), normal, rtol=1e-5)


# --- a model whose likelihood is known: x = W z + b + s e, probabilistic PCA (Tipping and Bishop 1999)

D, LATENT, SCALE = 16, 2, 0.25


class LinearGaussian:
    """A VAE with a linear decoder, and an encoder in closed form. 8-bit x are dequantised at u = 1/2."""

    def __init__(self, orthogonal: bool) -> None:
        w = torch.randn(D, LATENT)
        self.w = torch.linalg.qr(w)[0] * torch.tensor([1.0, 0.6]) if orthogonal else w * 0.3
        self.b = torch.full((D,), 0.5)
        self.precision = self.w.T @ self.w / SCALE**2 + torch.eye(LATENT)
        self.model = VAE(VAE.Config(image_size=4, latent_dim=LATENT, widths=(1,), hidden=1, likelihood="gaussian"))
        self.model.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.model.decoder = Affine(self.w, self.b, 1, 4, 4)
        self.model.encoder = self.best_encoder()
        self.model.requires_grad_(False)

    def best_encoder(self) -> Affine:
        """The true mean and the variances of the nearest diagonal posterior, exact where W has orthogonal columns."""
        gain = torch.linalg.solve(self.precision, self.w.T) / SCALE**2
        log_var = -self.precision.diagonal().log()
        return Affine(torch.cat([gain, torch.zeros(LATENT, D)]), torch.cat([-gain @ self.b, log_var]), 2 * LATENT)

    def log_prob(self, x: Tensor) -> Tensor:
        exact = LowRankMultivariateNormal(self.b, self.w, torch.full((D,), SCALE**2))
        return exact.log_prob(((255 * x + 0.5) / 256).flatten(1)) - D * math.log(256)

    def expected_elbo(self, x: Tensor) -> Tensor:
        """The mean over epsilon, exactly: the points +-sqrt(d) e_j have the mean and covariance of the noise."""
        axes = math.sqrt(LATENT) * torch.eye(LATENT)
        return torch.stack([self.model.elbo(x, Given(e.expand(len(x), -1))) for e in (*axes, *-axes)]).mean(0)


@pytest.fixture
def x() -> Tensor:
    return (torch.rand(6, 1, 4, 4) * 255).round() / 255


def test_with_the_true_posterior_the_bound_is_the_likelihood(x: Tensor) -> None:
    ppca = LinearGaussian(orthogonal=True)
    assert torch.allclose(ppca.expected_elbo(x), ppca.log_prob(x), atol=1e-3)
    weights = ppca.model.log_weights(x, Given(torch.randn(6 * 50, LATENT)), 50)
    assert torch.allclose(weights, ppca.log_prob(x)[:, None].expand(6, 50), atol=1e-3)


def test_with_a_diagonal_posterior_the_bound_is_below_by_its_divergence_from_the_true_one(x: Tensor) -> None:
    ppca = LinearGaussian(orthogonal=False)
    mean = torch.zeros(LATENT)
    diagonal = MultivariateNormal(mean, (1 / ppca.precision.diagonal()).diag())
    gap = kl_divergence(diagonal, MultivariateNormal(mean, precision_matrix=ppca.precision)).item()
    assert gap > 0.01
    assert torch.allclose(ppca.log_prob(x) - ppca.expected_elbo(x), torch.full((6,), gap), atol=1e-3)


def test_any_other_posterior_gives_a_lower_bound(x: Tensor) -> None:
    ppca = LinearGaussian(orthogonal=True)
    for _ in range(20):
        ppca.model.encoder = ppca.best_encoder()
        ppca.model.encoder.a = ppca.model.encoder.a + 0.1 * torch.randn(2 * LATENT, D)
        assert (ppca.expected_elbo(x) < ppca.log_prob(x)).all()


def test_the_importance_bound_nears_the_likelihood_from_below(x: Tensor) -> None:
    ppca = LinearGaussian(orthogonal=False)
    ppca.model.encoder.b[-LATENT:] += 1.0  # a posterior too wide: bounded weights, but a bound well below

    def estimate(k: int, repeats: int) -> Tensor:
        rows = x.repeat(repeats, 1, 1, 1)
        weights = ppca.model.log_weights(rows, Given(torch.randn(len(rows) * k, LATENT)), k)
        return (weights.logsumexp(1) - math.log(k)).view(repeats, 6).mean(0)

    exact = ppca.log_prob(x)
    assert (estimate(5000, 1) - exact).abs().max() < 0.05
    bounds = [estimate(k, 40_000 // k).mean().item() for k in (1, 5, 50, 500)]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact.mean().item() - 0.1
    assert bounds[-1] == pytest.approx(exact.mean().item(), abs=0.01)
    assert bounds[0] == pytest.approx(ppca.expected_elbo(x).mean().item(), abs=0.02)


# --- densities and probabilities of 8-bit images


def test_halving_the_scale_adds_d_ln_2_to_the_log_density() -> None:
    x, mean, log_scale = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4), torch.tensor(-1.2)
    halved = gaussian_log_prob(x / 2, mean / 2, log_scale - math.log(2))
    assert torch.allclose(halved, gaussian_log_prob(x, mean, log_scale) + 16 * math.log(2), atol=1e-4)


def test_the_scale_has_a_floor_of_one_grey_level() -> None:
    model, z = VAE(GAUSSIAN), torch.zeros(1, 3)
    flat = model.decode(z).detach()
    at_floor = gaussian_log_prob(flat, model.decoder(z), torch.tensor(-math.log(256)))
    model.log_scale = nn.Parameter(torch.tensor(-100.0))
    assert torch.equal(model.log_likelihood(flat, z), at_floor)


@pytest.mark.parametrize("scale", [0.3, 0.02, 1 / 256])
def test_the_bound_in_bits_per_dim_is_below_the_probability_of_the_pixels(scale: float) -> None:
    """Without latents p(level) is an integral of the density over its cell, so that the mean bound is known exactly."""
    model = VAE(VAE.Config(image_size=4, latent_dim=1, widths=(1,), hidden=1, likelihood="gaussian"))
    model.encoder, model.decoder = Constant(0, 0), Constant(*[0.4] * 16, shape=(1, 4, 4))
    model.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
    levels = torch.arange(256)
    x = (levels.float() / 255).view(-1, 1, 1, 1).expand(256, 1, 4, 4)
    points = [(i + 0.5) / 200 for i in range(200)]
    with torch.no_grad():
        bound = torch.stack([model.elbo(x, Given(torch.zeros(256, 1), u)) for u in points]).mean(0).double() / 16
    edges = Normal(torch.tensor(0.4).double(), torch.tensor(scale).double()).cdf(torch.arange(257).double() / 256)
    probability = edges.diff()
    seen = probability > 1e-6
    assert bound.exp().sum() <= 1
    assert (bound[seen] <= probability[seen].log() + 1e-4).all()
    gap = (probability * (probability.clamp_min(1e-30).log() - bound))[seen].sum().item()
    # Within a cell of width 1/256 the log density varies by about this much on average.
    assert gap == pytest.approx((1 / 256 / scale) ** 2 / 24, rel=0.2, abs=2e-5)


def test_decoded_images_are_means_in_the_unit_interval() -> None:
    z = 50 * torch.randn(8, 3)
    model = VAE(BINARY)
    assert torch.equal(model.decode(z), Bernoulli(logits=model.decoder(z)).mean)
    made = VAE(GAUSSIAN).decode(z)
    assert 0 <= made.min() <= made.max() <= 1


# --- a prior fitted to the codes (not in the paper)


def watched(codes: Tensor) -> FittedPrior:
    """A prior that has seen the codes (batches, n, d) and nothing else."""
    prior = FittedPrior(codes.shape[2])
    prior.momentum = None
    for z in codes:
        prior.watch(z)
    return prior


def correlated_codes() -> tuple[Tensor, MultivariateNormal]:
    truth = MultivariateNormal(torch.tensor([2.0, -1.0]), torch.tensor([[1.0, 0.6], [0.6, 0.5]]))
    return truth.sample((20, 5000)), truth


def test_a_fitted_prior_draws_what_it_has_seen() -> None:
    codes, _ = correlated_codes()
    drawn = watched(codes).draw(zoo.Noise(0, 0, 50_000))
    assert torch.allclose(drawn.mean(0), codes.flatten(0, 1).mean(0), atol=0.02)
    assert torch.allclose(drawn.T.cov(), codes.flatten(0, 1).T.cov(), atol=0.02)


def test_a_fitted_prior_has_the_density_and_the_divergence_of_what_it_draws() -> None:
    codes, truth = correlated_codes()
    prior, mu, log_var = watched(codes), torch.tensor([[1.0, 0.5]]), torch.tensor([[-1.0, 0.4]])
    posterior = Normal(mu, (0.5 * log_var).exp())
    z = posterior.sample((200_000,))[:, 0]
    assert torch.allclose(prior.log_prob(z[:100]), truth.log_prob(z[:100]), rtol=0.03, atol=0.03)
    monte_carlo = (posterior.log_prob(z).sum(1) - prior.log_prob(z)).mean().item()
    assert prior.kl(mu, log_var).item() == pytest.approx(monte_carlo, rel=0.02)


def test_before_it_has_seen_codes_a_fitted_prior_is_the_standard_one() -> None:
    fitted, standard = FittedPrior(3), StandardPrior(3)
    mu, log_var = torch.randn(8, 3), torch.randn(8, 3)
    assert torch.allclose(fitted.draw(zoo.Noise(0, 0, 8)), standard.draw(zoo.Noise(0, 0, 8)), atol=0.01)
    assert torch.allclose(fitted.kl(mu, log_var), standard.kl(mu, log_var), rtol=0.01, atol=0.01)


def test_a_fitted_prior_in_half_precision_draws_nearly_the_same() -> None:
    """Also where some directions of the codes hardly vary: rounded moments would lose those."""
    thin = MultivariateNormal(torch.tensor([0.5, -0.5]), torch.tensor([[3.0, 2.99], [2.99, 3.0]]))
    prior = watched(thin.sample((20, 5000)))
    stored = FittedPrior(2)
    stored.load_state_dict({key: value.half().float() for key, value in prior.state_dict().items()})
    one, other = (p.draw(zoo.Noise(0, 0, 10_000)) for p in (prior, stored))
    assert torch.allclose(one.T.cov(), other.T.cov(), atol=0.003)
    across = torch.tensor([1.0, -1.0])  # where the variance is 0.02
    assert (other @ across).var().item() == pytest.approx((one @ across).var().item(), rel=0.03)


def test_training_leaves_a_fitted_prior_alone() -> None:
    """Only a run that measures statistics changes it: codes of training are those of weights that are not published."""
    prior = watched(correlated_codes()[0])
    prior.momentum = 0.0
    before = {key: value.clone() for key, value in prior.state_dict().items()}
    prior.train().watch(torch.randn(64, 2))
    assert all(torch.equal(value, before[key]) for key, value in prior.state_dict().items())


def test_the_published_prior_is_measured_on_the_published_encoder(tmp_path: Path) -> None:
    """Running moments of the encoder's past would be others: it learns, and its average lags behind."""
    images = torch.randint(0, 256, (256, 1, 8, 8), dtype=torch.uint8)
    batches = Batches(Dataset("made", "train", images), "images", 64, preparation=zoo.Preparation(size=8, mode="L"))
    model = VAE(GAUSSIAN.model_copy(update={"prior": "fitted", "batch_norm": True}))
    run = zoo.Run(tmp_path / "run", device="cpu", progress=False, ema=0.9)
    train(model.train(), batches, run, steps=30, lr=1e-2)
    published = run.published.eval()
    assert isinstance(published, VAE)
    with torch.no_grad():
        x = images.float().repeat(20, 1, 1, 1) / 255
        mu, log_var = published.posterior(published.quantised(x, zoo.Noise(0, 0, len(x))))
        codes = mu + (0.5 * log_var).exp() * torch.randn_like(mu)
        prior = published.prior.normal()
        assert torch.allclose(prior.mean, codes.mean(0), atol=0.08)
        assert torch.allclose(prior.variance, codes.var(0), rtol=0.1)
        # The bound of what samples by this prior is higher than with N(0, I), which the codes do not fill.
        log_likelihood, kl = published.bound(x, zoo.Noise(1, 0, len(x)))
        assert published.elbo(x, zoo.Noise(1, 0, len(x))).mean() > (log_likelihood - kl).mean()


# --- reproducible evaluation, fresh noise in training


def test_evaluation_is_reproducible_and_knows_no_training_mode() -> None:
    x = binary_images(4)
    for config in (BINARY, GAUSSIAN):
        model = VAE(config)
        for scores in (model.elbo, lambda x, noise, model=model: model.log_weights(x, noise, 7)):
            first = scores(x, zoo.Noise(5, 0, 4))
            assert torch.equal(first, scores(x, zoo.Noise(5, 0, 4)))
            assert not torch.equal(first, scores(x, zoo.Noise(6, 0, 4)))
            model.train()
            assert torch.equal(first, scores(x, zoo.Noise(5, 0, 4)))
            model.eval()
        samples = model.sample(zoo.Noise(0, 0, 4))
        assert torch.equal(samples, model.train().sample(zoo.Noise(0, 0, 4)))


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_every_image_gets_fresh_independent_noise(kind: str, tmp_path: Path) -> None:
    n, drawn = 20_000, []
    model = VAE(VAE.Config(image_size=4, latent_dim=4, widths=(1,), hidden=1))
    model.encoder = Constant(*[0.0] * 8)
    model.decoder.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0].detach()))
    x, noise = torch.zeros(n, 1, 4, 4), zoo.Noise(0, 0, n)
    if kind == "training":
        model.requires_grad_(False)
        model.decoder.requires_grad_(True)
        train(model, iter([x, x]), Recorder(tmp_path), steps=2, lr=0.0)
    else:
        model.elbo(x, noise)
        model.elbo(x, noise)
    both = torch.cat(drawn, dim=1)
    assert (both.T.cov() - torch.eye(8)).abs().max() < 0.04
    assert both.mean(0).abs().max() < 0.03


def mnist_like(n: int) -> Dataset:
    return Dataset("made", "test", torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8))


def test_the_binary_test_set_is_one_fixed_draw() -> None:
    case = Case(zoo.family.registry.registry().spec("vae"))
    model, data = case.model, mnist_like(500)
    model.card = model.card.model_copy(update={"preparation": zoo.Preparation(size=8, mode="L", binarize=True)})

    def digest(seed: int) -> str:
        images = Bench(model, data, data, "made", seed, progress=False).images(data)
        assert set(images.unique().tolist()) == {0, 1}
        return hashlib.sha256(images.numpy().tobytes()).hexdigest()

    assert digest(0) == digest(0) != digest(1)


def test_a_training_image_is_a_fresh_bernoulli_draw_each_time() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(64, 1, 16, 16)
    preparation = zoo.Preparation(size=16, mode="L", binarize=True)
    batches = Batches(Dataset("made", "train", levels), "images", 64, preparation=preparation)
    draws = torch.stack([next(batches) for _ in range(40)])
    assert set(draws.unique().tolist()) == {0, 1}
    assert not torch.equal(draws[0], draws[1])
    grey = levels[0].float() / 255
    errors = (draws.mean((0, 1)) - grey) / (grey * (1 - grey) / (40 * 64)).sqrt().clamp_min(1e-6)
    assert errors.abs().max() < 5


def test_grey_images_are_cut_at_a_half_for_a_likelihood_and_that_is_said() -> None:
    case = Case(registry().spec("vae"))
    model = case.wrap(VAE(BINARY))
    model.card = model.card.model_copy(update={"preparation": zoo.Preparation(size=8, mode="L", binarize=True)})
    grey = torch.rand(4, 1, 8, 8)
    with pytest.warns(UserWarning, match="grey values given were cut at 1/2"):
        found = model.elbo(grey, seed=1)
    assert torch.equal(found, model.elbo((grey >= 0.5).float(), seed=1))  # without a warning, else it would raise
