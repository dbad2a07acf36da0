"""Finds what in a training step would wait for a device, on a machine without one."""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.training.run import Run


class Watched(Run):
    """A run whose modules count as tensors on the device, although they are on the CPU."""

    def prepare(self, **parts: Any) -> tuple[Any, ...]:
        prepared = super().prepare(**parts)
        for module in (part for part in parts.values() if isinstance(part, nn.Module)):
            for tensor in (*module.parameters(), *module.buffers()):
                _place(tensor, host=False)
        return prepared


READS = {
    *("item", "tolist", "cpu", "numpy", "equal", "allclose", "is_nonzero"),
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "__format__"),
}
SHAPED_BY_VALUES = {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"}
MADE_OF_NUMBERS = {"tensor", "as_tensor", "new_tensor"}


class Waits(TorchFunctionMode):
    """Notes every call, after the first step, in which the host would have to wait for the device.

    A tensor counts as on the host if it was made without a device, or from tensors on the host alone. Every other
    tensor counts as on the device.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.found: list[str] = []
        self.looking = True

    def overlooking(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The same function, but nothing that it calls is noted."""

        def call(x: Tensor) -> Tensor:
            self.looking = False
            result = function(x)
            self.looking = True
            return result

        return call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, tensors = getattr(func, "__name__", ""), [*_tensors_in((args, kwargs))]
        on_host = [_is_on_host(tensor) for tensor in tensors]
        fault = _fault(name, args, kwargs, on_host)
        if fault and self.looking and self.run.step > 0:
            self.found = [*dict.fromkeys([*self.found, f"{fault} at {_caller()}"])]
        result = func(*args, **kwargs)
        explicit = kwargs.get("device") not in (None, "cpu") or (name in ("to", "cuda") and not _stays(args, kwargs))
        for tensor in _tensors_in(result):
            if explicit or not any(tensor is given for given in tensors):
                _place(tensor, host=all(on_host) and not explicit)
        return result


def _fault(name: str, args: Any, kwargs: Any, on_host: list[bool]) -> str | None:
    """Why the host waits in one call; None if it does not."""
    device = kwargs.get("device") not in (None, "cpu")
    if name in MADE_OF_NUMBERS and (device or name == "new_tensor"):
        return f"{name}(...) copies numbers to the device"
    if not on_host:
        return None
    if not all(on_host):
        if name in READS or (name == "to" and "cpu" in (*args, *kwargs.values())):
            return f"{name}() reads from the device"
        if name in SHAPED_BY_VALUES or (name == "where" and len(args) + len(kwargs) == 1):
            return f"{name}() has a shape that depends on values"
        if name in ("__getitem__", "__setitem__"):
            return _index_fault(args[1])
        if name == "copy_" and any(on_host) and not kwargs.get("non_blocking"):
            return "copy_() waits for a copy between host and device; give non_blocking=True"
    elif name in ("to", "cuda") and not _stays(args, kwargs) and not kwargs.get("non_blocking"):
        return f"{name}() copies to the device and waits; give non_blocking=True"
    return None


def _index_fault(index: Any) -> str | None:
    """Why the host waits when a tensor on the device is indexed; None if it does not."""
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
            return "a mask as an index has a shape that depends on values"
        if isinstance(part, list) or (isinstance(part, Tensor) and part.ndim > 0 and _is_on_host(part)):
            return "an index from the host is copied to the device"
        if isinstance(part, slice) and not all(map(_is_on_host, _tensors_in(part))):
            return "a bound of a slice is read from the device"
    return None


def _stays(args: Any, kwargs: Any) -> bool:
    """Whether a call of `to` names no device. Then it changes only the number format or the memory layout."""
    named = (*args[1:], *kwargs.values())
    return not any(isinstance(value, torch.device | str | Tensor) for value in named)


def _caller() -> str:
    """File and line of the call, in the family's code or in zoo's."""
    passed = (os.path.dirname(torch.__file__), __file__)
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(passed)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, slice):
        yield from _tensors_in([value.start, value.stop, value.step])


def _place(tensor: Tensor, *, host: bool) -> None:
    tensor._zoo_on_host = host  # type: ignore[attr-defined]


def _is_on_host(tensor: Tensor) -> bool:
    return bool(getattr(tensor, "_zoo_on_host", False))
