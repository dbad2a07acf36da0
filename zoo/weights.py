"""config.json + model.safetensors <-> module. Every byte is checked before it is trusted.

The order is the point: the size of the file, its header, the names, shapes and dtypes against a module built without
memory, the hash; only then is a tensor made. There is no pickle, no eval and no class path on this road.
"""

import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.config import CardConfig, validate
from zoo.config import Weights as WeightsFacts
from zoo.errors import ConfigError, FormatError
from zoo.files import parse_json, read_json, sha256, write_atomically
from zoo.registry import registry, resolve
from zoo.spec import ModelSpec

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

MAX_HEADER = 1 << 20
MAX_TENSORS = 10_000
MAX_PARAMETERS = 1 << 30
KEY = re.compile(r"[A-Za-z0-9_.]{1,200}")
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def read_config(folder: Path) -> CardConfig:
    """A card's config.json through its closed schema."""
    return validate(CardConfig, read_json(folder / CONFIG), str(folder / CONFIG))


def build(spec: ModelSpec, config: object, where: str = "config") -> nn.Module:
    """A freshly initialised module of a family. The global random state is untouched.

    Raises ConfigError for a config outside the family's schema or a model of more than 2**30 parameters.
    """
    kind = resolve(spec.module)
    checked = validate(kind.Config, config, f"{where} of family {spec.name!r}")
    with torch.device("meta"):
        layout = _layout(_construct(kind, checked, where))
    size = sum(math.prod(shape) for _, shape in layout.values())
    if size > MAX_PARAMETERS:
        raise ConfigError(f"{where}: {size} parameters, at most {MAX_PARAMETERS} are allowed")
    with torch.random.fork_rng(devices=[]):
        return _construct(kind, checked, where)


def _construct(kind: Any, config: object, where: str) -> nn.Module:
    try:
        module: nn.Module = kind(config)
    except (ValueError, RuntimeError, TypeError) as error:  # values that each fit their bounds but not one another
        raise ConfigError(f"{where}: these values do not make a model: {error}") from error
    return module


def load_module(folder: Path) -> tuple[nn.Module, ModelSpec, CardConfig]:
    """The module of a card in eval mode, float32 on the CPU, with its spec and checked config.

    Raises ConfigError, FormatError, NotFoundError or PluginError; each names the file, what was expected and found.
    """
    card = read_config(folder)
    spec = registry().spec(card.family)
    if card.preparation.filter is not None and card.preparation.filter not in spec.filters:
        raise ConfigError(f"{folder / CONFIG}: family {spec.name!r} has no filter {card.preparation.filter!r}")
    module = build(spec, card.config, str(folder / CONFIG))
    state = read_weights(folder / WEIGHTS, _layout(module), card.weights)
    module.load_state_dict({key: _restore(value) for key, value in state.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(True), spec, card


def _restore(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _layout(module: nn.Module) -> Layout:
    return {key: (value.dtype, tuple(value.shape)) for key, value in module.state_dict().items()}


def read_weights(path: Path, expected: Layout, facts: WeightsFacts) -> dict[str, Tensor]:
    """The tensors of a safetensors file that matches `expected` exactly, is finite, and has the hash of `facts`."""
    stored = getattr(torch, facts.dtype)
    wanted = {key: (stored if dtype.is_floating_point else dtype, shape) for key, (dtype, shape) in expected.items()}
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    with path.open("rb") as file:
        size = path.stat().st_size
        header = _read_header(file, size, path)
        _match(_check_header(header, size, path), wanted, path)
        file.seek(0)
        data = file.read(size + 1)
    found = _digest(data)
    if found != facts.sha256:
        raise FormatError(f"{path}: sha256 is {found}, config.json promises {facts.sha256}", "Fetch the card again.")
    state: dict[str, Tensor] = safetensors.torch.load(data)
    broken = [key for key, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise FormatError(f"{path}: tensor {broken[0]!r} holds NaN or infinite values")
    return state


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _read_header(file: BinaryIO, size: int, path: Path) -> bytes:
    if size < 10:
        raise FormatError(f"{path}: {size} bytes; too short for a safetensors file")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER:
        raise FormatError(f"{path}: header of {length} bytes; expected 2 to {MAX_HEADER}")
    if 8 + length > size:
        raise FormatError(f"{path}: cut short: header of {length} bytes in a file of {size}")
    return file.read(length)


def _check_header(header: bytes, size: int, path: Path) -> Layout:
    """Names, dtypes and shapes, once the header is known to describe exactly the bytes that follow it."""

    def expect(good: bool, what: str) -> None:
        if not good:
            raise FormatError(f"{path}: {what}")

    expect(header[:1] == b"{", "the header does not start with '{'")
    entries = parse_json(header, f"{path} (header)")
    expect(isinstance(entries, dict), "the header is no JSON object")
    metadata = entries.pop("__metadata__", {})
    texts = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    expect(texts, "__metadata__ must map names to strings")
    expect(0 < len(entries) <= MAX_TENSORS, f"{len(entries)} tensors; expected 1 to {MAX_TENSORS}")
    layout: Layout = {}
    spans = []
    for key, entry in entries.items():
        expect(KEY.fullmatch(key) is not None, f"tensor name {key[:60]!r} is not made of letters, digits, '_' and '.'")
        expect(isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}, f"{key}: malformed entry")
        shape, span = entry["shape"], entry["data_offsets"]
        expect(isinstance(entry["dtype"], str) and entry["dtype"] in DTYPES, f"{key}: dtype {str(entry['dtype'])[:20]!r} is not allowed")
        expect(_naturals(shape) and len(shape) <= 8 and 0 not in shape, f"{key}: impossible shape {str(shape)[:60]}")
        expect(_naturals(span) and len(span) == 2 and span[0] <= span[1], f"{key}: impossible data_offsets {str(span)[:60]}")
        dtype = DTYPES[entry["dtype"]]
        need = math.prod(shape) * dtype.itemsize
        expect(span[1] - span[0] == need, f"{key}: shape {shape} needs {need} bytes, data_offsets give {span[1] - span[0]}")
        layout[key] = (dtype, tuple(shape))
        spans.append((span[0], span[1]))
    end = 0
    for start, stop in sorted(spans):
        expect(start == end, f"a hole or an overlap at byte {min(start, end)} of the data")
        end = stop
    expect(8 + len(header) + end == size, f"{size} bytes; the header describes {8 + len(header) + end}")
    return layout


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _match(found: Layout, wanted: Layout, path: Path) -> None:
    """One error that lists every difference in names, shapes and dtypes."""

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


def save_weights(module: nn.Module, folder: Path, dtype: str = "float32") -> WeightsFacts:
    """Write model.safetensors, and return what config.json must say about it. FormatError if a value is not finite."""
    stored = getattr(torch, dtype)
    state = {
        key: (value.to(stored) if value.is_floating_point() else value).cpu().contiguous()
        for key, value in module.state_dict().items()
    }
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise FormatError(f"tensor {key!r} holds NaN or infinite values as {dtype}; nothing was written")
    # Bytes rather than the library's own file writer: it neither flushes to the disk nor keeps the usual file mode.
    data = safetensors.torch.save(state)
    write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(data))
    return WeightsFacts(dtype=dtype, sha256=sha256(folder / WEIGHTS))  # type: ignore[arg-type]
