"""Checkpoints of other implementations: networks of short definitions of our own, with random weights, are imported."""

import json
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import Isolated
from torch import Tensor, nn

import zoo
from zoo.card.facts import read_facts
from zoo.card.names import README
from zoo.evaluation.verification import verify
from zoo.family.registry import registry
from zoo.files import sha256
from zoo.importing import compare, find

Norm = Callable[[int], nn.Module]
FACTS = {"license": "mit", "data": "someone/horses"}
plain: Norm = nn.InstanceNorm2d
tracking: Norm = partial(nn.InstanceNorm2d, track_running_stats=True)


class Skip(nn.Module):
    """A block of the reference's U-Net: down, an inner block, up; all but the outermost one hand on what they got."""

    def __init__(self, *layers: nn.Module, outermost: bool = False) -> None:
        super().__init__()
        self.model, self.outermost = nn.Sequential(*layers), outermost

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Net(nn.Module):
    """Layers under the name that a reference gives them."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


class Sum(Net):
    """A residual block."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def unet(levels: int, width: int, norm: Norm, dropout: bool = True) -> Net:
    """The U-Net of the authors' PyTorch code. The leaky ReLUs change what is handed on, too."""
    bias = norm is not nn.BatchNorm2d

    def down(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)

    def up(inputs: int, outputs: int, bias: bool = bias) -> nn.Module:
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)

    w = [width * min(2**i, 8) for i in range(levels)]
    leaky = partial(nn.LeakyReLU, 0.2, inplace=True)
    block = Skip(leaky(), down(w[-2], w[-1]), nn.ReLU(True), up(w[-1], w[-2]), norm(w[-2]))
    for i in range(levels - 2, 0, -1):
        last = [nn.Dropout(0.5)] if dropout and i > 3 else []
        inside = [leaky(), down(w[i - 1], w[i]), norm(w[i]), block]
        block = Skip(*inside, nn.ReLU(True), up(2 * w[i], w[i - 1]), norm(w[i - 1]), *last)
    ends = [nn.ReLU(True), up(2 * w[0], 3, bias=True), nn.Tanh()]
    return Net(model=Skip(down(3, w[0]), block, *ends, outermost=True))


def resnet(width: int, blocks: int, norm: Norm, *, repeat: bool = False) -> Net:
    """The residual generator of the authors' PyTorch code; with `repeat` that of PyTorch-GAN."""
    bias = norm is not nn.BatchNorm2d
    conv = partial(nn.Conv2d, bias=bias)

    def up(inputs: int, outputs: int) -> list[nn.Module]:
        if repeat:
            return [nn.Upsample(scale_factor=2), conv(inputs, outputs, 3, 1, 1)]
        return [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=bias)]

    def residual(w: int) -> nn.Module:
        half = [nn.ReflectionPad2d(1), conv(w, w, 3), norm(w)]
        again = [nn.ReflectionPad2d(1), conv(w, w, 3), norm(w)]
        return Sum(**{"block" if repeat else "conv_block": nn.Sequential(*half, nn.ReLU(True), *again)})

    w = width
    layers = [nn.ReflectionPad2d(3), conv(3, w, 7), norm(w), nn.ReLU(True)]
    layers += [conv(w, 2 * w, 3, 2, 1), norm(2 * w), nn.ReLU(True)]
    layers += [conv(2 * w, 4 * w, 3, 2, 1), norm(4 * w), nn.ReLU(True)]
    layers += [residual(4 * w) for _ in range(blocks)]
    layers += [*up(4 * w, 2 * w), norm(2 * w), nn.ReLU(True), *up(2 * w, w), norm(w), nn.ReLU(True)]
    return Net(model=nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh()))


def dcgan(latent: int = 6, width: int = 4, channels: int = 3) -> Net:
    """The generator of PyTorch's example, on z of (n, latent, 1, 1)."""
    layers: list[nn.Module] = []
    widths = [latent, 8 * width, 4 * width, 2 * width, width]
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        step = (1, 0) if i == 0 else (2, 1)
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, *step, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return Net(main=nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()))


def stargan(width: int = 4, names: int = 3, blocks: int = 2) -> Net:
    """G of the authors' PyTorch code, on an image and its target as constant planes."""
    norm = partial(nn.InstanceNorm2d, affine=True, track_running_stats=True)

    def normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
        return [layer, norm(layer.out_channels), nn.ReLU(True)]

    w, conv, up = width, partial(nn.Conv2d, bias=False), partial(nn.ConvTranspose2d, bias=False)
    layers = normed(conv(3 + names, w, 7, 1, 3))
    layers += [*normed(conv(w, 2 * w, 4, 2, 1)), *normed(conv(2 * w, 4 * w, 4, 2, 1))]
    for _ in range(blocks):
        inside = [*normed(conv(4 * w, 4 * w, 3, 1, 1)), *normed(conv(4 * w, 4 * w, 3, 1, 1))[:2]]
        layers.append(Sum(main=nn.Sequential(*inside)))
    layers += [*normed(up(4 * w, 2 * w, 4, 2, 1)), *normed(up(2 * w, w, 4, 2, 1))]
    return Net(main=nn.Sequential(*layers, conv(w, 3, 7, 1, 3), nn.Tanh()))


def stargan_critic(width: int = 4, names: int = 3, layers: int = 3, size: int = 16) -> nn.Module:
    """D of the authors' PyTorch code: a trunk and two heads."""
    trunk: list[nn.Module] = []
    for i in range(layers):
        inputs = 3 if i == 0 else width * 2 ** (i - 1)
        trunk += [nn.Conv2d(inputs, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01)]
    top = width * 2 ** (layers - 1)
    heads = nn.Conv2d(top, 1, 3, 1, 1, bias=False), nn.Conv2d(top, names, size // 2**layers, bias=False)
    return Net(main=nn.Sequential(*trunk), conv1=heads[0], conv2=heads[1])


def stirred(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net with random weights, gains, biases and statistics: none of them is what it would be by itself."""
    draw = torch.Generator().manual_seed(seed)
    for key, value in net.state_dict().items():
        if value.is_floating_point():
            near = 1 if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")) else 0
            spread = value[0].numel() ** -0.5 if value.ndim > 1 else 0.2
            value.copy_(near + spread * torch.randn(value.shape, generator=draw).clamp(-3, 3))
    return net


def save(net: nn.Module, file: Path) -> Path:
    torch.save(net.state_dict(), file)
    return file


def pictures(size: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def one_by_one(net: nn.Module, x: Tensor) -> Tensor:
    """What a reference makes of images in [0, 1], one image in a batch."""
    with torch.no_grad():
        return torch.cat([(net(2 * image - 1) + 1) / 2 for image in x.split(1)])


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


# What is imported gives what the reference gives.


@pytest.mark.parametrize("norm", [plain, tracking, nn.BatchNorm2d], ids=["plain", "tracking", "batch"])
def test_a_generator_of_cyclegan_gives_what_it_gave(tmp_path: Path, norm: Norm) -> None:
    """With the statistics of each image, as in the authors' test, also where the net has batch norm."""
    net = stirred(resnet(4, 3, norm))
    model = zoo.import_card(
        "pytorch-CycleGAN", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS, settings={"image_size": 32}
    )
    assert model.conditions == {}
    same(model.translate(pictures(32)).tensor, one_by_one(net.train(), pictures(32)))


def test_both_directions_of_cyclegan_keep_their_sense(tmp_path: Path) -> None:
    """G_A makes B of A, and `to` says which domain is wanted."""
    nets = {name: stirred(resnet(4, 1, plain), seed) for seed, name in enumerate(("A", "B"))}
    files = [save(net, tmp_path / f"latest_net_G_{name}.pth") for name, net in nets.items()]
    model = zoo.import_card(
        "pytorch-CycleGAN",
        files,
        out=tmp_path / "card",
        **FACTS,
        settings={"image_size": 16, "domains": ["horse", "zebra"]},
    )
    x = pictures(16)
    same(model.translate(x, to="zebra").tensor, one_by_one(nets["A"], x))
    same(model.translate(x, to="horse").tensor, one_by_one(nets["B"], x))


def test_a_batch_norm_can_keep_its_running_statistics(tmp_path: Path) -> None:
    net = stirred(resnet(4, 2, nn.BatchNorm2d)).eval()
    model = zoo.import_card(
        "pytorch-CycleGAN",
        [save(net, tmp_path / "G.pth")],
        out=tmp_path / "card",
        **FACTS,
        settings={"image_size": 16, "norm": "batch"},
    )
    same(model.translate(pictures(16)).tensor, one_by_one(net, pictures(16)))


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_generator_of_pytorch_gan_gives_what_it_gave(tmp_path: Path, blocks: int) -> None:
    net = stirred(resnet(4, blocks, plain, repeat=True))
    model = zoo.import_card(
        "PyTorch-GAN-CycleGAN",
        [save(net, tmp_path / "G.pth")],
        out=tmp_path / "card",
        **FACTS,
        settings={"image_size": 16},
    )
    same(model.translate(pictures(16)).tensor, one_by_one(net, pictures(16)))


@pytest.mark.parametrize("norm", [plain, nn.BatchNorm2d], ids=["plain", "batch"])
@pytest.mark.parametrize("levels", [5, 6, 8])
def test_a_unet_gives_what_it_gave(tmp_path: Path, levels: int, norm: Norm) -> None:
    """Without dropout, and with the statistics of each image."""
    net = stirred(unet(levels, 2, norm, dropout=False)).train()
    model = zoo.import_card("pytorch-pix2pix", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS)
    x = pictures(2**levels)
    same(model.translate(x, seed=None).tensor, one_by_one(net, x))


def test_a_unet_can_keep_its_running_statistics(tmp_path: Path) -> None:
    net = stirred(unet(6, 2, nn.BatchNorm2d)).eval()
    model = zoo.import_card(
        "pytorch-pix2pix", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS, settings={"norm": "batch"}
    )
    same(model.translate(pictures(64), seed=None).tensor, one_by_one(net, pictures(64)))


@pytest.mark.parametrize("levels", [5, 7, 8])
def test_dropout_stands_where_the_reference_has_it(tmp_path: Path, levels: int) -> None:
    """Seen by the widths and sides of what each dropout is given."""
    net, asked = stirred(unet(levels, 2, nn.BatchNorm2d)), []
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.register_forward_hook(lambda _, given, gave: asked.append(tuple(given[0].shape[1:])))
    model = zoo.import_card("pytorch-pix2pix", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS)
    one_by_one(net, pictures(2**levels, 1))

    class Counting(zoo.Noise):
        def uniform(self, *shape: int) -> Tensor:
            mine.append(shape)
            return super().uniform(*shape)

    mine: list[tuple[int, ...]] = []
    model.module.translate(pictures(2**levels, 1), Counting(0, 0, 1))
    assert mine == asked


@pytest.mark.parametrize("channels", [1, 3])
def test_a_dcgan_gives_what_it_gave_for_normal_latents(tmp_path: Path, channels: int) -> None:
    net = stirred(dcgan(channels=channels)).eval()
    model = zoo.import_card("pytorch-dcgan", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS)
    z = zoo.Noise(5, 0, 4).normal(6)
    with torch.no_grad():
        expected = (net(z[:, :, None, None]) + 1) / 2
    same(model.sample(4, seed=5).tensor, expected)


def test_a_stargan_gives_what_its_g_and_the_class_head_of_its_d_gave(tmp_path: Path) -> None:
    G, D = stirred(stargan()), stirred(stargan_critic(), seed=1)
    files = [save(G, tmp_path / "G.pth"), save(D, tmp_path / "D.pth")]
    model = zoo.import_card(
        "pytorch-StarGAN", files, out=tmp_path / "card", **FACTS, settings={"names": ["Hat", "Beard", "Smile"]}
    )
    x, target = pictures(16), torch.tensor([1.0, 0.0, 1.0])
    planes = target[None, :, None, None].expand(1, 3, 16, 16)
    with torch.no_grad():
        expected = torch.cat([G(torch.cat([2 * image - 1, planes], 1)) for image in x.split(1)])
        logits = D.get_submodule("conv2")(D.get_submodule("main")(2 * x - 1)).flatten(1)
    same(model.translate(x, Hat=True, Beard=False, Smile=True).tensor, (expected + 1) / 2)
    same(model.infer(x)["attributes"], logits.sigmoid())


# The card.


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(stirred(dcgan()), tmp_path / "netG.pth")


def test_the_card_says_where_its_weights_came_from_and_holds_its_own_checks(checkpoint: Path, tmp_path: Path) -> None:
    model = zoo.import_card("pytorch-dcgan", [checkpoint], out=tmp_path / "my-faces", **FACTS)
    facts = read_facts(tmp_path / "my-faces")
    assert model.name == "my-faces"
    assert facts.training is None
    assert facts.origin is not None
    assert (facts.license, facts.origin.data) == ("mit", "someone/horses")
    assert facts.origin.sha256 == sha256(checkpoint)
    assert facts.origin.command == (
        "zoo import pytorch-dcgan netG.pth --out my-faces --license mit --data someone/horses"
    )
    assert facts.origin.command in (tmp_path / "my-faces" / README).read_text(encoding="utf-8")
    assert {check.state for check in verify(tmp_path / "my-faces", progress=False)} <= {"pass", "skipped"}


def test_of_the_numbers_of_the_file_none_is_changed(checkpoint: Path, tmp_path: Path) -> None:
    model = zoo.import_card("pytorch-dcgan", [checkpoint], out=tmp_path / "card", **FACTS)
    given = torch.load(checkpoint, weights_only=True)

    def numbers(state: dict[str, Tensor]) -> list[float]:
        return sorted(float(number) for value in state.values() for number in value.flatten())

    assert numbers(model.module.state_dict()) == numbers(given)


def test_a_card_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    def card(name: str, seed: int) -> zoo.Model:
        file = save(stirred(dcgan(), seed), tmp_path / f"{name}.pth")
        return zoo.import_card("pytorch-dcgan", [file], out=tmp_path / name, **FACTS)

    one, other = card("one", 0), card("other", 1)
    compare(one, one)
    with pytest.raises(zoo.FormatError, match="sample of the card differs"):
        compare(one, other)


# What a file may hold.


def test_names_of_data_parallel_a_missing_count_and_safetensors_are_understood(tmp_path: Path) -> None:
    net = stirred(dcgan())
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(OrderedDict((f"module.{key}", value) for key, value in state.items()), tmp_path / "parallel.pth")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "G.safetensors")
    for i, file in enumerate(["parallel.pth", "G.safetensors"]):
        model = zoo.import_card("pytorch-dcgan", [tmp_path / file], out=tmp_path / f"card-{i}", **FACTS)
        with torch.no_grad():
            expected = (net.eval()(zoo.Noise(0, 0, 2).normal(6)[:, :, None, None]) + 1) / 2
        same(model.sample(2, seed=0).tensor, expected)


class Marked:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_with_more_than_tensors_runs_nothing_and_is_told_how_to_become_safe(tmp_path: Path) -> None:
    torch.save({"net": Marked(tmp_path / "ran")}, tmp_path / "G.pth")
    torch.save(stirred(dcgan()), tmp_path / "whole.pth")
    torch.save({"epoch": 3, "net": dcgan().state_dict()}, tmp_path / "nested.pth")
    torch.save({"main.0.weight": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    torch.save({"main.0.weight": torch.zeros(3, device="meta")}, tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(
        zoo.FormatError, match=r"whole\.pth cannot be read as tensors alone: it asks for test_importing\.Net"
    ):
        zoo.import_card("pytorch-dcgan", [tmp_path / "whole.pth"], out=tmp_path / "card", **FACTS)
    for name in ("G.pth", "whole.pth", "nested.pth", "sparse.pth", "empty.pth", "text.pth"):
        with pytest.raises(zoo.FormatError, match=r"save_file\(net\.state_dict\(\)"):
            zoo.import_card("pytorch-dcgan", [tmp_path / name], out=tmp_path / "card", **FACTS)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "card").exists()


def test_what_is_missing_left_over_or_of_another_shape_is_listed(tmp_path: Path) -> None:
    state = dcgan().state_dict()
    state["main.12.bias"] = torch.zeros(3)
    state["main.3.weight"] = state["main.3.weight"][:, :5]
    del state["main.4.bias"]
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(zoo.FormatError) as caught:
        zoo.import_card("pytorch-dcgan", [tmp_path / "G.pth"], out=tmp_path / "card", **FACTS)
    assert "unexpected G.main.12.bias" in str(caught.value)
    assert "G.main.3.weight [32, 5, 4, 4] does not fit layers.0.weight [32, 16, 4, 4]" in str(caught.value)
    assert "missing G.main.4.bias for layers.1.bias [16]" in str(caught.value)
    assert not (tmp_path / "card").exists()


def test_a_small_file_cannot_ask_for_more_memory_than_the_model_takes(tmp_path: Path) -> None:
    """One number, repeated by a stride of 0, would be some petabytes."""
    state = unet(6, 2, plain).state_dict()
    state["model.model.1.model.5.weight"] = torch.zeros(1).expand(1 << 50).view(1 << 25, 1 << 25, 1, 1)
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(zoo.FormatError, match="does not fit"):
        zoo.import_card("pytorch-pix2pix", [tmp_path / "G.pth"], out=tmp_path / "card", **FACTS)


def test_of_many_faults_ten_are_listed(tmp_path: Path) -> None:
    file = save(resnet(4, 3, plain), tmp_path / "G.pth")
    with pytest.raises(zoo.FormatError, match=r"; and \d+ more") as caught:
        zoo.import_card("pytorch-CycleGAN", [file], out=tmp_path / "card", **FACTS, settings={"width": 8})
    assert caught.value.message.count("does not fit") == 10


@pytest.mark.parametrize("source", ["pytorch-CycleGAN", "pytorch-pix2pix", "pytorch-dcgan", "PyTorch-GAN-CycleGAN"])
def test_a_file_of_another_network_is_refused(tmp_path: Path, source: str) -> None:
    """Of no network that is known here, so no tensor can stand where it is expected."""
    torch.save({"main.weight": torch.zeros(3), "model.fc.bias": torch.zeros(3)}, tmp_path / "G.pth")
    with pytest.raises(zoo.FormatError, match=r"no checkpoint of .*: it has no tensor G\.\S+\. It begins with G\.ma"):
        zoo.import_card(source, [tmp_path / "G.pth"], out=tmp_path / "card", **FACTS)


def test_a_generator_that_pads_otherwise_is_refused(tmp_path: Path) -> None:
    """That of PyTorch-GAN pads by the number of channels, which no tensor shows."""
    state = resnet(4, 1, plain, repeat=True).state_dict()
    state["model.1.weight"] = state["model.1.weight"][:, :1]
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(zoo.FormatError, match="pads otherwise"):
        zoo.import_card("PyTorch-GAN-CycleGAN", [tmp_path / "G.pth"], out=tmp_path / "card", **FACTS)


def test_a_residual_block_with_dropout_is_refused(tmp_path: Path) -> None:
    """Its second half stands one place further on. It would give other images than its authors' test does."""
    net = resnet(4, 1, plain)
    block = net.get_submodule("model.10.conv_block")
    assert isinstance(block, nn.Sequential)
    block.insert(4, nn.Dropout(0.5))
    with pytest.raises(zoo.FormatError, match=r"missing G\.model\.10\.conv_block\.5\.weight"):
        zoo.import_card("pytorch-CycleGAN", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = dcgan()
    net.state_dict()["main.1.weight"][0] = float("nan")
    with pytest.raises(zoo.FormatError, match="NaN"):
        zoo.import_card("pytorch-dcgan", [save(net, tmp_path / "G.pth")], out=tmp_path / "card", **FACTS)


# What a user says.


def test_what_can_be_seen_to_be_wrong_is_refused_before_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "G.pth").write_text("not read")
    (tmp_path / "taken").mkdir()
    G = tmp_path / "G.pth"

    def importing(source: str, *files: Path, out: str = "card", **more: Any) -> None:
        zoo.import_card(source, files, out=tmp_path / out, **FACTS, **more)

    with pytest.raises(zoo.NotFoundError, match="Did you mean 'pytorch-dcgan'"):
        importing("pytorch-dcgen", G)
    with pytest.raises(zoo.NotFoundError, match=r"no file .*F\.pth"):
        importing("pytorch-CycleGAN", G, tmp_path / "F.pth")
    with pytest.raises(zoo.InputError, match="takes 1 file, found 2"):
        importing("pytorch-dcgan", G, G)
    with pytest.raises(zoo.InputError, match="takes 2 files, found 1"):
        importing("pytorch-StarGAN", G)
    with pytest.raises(zoo.InputError, match=r"--set 'names=\[\"Black_Hair\""):
        importing("pytorch-StarGAN", G, G)
    with pytest.raises(zoo.InputError, match="exists already"):
        importing("pytorch-dcgan", G, out="taken")


def test_a_setting_that_the_family_does_not_have_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match="latent_dim"):
        zoo.import_card("pytorch-dcgan", [checkpoint], out=tmp_path / "card", **FACTS, settings={"latent_dims": 3})


def test_upper_and_lower_case_of_a_source_are_one() -> None:
    assert find("PYTORCH-cyclegan") == find("pytorch-CycleGAN")


# What plugins declare.


def test_a_plugins_converters_are_found_without_torch(isolated: Isolated) -> None:
    code = (
        "import json, sys, zoo; from zoo.family.registry import registry; "
        "names = [c.name for s in registry().specs.values() for c in s.imports]; "
        "print(json.dumps([names, 'torch' in sys.modules]))"
    )
    names, heavy = isolated(code, ZOO_PLUGINS="builtin")
    assert len(names) == len({name.lower() for name in names}) == 5
    assert not heavy


def test_every_source_is_in_the_table_of_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "import.md").read_text(encoding="utf-8")
    for spec in registry().specs.values():
        for converter in spec.imports:
            assert f"| `{converter.name}` |" in text
            assert converter.code in text
            for key in converter.asks:
                assert f"`{key}`" in text


# The command.


def test_the_command_asks_for_licence_and_data_on_a_terminal_and_needs_them_elsewhere(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from zoo.cli.parser import app

    words = ["import", "pytorch-dcgan", str(checkpoint), "--out", str(tmp_path / "card")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "--license ID --data TEXT" in done.output
    monkeypatch.setattr("zoo.cli.importing.on_terminal", lambda: True)
    done = CliRunner().invoke(app, words, input="cc-by-4.0\nphotos of my garden\n")
    assert done.exit_code == 0, done.output
    assert "is the card card now" in done.output
    assert read_facts(tmp_path / "card").license == "cc-by-4.0"
    assert read_facts(tmp_path / "card").data == "photos of my garden"


def test_the_command_takes_settings_and_a_name(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from zoo.cli.parser import app

    file = save(stirred(resnet(4, 1, plain)), tmp_path / "G.pth")
    words = ["import", "pytorch-cyclegan", str(file), "--out", str(tmp_path / "card"), "--license", "mit"]
    words += ["--data", "horses", "--name", "my-zebras", "--set", "image_size=32"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "card" / "config.json").read_text(encoding="utf-8"))
    assert (config["name"], config["config"]["image_size"]) == ("my-zebras", 32)
