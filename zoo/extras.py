"""What comes with an extra of this distribution, whether it is here, and the line that installs it."""

from importlib.util import find_spec

from zoo._version import DISTRIBUTION
from zoo.errors import MissingExtraError

EXTRAS = {
    "evaluate": ("datasets", "timm", "torch_fidelity", "torchmetrics"),
    "train": ("accelerate", "datasets", "tensorboard", "timm"),
}
"""Packages by extra, by the names they are imported by; pyproject.toml holds the same by the names they install by."""


def require(extra: str, what: str) -> None:
    """MissingExtraError unless all that comes with an extra is here. what: who needs it, as a sentence begins."""
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        named = ", ".join(missing)
        raise MissingExtraError(f"{what} needs packages that are not installed: {named}", install(extra=extra))


def bringing(error: BaseException) -> str | None:
    """The extra with a package that could not be imported; None for any other error, or a package of no extra."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return next((extra for extra, modules in EXTRAS.items() if missing in modules), None)


def install(package: str = DISTRIBUTION, extra: str = "") -> str:
    """The line to type for a package, or for an extra of it."""
    return f"pip install '{package}[{extra}]'" if extra else f"pip install {package}"  # a shell may expand brackets
