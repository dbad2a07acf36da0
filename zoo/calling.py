"""How the handle calls its module: in batches, with the noise and the conditions of each row."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo._version import __version__
from zoo.errors import InputError
from zoo.family import conditions
from zoo.family.conditions import Condition
from zoo.family.spec import Preparation
from zoo.loading import Loaded
from zoo.noise import Noise
from zoo.values import scalar, whole

MAX_RESULT = 4 << 30
"""Most bytes of images that one call may return."""
EXACT = ("log_prob", "elbo")
"""Methods that are computed in float32 whatever the dtype: in half precision they are wrong by several nats."""


class Caller(Loaded):
    """A loaded card whose module can be called on any number of rows."""

    def _map(
        self,
        method: str,
        x: Tensor,
        given: Mapping[str, Any],
        batch_size: int,
        seed: int | None = None,
        start: int = 0,
        *masks: Tensor,
    ) -> Any:
        """Call a method of the module on x in batches. With a seed, row i has the noise of sample start + i."""
        values = conditions.tensors(self.conditions_of(method), given, len(x))
        parts = []
        for rows in batches(len(x), batch_size):
            chunks = [item[rows.start : rows.stop].to(self.device) for item in (x, *masks)]
            noise = [Noise(seed, start + rows.start, start + rows.stop, self.device)] if seed is not None else []
            with self._inference(exact=method in EXACT):
                parts.append(getattr(self.module, method)(*chunks, *noise, **self._rows(values, rows)))
        return _join(parts)

    def conditions_of(self, method: str) -> dict[str, Condition]:
        """The declared conditions that a method of the module takes. `infer`, for example, may take none of them."""
        if not self.conditions:  # so that each call of such a model is spared reading a signature
            return {}
        taken = inspect.signature(getattr(self.module, method)).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            return dict(self.conditions)
        return {key: condition for key, condition in self.conditions.items() if key in taken}

    def _rows(self, values: Mapping[str, Tensor | None], rows: range) -> dict[str, Tensor | None]:
        return {
            key: None if value is None else value[rows.start : rows.stop].to(self.device)
            for key, value in values.items()
        }

    @contextlib.contextmanager
    def _inference(self, exact: bool = False) -> Iterator[None]:
        half = self.dtype != torch.float32 and not exact
        with torch.no_grad(), torch.autocast(self.device.type, self.dtype, enabled=half):
            yield

    def info_of(self, seed: int | None, given: Mapping[str, Any]) -> dict[str, str]:
        """The `info` of images that this model makes with a seed and conditions."""
        info = {"model": self.name, "software": f"zoo {__version__}"}
        if self.sha256:
            info["weights"] = self.sha256[:16]
        if seed is not None:
            info["seed"] = str(seed)
        if self.place and self.place.commit:
            info |= {"repository": self.place.repo, "commit": self.place.commit}
        return info | {key: str(scalar(value)) for key, value in given.items()}


def batches(n: int, size: int) -> Iterator[range]:
    """The rows 0 ... n - 1 in batches of `size`. InputError, at once, for a size below 1."""
    size = whole("batch_size", size, 1)
    return (range(first, min(first + size, n)) for first in range(0, n, size))


def check_size(n: int, preparation: Preparation) -> None:
    """InputError for more images than one call may return."""
    size = n * preparation.channels * preparation.size**2 * 4
    if size > MAX_RESULT:
        raise InputError(
            f"{n} images take {size / 2**30:.0f} GiB, but one call returns at most {MAX_RESULT >> 30} GiB",
            f"Write them to a folder, a .zip or a .npz: zoo sample NAME -n {n} --out FOLDER. "
            f"In Python: model.stream({n}, seed=0)",
        )


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {key: _join([part[key] for part in parts]) for key in parts[0]}
    return torch.cat([part.float() if part.is_floating_point() else part for part in parts]).cpu()
