"""Cards in half precision: what any weights that round to the stored ones make is what the card makes."""

import copy

import pytest
import torch
from torch import nn

import zoo
from zoo.card.config import read_config
from zoo.family.registry import registry
from zoo.hub.places import bundled
from zoo.noise import Noise
from zoo.training.rounding import AGREEMENT, disagreement

IMAGES = 4
CARDS = sorted(name for name, folder in bundled().items() if read_config(folder).weights.dtype == "float16")


def blurred(module: nn.Module) -> nn.Module:
    """A copy with each weight anywhere within half a unit in the last place of its float16 value."""
    blurred, draws = copy.deepcopy(module), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in blurred.state_dict().values():
            if value.is_floating_point():
                half = value.half()
                up = torch.nextafter(half.abs(), torch.tensor(float("inf"), dtype=torch.float16)).float()
                unit = up - half.abs().float()
                value.add_((torch.rand(value.shape, generator=draws) - 0.5) * 0.998 * unit)
                below_a_power = value.half() != half  # there the grid is finer on one side
                value.copy_(torch.where(below_a_power, half.float(), value))
    return blurred


def smooth(size: int, channels: int) -> torch.Tensor:
    coarse = Noise(0, 0, IMAGES).uniform(channels, size // 4, size // 4)
    return (255 * nn.functional.interpolate(coarse, (size, size), mode="bilinear")).to(torch.uint8)


@pytest.mark.parametrize("name", CARDS)
def test_what_half_precision_lost_does_not_show(name: str) -> None:
    card = zoo.load(name, device="cpu")
    other = zoo.Model(blurred(card.module), card.spec, card.card, device="cpu")
    for key, value in other.module.state_dict().items():
        assert torch.equal(value.half(), card.module.state_dict()[key].half()), key
    images = smooth(card.preparation.size, card.preparation.channels)
    if name in registry().recipes:
        assert 0 < disagreement(card, other, images, registry().recipe(name)[1].shown) <= AGREEMENT
    else:  # features have no range: their difference is a share of what they vary by
        one, another = (model.features(images) for model in (card, other))
        assert 0 < (one - another).square().mean().sqrt() <= 0.02 * one.std()
