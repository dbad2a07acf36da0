"""Backbones, whose features compare sets of images: the scoring classifier, any timm model, or FID's Inception."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.card.names import STATISTICS
from zoo.card.weights import read_tensors
from zoo.distances import moments
from zoo.errors import InputError
from zoo.family.spec import Preparation
from zoo.files import write_atomically
from zoo.images.prepare import fit
from zoo.model import Model

INCEPTION = "inception"
BATCH = 256


@dataclass(frozen=True)
class Backbone:
    """A network whose features (n, d) of images compare sets of them."""

    name: str
    weights: str
    """sha256 of its weights."""
    resize: str
    """How images are brought to its size, in words."""
    look: Callable[[Tensor], Tensor]
    """Returns the features of a batch (n, c, h, w) in [0, 1]."""
    preparation: Preparation | None = None
    """How real images are prepared for it; None for the way in which the model's are prepared."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, d) float32 on the CPU, of images (n, c, h, w) in [0, 1]."""
        with torch.no_grad():
            return torch.cat([self.look(rows).float().cpu() for rows in torch.split(images, BATCH)])

    def names(self) -> tuple[str, str]:
        """The names of the Fréchet and the kernel distance in these features. Only Inception's are FID and KID."""
        return ("fid", "kid") if self.name == INCEPTION else (f"fd-{self.name}", f"kd-{self.name}")


def of_judge(judge: Model) -> Backbone:
    """The features of a scoring classifier. They are the default, since its card is usually here with the model."""
    size, channels = judge.preparation.size, judge.preparation.channels

    def look(images: Tensor) -> Tensor:
        return judge.features(fit(images, size, channels), batch_size=BATCH)

    resize = f"bilinear with antialiasing to {size}x{size}, where an image is of another size"
    return Backbone(judge.name, judge.sha256, resize, look, judge.preparation)


def find_backbone(name: str, device: torch.device) -> Backbone:
    """The backbone of that name: `inception`, or any timm model. InputError if it or its weights cannot be loaded."""
    return _inception(device) if name == INCEPTION else _timm(name, device)


def _timm(name: str, device: torch.device) -> Backbone:
    import timm

    try:
        net: Any = timm.create_model(name, pretrained=True, num_classes=0).eval().to(device)
    except Exception as error:  # an unknown name, no weights, no network: each raises another kind of error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the backbone {name!r}: timm cannot load it with its weights: {reason}",
            "In Python, timm.list_models(pretrained=True) lists the names. The first use downloads the weights. "
            "Without a network leave out --backbone: then the card's scoring classifier gives the features.",
        ) from error
    wants: dict[str, Any] = timm.data.resolve_model_data_config(net)  # type: ignore[attr-defined, no-untyped-call]
    channels, size = wants["input_size"][0], wants["input_size"][-1]
    mean, std = (torch.tensor(wants[key]).view(1, -1, 1, 1).to(device) for key in ("mean", "std"))

    def look(images: Tensor) -> Tensor:
        x = fit(images, size, channels, "bicubic").to(device)
        features: Tensor = net((x - mean) / std)
        return features

    return Backbone(name, digest(net), f"bicubic with antialiasing to {size}x{size}", look)


def _inception(device: torch.device) -> Backbone:
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        net: Any = NoTrainInceptionV3("inception-v3-compat", ["2048"]).eval().to(device)
    except Exception as error:  # its weights cannot be downloaded
        reason = str(error).splitlines()[0]
        hint = "torch-fidelity downloads its weights at the first use. Check the network, or leave out --backbone."
        raise InputError(f"the backbone 'inception' cannot be loaded: {reason}", hint) from error

    def look(images: Tensor) -> Tensor:
        x = images if images.shape[1] == 3 else images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        features: Tensor = net((255 * x).round().to(torch.uint8).to(device))
        return features

    return Backbone(INCEPTION, digest(net), "bilinear as in TensorFlow 1, without antialiasing, to 299x299", look)


def digest(net: nn.Module) -> str:
    """sha256 over all tensors of a network, with their names."""
    found = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@dataclass(frozen=True)
class Statistics:
    """Moments of the features of n real images: mean and covariance."""

    mean: Tensor
    """(d,) float32."""
    covariance: Tensor
    """(d, d) float32."""
    n: int

    @property
    def sha256(self) -> str:
        found = hashlib.sha256(str(self.n).encode())
        for part in (self.mean, self.covariance):
            found.update(part.contiguous().numpy().data)
        return found.hexdigest()

    def agrees(self, other: "Statistics") -> bool:
        """Whether both are of the same images, apart from what differs between machines."""
        if self.n != other.n or self.mean.shape != other.mean.shape:
            return False
        scale = self.covariance.diagonal().max().sqrt().item()
        return torch.allclose(self.mean, other.mean, atol=1e-3 * scale) and torch.allclose(
            self.covariance, other.covariance, atol=1e-3 * scale**2
        )


def statistics(features: Tensor) -> Statistics:
    mean, covariance = moments(features)
    return Statistics(mean.float(), covariance.float(), len(features))


def write_statistics(folder: Path, found: dict[str, Statistics]) -> None:
    """Write statistics into a card, by kind of image: `test`, and for grey images `binary`, a fixed draw of them."""
    tensors: dict[str, Tensor] = {}
    for kind, part in found.items():
        tensors |= {
            f"{kind}.mean": part.mean,
            f"{kind}.covariance": part.covariance,
            f"{kind}.n": torch.tensor([part.n]),
        }
    data = safetensors.torch.save(tensors)
    write_atomically(folder / STATISTICS, lambda path: path.write_bytes(data))


def read_statistics(folder: Path, judge: Model) -> dict[str, Statistics]:
    """The statistics in a card, by kind of image; empty if it has none. FormatError for a file that does not fit."""
    path, p = folder / STATISTICS, judge.preparation
    if not path.is_file():
        return {}
    d = judge.features(torch.zeros(1, p.channels, p.size, p.size)).shape[1]
    shapes = {"mean": (torch.float32, (d,)), "covariance": (torch.float32, (d, d)), "n": (torch.int64, (1,))}
    tensors = read_tensors(path, {f"{kind}.{key}": entry for kind in kinds(p) for key, entry in shapes.items()})
    return {
        kind: Statistics(tensors[f"{kind}.mean"], tensors[f"{kind}.covariance"], int(tensors[f"{kind}.n"]))
        for kind in kinds(p)
    }


def kinds(preparation: Preparation) -> tuple[str, ...]:
    """The kinds of real images that models of this data set are compared with."""
    return ("test", "binary") if preparation.mode == "L" else ("test",)
