"""What runs a model's methods: torch as they are, torch's compiler, or ONNX Runtime."""

import functools
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ExportError, InputError, did_you_mean
from zoo.export.graph import Function, Signature, is_loop, trace, watch
from zoo.extras import require
from zoo.noise import Noise

Run = Callable[[list[Tensor]], list[Tensor]]
"""Inputs of a function -> its outputs."""


def check(backend: str, device: str | torch.device | None, dtype: str) -> str | torch.device | None:
    """The device that a backend computes on. InputError for what it cannot do, MissingExtraError without its extra."""
    if backend not in BUILDERS and backend != "torch":
        raise InputError(f"unknown backend {backend!r}", did_you_mean(backend, ("torch", *BUILDERS)))
    if backend == "compile" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise InputError(
            "backend='compile' needs a C++ compiler, and this machine has none",
            "Install one, for example g++. Or give backend='onnxruntime'.",
        )
    if backend != "onnxruntime":
        return device
    require("export", "backend='onnxruntime'")
    if str(device or "auto") not in ("auto", "cpu") or dtype != "float32":
        raise InputError(
            f"backend='onnxruntime' computes on the CPU in float32, not on {str(device)!r} in {dtype}",
            "Leave device and dtype out, or leave backend out.",
        )
    return "cpu"


def run_by(backend: str, module: Any, methods: Sequence[str]) -> Any:
    """The module with these methods run by a backend. It is the module itself for torch."""
    return module if backend == "torch" else Fast(module, methods, BUILDERS[backend])


def plain(module: Any) -> Any:
    """The module itself, whatever runs it."""
    return module.plain if isinstance(module, Fast) else module


class Fast:
    """A module some of whose methods are run by something faster. All else is the module's own."""

    def __init__(self, module: Any, methods: Sequence[str], build: Callable[..., tuple[Signature, Run]]) -> None:
        self.plain = module
        for name in methods:
            if not is_loop(module, name):
                setattr(self, name, _fast(module, name, build))

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "plain"), name)


def _fast(module: Any, name: str, build: Callable[..., tuple[Signature, Run]]) -> Callable[..., Any]:
    """A method with the same arguments. What runs it is made at the first call with the same conditions."""
    made: dict[tuple[Any, ...], tuple[Signature, Run]] = {}
    lock = threading.Lock()

    @functools.wraps(getattr(module, name))
    def call(*arguments: Any, **conditions: Tensor | None) -> Any:
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        noise: Any = next((value for value in arguments if not isinstance(value, Tensor)), None)
        given = {key: value for key, value in conditions.items() if value is not None}
        use = (noise is not None, *given)
        with lock:
            if use not in made:
                made[use] = build(*_example(module, name, tensors, noise, given))
        signature, run = made[use]
        drawn = [draw.of(noise) for draw in signature.draws or ()]
        return signature.result(run([*tensors, *drawn, *given.values()]))

    return call


def _example(
    module: Any, name: str, tensors: list[Tensor], noise: Any, given: Mapping[str, Tensor]
) -> tuple[Any, Signature, list[Tensor]]:
    """The module, how the method is called, and inputs of two rows. A size of 1 would be taken for a constant."""
    twice = {key: value[:1].repeat(2, *[1] * (value.ndim - 1)) for key, value in given.items()}
    arguments = [value[:1].repeat(2, *[1] * (value.ndim - 1)) for value in tensors]
    example = None if noise is None else Noise(0, 0, 2, noise.device)
    signature, inputs, _ = watch(module, name, arguments, example, twice)
    return module, signature, inputs


def _compiled(module: Any, signature: Signature, inputs: list[Tensor]) -> tuple[Signature, Run]:
    run: Run = torch.compile(Function(module, signature))
    return signature, run


def _in_onnxruntime(module: Any, signature: Signature, inputs: list[Tensor]) -> tuple[Signature, Run]:
    names = [f"input_{i}" for i in range(len(inputs))]
    results = [f"result_{i}" for i in range(max(1, len(signature.results)))]
    model = trace(module, signature, inputs, names, results)
    return signature, session(model.SerializeToString())


BUILDERS = {"compile": _compiled, "onnxruntime": _in_onnxruntime}


def session(graph: bytes) -> Run:
    """An ONNX graph, run by ONNX Runtime on the CPU with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        running = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each kind of failure has a class of its own there
        raise ExportError(f"ONNX Runtime does not run the graph: {error}", "A newer onnxruntime may.") from error
    names = [value.name for value in running.get_inputs()]

    def run(inputs: list[Tensor]) -> list[Tensor]:
        given = {name: value.detach().contiguous().numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(value) for value in running.run(None, given)]

    return run
