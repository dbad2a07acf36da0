"""A method of a module as a function of tensors alone, and that function as an ONNX graph.

The inputs of the function are the arguments of the method, then the numbers that it draws, then its conditions. So
nothing in the graph is random, and whoever draws the same numbers gets the same images.
"""

import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import ExportError
from zoo.export.draws import Draw, Given, Noted
from zoo.noise import AnyNoise

LOOPS = ("sample", "complete")
"""Methods that may be a loop over the module's `step`. Such a loop is no graph, but its step is one."""
OPSET = 18
BATCH = "n"
"""The name of the graphs' first dimension, which may have any size."""
SMALLEST = 64
"""Numbers of a tensor that is stored as float16: to halve a smaller one is not worth a node."""


@dataclass(frozen=True)
class Signature:
    """How a method is called."""

    method: str
    arguments: int
    """Number of tensors that are its first arguments."""
    draws: tuple[Draw, ...] | None
    """What it draws from the noise, its next argument; None if it is given none."""
    conditions: tuple[str, ...]
    """The conditions that are given."""
    results: tuple[str, ...]
    """The names of its results if it returns a mapping; else empty."""

    def call(self, module: nn.Module, inputs: Sequence[Tensor]) -> Any:
        """The method's result for the inputs of the function."""
        rest = iter(inputs)
        arguments: list[Any] = [next(rest) for _ in range(self.arguments)]
        if self.draws is not None:
            arguments.append(Given([next(rest) for _ in self.draws]))
        return getattr(module, self.method)(*arguments, **dict(zip(self.conditions, rest, strict=True)))

    def result(self, outputs: Sequence[Tensor]) -> Any:
        """The outputs of the function in the form in which the method returns them."""
        return dict(zip(self.results, outputs, strict=True)) if self.results else outputs[0]


class Function(nn.Module):
    """A method as a function of tensors: a list of inputs -> a list of outputs, each with a row for each sample."""

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module, self.signature = module, signature

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        result = self.signature.call(self.module, inputs)
        return list(result.values()) if self.signature.results else [result]


def is_loop(module: Any, method: str) -> bool:
    """Whether a method is a loop over the module's `step`."""
    return method in LOOPS and callable(getattr(module, "step", None))


@torch.no_grad()
def watch(
    module: Any,
    method: str,
    arguments: Sequence[Tensor],
    noise: AnyNoise | None,
    conditions: Mapping[str, Tensor],
) -> tuple[Signature, list[Tensor], list[Tensor]]:
    """Call a method once: its signature, the inputs of its function, and the outputs."""
    noted = None if noise is None else Noted(noise)
    result = getattr(module, method)(*arguments, *([] if noted is None else [noted]), **conditions)
    results = tuple(result) if isinstance(result, Mapping) else ()
    draws = None if noted is None else tuple(noted.draws)
    signature = Signature(method, len(arguments), draws, tuple(conditions), results)
    drawn = [] if noted is None else noted.numbers
    return signature, [*arguments, *drawn, *conditions.values()], list(result.values()) if results else [result]


@torch.no_grad()
def trace(
    module: Any, signature: Signature, inputs: Sequence[Tensor], names: Sequence[str], results: Sequence[str]
) -> Any:
    """The function as an ONNX model (`onnx.ModelProto`), for any number of rows.

    inputs: an example, with two rows. names, results: of the inputs and outputs.
    ExportError, with the line of the family's code, for a method that cannot be traced.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own future
        program = _exported(module, signature, list(inputs))
        try:
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(names),
                output_names=list(results),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # any that torch's exporter raises
            raise _untraceable(module, signature.method, error) from error
    model = made.model_proto  # type: ignore[union-attr]
    _plain(model)
    _keep_finite(model)
    return model


def _exported(module: Any, signature: Signature, inputs: list[Tensor]) -> Any:
    """torch's own graph of the function. One way to trace follows `len(x)`, the other more of Python."""
    rows = [{0: torch.export.Dim(BATCH)} if value.ndim else {} for value in inputs]
    faults = []
    for strict in (False, True):
        try:
            return torch.export.export(Function(module, signature), (inputs,), dynamic_shapes=(rows,), strict=strict)
        except Exception as error:  # any that the family's code or torch raises while it is traced
            faults.append(error)
    raise _untraceable(module, signature.method, faults[0]) from faults[0]


def _untraceable(module: Any, method: str, error: Exception) -> ExportError:
    why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    home = Path(sys.modules[type(module).__module__].__file__ or "").parent
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == home]
    where = f", at {home.name}/{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return ExportError(
        f"{method} of {type(module).__name__} cannot be traced{where}: {why[:300]}",
        "Let no shape and no branch depend on values in a tensor. A loop over many steps may offer its `step`.",
    )


def _plain(model: Any) -> None:
    """Name the first dimension, and leave out notes of the exporter, which hold paths of this machine."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_param:
            dims[0].dim_param = BATCH
    model.doc_string = ""
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.value_info[:]  # shapes in between, which every runtime finds by itself


def _keep_finite(model: Any) -> None:
    """log(sigmoid(x)) as -softplus(-x). It is what torch computes; as the exporter writes it, it is -inf below -88."""
    from onnx import helper

    sigmoids = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Sigmoid"}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Log" or node.input[0] not in sigmoids:
            nodes.append(node)
            continue
        name = node.output[0]
        nodes.append(helper.make_node("Neg", [sigmoids[node.input[0]]], [f"{name}.minus"]))
        nodes.append(helper.make_node("Softplus", [f"{name}.minus"], [f"{name}.softplus"]))
        nodes.append(helper.make_node("Neg", [f"{name}.softplus"], [name]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def halve(model: Any) -> None:
    """Store the weights as float16. The graph casts them to float32, in which it computes as before.

    A runtime casts once, when it loads the file. A tensor that float16 cannot hold stays as it is.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        full = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = full.astype(np.float16)
        if full.size >= SMALLEST and np.isfinite(half).all():
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *rest])
