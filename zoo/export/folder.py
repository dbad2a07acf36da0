"""A folder of a model's graphs for other programs, each compared with the method that it was made from."""

import copy
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo._version import __version__
from zoo.card.config import CardConfig, CardDraft
from zoo.card.facts import Facts
from zoo.errors import ExportError, InputError, did_you_mean
from zoo.export import examples
from zoo.export.engine import session
from zoo.export.graph import LOOPS, OPSET, Signature, halve, is_loop, trace, watch
from zoo.extras import require
from zoo.family.conditions import Categorical, Continuous, declared
from zoo.family.spec import ModelSpec
from zoo.files import new_folder, sha256, to_json
from zoo.noise import Noise

DESCRIPTION, README = "model.json", "README.md"
FORMAT = 1
"""Version of the description's form."""
TOLERANCE = {"float32": 1e-4, "float16": 1 / 255}
"""Largest difference from torch that an export may have, by how its weights are stored. It is a share of the largest
result where that is above 1, as a log-probability in nats is."""
ROWS = (1, 5)
"""Numbers of rows for which graph and method are compared."""
ARGUMENTS = {"sample": (), "decode": ("latents",), "complete": ("images", "mask"), "step": ("images", "place")}
"""Names of the inputs that are a method's own arguments. Other methods take images alone."""
PICTURES = ("sample", "decode", "translate", "complete", "step")
"""Methods whose result is images."""


@dataclass(frozen=True)
class Exported:
    """What became of one method."""

    method: str
    file: str = ""
    """Empty for a method without a graph."""
    bytes: int = 0
    difference: float | None = None
    """The largest difference between the graph's results and the method's, in the unit of `TOLERANCE`."""
    why: str = ""
    """Why the method has no graph."""


def export(
    module: Any,
    spec: ModelSpec,
    card: CardConfig | CardDraft,
    facts: Facts | None,
    folder: Path,
    dtype: str,
    only: Sequence[str] = (),
) -> list[Exported]:
    """Write a folder: a graph for each method, model.json and README.md. See `zoo.Model.export`."""
    require("export", "exporting a model")
    if dtype not in TOLERANCE:
        raise InputError(f"weights cannot be stored as {dtype!r} here", "Give float32 or float16.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already", "Give the name of a new folder.")
    methods = [*_methods(module, spec)]
    for method in only:
        if method not in methods:
            raise InputError(f"{card.name} has no method {method!r} to export", did_you_mean(method, methods))
    module = copy.deepcopy(module).eval().to("cpu", memory_format=torch.contiguous_format)
    with new_folder(folder.absolute()) as made:
        found, graphs = [], {}
        for method in only or methods:
            if is_loop(module, method):
                found.append(Exported(method, why=f"it is a loop of {module.steps} times step"))
                continue
            try:
                graph = Graph(module, card, method)
            except ExportError as error:
                found.append(Exported(method, why=error.message))
                continue
            one = graph.write(made, dtype)
            found.append(one)
            graphs[method] = graph.described(one, made)
        if not graphs:
            raise ExportError(f"{card.name} has no method that can be exported: {found[0].why}")
        left = {one.method: one.why for one in found if one.why}
        text = description(module, card, facts, dtype, graphs, left)
        (made / DESCRIPTION).write_text(to_json(text), encoding="utf-8")
        (made / README).write_text(readme(card, facts, dtype, found, graphs), encoding="utf-8")
    return found


def _methods(module: Any, spec: ModelSpec) -> Iterator[str]:
    """The capabilities, without `latents`, which only draws; and the step of a loop."""
    yield from (name for name in spec.capabilities if name != "latents")
    if any(is_loop(module, name) for name in spec.capabilities):
        yield "step"


class Graph:
    """A method, its signature and its traced graph."""

    def __init__(self, module: Any, card: CardConfig | CardDraft, method: str) -> None:
        self.module, self.card, self.method = module, card, method
        self.signature, inputs, outputs = self.example(2, seed=0)
        arguments = ARGUMENTS.get(method, ("images",))
        draws = [f"draw_{i}" for i in range(len(self.signature.draws or ()))]
        self.names = (*arguments, *draws, *self.signature.conditions)
        self.results = tuple(f"result_{name}" for name in self.signature.results) or ("result",)
        self.shapes = [tuple(value.shape[1:]) for value in outputs]
        self.inputs = inputs
        self.model = trace(module, self.signature, inputs, self.names, self.results)

    def example(self, n: int, seed: int) -> tuple[Signature, list[Tensor], list[Tensor]]:
        """The method's signature, its inputs and its outputs, for n rows."""
        taken = inspect.signature(getattr(self.module, self.method)).parameters
        noise = Noise(seed, 0, n) if "noise" in taken else None
        arguments = examples.arguments(self.module, self.method, self.card.preparation, n)
        return watch(self.module, self.method, arguments, noise, examples.conditions(self.module, {*taken}, n))

    def write(self, folder: Path, dtype: str) -> Exported:
        """Write the graph. ExportError, and no file, if its results differ from the method's."""
        if dtype == "float16":
            halve(self.model)
        data = self.model.SerializeToString()
        difference, limit = self.difference(data), TOLERANCE[dtype]
        if not difference <= limit:  # nor is it if it is NaN
            raise ExportError(
                f"{self.method} of {self.card.name} differs from torch by {difference:.2g} as a {dtype} graph; "
                f"at most {limit:.2g} is allowed. Nothing was written"
            )
        name = f"{self.method}.onnx"
        (folder / name).write_bytes(data)
        return Exported(self.method, name, len(data), difference)

    def difference(self, data: bytes) -> float:
        """The largest difference between graph and method on the same inputs, for several numbers of rows."""
        run = session(data)
        differences = []
        for n in ROWS:
            _, inputs, outputs = self.example(n, seed=1)
            for found, wanted in zip(run(inputs), outputs, strict=True):
                scale = wanted.float().abs().max().clamp_min(1)
                differences.append(((found.float() - wanted.float()).abs().max() / scale).item())
        return max(differences, key=lambda value: (value != value, value))

    def described(self, one: Exported, folder: Path) -> dict[str, Any]:
        """The entry of model.json."""
        entry = {
            "file": one.file,
            "bytes": one.bytes,
            "sha256": sha256(folder / one.file),
            "difference": one.difference,
            "inputs": [self._input(name, value) for name, value in zip(self.names, self.inputs, strict=True)],
            "outputs": [
                {"name": name, "dtype": "float32", "shape": ["n", *shape]}
                | ({"low": 0, "high": 1} if self.method in PICTURES else {})
                for name, shape in zip(self.results, self.shapes, strict=True)
            ],
        }
        if self.method == "step":
            loops = [name for name in LOOPS if callable(getattr(self.module, name, None))]
            entry |= {"steps": self.module.steps, "instead_of": loops}
        return entry

    def _input(self, name: str, value: Tensor) -> dict[str, Any]:
        shape: list[Any] = ["n", *value.shape[1:]] if value.ndim else []
        entry: dict[str, Any] = {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": shape}
        if name.startswith("draw_"):
            stream = int(name.removeprefix("draw_"))
            draw = (self.signature.draws or ())[stream]
            entry |= {"is": draw.kind, "stream": stream}
            return entry | ({"classes": draw.arguments[0]} if draw.kind == "categorical" else {})
        kind = declared(self.module).get(name)
        if name in self.signature.conditions and kind is not None:
            entry |= {"is": "condition"}
            if isinstance(kind, Categorical):
                return entry | {"classes": len(kind.names)}
            return entry | ({"low": kind.low, "high": kind.high} if isinstance(kind, Continuous) else {"none": "NaN"})
        return entry | {"is": name} | ({"low": 0, "high": 1} if name == "images" else {})


def description(
    module: Any,
    card: CardConfig | CardDraft,
    facts: Facts | None,
    dtype: str,
    graphs: Mapping[str, Any],
    left: Mapping[str, str],
) -> dict[str, Any]:
    """model.json: what another program needs to run the graphs."""
    return {
        "format": FORMAT,
        "name": card.name,
        "family": card.family,
        "weights": {
            "sha256": card.weights.sha256 if isinstance(card, CardConfig) else None,
            "stored_as": dtype,
        },
        "license": facts.license if facts else None,
        "data_terms": facts.data_terms if facts else None,
        "preparation": dataclasses.asdict(card.preparation),
        "conditions": {key: dataclasses.asdict(kind) for key, kind in declared(module).items()},
        "software": {"zoo": __version__, "torch": torch.__version__, "opset": OPSET},
        "graphs": graphs,
        "left_out": left,
    }


def readme(
    card: CardConfig | CardDraft,
    facts: Facts | None,
    dtype: str,
    found: Sequence[Exported],
    graphs: Mapping[str, Any],
) -> str:
    """README.md: what the folder holds, how it is used, and under which terms."""
    rows = [
        f"| `{one.file}` | {one.bytes / 1e6:.1f} MB | {one.difference:.1g} |"
        for one in found
        if one.difference is not None
    ]
    left = [f"- `{one.method}` has no graph: {one.why}." for one in found if one.why]
    terms = [f"Licence of the weights: {facts.license}. {facts.data_terms}"] if facts else []
    lines = [
        f"# {card.name} as ONNX graphs",
        "",
        f"{facts.summary if facts else ''} Made by zoo {__version__} from the card `{card.name}`. The weights are "
        f"stored as {dtype}; the graphs compute in float32.",
        "",
        "| graph | size | largest difference from torch |",
        "|---|---|---|",
        *rows,
        "",
        *left,
        *([""] if left else []),
        f"`{DESCRIPTION}` lists the inputs and outputs of each graph, with their shapes and ranges. The first "
        "dimension is the number of samples, and may have any size. Inputs named `draw_0`, `draw_1` and so on are "
        "random numbers. They are those of zoo's stream of the same number, so that a seed means the same everywhere:",
        "",
        "```python",
        "import numpy",
        "import onnxruntime",
        "import zoo",
        "",
        "noise = zoo.Noise(0, 0, 16)  # seed 0, samples 0 to 15",
        *_calls(next(iter(graphs.values()))),
        "```",
        "",
        "zoo's page on exporting says how the numbers are drawn without zoo.",
        "",
        *terms,
    ]
    return "\n".join(lines).strip() + "\n"


def _calls(graph: Mapping[str, Any]) -> list[str]:
    """Lines of Python that run a graph on 16 samples of the noise; what is not drawn is 0."""
    lines = [f'graph = onnxruntime.InferenceSession("{graph["file"]}")', "given = {"]
    for value in graph["inputs"]:
        shape = [*value["shape"][1:]]
        if value["is"] in ("normal", "uniform"):
            made = f"noise.{value['is']}({', '.join(map(str, shape))}).numpy()"
        elif value["is"] == "categorical":
            made = f"noise.categorical({value['classes']}).numpy()"
        else:
            made = f"numpy.zeros({[16, *shape] if value['shape'] else []}, numpy.{value['dtype']})"
        lines.append(f'    "{value["name"]}": {made},')
    return [*lines, "}", "print(graph.run(None, given)[0].shape)"]
