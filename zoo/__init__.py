"""zoo: deep generative models by name. `zoo.load("dcgan-celeba").sample(16)`.

Listing imports neither torch nor a model; everything that needs torch is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo._version import __version__
from zoo.conditions import Categorical, Continuous, Flags
from zoo.errors import (
    CapabilityError,
    ConfigError,
    DataError,
    FormatError,
    HubError,
    InputError,
    NotFoundError,
    PluginError,
    StaleWarning,
    TrainingError,
    ZooError,
)
from zoo.hookspecs import hookimpl
from zoo.spec import API_VERSION, ModelSpec, Preparation, Recipe

if TYPE_CHECKING:
    from zoo.bench import Bench as Bench
    from zoo.budget import train_all as train_all
    from zoo.cards import Metric as Metric
    from zoo.config import Config as Config
    from zoo.data import Batches as Batches
    from zoo.evaluation import evaluate as evaluate
    from zoo.images import Images as Images
    from zoo.model import Model as Model
    from zoo.model import load as load
    from zoo.noise import AnyNoise as AnyNoise
    from zoo.noise import FreshNoise as FreshNoise
    from zoo.noise import Noise as Noise
    from zoo.publishing import publish as publish
    from zoo.recipes import train as train
    from zoo.run import OutOfTime as OutOfTime
    from zoo.run import Run as Run
    from zoo.schedules import constant_then_linear as constant_then_linear
    from zoo.verification import verify as verify

LAZY = {
    "Metric": "zoo.cards",
    "Config": "zoo.config",
    "Batches": "zoo.data",
    "Bench": "zoo.bench",
    "train_all": "zoo.budget",
    "evaluate": "zoo.evaluation",
    "Images": "zoo.images",
    "Model": "zoo.model",
    "load": "zoo.model",
    "AnyNoise": "zoo.noise",
    "FreshNoise": "zoo.noise",
    "Noise": "zoo.noise",
    "publish": "zoo.publishing",
    "train": "zoo.recipes",
    "OutOfTime": "zoo.run",
    "Run": "zoo.run",
    "constant_then_linear": "zoo.schedules",
    "verify": "zoo.verification",
}


def list_models(family: str | None = None) -> list[str]:
    """Names that `zoo.load` takes, sorted; of one family if given. NotFoundError for an unknown family."""
    from zoo.hub import bundled
    from zoo.registry import cards_of, registry

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
    "Config",
    "ConfigError",
    "Continuous",
    "DataError",
    "Flags",
    "FormatError",
    "FreshNoise",
    "HubError",
    "Images",
    "InputError",
    "Metric",
    "Model",
    "ModelSpec",
    "Noise",
    "NotFoundError",
    "OutOfTime",
    "PluginError",
    "Preparation",
    "Recipe",
    "Run",
    "StaleWarning",
    "TrainingError",
    "ZooError",
    "__version__",
    "constant_then_linear",
    "evaluate",
    "hookimpl",
    "list_models",
    "load",
    "publish",
    "train",
    "train_all",
    "verify",
]
