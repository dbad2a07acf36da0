"""Checkpoints of a run, in safetensors and JSON. A checkpoint is either complete or not there."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from zoo.errors import FormatError
from zoo.files import new_folder, read_json, sha256, to_json

KEEP = 2
"""How many checkpoints are kept: the newest, and the one before it in case the newest was not stored well."""
MAX_STATE = 64 << 20
"""Most bytes that the plain values of a checkpoint may have."""


def at(out: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return out / "checkpoints" / f"step-{step:08d}"


def found(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((out / "checkpoints").glob("step-*"))


def newest(out: Path) -> Path | None:
    """The newest complete checkpoint. Broken ones are passed over."""
    return next((path for path in reversed(found(out)) if is_whole(path)), None)


def reached(out: Path) -> tuple[int, float]:
    """The step of a run's newest complete checkpoint, and the seconds of training up to it; 0 and 0 without one."""
    path = newest(out)
    if path is None:
        return 0, 0.0
    state = read_state(path)
    return int(state["step"]), float(state["seconds"])


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is complete: its manifest, which is written last, matches every file."""
    try:
        hashes = read_json(path / "manifest.json")
        return bool(hashes) and all(sha256(path / name) == digest for name, digest in hashes.items())
    except (FormatError, OSError, AttributeError):
        return False


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a complete checkpoint."""
    return safetensors.torch.load((path / "state.safetensors").read_bytes()), read_state(path)


def read_state(path: Path) -> Any:
    """The plain values of a complete checkpoint."""
    return read_json(path / "state.json", limit=MAX_STATE)


def write(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint. It appears only once it is complete."""
    # The tensors are cloned: some may share storage (an average made of views), which the format does not allow.
    data = safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    with new_folder(path) as temporary:
        (temporary / "state.safetensors").write_bytes(data)
        (temporary / "state.json").write_text(to_json(state))
        hashes = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(to_json(hashes))


def prune(out: Path, best: int | None) -> None:
    """Remove all checkpoints but the newest ones, and that of the step `best`."""
    for old in found(out)[:-KEEP]:
        if best is None or old != at(out, best):
            shutil.rmtree(old, ignore_errors=True)


def flattened(parts: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dicts of a run's parts: all tensors by name, and for each part a tree of values with these names."""
    tensors: dict[str, Tensor] = {}
    state = {name: _flatten(part.state_dict(), name, tensors) for name, part in parts.items()}
    return tensors, state


def restore(part: Any, state: Any, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of one part of a run, from what `flattened` returned for it."""
    part.load_state_dict(_unflatten(state, tensors))
    if isinstance(part, torch.optim.Optimizer):
        _lay_out_like_parameters(part)


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A state dict as JSON. Its tensors go to `tensors`, and their names stand in their place. Keys keep their type."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"items": [[key, _flatten(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    return {"value": value}


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _unflatten(item, tensors) for key, item in content}
    return [_unflatten(item, tensors) for item in content] if kind == "list" else content


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give restored moments the strides of their parameters: fused kernels need both in the same memory layout."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)
