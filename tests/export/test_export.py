"""Graphs do what the methods do: for every bundled card, in a folder that others can use, and behind the handle."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo.card import weights
from zoo.errors import ExportError, InputError, MissingExtraError
from zoo.export import engine, graph
from zoo.export.draws import Draw, Noted
from zoo.export.folder import TOLERANCE, export
from zoo.extras import EXTRAS
from zoo.family.registry import registry
from zoo.hub.places import bundled
from zoo.noise import Noise


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A card with an export of it, with weights stored as float16."""
    folder = tmp_path_factory.mktemp("export") / "faces"
    return folder, zoo.load("dcgan-celeba", device="cpu").export(folder, dtype="float16")


SLOW = {"realnvp"}
"""Families of thousands of small operations, which take torch minutes to trace: of these one method is exported."""


WITHOUT = {("vae-celeba", "elbo"): "elbo of VAE cannot be traced, at zoo_vae/model.py:"}
"""Methods without a graph: torch's divergence of Gaussians with full covariances takes no dynamic batch."""


@pytest.mark.parametrize("name", sorted(bundled()))
def test_every_method_of_every_bundled_card_is_a_graph_or_a_loop_with_a_step(name: str, tmp_path: Path) -> None:
    model = zoo.load(name, device="cpu")
    found = model.export(tmp_path / "out", only=("decode",) if model.spec.name in SLOW else ())
    for one in found:
        known = WITHOUT.get((name, one.method), "it is a loop of")
        assert one.file or known in one.why, one
    assert {f"{one.method}.onnx" for one in found if one.file} | {"model.json", "README.md"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert max(one.difference for one in found if one.difference is not None) <= TOLERANCE["float32"]


def test_the_graph_makes_the_samples_of_a_seed(faces: tuple[Path, list[Any]]) -> None:
    """With nothing but what the description says."""
    folder, _ = faces
    told = json.loads((folder / "model.json").read_text())
    (asked,) = told["graphs"]["sample"]["inputs"]
    assert (asked["is"], asked["stream"], asked["shape"]) == ("uniform", 0, ["n", 100])
    wanted = zoo.load("dcgan-celeba", device="cpu").sample(3, seed=7).tensor
    running = onnxruntime.InferenceSession(folder / told["graphs"]["sample"]["file"])
    (made,) = running.run(["result"], {asked["name"]: Noise(7, 0, 3).uniform(*asked["shape"][1:]).numpy()})
    assert (torch.from_numpy(made) - wanted).abs().max() < 1 / 255


def test_the_description_says_what_the_card_says(faces: tuple[Path, list[Any]]) -> None:
    folder, found = faces
    told, card = json.loads((folder / "model.json").read_text()), bundled()["dcgan-celeba"]
    config, facts = (json.loads((card / name).read_text()) for name in ("config.json", "evaluation.json"))
    assert told["weights"] == {"sha256": config["weights"]["sha256"], "stored_as": "float16"}
    assert told["preparation"] == config["preparation"]
    assert (told["license"], told["data_terms"]) == (facts["license"], facts["data_terms"])
    assert {one.method for one in found} == {"sample", "decode"}
    assert facts["data_terms"] in (folder / "README.md").read_text()


def test_the_python_of_the_readme_runs(
    faces: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(faces[0])
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.S)
    exec(code, {})
    assert capsys.readouterr().out == "(16, 3, 64, 64)\n"


def test_weights_stored_as_float16_are_cast_in_the_graph_and_hold_no_path(faces: tuple[Path, list[Any]]) -> None:
    data = (faces[0] / "sample.onnx").read_bytes()
    model = onnx.load_from_string(data)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= graph.SMALLEST]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert len(data) < 0.55 * 4 * sum(p.numel() for p in zoo.load("dcgan-celeba", device="cpu").module.parameters())
    assert str(Path(zoo.__file__).parent).encode() not in data


def test_all_steps_of_a_pixelcnn_are_its_samples_and_its_step_is_a_graph(tmp_path: Path) -> None:
    spec = registry().spec("pixelcnn")
    module: Any = weights.build(spec, dict(spec.tiny)).eval()
    signature, inputs, _ = graph.watch(
        module, "step", [torch.zeros(2, *_shape(module)), torch.tensor(0)], Noise(5, 0, 2), {}
    )
    run = engine.session(
        graph.trace(module, signature, inputs, ("images", "place", "draw_0"), ("result",)).SerializeToString()
    )
    with torch.no_grad():
        wanted = module.sample(Noise(5, 0, 3))
    x, u = torch.zeros_like(wanted), module.uniforms(Noise(5, 0, 3))
    for place in range(module.steps):
        (x,) = run([x, torch.tensor(place), u])
    assert torch.equal(x, wanted)


def _shape(module: Any) -> tuple[int, int, int]:
    return module.config.channels, module.config.image_size, module.config.image_size


def test_onnxruntime_gives_the_same_images_with_and_without_a_condition() -> None:
    plain, fast = (zoo.load("cvae-mnist", device="cpu", backend=name) for name in ("torch", "onnxruntime"))
    for given, second in (({}, {}), ({"label": ["3", "1", "7"]}, {"label": "1"})):
        wanted = plain.sample(3, seed=2, **given).tensor
        assert (fast.sample(3, seed=2, **given).tensor - wanted).abs().max() <= 1e-4
        assert (fast.sample(1, seed=2, start=1, **second).tensor - wanted[1]).abs().max() <= 1e-4
    assert fast.conditions == plain.conditions
    assert dir(fast) == dir(plain)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiler_gives_the_same_images(tiny_card: Path) -> None:
    try:
        fast = zoo.load(tiny_card, device="cpu", backend="compile")
    except InputError as error:
        pytest.skip(error.message)
    wanted = zoo.load(tiny_card, device="cpu").sample(3, seed=2).tensor
    assert (fast.sample(3, seed=2).tensor - wanted).abs().max() <= 1e-4


def test_a_loop_stays_with_torch(tmp_path: Path) -> None:
    fast = zoo.load("pixelcnn-mnist", device="cpu", backend="onnxruntime")
    assert fast.module.sample == engine.plain(fast.module).sample
    assert fast.module.log_prob != engine.plain(fast.module).log_prob


def test_a_backend_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="onnxruntim"):
        zoo.load("dcgan-celeba", backend="onnxruntim")
    for options in ({"device": "cuda"}, {"dtype": "bfloat16"}):
        with pytest.raises(InputError, match="CPU in float32"):
            zoo.load("dcgan-celeba", backend="onnxruntime", **options)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="C\\+\\+ compiler"):
        zoo.load("dcgan-celeba", device="cpu", backend="compile")
    monkeypatch.setitem(EXTRAS, "export", ("a_package_nobody_has",))
    with pytest.raises(MissingExtraError) as caught:
        zoo.load("dcgan-celeba", backend="onnxruntime")
    assert caught.value.hint == "pip install 'genzoo[export]'"


class Odd(nn.Module):
    """A model some of whose methods cannot be graphs, or differ from them."""

    class Config(zoo.Config):
        image_size: int = Field(4, ge=4, le=4)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.weight, self.calls = config, nn.Parameter(torch.ones(100)), 0

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        x = noise.uniform(3, 4, 4)
        return x[x.mean((1, 2, 3)) > 0.5] if x.mean() > 0.5 else x

    def translate(self, x: Tensor) -> Tensor:
        return x * self.weight[0]


def odd(module: nn.Module, *capabilities: str) -> dict[str, Any]:
    from dataclasses import replace

    from zoo.card.config import CardDraft

    spec = replace(registry().spec("dcgan"), capabilities=capabilities)
    card = CardDraft(name="odd", family="dcgan", config={}, preparation=zoo.Preparation(size=4))
    return {"module": module, "spec": spec, "card": card, "facts": None}


def test_what_cannot_be_traced_says_why_and_where(tmp_path: Path) -> None:
    module = Odd(Odd.Config())
    with pytest.raises(ExportError, match=r"sample of Odd cannot be traced, at export/test_export.py:\d+: \w+"):
        export(**odd(module, "sample"), folder=tmp_path / "out", dtype="float32")
    assert not list(tmp_path.iterdir())
    found = export(**odd(module, "sample", "translate"), folder=tmp_path / "out", dtype="float32")
    assert [(one.method, bool(one.file), bool(one.why)) for one in found] == [
        ("sample", False, True),
        ("translate", True, False),
    ]


def test_a_graph_that_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.export.folder.TOLERANCE", {"float32": -1.0})
    with pytest.raises(ExportError, match="translate of odd differs from torch by 0"):
        export(**odd(Odd(Odd.Config()), "translate"), folder=tmp_path / "out", dtype="float32")
    assert not list(tmp_path.iterdir())


def test_a_weight_that_float16_cannot_hold_stays_as_it_is(tmp_path: Path) -> None:
    weights = np.full(100, 1e6, np.float32)
    small = np.full(100, 0.5, np.float32)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in (("large", weights), ("small", small))]
    nodes = [onnx.helper.make_node("Add", ["large", "small"], ["sum"])]
    output = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, [100])
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [output], tensors), ir_version=10)
    graph.halve(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {"large": onnx.TensorProto.FLOAT, "small.float16": onnx.TensorProto.FLOAT16}
    onnx.checker.check_model(model)


def test_a_folder_with_files_and_a_wrong_dtype_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    model = zoo.load("dcgan-celeba", device="cpu")
    with pytest.raises(InputError, match="exists already"):
        model.export(tmp_path)
    with pytest.raises(InputError, match="int8"):
        model.export(tmp_path / "out", dtype="int8")


def test_draws_are_noted_in_their_order_and_drawn_again_from_them() -> None:
    def use(noise: zoo.AnyNoise) -> Tensor:
        return noise.normal(2).sum(1) + noise.uniform(3, 1).sum((1, 2)) + noise.categorical(5)

    noted = Noted(Noise(3, 0, 4))
    wanted = use(noted)
    assert noted.draws == [Draw("normal", (2,)), Draw("uniform", (3, 1)), Draw("categorical", (5,))]
    assert [draw.shape for draw in noted.draws] == [(2,), (3, 1), ()]
    again = Noise(3, 0, 4)
    assert torch.equal(use(graph.Given([draw.of(again) for draw in noted.draws])), wanted)
