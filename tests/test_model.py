"""The handle: samples one batch at a time, images in parts, what it says of a method that a model lacks; and that it
takes what people give it: numbers, devices and precisions of any kind, modules that were wrapped."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo import calling
from zoo.hub.places import bundled


@pytest.fixture
def digits() -> zoo.Model:
    return zoo.load("cvae-mnist", device="cpu")


@pytest.mark.parametrize("given", [{}, {"label": "7"}, {"label": list("70123")}])
def test_a_stream_gives_the_samples_of_one_call(digits: zoo.Model, given: dict[str, Any]) -> None:
    whole = digits.sample(5, seed=3, start=2, **given)
    parts = list(digits.stream(5, seed=3, start=2, batch_size=2, **given))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.allclose(torch.cat([part.tensor for part in parts]), whole.tensor, atol=1e-4)


def test_the_images_of_a_stream_know_their_number_and_their_own_labels(digits: zoo.Model, tmp_path: Path) -> None:
    first, second = digits.stream(3, seed=3, start=4, batch_size=2, label=list("701"))
    assert (first.info["label"], second.info["label"]) == ("['7', '0']", "['1']")
    assert first.info["seed"] == "3"
    second.save(tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["00006.png"]


def test_a_stream_makes_nothing_before_it_is_asked(digits: zoo.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the most that one call may return does not bound it."""
    monkeypatch.setattr(calling, "MAX_RESULT", 3 * 28 * 28 * 4)
    with pytest.raises(zoo.InputError, match="at most"):
        digits.sample(4, seed=0)
    assert len(next(digits.stream(10**6, seed=0, batch_size=3))) == 3


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": 2, "seed": -1}, {"n": 2, "start": -1}, {"n": 2, "batch_size": 0}, {"n": 2, "label": "x"}]
)
def test_a_wrong_stream_is_refused_at_once(digits: zoo.Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(zoo.InputError):
        digits.stream(**wrong)


def test_images_given_in_parts_get_the_noise_of_one_call(digits: zoo.Model) -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round()
    mask = torch.zeros(28, 28, dtype=torch.bool)
    mask[:14] = True
    for method, given in ((digits.elbo, ()), (digits.complete, (mask,))):
        whole = method(x, *given, seed=5)
        last = method(x[2:], *given, seed=5, start=2)
        whole, last = (getattr(result, "tensor", result) for result in (whole, last))
        assert torch.allclose(last, whole[2:], atol=1e-3)
        assert not torch.allclose(getattr(method(x[2:], *given, seed=5), "tensor", last + 1), last, atol=1e-3)


def test_a_method_that_a_model_lacks_is_refused_with_cards_that_have_it(digits: zoo.Model) -> None:
    assert not hasattr(digits, "infer")
    with pytest.raises(zoo.CapabilityError, match=r"Cards that can: .*judge-") as error:
        digits.infer(None)
    assert "It has: sample, latents, encode" in str(error.value)
    for name in str(error.value).partition("can: ")[2].partition(".")[0].split(", "):
        assert hasattr(zoo.load(name, device="cpu"), "infer")


@pytest.fixture
def model(tiny_card: Path) -> zoo.Model:
    return zoo.load(tiny_card, device="cpu")


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor], ids=lambda kind: kind.__name__)
def test_numbers_of_any_library_make_the_same_images_and_record(model: zoo.Model, kind: Callable[[int], Any]) -> None:
    images = model.sample(kind(3), seed=kind(5), start=kind(2), batch_size=kind(2))
    plain = model.sample(3, seed=5, start=2, batch_size=2)
    assert torch.equal(images.tensor, plain.tensor)
    assert images.info == plain.info


@pytest.mark.parametrize("wrong", [True, 2.0, "2", torch.tensor(2.0)], ids=repr)
@pytest.mark.parametrize("name", ["n", "seed", "start", "batch_size"])
def test_what_is_no_whole_number_is_refused(model: zoo.Model, name: str, wrong: Any) -> None:
    with pytest.raises(zoo.InputError, match=f"{name} must be a whole number"):
        model.sample(**{name: wrong})


@pytest.mark.parametrize("dtype", [None, "float32", torch.float32, "bfloat16", torch.bfloat16, torch.float16], ids=str)
def test_a_precision_is_given_by_name_or_as_torchs_own(tiny_card: Path, dtype: Any) -> None:
    named = str(dtype or "float32").removeprefix("torch.")
    assert zoo.load(tiny_card, device="cpu", dtype=dtype).dtype == getattr(torch, named)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None, "auto"], ids=str)
def test_a_device_is_given_by_name_or_as_torchs_own(tiny_card: Path, device: Any) -> None:
    assert isinstance(zoo.load(tiny_card, device=device).device, torch.device)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": torch.int8}, "unknown dtype 'int8'\n  Give one of these: float32"),
        ({"dtype": 16}, "unknown dtype '16'"),
        ({"device": 1.5}, "device '1.5' cannot be used here"),
        ({"device": ["cpu"]}, "cannot be used here"),
    ],
)
def test_any_other_device_or_precision_is_refused_in_words(
    tiny_card: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(zoo.InputError, match=message):
        zoo.load(tiny_card, **given)


class Compiled(nn.Module):
    """What `torch.compile` makes of a module, without the compiler: its tensors' names begin with `_orig_mod.`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module


def part_compiled(module: nn.Module) -> nn.Module:
    name, part = next((name, part) for name, part in module.named_children() if [*part.parameters()])
    setattr(module, name, Compiled(nn.DataParallel(part)))
    return module


@pytest.mark.parametrize(
    "wrap",
    [Compiled, nn.DataParallel, lambda module: Compiled(nn.DataParallel(module)), part_compiled],
    ids=["compiled", "parallel", "both", "a part"],
)
def test_a_wrapped_module_is_saved_as_the_one_inside(
    tiny_card: Path, tmp_path: Path, model: zoo.Model, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    model.module = wrap(model.module)
    again = zoo.load(model.save_pretrained(tmp_path / "copy"), device="cpu")
    assert again.sha256 == zoo.load(tiny_card, device="cpu").sha256


def test_torch_names_a_compiled_module_as_the_test_above_believes() -> None:
    compiled = torch.compile(nn.Linear(1, 1), backend="eager")
    assert isinstance(compiled, nn.Module)
    assert compiled._modules.keys() == {"_orig_mod"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_exact_densities_are_exact_in_half_precision(dtype: str) -> None:
    """Computed in half precision they were wrong by several nats."""
    card = bundled()["realnvp-mnist"]
    exact = zoo.load(card, device="cpu")
    x = exact.sample(2, seed=0)
    assert torch.equal(zoo.load(card, device="cpu", dtype=dtype).log_prob(x), exact.log_prob(x))


def test_arrays_that_may_not_be_written_to_are_images_masks_and_latents() -> None:
    """Warnings are errors here."""
    model = zoo.load("vae-mnist", device="cpu")
    image = np.zeros((28, 28, 1), np.uint8)
    latents = model.encode(image).numpy()
    for array in (image, latents):
        array.flags.writeable = False
    assert torch.equal(model.encode(image), torch.from_numpy(latents.copy()))
    model.decode(latents)


FORK = """
import json, os, sys, torch, zoo
torch.set_num_threads(2)
model = zoo.load(sys.argv[1], device="cpu")
model.sample(64, seed=0)
child = os.fork()
if child == 0:
    model.sample(64, seed=0)
    os._exit(7)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_forks_can_sample_in_its_child(tiny_card: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", FORK, str(tiny_card)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
    assert json.loads(done.stdout) == 7


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pointer_of_git_lfs_is_named_with_what_fetches_the_file(tiny_card: Path, name: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (tiny_card / name).write_text(pointer)
    with pytest.raises(zoo.FormatError, match=rf"(?s){name}.*pointer of Git LFS.*git lfs pull"):
        zoo.load(tiny_card)


def test_capitals_do_not_hide_a_name() -> None:
    with pytest.raises(zoo.NotFoundError, match="Did you mean 'dcgan-celeba'"):
        zoo.load("DCGAN-CELEBA")


def test_an_error_of_the_disk_names_the_file_that_was_meant(model: zoo.Model, tmp_path: Path) -> None:
    """Not the temporary one beside it."""
    folder = tmp_path / "gone"
    images = model.sample(1, seed=0)
    with pytest.raises(OSError, match=r"gone/a{300}.png") as caught:
        images.save(folder / f"{'a' * 300}.png")
    assert ".zoo-tmp-" not in str(caught.value)
    shutil.rmtree(folder)
