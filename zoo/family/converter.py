"""How a family reads what another implementation of it has saved: plain data, and what its function answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Converter:
    """A way in for checkpoints of another implementation: `zoo import NAME FILE...`."""

    name: str
    """What a user types, for instance `pytorch-CycleGAN`. Upper and lower case are one."""
    code: str
    """Address of the code that writes such checkpoints."""
    convert: str
    """Import string of `convert(shapes) -> Conversion`. It may raise KeyError for a name that is not there."""
    parts: tuple[str, ...] = ("G",)
    """What each file holds, in the order in which a user gives them: names of networks."""
    needed: int = 1
    """How many of the parts must be given, from the first one on."""
    asks: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the config that no file tells, so that a user must give them by `--set`: name -> an example."""


@dataclass(frozen=True)
class Conversion:
    """How the tensors of a checkpoint become those of the family's module."""

    config: Mapping[str, Any]
    """The config of the module, as the shapes tell it. What a user sets goes before it."""
    channels: int
    """Of the images that the model takes or makes: 1 or 3."""
    source: Callable[[str], str]
    """The name in the files of each tensor of the module, by its name there."""
    change: "Callable[[str, Tensor], Tensor]" = lambda name, tensor: tensor
    """A tensor of the files as that tensor of the module, by its name there. It moves numbers, and makes none."""
    unused: tuple[str, ...] = ()
    """Names in the files that the module does not need. Statistics of norms that keep none are always passed over."""
