"""The trap table of CVAE-GAN: who minimises what, means of features, class centres, labels left out, the measures."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from recording import Recorder
from torch import Tensor, nn
from zoo_cvae_gan.evaluate import evaluate, linear_probe, with_one
from zoo_cvae_gan.model import CVAEGAN, FeatureNet, kl_to_prior
from zoo_cvae_gan.train import Centres, centre_distance, discriminator_loss, distance, features_of, train

import zoo
from zoo.data.batches import Batches
from zoo.data.source import Dataset
from zoo.testing import Case

TINY = CVAEGAN.Config(image_size=8, latent_dim=4, names=("a", "b", "c"), widths=(4, 8), hidden=8)
N = 8
NETS = {"E": "model.E", "G": "model.G", "C": "model.C", "D": "D"}
OFF = {"kl": 0.0, "pixels": 0.0, "features": 0.0, "mean_D": 0.0, "mean_C": 0.0}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def model() -> CVAEGAN:
    return CVAEGAN(TINY).eval()


def data(only: int | None = None) -> Dataset:
    """32 smooth images of classes 0, 1, 2 in turn, or of one class only."""
    x = F.interpolate(torch.rand(32, 1, 3, 3), (8, 8), mode="bilinear")
    y = torch.arange(32) % 3 if only is None else torch.full((32,), only)
    return Dataset("made", "train", (255 * x).to(torch.uint8), None, y, TINY.names)


def black_and_white() -> Dataset:
    x = 255 * torch.randint(0, 2, (32, 1, 8, 8), dtype=torch.uint8)
    return Dataset("made", "train", x, None, torch.arange(32) % 3, TINY.names)


def labelled(dataset: Dataset) -> Batches:
    return Batches(dataset, "labelled", N, preparation=zoo.Preparation(size=8, mode="L"))


def zoo_spec() -> zoo.ModelSpec:
    from zoo.family.registry import registry

    return registry().spec("cvae-gan")


def recorded(out: Path, dataset: Dataset | None = None, **arguments: Any) -> Recorder:
    """One step of the real loop: updates 0, 1, 2 are those of C, of D, and of E with G."""
    run = Recorder(out, NETS)
    train(CVAEGAN(TINY), labelled(dataset or data()), run, steps=1, **arguments)
    return run


def everything_logged(run: Recorder) -> dict[str, float]:
    """What a run of one step logged, in however many calls."""
    return {name: value for values in run.logged for name, value in values.items()}


# --- who minimises what


@pytest.mark.parametrize(
    ("only", "nets"),
    [("kl", "E"), ("pixels", "EG"), ("features", "EG"), ("mean_D", "G"), ("mean_C", "G")],
)
def test_each_loss_reaches_the_nets_that_minimise_it(tmp_path: Path, only: str, nets: str) -> None:
    """E: KL and G; G: G, GD and GC. The test below shows that D and C do not move with them."""
    update = recorded(tmp_path, **OFF | {only: 1.0}).updates[2]
    assert update.reached & {"E", "G"} == set(nets)


def test_every_update_moves_its_own_nets_and_no_other(tmp_path: Path) -> None:
    updates = recorded(tmp_path).updates
    assert len(updates) == 3
    for update, movers in zip(updates, ("C", "D", "EG"), strict=True):
        for net in NETS:
            assert all(update.steps[net]) if net in movers else not any(update.steps[net])


def test_c_learns_from_real_images_alone_and_d_from_detached_ones(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    assert run.updates[0].reached == {"C"}
    assert run.updates[1].reached == {"D"}
    (call,) = run.seen("C", 0)
    assert torch.equal(call.given[0], run.seen("E", 0)[0].given[0])


class FixedHeads(Recorder):
    """Only E and G learn; the last layers of D and C have their weights multiplied by `scale`."""

    scale = 1.0

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        for head in (parts["D"].head, parts["model"].C.head):
            head.weight.data.mul_(self.scale)
        return super().prepare(**parts)

    def minimize(self, loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> None:
        if optimizer is self.parts["opt_EG"]:
            super().minimize(loss, optimizer, clip=clip)


@pytest.mark.parametrize("matching", ["features", "logits"])
def test_g_never_sees_the_log_losses_unless_asked_to(tmp_path: Path, matching: Any) -> None:
    """The asymmetry: other heads on D and C leave the gradients of E and G as they are, but in the other variant."""
    gradients = []
    for scale in (1.0, -3.0):
        torch.manual_seed(0)
        run = FixedHeads(tmp_path, NETS)
        run.scale = scale
        train(CVAEGAN(TINY), labelled(data()), run, steps=1, matching=matching)
        gradients.append(torch.cat([g.flatten() for net in "EG" for g in run.updates[0].reach[net]]))
    assert torch.equal(*gradients) == (matching == "features")


def test_the_symmetric_variant_wants_to_be_taken_for_real_and_for_its_class(tmp_path: Path) -> None:
    run = recorded(tmp_path, matching="logits")
    c_p = run.seen("G", 0)[1].given[1].argmax(1)
    logit, logits = run.seen("D", 2)[-1].gave[1], run.seen("C", 2)[-1].gave[1]
    logged = everything_logged(run)
    assert logged["L_GD"] == pytest.approx(-logit.sigmoid().log().mean().item(), abs=1e-5)
    assert logged["L_GC"] == pytest.approx(-logits.log_softmax(1)[range(N), c_p].mean().item(), abs=1e-5)


def test_without_the_adversary_a_plain_cvae_is_trained_and_c_beside_it(tmp_path: Path) -> None:
    run = recorded(tmp_path, adversarial=False, kl=0.5, pixels=2.0)
    (c, eg), logged = run.updates, everything_logged(run)
    assert all(c.steps["C"])
    assert eg.reached == {"E", "G"}
    assert eg.loss == pytest.approx(0.5 * logged["L_KL"] + 2 * logged["pixels"], rel=1e-5)
    assert not run.seen("D", 0) + run.seen("D", 1)


# --- the losses


def test_an_undecided_d_pays_3_ln_2_for_one_real_and_two_made_batches() -> None:
    zero = torch.zeros(5)
    assert discriminator_loss(zero, zero, zero).item() == pytest.approx(2.0794, abs=1e-4)


def test_d_sees_real_reconstructed_and_sampled_images_each_apart(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    real, (x_f, x_p) = run.seen("E", 0)[0].given[0], [call.gave[0] for call in run.seen("G", 0)]
    calls = run.seen("D", 1)
    assert len(calls) == 3
    for call, x in zip(calls, (real, x_f, x_p), strict=True):
        assert torch.equal(call.given[0], x)
    real, *made = (call.gave[1].sigmoid() for call in calls)
    by_hand = -real.log().mean() - sum((1 - p).log().mean() for p in made)
    assert run.updates[1].loss == pytest.approx(by_hand.item(), abs=1e-5)


def test_what_e_and_g_minimise_is_written_out_from_what_the_nets_said(tmp_path: Path) -> None:
    weights = {"kl": 0.1, "pixels": 2.0, "features": 3.0, "mean_D": 5.0, "mean_C": 7.0}
    run = recorded(tmp_path, **weights)
    (E,), (x_f, _) = run.seen("E", 0), (call.gave[0] for call in run.seen("G", 0))
    mu, log_var = E.gave
    D_r, D_f, D_p = (call.gave[0] for call in run.seen("D", 2))
    C_r, C_f, C_p = (call.gave[0] for call in run.seen("C", 2))
    c_r, c_p = (call.given[1].argmax(1) for call in run.seen("G", 0))
    power_D, power_C = D_r.square().mean(), C_r.square().mean()
    centres = [C_r[c_r == c].mean(0) - C_p[c_p == c].mean(0) for c in range(3) if (c_r == c).any() and (c_p == c).any()]
    terms = {
        "kl": -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1).mean(),
        "pixels": 0.5 * ((E.given[0] - x_f) ** 2).mean(),
        "features": 0.5 * (((D_r - D_f) ** 2).mean() / power_D + ((C_r - C_f) ** 2).mean() / power_C),
        "mean_D": 0.5 * ((D_r.mean(0) - D_p.mean(0)) ** 2).mean() / power_D,
        "mean_C": 0.5 * sum((gap**2).mean() for gap in centres) / power_C,
    }
    by_hand = sum(weights[name] * term for name, term in terms.items())
    assert run.updates[2].loss == pytest.approx(by_hand.item(), rel=1e-4)


def test_the_latent_is_drawn_from_the_posterior_and_from_the_prior(tmp_path: Path) -> None:
    run, wide = Recorder(tmp_path, NETS), TINY.model_copy(update={"latent_dim": 64})
    train(CVAEGAN(wide), labelled(data()), run, steps=1)
    mu, log_var = run.seen("E", 0)[0].gave
    z, z_p = (call.given[0] for call in run.seen("G", 0))
    for epsilon in ((z - mu) / (0.5 * log_var).exp(), z_p):
        assert epsilon.mean().item() == pytest.approx(0, abs=0.15)
        assert epsilon.std().item() == pytest.approx(1, abs=0.12)


def test_reconstructions_keep_the_class_of_their_image_and_samples_have_any(tmp_path: Path) -> None:
    run = recorded(tmp_path, data(only=1))
    c_f, c_p = (call.given[1].argmax(1) for call in run.seen("G", 0))
    assert c_f.unique().tolist() == [1]
    assert len(c_p.unique()) > 1
    assert (run.parts["real"].weights > 0).flatten().tolist() == [False, True, False]
    assert (run.parts["made"].weights > 0).flatten().tolist() == [c in c_p for c in range(3)]


@pytest.mark.parametrize(("mu", "log_var", "kl"), [(0.0, 0.0, 0.0), (1.0, 0.0, 0.5), (0.0, math.log(4), 0.8069)])
def test_the_kl_term_per_dimension(mu: float, log_var: float, kl: float) -> None:
    found = kl_to_prior(torch.full((2, 3), mu), torch.full((2, 3), log_var))
    assert found.tolist() == pytest.approx([3 * kl, 3 * kl], abs=1e-3)


def test_a_distance_does_not_depend_on_how_many_pixels_or_features_there_are() -> None:
    a, b = torch.rand(2, 4, 6)
    assert distance(a, b).item() == pytest.approx(distance(a.repeat(1, 9), b.repeat(1, 9)).item(), rel=1e-5)
    assert distance(torch.zeros(2, 5), torch.full((2, 5), 2.0)).item() == 2


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_d_and_c_cannot_change_a_loss_by_scaling_their_features(scale: float) -> None:
    net, x, made = FeatureNet(TINY, 1), *(torch.rand(2, N, 1, 8, 8) * 2 - 1)
    before = features_of(net, x, made)
    for parameter in net.features[0].parameters():
        parameter.data.mul_(scale)
    for old, new in zip(before, features_of(net, x, made), strict=True):
        assert torch.allclose(old, new, rtol=1e-3, atol=1e-4)
    assert before[0].square().mean().item() == pytest.approx(1, abs=1e-4)


def test_no_gradient_flows_through_the_features_of_real_images() -> None:
    real, made = (torch.rand(N, 1, 8, 8, requires_grad=True) for _ in range(2))
    f_r, f_p = features_of(FeatureNet(TINY, 1), real, made)
    assert not f_r.requires_grad
    assert torch.autograd.grad(f_p.square().sum(), made)[0].any()


def test_mean_matching_pairs_no_images() -> None:
    """Shuffling a batch changes nothing; other images of the same mean are as good."""
    a, b = torch.rand(2, N, 5)
    whole = distance(a.mean(0), b.mean(0))
    assert distance(a.mean(0), b[torch.randperm(N)].mean(0)).item() == pytest.approx(whole.item(), abs=1e-6)
    spread = torch.randn(N, 5)
    assert distance(a.mean(0), (a + spread - spread.mean(0)).mean(0)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("theta", [-10.0, -1.0, 3.0, 8.0])
def test_mean_matching_pulls_however_far_g_is_where_the_log_loss_lets_go(theta: float) -> None:
    """Real images N(3, 1), made ones N(theta, 1), f(x) = x: the slope is theta - 3, and log(1 - D*) is flat far off."""
    z = torch.special.ndtri((torch.arange(4001) + 0.5) / 4001)[:, None]
    shift = torch.tensor(theta, requires_grad=True)
    (slope,) = torch.autograd.grad(distance((z + 3).mean(0), (z + shift).mean(0)), shift)
    assert slope.item() == pytest.approx(theta - 3, abs=1e-3)
    best = (3 - theta) * (z + shift) + (theta**2 - 9) / 2  # the logit of D*, for these two Gaussians
    (saturating,) = torch.autograd.grad(-F.softplus(best).mean(), shift)
    if theta == -10:
        assert abs(saturating.item()) < 1e-6


# --- class centres


def test_the_first_centre_is_the_mean_and_later_ones_are_moving_averages() -> None:
    centres, label = Centres(3, 5, decay=0.9), torch.tensor([0, 0, 2, 2])
    first, second = torch.rand(2, 4, 5)
    means = [torch.stack([f[:2].mean(0), f[2:].mean(0)]) for f in (first, second)]
    assert torch.allclose(centres(first, label)[[0, 2]], means[0], atol=1e-6)
    expected = (0.09 * means[0] + 0.1 * means[1]) / 0.19
    assert torch.allclose(centres(second, label)[[0, 2]], expected, atol=1e-6)


def test_a_class_that_the_batch_lacks_keeps_its_centre() -> None:
    centres = Centres(3, 5)
    before = centres(torch.rand(4, 5), torch.tensor([0, 1, 0, 1]))
    after = centres(torch.rand(4, 5), torch.tensor([0, 0, 2, 2]))
    assert torch.allclose(after[1], before[1], atol=1e-6)
    assert not torch.allclose(after[0], before[0], atol=1e-3)
    assert after.isfinite().all()


def test_gradients_flow_through_this_batch_only() -> None:
    centres, label = Centres(2, 5, decay=0.75), torch.tensor([0, 0, 1, 1])
    first, second = (torch.rand(4, 5, requires_grad=True) for _ in range(2))
    centres(first, label)
    (slope,) = torch.autograd.grad(centres(second, label).sum(), second)
    assert torch.allclose(slope, torch.full((4, 5), 0.25 / (1 - 0.75**2) / 2))
    assert not centres.sums.requires_grad


def test_a_class_that_only_one_side_has_met_does_not_count() -> None:
    real, made, f = Centres(3, 5), Centres(3, 5), torch.rand(2, 5)
    loss = centre_distance(real, made, f, torch.tensor([0, 1]), f + 2, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(0.5 * (f[0] + 2 - f[1]).square().mean().item(), rel=1e-5)


def test_centres_are_compared_class_by_class_and_summed() -> None:
    label, f = torch.arange(3), torch.rand(3, 5)
    pair = [Centres(3, 5), Centres(3, 5)]
    assert centre_distance(*pair, f, label, f[[2, 0, 1]], label[[2, 0, 1]]).item() == pytest.approx(0, abs=1e-12)
    pair = [Centres(3, 5), Centres(3, 5)]
    assert centre_distance(*pair, f, label, f + 2, label).item() == pytest.approx(3 * 2, rel=1e-5)


# --- the published nets


def test_batch_norm_is_in_g_alone(model: CVAEGAN) -> None:
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert norms
    assert all(name.startswith("G.") for name in norms)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in FeatureNet(TINY, 1).modules())


def test_samples_and_reconstructions_pass_g_apart(tmp_path: Path) -> None:
    """Their batch-norm statistics differ, and neither may lean on the other's."""
    assert [len(call.given[0]) for call in recorded(tmp_path).seen("G", 0)] == [N, N]


def test_the_last_layer_of_features_feeds_the_head(model: CVAEGAN) -> None:
    f, logits = model.C(torch.rand(2, 1, 8, 8))
    assert f.shape == (2, 8)
    assert torch.equal(logits, model.C.head(f))


def test_sampling_without_a_label_draws_one_uniformly_and_keeps_z(model: CVAEGAN) -> None:
    noise = zoo.Noise(0, 0, 300)
    noise.normal(4)
    drawn = noise.categorical(3)
    assert drawn.bincount().min() > 75
    free, told = model.sample(zoo.Noise(0, 0, 300)), model.sample(zoo.Noise(0, 0, 300), label=drawn)
    assert torch.equal(free, told)


def test_encoding_without_a_label_asks_c(model: CVAEGAN) -> None:
    x = torch.rand(16, 1, 8, 8)
    model.C.head.bias.data.sub_(model.C(2 * x - 1)[1].detach().mean(0))  # no class is the favourite
    said = model.infer(x)["label"].argmax(1)
    assert len(said.unique()) > 1
    assert torch.equal(model.encode(x), model.encode(x, label=said))
    assert torch.equal(model.encode(x)[:, 4:].argmax(1), said)


def test_decoding_takes_the_class_of_the_latent_of_the_label_or_the_first(model: CVAEGAN) -> None:
    x, label = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 2, 1, 0])
    code = model.encode(x, label=label)
    z = code[:, :4]
    assert torch.equal(model.decode(code), model.decode(z, label=label))
    assert torch.equal(model.decode(code, label=label.flip(0)), model.decode(z, label=label.flip(0)))
    assert torch.equal(model.decode(z), model.decode(z, label=torch.zeros(6).long()))
    for width in (3, 5, 8):
        with pytest.raises(RuntimeError):
            model.decode(torch.zeros(6, width), label=label)


def test_the_posterior_and_c_see_what_training_showed_them(model: CVAEGAN, tmp_path: Path) -> None:
    """Images in [0, 1] outside are in [-1, 1] inside, in training as in use."""
    run = recorded(tmp_path, black_and_white())
    assert run.seen("E", 0)[0].given[0].unique().tolist() == [-1, 1]
    x, label = torch.rand(2, 1, 8, 8), torch.tensor([0, 2])
    c = F.one_hot(label, 3).float()
    assert torch.equal(model.encode(x, label=label), torch.cat([model.E(2 * x - 1, c)[0], c], 1))
    assert torch.equal(model.infer(x)["label"], model.C(2 * x - 1)[1].softmax(1))


def test_the_handle_swaps_the_class_and_keeps_the_latent() -> None:
    case = Case(zoo_spec())
    handle, x = case.model, case.images(4)
    swapped = handle.swap(x, source={"label": "b"}, label=["a", "b", "c", "a"]).tensor
    z = handle.encode(x, label="b")[:, : handle.config.latent_dim]
    assert torch.equal(swapped, handle.decode(z, label=[0, 1, 2, 0]).tensor)
    assert torch.equal(swapped[1], handle.reconstruct(x, label="b").tensor[1])
    assert not torch.equal(swapped[0], handle.reconstruct(x, label="b").tensor[0])


# --- the measures


def test_a_linear_probe_finds_a_class_that_z_tells_and_none_that_it_does_not() -> None:
    y = torch.arange(3000) % 3
    free = torch.randn(3000, 4)
    telling = torch.cat([free, F.one_hot(y, 3) + 0.1 * torch.randn(3000, 3)], 1)
    for z, low, high in ((free, 0.28, 0.40), (telling, 0.99, 1.0)):
        weights = linear_probe(z[:2000], y[:2000], 3)
        right = ((with_one(z[2000:]) @ weights).argmax(1) == y[2000:]).float().mean().item()
        assert low <= right <= high


class Oracle:
    """A judge that knows which images were asked for as what: it reads the class from the corner pixel."""

    name = "oracle"
    config = SimpleNamespace(names=("a", "b", "c"))

    def infer(self, images: Tensor, batch_size: int = 64) -> dict[str, Tensor]:
        return {"label": F.one_hot((images[:, 0, 0, 0] * 3).long().clamp(max=2), 3).float()}


def test_the_measures_are_what_they_say() -> None:
    """A G that writes the class into every pixel swaps perfectly; a C that always says "a" is right for a third."""
    case, dataset = Case(zoo_spec()), data()
    module = case.model.module
    module.G.forward = lambda z, c: (c.argmax(1).view(-1, 1, 1, 1) * 0.6 - 0.8).expand(-1, 1, 8, 8)
    module.C.head.weight.data.zero_()
    module.C.head.bias.data.copy_(torch.tensor([1.0, 0, 0]))
    bench = zoo.Bench(case.model, dataset, dataset, "made", 0, False, Oracle())  # type: ignore[arg-type]
    found = {metric.name: metric for metric in evaluate(bench)}
    assert found["swap_accuracy"].value == 1
    assert found["classifier_accuracy"].value == pytest.approx(11 / 32, abs=1e-4)
    assert 0 <= found["class_leakage"].value <= 1
    assert found["class_leakage"].baseline == "commonest class: 0.3438"
    unjudged = zoo.Bench(case.model, dataset, dataset, "made", 0, False, None)
    assert {metric.name for metric in evaluate(unjudged)} == {"classifier_accuracy", "class_leakage"}
