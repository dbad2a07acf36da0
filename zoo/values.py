"""What a caller gives, as plain values: whole numbers, scalars and tensors, whichever library they came from."""

import operator
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import torch

LARGEST = 2**64 - 1


def whole(name: str, value: Any, low: int = 0, high: int = LARGEST, hint: str | None = None) -> int:
    """An integer of any library, also a tensor with one element, as a plain number.

    InputError, which names the argument, for a truth value, a float such as 2.0, and a number below `low` or above
    `high`.
    """
    try:
        truth = isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
        number = None if truth else operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        most = "2**64 - 1" if high == LARGEST else high
        raise InputError(f"{name} must be a whole number from {low} to {most}, found {value!r}", hint)
    return number


def scalar(value: Any) -> Any:
    """The plain number in an array or tensor without dimensions; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def as_tensor(value: Any, dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """The same as `torch.as_tensor`, which shares memory; but an array that may not be written to is copied."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()
    return torch.as_tensor(value, dtype=dtype)
