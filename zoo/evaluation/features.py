"""What tells sets of images apart: the features of a judge, of any timm model, or of FID's Inception."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card.names import STATISTICS
from zoo.card.weights import read_tensors
from zoo.errors import InputError
from zoo.evaluation.distances import moments
from zoo.family.spec import Preparation
from zoo.files import write_atomically
from zoo.model import Model

INCEPTION = "inception"
BATCH = 256


@dataclass(frozen=True)
class Backbone:
    """A network whose features (n, d) of images compare sets of them."""

    name: str
    weights: str
    """sha256 of what it computes with."""
    resize: str
    """How images come to its size, in words."""
    look: Callable[[Tensor], Tensor]
    """Features of a batch (n, c, h, w) in [0, 1]."""
    preparation: Preparation | None = None
    """How real images are prepared for it, where it has a way of its own."""

    def __call__(self, images: Tensor) -> Tensor:
        """(n, d) float32 on the CPU."""
        with torch.no_grad():
            return torch.cat([self.look(rows).float().cpu() for rows in torch.split(images, BATCH)])

    def names(self) -> tuple[str, str]:
        """What the Fréchet and the kernel distance in these features are called: FID and KID only if Inception's."""
        return ("fid", "kid") if self.name == INCEPTION else (f"fd-{self.name}", f"kd-{self.name}")


def of_judge(judge: Model) -> Backbone:
    """A judge's own features: the default, since its card is at hand wherever the model is."""
    size, channels = judge.preparation.size, judge.preparation.channels

    def look(images: Tensor) -> Tensor:
        return judge.features(fit(images, size, channels), batch_size=BATCH)

    resize = f"bilinear with antialiasing to {size}x{size}, where an image is of another size"
    return Backbone(judge.name, judge.sha256, resize, look, judge.preparation)


def find_backbone(name: str, device: torch.device) -> Backbone:
    """`inception`, or any timm model. InputError when it or its weights cannot be had."""
    return _inception(device) if name == INCEPTION else _timm(name, device)


def _timm(name: str, device: torch.device) -> Backbone:
    import timm

    try:
        net: Any = timm.create_model(name, pretrained=True, num_classes=0).eval().to(device)
    except Exception as error:  # an unknown name, no weights, no network: each of another kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"backbone {name!r}: timm cannot give it with its weights: {reason}",
            "timm.list_models(pretrained=True) lists those there are; the first use downloads. "
            "Without a network leave --backbone out: the card's judge is the default.",
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
    except Exception as error:  # its weights cannot be fetched
        reason = str(error).splitlines()[0]
        raise InputError(f"backbone 'inception': {reason}", "torch-fidelity fetches its weights once.") from error

    def look(images: Tensor) -> Tensor:
        x = images if images.shape[1] == 3 else images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        features: Tensor = net((255 * x).round().to(torch.uint8).to(device))
        return features

    return Backbone(INCEPTION, digest(net), "bilinear as in TensorFlow 1, without antialiasing, to 299x299", look)


def fit(images: Tensor, size: int, channels: int, mode: str = "bilinear") -> Tensor:
    """Images (n, c, h, w) in [0, 1] at a backbone's size and number of channels."""
    if images.shape[1] != channels:
        images = images.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    if images.shape[-1] != size:
        images = F.interpolate(images, (size, size), mode=mode, antialias=True, align_corners=False).clamp(0, 1)
    return images


def digest(net: nn.Module) -> str:
    """sha256 over all tensors of a network, names included."""
    found = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@dataclass(frozen=True)
class Statistics:
    """Moments of the features of n real images."""

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
        """Whether both are of the same images, up to what differs from machine to machine."""
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
    """By kind of image: `test`, and for grey images `binary`, a fixed draw of them."""
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
    """What the judge's card ships, by kind; nothing if it ships none. FormatError for a file that does not fit."""
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
    """Kinds of real images that models of this data set are compared with."""
    return ("test", "binary") if preparation.mode == "L" else ("test",)
