"""`zoo.train`: overrides, the folder it leaves, resuming, and what a failed run must not touch."""

import copy
import inspect
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from bad_families.model import Good
from pydantic import Field
from tables import flags, write_table
from zoo_dcgan.model import DCGAN

import zoo
from zoo.card.facts import read_facts
from zoo.card.weights import build
from zoo.data.batches import Batches
from zoo.errors import ConfigError, DataError, InputError, NotFoundError, PluginError, TrainingError
from zoo.family.registry import registry
from zoo.testing import Case
from zoo.training.claims import CHANGEABLE
from zoo.training.plan import Plan, Settings, plan
from zoo.training.plan import planned as plan_of
from zoo.training.rounding import AGREEMENT, disagreement
from zoo.training.run import Run

TINY: dict[str, Any] = {"steps": 4, "batch_size": 8, "image_size": 16, "width": 4, "latent_dim": 8, "log_every": 2}
SAME: dict[str, Any] = {"save_every": 2, "sample_every": 2, "lr": 1e-3, "ema": 0.5, "flip": False}
"""What `finished` was trained with, beside TINY."""
CARD = {"README.md", "config.json", "evaluation.json", "model.safetensors", "samples.png"}


def train(out: Path, data: Path, name: str = "dcgan-celeba", **options: Any) -> zoo.Model:
    return zoo.train(name, out=out, data=data, device="cpu", progress=False, **TINY | options)


@pytest.fixture(scope="module")
def finished(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four steps. Copy it before changing it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(out, faces, **SAME)
    return out


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path, names: set[str] = CARD) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


# The result


def test_the_result_is_a_card_that_loads(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= CARD
    images = zoo.load(finished, device="cpu").sample(4, seed=0)
    assert images.tensor.shape == (4, 3, 16, 16)
    assert bool(images.tensor.isfinite().all())


def test_train_returns_the_model_of_the_card(faces: Path, tmp_path: Path) -> None:
    model = train(tmp_path / "run", faces)
    loaded = zoo.load(tmp_path / "run", device="cpu")
    assert torch.equal(model.sample(3, seed=1).tensor, loaded.sample(3, seed=1).tensor)


def test_a_card_that_was_moved_still_loads(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for name in CARD:
        shutil.move(run_folder / name, tmp_path / "moved" / name)
    shutil.rmtree(run_folder)
    assert zoo.load(tmp_path / "moved", device="cpu").name.startswith("dcgan-faces")


def test_a_config_for_other_channels_than_the_recipe_prepares_is_refused(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.ConfigError, match="channels=1 does not fit RGB images"):
        train(tmp_path / "run", faces, channels=1)
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_log_checkpoints_pictures_and_curves(finished: Path) -> None:
    header, *rows = (finished / "log.csv").read_text().splitlines()
    assert header == "step,seconds,loss_D,loss_G"
    assert [row.split(",")[0] for row in rows] == ["2", "4"]
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]
    assert sorted(path.name for path in (finished / "samples").iterdir()) == ["step-00000002.png", "step-00000004.png"]
    assert any((finished / "tensorboard").iterdir())


def test_no_text_file_of_a_run_names_a_folder_of_this_machine(finished: Path, faces: Path) -> None:
    texts = {path: path.read_text() for path in finished.rglob("*") if path.suffix in (".md", ".json", ".csv")}
    assert len(texts) > 5
    for path, text in texts.items():
        for folder in (faces.parent, finished.parent, Path(zoo.__file__).parent):
            assert str(folder) not in text, path


def test_every_override_is_on_the_card(finished: Path) -> None:
    training = read_facts(finished).training
    assert (training.steps, training.batch_size, training.images, training.passes) == (4, 8, 43, 0.74)
    assert training.settings.items() >= {"lr": 1e-3, "ema": 0.5, "flip": False}.items()
    assert zoo.load(finished, device="cpu").config.width == 4


def test_a_pass_over_an_unpaired_set_is_one_over_its_larger_domain(faces: Path, tmp_path: Path) -> None:
    data, files = tmp_path / "data", sorted(faces.iterdir())[:20]
    write_table(data, files, dark=flags([i < 12 for i in range(20)]), fair=flags([i >= 12 for i in range(20)]))
    small = {"steps": 3, "batch_size": 4, "image_size": 16, "width": 4, "blocks": 1, "patch_width": 4, "hold_out": 0}
    zoo.train(
        "cyclegan-celeba-blond", out=tmp_path / "run", data=data, columns={"domain": "dark,fair"}, device="cpu",
        progress=False, **small,
    )  # fmt: skip
    training = read_facts(tmp_path / "run").training
    assert (training.images, training.passes) == (20, 1)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"lr": 2e-3}, {"ema": 0.0}, {"batch_size": 4}, {"flip": True}, {"precision": "bfloat16"}],
    ids=lambda change: next(iter(change)),
)
def test_overrides_change_the_weights(change: dict[str, Any], finished: Path, faces: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", faces, **SAME | change)
    assert contents(tmp_path / "run", {"model.safetensors"}) != contents(finished, {"model.safetensors"})


def test_the_same_settings_give_the_same_weights(finished: Path, faces: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", faces, **SAME | {"log_every": 1, "save_every": 3})
    assert contents(tmp_path / "run", {"model.safetensors"}) == contents(finished, {"model.safetensors"})


def test_image_size_changes_the_net_and_the_preparation(faces: Path, tmp_path: Path) -> None:
    model = train(tmp_path / "run", faces, image_size=32)
    assert model.config.image_size == model.preparation.size == 32
    assert model.sample(1, seed=0).tensor.shape == (1, 3, 32, 32)


def test_half_precision_weights_are_half_as_large(finished: Path, faces: Path, tmp_path: Path) -> None:
    train(tmp_path / "full", faces, **SAME | {"weights": "float32"})
    full, half = (path / "model.safetensors" for path in (tmp_path / "full", finished))
    assert zoo.load(finished, device="cpu").card.weights.dtype == "float16"
    assert 0.5 < half.stat().st_size / full.stat().st_size < 0.65  # headers are alike


class Fragile(DCGAN):
    """Images that hang on digits which half precision does not have."""

    def sample(self, noise: Any) -> torch.Tensor:
        return (super().sample(noise) + 100 * (self.state_dict()["offset"] - 1)).clamp(0, 1)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("offset", torch.tensor(1.0002))


class Vast(DCGAN):
    """A number beyond the range of float16."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("offset", torch.tensor(1e6))


@pytest.mark.parametrize("kind", [Fragile, Vast])
def test_weights_that_do_not_survive_half_precision_are_stored_whole(
    kind: type, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_dcgan.model.DCGAN", kind)
    with pytest.warns(UserWarning, match=r"dcgan-faces\d+ are stored as float32, not as float16: .* differ by"):
        model = train(tmp_path / "run", faces, ema=0.0, weights="float16")
    assert model.card.weights.dtype == "float32"
    assert read_facts(tmp_path / "run").training.settings["weights"] == "float32"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["weights"] == "float16"  # as asked for


def test_half_precision_that_does_not_show_is_kept(finished: Path) -> None:
    assert read_facts(finished).training.settings["weights"] == "float16"


def test_a_sampler_of_discrete_pixels_is_judged_by_the_share_that_differ() -> None:
    """PixelCNN: one draw that falls otherwise takes all that follow along, and says nothing about the weights."""
    spec = registry().spec("pixelcnn")
    module = build(spec, dict(spec.tiny))
    card = Case(spec).wrap(module)
    images = torch.zeros(64, 1, 1, 1, dtype=torch.uint8)
    near, far = (Case(spec).wrap(shaken(module, by)) for by in (1e-5, 0.3))
    assert disagreement(card, near, images) <= AGREEMENT < disagreement(card, far, images) < 1


def shaken(module: torch.nn.Module, by: float) -> torch.nn.Module:
    shaken, draws = copy.deepcopy(module), torch.Generator().manual_seed(0)
    for parameter in shaken.parameters():
        parameter.data += by * torch.randn(parameter.shape, generator=draws)
    return shaken


def test_own_data_do_not_inherit_what_is_said_of_the_recipes_data(finished: Path) -> None:
    _, recipe = registry().recipe("dcgan-celeba")
    facts, readme = read_facts(finished), (finished / "README.md").read_text()
    assert facts.license == "other"
    assert facts.limits == []
    for said in (recipe.terms, *recipe.limits, recipe.data, "CelebA", "Faces at 64x64"):
        assert said not in readme
    assert "terms are those of whoever gave it" in readme


def test_a_copy_of_the_recipes_data_keeps_its_terms(faces: Path, tmp_path: Path) -> None:
    _, recipe = registry().recipe("vae-mnist")
    options: dict[str, Any] = {"latent_dim": 2, "widths": [4], "hidden": 8, "steps": 2, "batch_size": 8}
    out = tmp_path / "run"
    zoo.train(
        "vae-mnist", out=out, data=faces, data_name=recipe.data, device="cpu", progress=False, **options, image_size=8
    )
    facts = read_facts(out)
    assert (facts.license, facts.data_terms, facts.limits) == (recipe.license, recipe.terms, list(recipe.limits))
    assert facts.training.data == recipe.data
    assert "28x28" not in facts.summary  # the recipe's own size, which this card does not have


# Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bath_size": 3}, r"(?s)no setting 'bath_size'.*Did you mean 'batch_size'"),
        ({"learning_rte": 3}, r"(?s)dcgan-celeba has no setting 'learning_rte'"),
        ({"imagesize": 32}, r"(?s)no setting 'imagesize'.*Did you mean 'image_size'"),
        ({"lr": "fast"}, r"lr='fast': .*valid number"),
        ({"lr": float("nan")}, r"lr=nan: .*finite"),
        ({"steps": 2.5}, r"steps=2.5: .*integer"),
        ({"steps": 0}, r"steps must be at least 1, found 0"),
        ({"batch_size": "many"}, r"batch_size: .*integer.*found 'many'"),
        ({"batch_size": 0}, r"batch_size: .*greater than or equal to 1"),
        ({"ema": 1.0}, r"ema: .*less than 1"),
        ({"ema": float("nan")}, r"ema: .*less than 1"),
        ({"precision": "float8"}, r"precision: .*'float32', 'tf32' or 'bfloat16'.*found 'float8'"),
        ({"image_size": 24}, r"image_size: .*found 24"),
        ({"width": -4}, r"width: .*greater than or equal to 1"),
        ({"steps": True}, r"steps=True: expected a number"),
        ({"batch_size": True}, r"batch_size: expected a number, found True"),
        ({"width": True}, r"width: expected a number, found True"),
        ({"steps": 2.0}, r"steps=2.0: expected a whole number"),
        ({"batch_size": 2.0}, r"batch_size: expected a whole number, found 2.0"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_read_or_written(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", tmp_path / "missing", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("family", sorted(registry().specs))
def test_a_family_trains_on_the_smallest_batch_that_it_declares(family: str, tmp_path: Path) -> None:
    """Finite after three steps; and with one image less it would not begin."""
    case = Case(registry().spec(family))
    run = Run(tmp_path, seed=0, precision="float32", device="cpu", threads=1, log_every=1, progress=False)
    batches = case.batches(run, 3)
    batches.batch_size = case.spec.smallest_batch
    module = case.loop(run, batches, 3)
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


@pytest.mark.parametrize("recipe", ["infogan-mnist", "cvae-gan-mnist", "judge-mnist"])
def test_a_batch_of_one_is_refused_where_the_loop_compares_images(recipe: str) -> None:
    with pytest.raises(ConfigError, match=r"batch_size=1: .* batches of 2 images or more.*\n.*--batch-size 2"):
        plan_of(recipe, {"batch_size": 1})


@pytest.mark.parametrize(
    ("folder", "card"),
    [
        ("My Faces", "dcgan-my-faces"),
        ("été", "dcgan-ete"),
        ("Größe 2", "dcgan-grosse-2"),
        ("Tiếng Việt", "dcgan-tieng-viet"),
        ("ｆｕｌｌ", "dcgan-full"),
        ("фото", None),
        ("顔", None),
        ("صور", None),
        ("фото 2", None),
        ("___", None),
    ],
)
def test_a_folder_in_any_script_makes_a_name_or_a_question(folder: str, card: str | None, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    if card is not None:
        assert plan_of("dcgan-celeba", {}, data=tmp_path / folder).name == card
        return
    with pytest.raises(ConfigError, match=r"makes no name of a card.*\n.*--card-name"):
        plan_of("dcgan-celeba", {}, data=tmp_path / folder)
    assert plan_of("dcgan-celeba", {}, data=tmp_path / folder, card_name="mine").name == "mine"


def test_numbers_may_be_given_as_text(faces: Path, tmp_path: Path) -> None:
    model = train(tmp_path / "run", faces, steps="2", lr="1e-3", batch_size="4", image_size=16)
    assert model.sample(1, seed=0).tensor.shape == (1, 3, 16, 16)
    assert read_facts(tmp_path / "run").training.settings["lr"] == 1e-3


class Namesakes(Good):
    """Its config shares one name with its loop and one with every run."""

    class Config(Good.Config):
        depth: Annotated[int, Field(ge=1, le=9)] = 1
        jitter: Annotated[float, Field(ge=0, le=1)] = 0.5


def namesakes_train(
    model: Any, batches: Batches, run: zoo.Run, *, steps: int = 10, depth: int = 2, lr: float = 1e-3
) -> None:
    raise NotImplementedError("is only planned")


def planned(train: str = "test_train:namesakes_train", **overrides: Any) -> Plan:
    """What a recipe of Namesakes comes to; the recipe itself sets all that share a name."""
    recipe = zoo.Recipe(
        "tiny", "", "", zoo.Preparation(size=8), train={"depth": 3, "jitter": True}, config={"depth": 4, "jitter": 0.25}
    )
    spec = replace(registry().spec("dcgan"), module="test_train:Namesakes", train=train, recipes=(recipe,))
    return plan(recipe, spec, overrides, name="tiny", data="made")


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"loop.depth": 5}, {"loop.depth": 5}),
        ({"config.depth": 5}, {"config.depth": 5}),
        ({"loop.depth": 5, "config.depth": 6}, {"loop.depth": 5, "config.depth": 6}),
        ({"run.jitter": False}, {"run.jitter": False}),
        ({"config.jitter": 1}, {"config.jitter": 1}),
        ({"lr": 0.5}, {"loop.lr": 0.5}),
        (
            {"loop.lr": 0.5, "run.seed": 7, "config.image_size": 16},
            {"loop.lr": 0.5, "run.seed": 7, "config.image_size": 16},
        ),
    ],
)
def test_a_key_may_say_where_it_belongs(given: dict[str, Any], changed: dict[str, Any]) -> None:
    found = planned(**given)
    homes = {"loop": found.arguments, "run": found.settings.model_dump(), "config": found.config}
    values = {f"{home}.{key}": value for home, own in homes.items() for key, value in own.items()}
    recipe = {"loop.depth": 3, "run.jitter": True, "config.depth": 4, "config.jitter": 0.25}
    others = {"loop.lr": 1e-3, "run.seed": 0, "config.image_size": 8}
    assert {key: values[key] for key in recipe | others} == recipe | others | changed


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "depth",
            r"(?s)two settings with the name 'depth': loop.*--set loop\.depth=.*--set config\.depth=",
        ),
        (
            "jitter",
            r"(?s)two settings with the name 'jitter': run.*--set run\.jitter=.*--set config\.jitter=",
        ),
        ("loop.dept", r"(?s)no setting 'loop\.dept'.*Did you mean 'loop\.depth'"),
        ("config.lr", r"no setting 'config\.lr'"),
        ("run.lr", r"no setting 'run\.lr'"),
        ("model.depth", r"no setting 'model\.depth'"),
        ("loop.", r"no setting 'loop\.'"),
        (".lr", r"no setting '\.lr'"),
    ],
)
def test_a_key_that_means_two_things_or_none_is_refused(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(**{key: 5})


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_loop_with_an_argument_called_like_any_setting_of_the_run_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loop(model: Any, batches: Batches, run: zoo.Run, *, steps: int = 10, **given: Any) -> None:
        raise NotImplementedError("is only planned")

    signature = inspect.signature(loop)
    *own, _ = signature.parameters.values()
    taken = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=1, annotation=int)
    monkeypatch.setattr(loop, "__signature__", signature.replace(parameters=[*own, taken]), raising=False)
    monkeypatch.setattr("test_train.namesakes_train", loop)
    with pytest.raises(PluginError, match=rf"test_train:namesakes_train: the argument '{name}' .* setting '{name}'"):
        planned()


def test_an_unknown_recipe_gets_a_suggestion(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"(?s)no recipe 'dcgan-celebs'.*dcgan-celeba"):
        train(tmp_path / "run", faces, name="dcgan-celebs")


def test_a_device_that_is_not_there_is_refused(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'cuda:99' cannot be used here"):
        zoo.train("dcgan-celeba", out=tmp_path / "run", data=faces, device="cuda:99", progress=False, **TINY)
    assert not (tmp_path / "run").exists()


# The folder


def test_a_folder_that_is_not_empty_is_left_alone(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty and holds no run"):
        train(tmp_path, faces)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_left_alone(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("years of work")
    with pytest.raises(InputError, match="is a file"):
        train(tmp_path / "run", faces)
    assert (tmp_path / "run").read_text() == "years of work"


LEFT_OVER: dict[str, list[str]] = {
    "nothing": [],
    "a temporary file": [".zoo-tmp-0123.json"],
    "a temporary folder with files": [".zoo-tmp-0123/state.json"],
    "our folders, empty": ["checkpoints/", "samples/", "tensorboard/"],
}


@pytest.mark.parametrize("files", LEFT_OVER.values(), ids=LEFT_OVER)
def test_a_folder_of_a_run_that_was_killed_before_it_began_is_free(
    files: list[str], faces: Path, tmp_path: Path
) -> None:
    make(tmp_path / "run", files)
    train(tmp_path / "run", faces, steps=1)
    assert not list((tmp_path / "run").glob(".zoo-tmp-*"))


@pytest.mark.parametrize(
    "files",
    [["samples/mine.png"], ["checkpoints"], ["zoo-tmp-0123"], ["photos/"], [".zoo-tmp-0123", "notes.txt"]],
    ids=str,
)
def test_a_folder_with_anything_that_may_be_the_users_is_not_free(
    files: list[str], faces: Path, tmp_path: Path
) -> None:
    make(tmp_path / "run", files)
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(InputError, match="not empty and holds no run"):
        train(tmp_path / "run", faces, steps=1)
    assert sorted((tmp_path / "run").rglob("*")) == before


def make(folder: Path, files: list[str]) -> None:
    """Make files, and folders for names that end with a slash."""
    folder.mkdir()
    for name in files:
        (folder / name if name.endswith("/") else (folder / name).parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (folder / name).write_text("something")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"batch_size": 49}, "batch size 49 does not fit"), ({"augmentation": "colour"}, "augmentation")],
)
def test_a_start_that_is_refused_leaves_nothing_behind(
    given: dict[str, Any], message: str, faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(zoo.ZooError, match=message):
        train(tmp_path / "run", faces, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["missing", "empty"])
def test_bad_data_leave_the_folder_free_for_another_try(data: str, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=data):
        train(tmp_path / "run", tmp_path / data)
    assert not (tmp_path / "run").exists()
    train(tmp_path / "run", faces, steps=1)


# Resuming


def test_a_run_is_not_begun_anew_by_accident(run_folder: Path, faces: Path) -> None:
    before = contents(run_folder)
    with pytest.raises(InputError, match=r"(?s)already holds a run.*--resume"):
        train(run_folder, faces, **SAME)
    assert contents(run_folder) == before


def test_there_must_be_a_run_to_resume(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no run in .* to resume"):
        train(tmp_path / "run", faces, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 5e-3}, r"other settings: lr was 0\.001, now 0\.005\n"),
        ({"ema": 0.9, "seed": 7}, r"other settings: seed was 0, now 7; ema was 0\.5, now 0\.9\n"),
        ({"image_size": 32}, r"image_size was 16, now 32; size was 16, now 32\n"),
        ({"steps": 3}, r"(?s)has made 4 steps, and cannot go back to 3.*--steps 4.*zoo finish"),
    ],
)
def test_a_run_is_not_resumed_as_another(change: dict[str, Any], message: str, run_folder: Path, faces: Path) -> None:
    before = contents(run_folder, CARD | {"run.json", "log.csv"})
    with pytest.raises(InputError, match=message):
        train(run_folder, faces, resume=True, **SAME | change)
    assert contents(run_folder, CARD | {"run.json", "log.csv"}) == before


def test_a_run_is_not_resumed_as_another_family(run_folder: Path, faces: Path) -> None:
    with pytest.raises(InputError, match="recipe was dcgan-celeba, now vae-mnist; family was dcgan, now vae"):
        zoo.train("vae-mnist", out=run_folder, data=faces, device="cpu", progress=False, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"card_name": "my-faces"},
        {"data_name": "somebody/faces"},
        {"weights": "float32"},
        {"log_every": 1},
        {"save_every": 3},
        {"sample_every": 3},
        {"threads": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_the_steps_may_change_on_resume(
    change: dict[str, Any], run_folder: Path, faces: Path, tmp_path: Path
) -> None:
    train(run_folder, faces, resume=True, **SAME | {"steps": 6} | change)
    train(tmp_path / "straight", faces, **SAME | {"steps": 6})
    state = {"checkpoints/step-00000006/state.safetensors"}
    assert contents(run_folder, state) == contents(tmp_path / "straight", state)


def test_a_stopped_run_may_have_fewer_steps_than_it_was_begun_for(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.OutOfTime):
        train(tmp_path / "run", faces, budget=0, **SAME | {"steps": 100})
    train(tmp_path / "run", faces, resume=True, **SAME)
    assert read_facts(tmp_path / "run").training.steps == 4


def test_the_page_on_training_says_what_a_resumed_run_may_change() -> None:
    page = (Path(zoo.__file__).parent.parent / "docs" / "train.md").read_text(encoding="utf-8")
    table = page.partition("<!-- changeable -->")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| (.*) \|$", table, re.M)
    assert dict(rows) == CHANGEABLE


def test_a_run_resumes_when_only_the_folder_of_its_data_was_renamed(
    run_folder: Path, faces: Path, tmp_path: Path
) -> None:
    name = zoo.load(run_folder, device="cpu").name
    shutil.copytree(faces, tmp_path / "holiday")
    train(run_folder, tmp_path / "holiday", resume=True, **SAME | {"steps": 6})
    assert zoo.load(run_folder, device="cpu").name == name
    assert read_facts(run_folder).data.startswith("faces")


def fewer(folder: Path) -> None:
    (folder / "000.png").unlink()


def other(folder: Path) -> None:
    shutil.copy(folder / "001.png", folder / "000.png")


@pytest.mark.parametrize("change", [fewer, other])
def test_a_run_is_not_resumed_with_other_images(
    change: Callable[[Path], None], run_folder: Path, faces: Path, tmp_path: Path
) -> None:
    names = CARD | {"run.json", "log.csv"}
    before, data = contents(run_folder, names), tmp_path / faces.name
    shutil.copytree(faces, data)
    change(data)
    with pytest.raises(DataError, match=r"(?s)the run was begun with other data.*43 images then.*same data"):
        train(run_folder, data, resume=True, **SAME | {"steps": 6})
    assert contents(run_folder, names) == before


def test_a_run_from_before_a_setting_existed_goes_on_as_it_began(faces: Path, tmp_path: Path) -> None:
    for name, total in (("straight", 6), ("old", 4)):
        train(tmp_path / name, faces, **SAME | {"steps": total, "hold_out": 0})
    plan = json.loads((tmp_path / "old" / "run.json").read_text())
    del plan["settings"]["hold_out"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=r"hold_out was 0.0, now 0.2"):
        train(tmp_path / "old", faces, resume=True, **SAME | {"steps": 6, "hold_out": 0.2})
    zoo.finish(tmp_path / "old", data=faces, device="cpu", progress=False)
    train(tmp_path / "old", faces, resume=True, **SAME | {"steps": 6})
    same = {"model.safetensors", "run.json"}
    assert contents(tmp_path / "old", same) == contents(tmp_path / "straight", same)


def test_a_limit_makes_other_data_of_the_same_folder(run_folder: Path, faces: Path) -> None:
    with pytest.raises(DataError, match="43 images then, and has 36 now"):
        train(run_folder, faces, resume=True, limit=40, **SAME | {"steps": 6})


def test_a_resumed_run_may_be_longer(run_folder: Path, faces: Path, tmp_path: Path) -> None:
    train(run_folder, faces, resume=True, **SAME | {"steps": 6})
    train(tmp_path / "straight", faces, **SAME | {"steps": 6})
    assert read_facts(run_folder).training.steps == 6
    assert contents(run_folder, {"model.safetensors"}) == contents(tmp_path / "straight", {"model.safetensors"})


def test_resuming_a_finished_run_restores_a_lost_card(run_folder: Path, faces: Path) -> None:
    before = contents(run_folder, {"model.safetensors", "config.json", "samples.png"})
    for name in CARD:
        (run_folder / name).unlink()
    train(run_folder, faces, resume=True, **SAME)
    assert contents(run_folder, {"model.safetensors", "config.json", "samples.png"}) == before


# Failures


def test_a_run_that_fails_leaves_the_earlier_card_as_it_was(
    run_folder: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run_folder)
    monkeypatch.setattr(Batches, "_augmented", lambda self, rows, draws: torch.full((len(rows), 3, 16, 16), torch.nan))
    with pytest.raises(TrainingError, match=r"(?s)by step 6: loss_D is nan.*checkpoint is .*step-00000004.*--set lr"):
        train(run_folder, faces, resume=True, **SAME | {"steps": 8})
    assert contents(run_folder) == before
    monkeypatch.undo()
    train(run_folder, faces, resume=True, **SAME | {"steps": 8})
    assert read_facts(run_folder).training.steps == 8


def test_a_card_that_cannot_be_completed_leaves_the_earlier_one(
    run_folder: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    before = contents(run_folder)
    monkeypatch.setattr("zoo.card.facts.render", fail)
    with pytest.raises(OSError, match="no space left"):
        train(run_folder, faces, resume=True, **SAME | {"steps": 6})
    assert contents(run_folder) == before
    assert not list(run_folder.glob(".zoo-tmp-*"))
    assert json.loads((run_folder / "run.json").read_text())["steps"] == 6


def test_columns_of_another_name_are_remembered_by_the_card(tmp_path: Path, faces: Path) -> None:
    """`img` instead of `image`, as in CIFAR-10: training takes it, and evaluating the card finds it again."""
    import datasets

    rows = {"img": [{"bytes": path.read_bytes(), "path": None} for path in sorted(faces.rglob("*.png"))[:16]]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features({"img": datasets.Image()}))
    for split in ("train", "test"):
        table.to_parquet(tmp_path / "data" / "data" / f"{split}-00000-of-00001.parquet")
    small = {"steps": 1, "batch_size": 8, "image_size": 16, "width": 4, "precision": "float32", "progress": False}

    with pytest.raises(zoo.DataError, match="no column 'image'"):
        zoo.train("dcgan-celeba", data=tmp_path / "data", out=tmp_path / "run", **small)
    zoo.train("dcgan-celeba", data=tmp_path / "data", columns={"image": "img"}, out=tmp_path / "run", **small)
    assert zoo.evaluate(tmp_path / "run", data=tmp_path / "data", progress=False)


def test_a_card_of_own_data_has_a_name_of_its_own_and_loads_by_its_folder(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = train(tmp_path / "named", faces, card_name="my-faces")
    assert named.name == "my-faces"
    readme = (tmp_path / "named" / "README.md").read_text()
    assert 'zoo.load(".").sample(' in readme, "no name leads to this folder"
    assert str(tmp_path) not in readme
    monkeypatch.chdir(tmp_path / "named")
    assert zoo.load(".").name == "my-faces"
    assert "zoo train dcgan-celeba" in (tmp_path / "named" / "README.md").read_text()
    with pytest.raises(ConfigError, match=r"(?s)card name 'My Faces' is not made of.*--card-name"):
        train(tmp_path / "other", faces, card_name="My Faces")
    assert not (tmp_path / "other").exists()
