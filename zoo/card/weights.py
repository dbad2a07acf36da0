"""Load a module from config.json and model.safetensors, and save one. Every byte is checked before it is used.

The order of the checks matters. First the schema checks the config. Then a module is built without memory, and the
header of the file must have the names, shapes and dtypes of that module. Then the hash is checked, and only then is a
tensor made. No pickle, no eval and no class path is used.
"""

import contextlib
import hashlib
import io
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.card.config import CardConfig, WeightsFacts, read_config
from zoo.card.names import CONFIG, WEIGHTS
from zoo.errors import ConfigError, FormatError, NotFoundError
from zoo.family.conditions import Condition, declared
from zoo.family.config import validate
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec
from zoo.files import parse_json, refuse_pointer, write_atomically

MAX_HEADER = 1 << 20
MAX_TENSORS = 10_000
MAX_SIDE = 1 << 40
"""The largest size of one dimension of a tensor."""
MAX_PARAMETERS = 1 << 30
"""The most parameters of a module: 4 GiB as float32."""
KEY = re.compile(r"[A-Za-z0-9_.]{1,200}")
FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

FIELDS = {"dtype", "shape", "data_offsets"}

FILLS = {name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
FILLS |= {"erfinv_", "mul_", "add_", "clamp_"}  # older torch fills with a truncated normal in these steps

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def build(spec: ModelSpec, config: object, where: str = "config") -> nn.Module:
    """A freshly initialised module of a family, on the CPU. The global random state is untouched.

    Raises ConfigError for a config outside the family's schema or a model of more than 2**30 parameters.
    """
    outline(spec, config, where)
    return _construct(spec, config, where, "cpu")


def outline(spec: ModelSpec, config: object, where: str = "config") -> Layout:
    """Names, dtypes and shapes of the tensors of a family's module, found without making them. Raises as `build`."""
    found = layout(_construct(spec, config, where, "meta"))
    size = sum(math.prod(shape) for _, shape in found.values())
    if size > MAX_PARAMETERS:
        raise ConfigError(f"{where}: {size} parameters, at most {MAX_PARAMETERS} are allowed")
    return found


def layout(module: nn.Module) -> Layout:
    """Names, dtypes and shapes of a module's parameters and buffers."""
    return {key: (value.dtype, tuple(value.shape)) for key, value in module.state_dict().items()}


def _construct(spec: ModelSpec, config: object, where: str, device: str) -> nn.Module:
    kind = resolve(spec.module)
    checked = validate(kind.Config, config, f"{where} of family {spec.name!r}")
    try:
        unfilled = _Unfilled() if device == "meta" else contextlib.nullcontext()
        with torch.random.fork_rng(devices=[]), torch.device(device), unfilled:
            module: nn.Module = kind(checked)
    except Exception as error:  # each value fits its bounds, but together they may fail anywhere
        raise ConfigError(f"{where}: these values do not make a model: {error}") from error
    return module


class _Unfilled(TorchFunctionMode):
    """Leaves out the random fills of a module without memory, since `normal_` would import torch's compiler there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_module(folder: Path) -> tuple[nn.Module, ModelSpec, CardConfig]:
    """The module of a card in eval mode, float32 on the CPU, with its spec and checked config.

    Raises ConfigError, FormatError, NotFoundError or PluginError; each names the file, what was expected and found.
    """
    card, where = read_config(folder), str(folder / CONFIG)
    spec = _family(card, where)
    state = read_weights(folder / WEIGHTS, outline(spec, card.config, where), card.weights)
    module = _construct(spec, card.config, where, "cpu")
    _check_preparation(module, card, where)
    _check_conditions(module, card, where)
    module.load_state_dict({key: _restore(value) for key, value in state.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(True), spec, card


def _family(card: CardConfig, where: str) -> ModelSpec:
    """The spec of a card's family. NotFoundError without the family, ConfigError if it lacks the card's filter."""
    try:
        spec = registry().spec(card.family)
    except NotFoundError as error:
        hint = f"The card says that the package {card.package!r} provides it. Install it: pip install {card.package}"
        raise NotFoundError(f"{where}: {error.message}", hint) from None
    if card.preparation.filter is not None and card.preparation.filter not in spec.filters:
        raise ConfigError(f"{where}: family {spec.name!r} has no filter {card.preparation.filter!r}")
    return spec


def _check_preparation(module: nn.Module, card: CardConfig, where: str) -> None:
    """ConfigError unless the card prepares images of the size and channels that the model takes."""
    for key, prepared in (("image_size", card.preparation.size), ("channels", card.preparation.channels)):
        built = getattr(module.config, key, prepared)
        if built != prepared:
            raise ConfigError(f"{where}: the model's {key} is {built}, the preparation gives {prepared}")


def _check_conditions(module: nn.Module, card: CardConfig, where: str) -> None:
    """What the card says it takes must be what the model takes; an old card does not say."""
    found = declared(module)
    if card.conditions not in (None, found):
        raise ConfigError(
            f"{where}: card {card.name!r}: conditions: the card says {_listed(card.conditions or {})}; "
            f"the model has {_listed(found)}",
            f"Card and family are not of one version: pip install --upgrade {card.package}, or fetch the card again.",
        )


def _listed(conditions: Mapping[str, Condition]) -> str:
    return ", ".join(f"{key} ({kind.text()})" for key, kind in conditions.items()) or "none"


def _restore(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def read_weights(path: Path, expected: Layout, facts: WeightsFacts) -> dict[str, Tensor]:
    """The tensors of a safetensors file that matches `expected` exactly, is finite, and has the hash of `facts`."""
    stored = FLOATS[facts.dtype]
    wanted = {key: (stored if dtype.is_floating_point else dtype, shape) for key, (dtype, shape) in expected.items()}
    return read_tensors(path, wanted, facts.sha256)


def read_tensors(path: Path, wanted: Layout, digest: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file. FormatError unless they are the wanted ones, finite, and of this sha256."""
    data = _read_matching(path, wanted)
    found = hashlib.sha256(data).hexdigest()
    if digest not in (None, found):
        raise FormatError(
            f"{path}: sha256 is {found}, config.json promises {digest}",
            "Get the card again: the file is damaged or was changed.",
        )
    try:
        state: dict[str, Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:  # its JSON reader refuses more than ours, such as -0
        raise FormatError(f"{path}: {error}") from error
    broken = _not_finite(state)
    if broken:
        raise FormatError(f"{path}: tensor {broken!r} holds NaN or infinite values; expected finite ones")
    return state


def _not_finite(state: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or an infinite value."""
    floats = {key: value for key, value in state.items() if value.is_floating_point()}
    return next((key for key, value in floats.items() if not bool(value.isfinite().all())), None)


def _read_matching(path: Path, wanted: Layout) -> bytes:
    """The bytes of a file. They are read only after its header was found to name exactly the wanted tensors."""
    if not path.is_file():
        raise FormatError(
            f"{path}: no such file", "Weights are read from safetensors files alone, never from a pickle."
        )
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file, size, path)
        _match(_check_header(header, size, path), wanted, path)
        file.seek(0)
        return file.read(size)


def _read_header(file: BinaryIO, size: int, path: Path) -> bytes:
    if size < 10:
        raise FormatError(f"{path}: {size} bytes; too short for a safetensors file")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER:
        file.seek(0)
        refuse_pointer(file.read(100), str(path))
    if not 2 <= length <= MAX_HEADER:
        raise FormatError(f"{path}: no safetensors file: a header of {length} bytes, expected 2 to {MAX_HEADER}")
    if 8 + length > size:
        raise FormatError(f"{path}: cut short: expected a header of {length} bytes, found a file of {size}")
    return file.read(length)


def _check_header(header: bytes, size: int, path: Path) -> Layout:
    """Names, dtypes and shapes. FormatError unless the header describes exactly the bytes that follow it."""
    if header[:1] != b"{":
        raise FormatError(f"{path}: no safetensors file: its header starts with {header[:1]!r}, expected '{{'")
    entries = parse_json(header, f"{path} (header)")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{path}: expected __metadata__ to map names to strings")
    if not 0 < len(entries) <= MAX_TENSORS:
        raise FormatError(f"{path}: {len(entries)} tensors; expected 1 to {MAX_TENSORS}")
    checked = {key: _check_entry(key, entry, path) for key, entry in entries.items()}
    end = 0
    for start, stop in sorted(span for _, _, span in checked.values()):
        if start != end:
            raise FormatError(f"{path}: a hole or an overlap at byte {min(start, end)} of the data")
        end = stop
    if 8 + len(header) + end != size:
        raise FormatError(f"{path}: {size} bytes; the header describes {8 + len(header) + end}")
    return {key: (dtype, shape) for key, (dtype, shape, _) in checked.items()}


def _check_entry(key: str, entry: Any, path: Path) -> tuple[torch.dtype, tuple[int, ...], tuple[int, int]]:
    """One tensor's dtype, shape and place in the data."""

    def expect(good: bool, what: str, found: object) -> None:
        if not good:
            raise FormatError(f"{path}: tensor {key!r}: expected {what}, found {str(found)[:60]}")

    if not KEY.fullmatch(key):
        raise FormatError(f"{path}: tensor name {key[:60]!r}: expected up to 200 letters, digits, '_' and '.'")
    expect(isinstance(entry, dict) and entry.keys() == FIELDS, "dtype, shape and data_offsets", entry)
    name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    expect(isinstance(name, str) and name in DTYPES, f"a dtype of {', '.join(DTYPES)}", repr(name))
    expect(_numbers(shape, 1) and len(shape) <= 8, "a shape of at most 8 positive numbers", shape)
    expect(_numbers(offsets, 0) and len(offsets) == 2, "two data_offsets", offsets)
    need = math.prod(shape) * DTYPES[name].itemsize
    expect(offsets[1] - offsets[0] == need, f"{need} bytes for {name} {shape}", f"data_offsets {offsets}")
    return DTYPES[name], tuple(shape), (offsets[0], offsets[1])


def _numbers(value: object, low: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and low <= item <= MAX_SIDE for item in value)


def _match(found: Layout, wanted: Layout, path: Path) -> None:
    """Raises one FormatError that lists every difference in names, shapes and dtypes, at most ten of them."""

    def text(entry: tuple[torch.dtype, tuple[int, ...]]) -> str:
        return f"{str(entry[0]).removeprefix('torch.')} {list(entry[1])}"

    faults = [f"missing {key} ({text(wanted[key])})" for key in wanted.keys() - found.keys()]
    faults += [f"unexpected {key} ({text(found[key])})" for key in found.keys() - wanted.keys()]
    faults += [
        f"{key}: expected {text(wanted[key])}, found {text(found[key])}"
        for key in wanted.keys() & found.keys()
        if wanted[key] != found[key]
    ]
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise FormatError(f"{path}: does not fit the model of config.json: {'; '.join(sorted(faults)[:10])}{more}")


def unwrapped(module: Any) -> Any:
    """The module itself inside what `torch.compile` or the classes for several devices make of it."""
    while (name := _wraps(module)) is not None:
        module = getattr(module, name)
    return module


def _wraps(module: nn.Module) -> str | None:
    """Under which name a module that only wraps another one holds it; None for any other module."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return "module"
    return "_orig_mod" if module._modules.keys() == {"_orig_mod"} else None


def _state(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors by the names that they have without wrappers."""
    module = unwrapped(module)
    inner = {f"{name}.{held}." for name, part in module.named_modules() if (held := _wraps(part))}

    def outside(key: str) -> str:
        for prefix in sorted(filter(key.startswith, inner), key=len, reverse=True):
            key = f"{prefix[: prefix[:-1].rindex('.') + 1]}{key.removeprefix(prefix)}"
        return key

    return {outside(key): value for key, value in module.state_dict().items()}


def save_weights(module: nn.Module, folder: Path, dtype: str = "float32") -> WeightsFacts:
    """Write model.safetensors, and return what config.json must say about it.

    FormatError, and nothing written, for a value that is not finite or a tensor that `read_weights` would refuse.
    """
    if dtype not in FLOATS:
        raise ConfigError(f"weights cannot be stored as {dtype!r}; expected one of {', '.join(FLOATS)}")
    state = {
        key: (value.to(FLOATS[dtype]) if value.is_floating_point() else value).cpu().contiguous()
        for key, value in _state(module).items()
    }
    path, broken = folder / WEIGHTS, _not_finite(state)
    if broken:
        raise FormatError(f"{path}: tensor {broken!r} holds NaN or infinite values as {dtype}; nothing was written")
    # Bytes rather than the library's own file writer: it neither flushes to the disk nor keeps the usual file mode.
    data = safetensors.torch.save(state)
    _check_header(_read_header(io.BytesIO(data), len(data), path), len(data), path)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    return WeightsFacts(dtype=dtype, sha256=hashlib.sha256(data).hexdigest())
