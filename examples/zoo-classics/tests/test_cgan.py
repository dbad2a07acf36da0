"""The conditions of Mirza and Osindero 2014: both nets are told the label, and both listen."""

import pytest
import torch
from conftest import Made
from torch import Tensor, nn
from zoo_classics.cgan import ConditionalDiscriminator, ConditionalGenerator, beside, train

import zoo

TINY = ConditionalGenerator.Config(image_size=4, latent_dim=4, widths=(16, 16), names=("dark", "light"))


class Keeping(zoo.Run):
    """A run that hands out its discriminator."""

    D: nn.Module

    def prepare(self, **parts: object) -> tuple[object, ...]:
        self.D = parts["D"]  # type: ignore[assignment]
        return super().prepare(**parts)


def dark_and_light() -> tuple[Tensor, Tensor]:
    """Images around 0.2 with label 0, around 0.8 with label 1."""
    y = torch.randint(2, (32,))
    return (0.2 + 0.6 * y)[:, None, None, None] + 0.05 * torch.randn(32, 1, 4, 4), y


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Keeping:
    torch.manual_seed(0)
    run = Keeping(tmp_path_factory.mktemp("run"), device="cpu", ema=0.98, progress=False)
    train(ConditionalGenerator(TINY), Made(dark_and_light), run, steps=600, lr=2e-3)
    return run


def test_a_label_is_one_hot_beside_the_input() -> None:
    assert beside(torch.full((2, 1), 9.0), torch.tensor([2, 0]), 3).tolist() == [[9, 0, 0, 1], [9, 1, 0, 0]]


def test_the_image_changes_with_the_label_at_the_same_latent() -> None:
    G, z = ConditionalGenerator(TINY), torch.randn(8, 4)
    dark, light = G(z, torch.zeros(8, dtype=torch.long)), G(z, torch.ones(8, dtype=torch.long))
    assert (dark - light).abs().flatten(1).amax(1).min() > 0.01


def test_the_score_changes_with_the_label_of_the_same_image() -> None:
    D, x = ConditionalDiscriminator(TINY), torch.rand(8, 1, 4, 4)
    assert not torch.equal(D(x, torch.zeros(8, dtype=torch.long)), D(x, torch.ones(8, dtype=torch.long)))


def test_after_a_little_training_wrong_labels_score_lower(trained: Keeping) -> None:
    x, y = dark_and_light()
    with torch.no_grad():
        right, wrong = trained.D(2 * x - 1, y), trained.D(2 * x - 1, 1 - y)
    assert (wrong < right).float().mean() > 0.95


def test_after_a_little_training_samples_are_of_the_class_asked_for(trained: Keeping) -> None:
    """98 of 100, by a judge that was not trained with them: the mean."""
    G = trained.published.eval()
    y = torch.arange(200) % 2
    with torch.no_grad():
        x = G.sample(zoo.Noise(0, 0, 200), label=y)
    assert ((x.mean((1, 2, 3)) > 0.5).long() == y).float().mean() >= 0.98


def test_a_label_that_is_left_out_is_drawn_with_the_sample() -> None:
    G = ConditionalGenerator(TINY)
    with torch.no_grad():
        free = G.sample(zoo.Noise(0, 0, 64))
        fixed = [G.sample(zoo.Noise(0, 0, 64), label=torch.full((64,), y)) for y in range(2)]
    drawn = [(free == images).flatten(1).all(1) for images in fixed]
    assert torch.equal(drawn[0], ~drawn[1])
    assert 16 < drawn[0].sum() < 48
