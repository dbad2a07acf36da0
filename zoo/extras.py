"""What comes with an extra of this distribution, whether it is here, and the line that installs it."""

from importlib.util import find_spec

from zoo._version import DISTRIBUTION
from zoo.errors import MissingExtraError

EXTRAS = {
    "demo": ("gradio",),
    "evaluate": ("datasets", "timm", "torch_fidelity", "torchmetrics"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "heic": ("pillow_heif",),
    "train": ("accelerate", "datasets", "tensorboard", "timm"),
}
"""Packages by extra, by the names they are imported by; pyproject.toml holds the same by the names they install by."""


def require(extra: str, what: str) -> None:
    """MissingExtraError unless all that comes with an extra is here. what: who needs it, as a sentence begins."""
    lacking = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if lacking:
        raise _missing(what, lacking, extra)


def explained(error: BaseException, what: str) -> MissingExtraError | None:
    """An error of `what`, if a package of an extra could not be imported; None for any other error."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    return next((_missing(what, [module], extra) for extra, has in EXTRAS.items() if module and module in has), None)


def _missing(what: str, modules: list[str], extra: str) -> MissingExtraError:
    named = ", ".join(modules)
    return MissingExtraError(f"{what} needs what is not installed: {named}", install(extra=extra))


def install(package: str = DISTRIBUTION, extra: str = "") -> str:
    """The line to type for a package, or for an extra of it."""
    return f"pip install '{package}[{extra}]'" if extra else f"pip install {package}"  # a shell may expand brackets
