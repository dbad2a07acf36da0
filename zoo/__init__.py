"""zoo: deep generative models by name. `zoo.load("dcgan-celeba").sample(16)`.

Listing imports neither torch nor a model; everything that needs torch is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo._version import __version__
from zoo.errors import (
    CapabilityError,
    ConfigError,
    DataError,
    ExportError,
    FormatError,
    HubError,
    InputError,
    MissingExtraError,
    NotFoundError,
    PluginError,
    StaleWarning,
    TrainingError,
    ZooError,
)
from zoo.family.conditions import Categorical, Continuous, Flags
from zoo.family.converter import Conversion, Converter
from zoo.family.hookspecs import hookimpl
from zoo.family.spec import API_VERSION, ModelSpec, Preparation, Recipe

if TYPE_CHECKING:
    from zoo.card.facts import Metric as Metric
    from zoo.data.batches import Batches as Batches
    from zoo.evaluation.bench import Bench as Bench
    from zoo.evaluation.figures import evaluate as evaluate
    from zoo.evaluation.verification import verify as verify
    from zoo.family.config import Config as Config
    from zoo.family.fields import Channels as Channels
    from zoo.family.fields import LatentDim as LatentDim
    from zoo.family.fields import Share as Share
    from zoo.family.fields import Weight as Weight
    from zoo.family.fields import Width as Width
    from zoo.images.batch import Images as Images
    from zoo.importing import import_card as import_card
    from zoo.init import normal_weights as normal_weights
    from zoo.latents import lerp as lerp
    from zoo.latents import slerp as slerp
    from zoo.latents import truncate as truncate
    from zoo.losses import log_loss_fake as log_loss_fake
    from zoo.losses import log_loss_real as log_loss_real
    from zoo.model import Model as Model
    from zoo.model import load as load
    from zoo.noise import AnyNoise as AnyNoise
    from zoo.noise import FreshNoise as FreshNoise
    from zoo.noise import Noise as Noise
    from zoo.publishing import publish as publish
    from zoo.schedules import constant_then_linear as constant_then_linear
    from zoo.schedules import cosine as cosine
    from zoo.training.budget import train_all as train_all
    from zoo.training.recipes import finish as finish
    from zoo.training.recipes import train as train
    from zoo.training.run import Run as Run
    from zoo.training.stopping import OutOfTime as OutOfTime
    from zoo.training.stopping import Stopped as Stopped

LAZY = {
    "Metric": "zoo.card.facts",
    "Config": "zoo.family.config",
    "Batches": "zoo.data.batches",
    "Bench": "zoo.evaluation.bench",
    "train_all": "zoo.training.budget",
    "evaluate": "zoo.evaluation.figures",
    "Images": "zoo.images.batch",
    "import_card": "zoo.importing",
    "Model": "zoo.model",
    "load": "zoo.model",
    "AnyNoise": "zoo.noise",
    "FreshNoise": "zoo.noise",
    "Noise": "zoo.noise",
    "lerp": "zoo.latents",
    "slerp": "zoo.latents",
    "truncate": "zoo.latents",
    "publish": "zoo.publishing",
    "finish": "zoo.training.recipes",
    "train": "zoo.training.recipes",
    "OutOfTime": "zoo.training.stopping",
    "Stopped": "zoo.training.stopping",
    "Run": "zoo.training.run",
    "constant_then_linear": "zoo.schedules",
    "Channels": "zoo.family.fields",
    "LatentDim": "zoo.family.fields",
    "Share": "zoo.family.fields",
    "Weight": "zoo.family.fields",
    "Width": "zoo.family.fields",
    "normal_weights": "zoo.init",
    "log_loss_fake": "zoo.losses",
    "log_loss_real": "zoo.losses",
    "cosine": "zoo.schedules",
    "verify": "zoo.evaluation.verification",
}


def list_models(family: str | None = None) -> list[str]:
    """Names that `zoo.load` takes, sorted; of one family if given. NotFoundError for an unknown family."""
    from zoo.family.registry import cards_of, registry
    from zoo.hub.places import bundled

    specs = registry().specs.values() if family is None else [registry().spec(family)]
    return sorted(name for spec in specs for name in cards_of(spec) if name in bundled())


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(import_module(LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})


__all__ = [
    "API_VERSION",
    "AnyNoise",
    "Batches",
    "Bench",
    "CapabilityError",
    "Categorical",
    "Channels",
    "Config",
    "ConfigError",
    "Continuous",
    "Conversion",
    "Converter",
    "DataError",
    "ExportError",
    "Flags",
    "FormatError",
    "FreshNoise",
    "HubError",
    "Images",
    "InputError",
    "LatentDim",
    "Metric",
    "MissingExtraError",
    "Model",
    "ModelSpec",
    "Noise",
    "NotFoundError",
    "OutOfTime",
    "PluginError",
    "Preparation",
    "Recipe",
    "Run",
    "Share",
    "StaleWarning",
    "Stopped",
    "TrainingError",
    "Weight",
    "Width",
    "ZooError",
    "__version__",
    "constant_then_linear",
    "cosine",
    "evaluate",
    "finish",
    "hookimpl",
    "import_card",
    "lerp",
    "list_models",
    "load",
    "log_loss_fake",
    "log_loss_real",
    "normal_weights",
    "publish",
    "slerp",
    "train",
    "train_all",
    "truncate",
    "verify",
]
