"""Conditions: what a model lets its user ask for. Checks, options of commands and texts of cards follow from them.

A module declares `conditions: dict[str, Condition]`; its methods take each as a keyword argument of that name, a tensor
with one row per sample, or None where the user left it out. A card's config.json repeats them, so that they are known
before the module is built.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from zoo.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Categorical:
    """One of several named classes, given as a name or an index. The module gets int64 (n,)."""

    kind: Literal["categorical"] = field(default="categorical", kw_only=True, repr=False)
    """What it is called in config.json."""
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self)

    def tensor(self, key: str, value: object, n: int) -> "Tensor":
        import torch

        return torch.tensor([self._index(key, item) for item in _rows(key, value, n)])

    def _index(self, key: str, item: object) -> int:
        if isinstance(item, str):
            if item in self.names:
                return self.names.index(item)
            raise InputError(f"{key}={item!r} is no class of this model", did_you_mean(item, self.names))
        index = _number(key, item)
        if not math.isfinite(index) or index != int(index) or not 0 <= index < len(self.names):
            raise InputError(
                f"{key}={item!r}: expected a name or an index from 0 to {len(self.names) - 1}",
                f"The names are {', '.join(self.names)}.",
            )
        return int(index)

    def text(self) -> str:
        return "one of " + ", ".join(self.names)


@dataclass(frozen=True)
class Flags:
    """Several attributes, each true or false and given by its own name.

    The module gets float (n, k): 1 for true, 0 for false, NaN for an attribute that was left out.
    """

    kind: Literal["flags"] = field(default="flags", kw_only=True, repr=False)
    """What it is called in config.json."""
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names(self)

    def tensor(self, key: str, value: object, n: int) -> "Tensor":
        import torch

        if not isinstance(value, Mapping):
            raise InputError(f"{key}={value!r}: expected a mapping of {', '.join(self.names)} to true or false")
        result = torch.full((n, len(self.names)), float("nan"))
        for name, given in value.items():
            if name not in self.names:
                raise InputError(f"{key} has no flag {name!r}", did_you_mean(str(name), self.names))
            if given is None:
                continue
            for row, item in enumerate(_rows(name, given, n)):
                if item not in (0, 1):
                    raise InputError(f"{name}={item!r}: expected true or false")
                result[row, self.names.index(name)] = float(bool(item))
        return result

    def text(self) -> str:
        return "true or false for any of " + ", ".join(self.names)


@dataclass(frozen=True)
class Continuous:
    """`size` numbers from low to high. The module gets float (n, size)."""

    kind: Literal["continuous"] = field(default="continuous", kw_only=True, repr=False)
    """What it is called in config.json."""
    low: float
    high: float
    size: int = 1

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf or self.size < 1:
            raise ConfigError(f"expected finite low < high and size >= 1, found {self}")

    def tensor(self, key: str, value: object, n: int) -> "Tensor":
        import torch

        try:
            array = torch.as_tensor(value, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{key}={value!r}: expected {self.text()}") from error
        if array.ndim == 1 and self.size == 1:
            array = array[:, None]
        try:
            array = array.expand(n, self.size).clone()
        except RuntimeError as error:
            raise InputError(f"{key}: shape {tuple(array.shape)} does not fit ({n}, {self.size})") from error
        if not bool(((array >= self.low) & (array <= self.high)).all()):
            raise InputError(f"{key}={value!r}: expected {self.text()}")
        return array

    def text(self) -> str:
        return f"{'a number' if self.size == 1 else f'{self.size} numbers'} from {self.low:g} to {self.high:g}"


Condition = Categorical | Flags | Continuous


def declared(module: object) -> dict[str, Condition]:
    """The conditions that a module takes, by name; none where it declares none."""
    return dict(getattr(module, "conditions", {}))


def tensors(declared: Mapping[str, Condition], given: Mapping[str, Any], n: int) -> dict[str, "Tensor | None"]:
    """Each declared condition as a tensor of n rows, or None where it was left out.

    A flag may be given by its own name. InputError for an unknown name or a value that does not fit.
    """
    owners = {flag: key for key, kind in declared.items() if isinstance(kind, Flags) for flag in kind.names}
    values = {name: value for name, value in given.items() if name in declared and value is not None}
    for name, value in given.items():
        if name in declared:
            continue
        if name not in owners:
            known = [*declared, *owners]
            hint = did_you_mean(name, known) if known else "This model takes no conditions: leave it out."
            raise InputError(f"unknown condition {name!r}", hint)
        if value is not None:
            values[owners[name]] = _with_flag(owners[name], values.get(owners[name], {}), name, value)
    return {key: kind.tensor(key, values[key], n) if key in values else None for key, kind in declared.items()}


def part(declared: Mapping[str, Condition], given: Mapping[str, Any], rows: range, n: int) -> dict[str, Any]:
    """The given values for some of n samples. A value for each sample is cut to those rows; one value stays one value.

    InputError for a sequence that has not n values.
    """

    def cut(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {flag: cut(flag, item) for flag, item in value.items()}
        value, kind = value.tolist() if hasattr(value, "tolist") else value, declared.get(name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            return value
        if isinstance(kind, Continuous) and kind.size > 1 and not (value and isinstance(value[0], Sequence)):
            return value  # the numbers of one sample
        return _rows(name, value, n)[rows.start : rows.stop]

    return {name: cut(name, value) for name, value in given.items()}


def _with_flag(key: str, flags: object, name: str, value: object) -> object:
    """The mapping of flags with one more, which was given by its own name. What is no mapping is refused later."""
    if not isinstance(flags, Mapping):
        return flags
    if name in flags:
        raise InputError(f"{name} is given twice: by its own name and in {key}", "Give only one of them.")
    return {**flags, name: value}


def _check_names(condition: Categorical | Flags) -> None:
    """Different names, kept as a tuple: a list of the same names, as a config may hold them, is the same condition."""
    names = tuple(condition.names)
    object.__setattr__(condition, "names", names)
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"expected one or more different names, found {names!r}")


def _rows(key: str, value: object, n: int) -> Sequence[object]:
    """A sequence of n values: one value repeated, or one for each sample."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * n
    if len(value) != n:
        raise InputError(f"{key} has {len(value)} values for {n} samples", "Give one value, or one for each sample.")
    return value


def _number(key: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}={value!r}: expected a name or a number") from error
