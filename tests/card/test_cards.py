"""README.md follows from a card's facts, says all of them, and the bundled cards keep their promises."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from stand_ins import TRAINING
from tables import write_table

import zoo
from zoo.card import facts as cards
from zoo.card import names as folder
from zoo.card import weights
from zoo.card.config import CardDraft, read_config
from zoo.card.facts import Cost, Evaluation, Facts, Metric, Reference, address, read_facts, render, write_facts
from zoo.errors import ConfigError, FormatError
from zoo.family.config import validate
from zoo.family.registry import cards_of, registry, resolve
from zoo.family.spec import Preparation
from zoo.files import sha256
from zoo.hub.places import bundled
from zoo.images.batch import Images
from zoo.testing import Case
from zoo.training import pictures

MAX_CARD = 16_000_000
"""Bytes; a card travels with every clone. tests/test_wheels.py weighs what goes to the package index."""

DISTANCE = Metric(
    name="sliced_wasserstein",
    value=12.3456,
    better="lower",
    data="somebody/faces",
    split="test",
    n=1_500,
    seed=3,
    protocol="128 patches of 7x7",
    floor=3.14159,
    baseline="the paper: 9",
    reference=Reference(backbone="judge-drawn", weights="a1" * 32, resize="by hand", statistics="b2" * 32, n=2_345),
)
BOUND = Metric(
    name="elbo",
    value=-95.123,
    uncertainty=0.31,
    unit="nats",
    better="higher",
    data="somebody/faces",
    split="test",
    n=900,
    seed=5,
    protocol="one draw of z | binary images",
)
COST = Cost(parameters=1_234_567, bytes=4_938_268, memory=765_432_100, seconds=0.123, machine="GPU (Abacus 2)")
EVALUATION = Evaluation(device="CPU (Abacus, 3 threads)", seconds=432, software={"timm": "1.2.3"}, commit="c0ffee")
FACTS = Facts(
    summary="Faces drawn by hand.",
    license="other",
    data_terms="The faces belong to nobody.",
    limits=["No hats.", "No beards."],
    larger="--set width=99 --steps 123456",
    training=TRAINING,
    metrics=[DISTANCE, BOUND],
    evaluation=EVALUATION,
    costs=[COST],
    golden={"elbo": [-95.1, -96.2]},
)


def with_training(**changes: Any) -> Facts:
    return FACTS.model_copy(update={"training": TRAINING.model_copy(update=changes)})


@pytest.fixture
def card(tiny_card: Path) -> Path:
    """A whole card with made-up facts."""
    model = zoo.load(tiny_card, device="cpu")
    model.sample(9, seed=0).save(tiny_card / folder.PICTURE)
    write_facts(tiny_card, FACTS)
    return tiny_card


# Rendering


def test_rendering_is_deterministic(card: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(card, tmp_path / "elsewhere" / "renamed"))
    write_facts(again, read_facts(again))
    assert render(card) == render(again) == (card / "README.md").read_text()


def test_facts_come_back_as_they_were_written(card: Path) -> None:
    assert read_facts(card) == FACTS


def test_the_readme_says_every_fact(card: Path) -> None:
    text = render(card)
    said = [
        "# dcgan-tiny",
        "![Samples at seed 0, not picked](samples.png)",
        FACTS.summary,
        "12,345 images of somebody/faces (train split) for 6,789 steps of 48: 26.4 passes over the data",
        "The training took 90 minutes on CPU (Abacus, 2 threads)",
        'zoo.load(".").sample(16, seed=0)',
        "16x16 RGB",
        "float32 safetensors",
        read_config(card).weights.sha256[:16],
        "| cost on GPU (Abacus 2) | 1,234,567 parameters, 4.9 MB on disk; "
        "16 images in 0.12 s with the card loaded, after a first try; at most 765.4 MB of memory",
        "| sliced wasserstein | 12.35 | training images: 3.142; the paper: 9 "
        "| lower | 1,500 images of somebody/faces, test | 128 patches of 7x7; seed 3 |",
        "| elbo | -95.12 ± 0.31 nats | none | higher | 900 images of somebody/faces, test "
        r"| one draw of z \| binary images; seed 5 |",
        "The number after ± is the standard error",
        "The features are those of judge-drawn, sha256 `a1a1a1a1a1a1a1a1…`. Images are resized: by hand. "
        "The statistics are of 2,345 real images",
        "sha256 `b2b2b2b2b2b2b2b2…`",
        "The figures were measured in 7 minutes on CPU (Abacus, 3 threads) with timm 1.2.3, commit c0ffee.",
        "zoo verify .",
        "zoo train dcgan-celeba --data somebody/faces --out runs/larger --set width=99 --steps 123456",
        "zoo train dcgan-celeba --data somebody/faces --out runs/dcgan-tiny",
        *("| lr | 0.0003 |", "| augmentation | color,cutout |", "| policy | none |", "| flip | True |"),
        *("| steps | 6789 |", "| batch_size | 48 |", "| precision | bfloat16 |", "| seed | 77 |"),
        *(f"| model {key} | {value} |" for key, value in read_config(card).config.items()),
        "zoo 0.1.0, torch 9.8.7",
        *("- No hats.", "- No beards.", "The faces belong to nobody."),
        registry().spec("dcgan").paper,
        registry().spec("dcgan").citation,
    ]
    assert [words for words in said if words not in text] == []


def test_the_readme_reads_from_the_picture_to_the_citation(card: Path) -> None:
    text = render(card)
    order = ["samples.png", FACTS.summary, "It was trained on", "```python", "## Figures", "## Training", "## Limits"]
    places = [text.index(words) for words in [*order, "## Data and licence", "## Citation"]]
    assert places == sorted(places)


def test_every_table_has_as_many_cells_as_its_head(card: Path) -> None:
    write_facts(card, with_training(data="a|b\nc", settings={"policy": "x | y\n| z |"}))
    width = 0
    for line in render(card).splitlines():
        if line.startswith("|"):
            width = width or line.count("|")
            assert line.replace(r"\|", "").count("|") == width, line
        else:
            width = 0


def test_the_front_matter_is_what_the_hub_reads(card: Path) -> None:
    data = ModelCard((card / "README.md").read_text()).data
    assert data.library_name == "genzoo"
    assert data.pipeline_tag == "unconditional-image-generation"
    assert (data.license, data.license_name) == ("other", "see-data-terms")
    assert data.license_link == "https://huggingface.co/datasets/somebody/faces"
    assert data.datasets == ["somebody/faces"]
    assert data.metrics is None
    assert "dcgan" in data.tags
    assert data.model_name == "dcgan-tiny"
    results = {result.metric_type: result for result in data.eval_results}
    assert results["zoo/elbo"].metric_value == -95.123
    assert results["zoo/sliced_wasserstein"].dataset_type == "somebody/faces"
    assert results["zoo/sliced_wasserstein"].dataset_split == "test"
    assert results["zoo/elbo"].source_url is None


def test_only_what_the_hub_means_by_a_metric_bears_its_name(card: Path) -> None:
    """Accuracy is accuracy; precision and recall of samples are not those of a classifier."""
    names = ("class_accuracy", "accuracy_Male", "precision", "recall")
    metrics = [FACTS.metrics[0].model_copy(update={"name": name}) for name in names]
    write_facts(card, FACTS.model_copy(update={"metrics": metrics}))
    data = ModelCard((card / "README.md").read_text()).data
    assert data.metrics == ["accuracy"]
    assert [result.metric_type for result in data.eval_results] == 2 * ["accuracy"] + ["zoo/precision", "zoo/recall"]
    assert [result.metric_name.split(" ")[0] for result in data.eval_results] == list(names)


def test_figures_of_a_published_card_name_their_source(card: Path) -> None:
    address(card, "somebody/dcgan-tiny")
    data = ModelCard((card / "README.md").read_text()).data
    sources = {result.source_url for result in data.eval_results}
    assert sources == {"https://huggingface.co/somebody/dcgan-tiny/blob/main/evaluation.json"}


def test_data_of_ones_own_have_no_page_on_the_hub(card: Path) -> None:
    write_facts(card, FACTS.model_copy(update={"training": FACTS.training.model_copy(update={"data": "my-photos"})}))
    data = ModelCard((card / "README.md").read_text()).data
    assert (data.license_name, data.license_link, data.datasets) == ("see-data-terms", None, None)


def test_a_named_licence_needs_no_further_words(card: Path) -> None:
    write_facts(card, FACTS.model_copy(update={"license": "cc-by-sa-3.0"}))
    data = ModelCard((card / "README.md").read_text()).data
    assert (data.license, data.license_name, data.license_link) == ("cc-by-sa-3.0", None, None)
    assert "Licence of the weights: cc-by-sa-3.0." in (card / "README.md").read_text()


def test_a_card_without_figures_or_limits_says_so_and_still_parses(card: Path) -> None:
    write_facts(card, FACTS.model_copy(update={"metrics": [], "evaluation": None, "costs": [], "limits": []}))
    text = (card / "README.md").read_text()
    assert "This card has no figures yet" in text
    assert "## Limits" not in text
    assert "±" not in text
    data = ModelCard(text).data
    assert data.eval_results is None
    assert data.metrics is None


def test_a_folder_of_ones_own_is_no_data_set_of_the_hub(card: Path) -> None:
    write_facts(card, with_training(data="my faces"))
    text = (card / "README.md").read_text()
    assert ModelCard(text).data.datasets is None
    assert "--data 'my faces'" in text


def test_a_card_without_a_picture_shows_none(card: Path) -> None:
    (card / folder.PICTURE).unlink()
    assert "samples.png)" not in render(card)


@pytest.mark.parametrize(
    "changed",
    [
        FACTS.model_copy(update={"summary": "Hands."}),
        FACTS.model_copy(update={"license": "mit"}),
        FACTS.model_copy(update={"data_terms": "They belong to somebody."}),
        FACTS.model_copy(update={"limits": ["No hats."]}),
        FACTS.model_copy(update={"larger": ""}),
        FACTS.model_copy(update={"metrics": [DISTANCE]}),
        *(
            FACTS.model_copy(update={"costs": [COST.model_copy(update={key: value})]})
            for key, value in {"parameters": 9, "bytes": 9, "memory": 9, "seconds": 0.5, "machine": "TPU"}.items()
        ),
        *(
            FACTS.model_copy(update={"evaluation": EVALUATION.model_copy(update={key: value})})
            for key, value in {"device": "TPU", "seconds": 9.0, "software": {"timm": "9"}, "commit": "9"}.items()
        ),
        *(
            with_training(**{key: value})
            for key, value in {
                "data": "others/faces",
                "split": "all",
                "images": 9,
                "steps": 9,
                "batch_size": 9,
                "passes": 9.0,
                "seconds": 9.0,
                "device": "TPU",
                "precision": "float32",
                "seed": 9,
                "settings": {"lr": 9.0},
                "software": {"zoo": "9"},
            }.items()
        ),
        *(
            FACTS.model_copy(update={"metrics": [BOUND.model_copy(update={key: value})]})
            for key, value in {
                "name": "log_likelihood",
                "value": -9.0,
                "uncertainty": 9.0,
                "unit": "bits",
                "better": "lower",
                "data": "others/faces",
                "split": "all",
                "n": 9,
                "seed": 9,
                "protocol": "exact",
                "floor": 9.0,
                "baseline": "9",
                "reference": DISTANCE.reference,
            }.items()
        ),
    ],
)
def test_a_changed_fact_changes_the_readme(changed: Facts, card: Path) -> None:
    before = FACTS.model_copy(update={"metrics": [BOUND]}) if changed.metrics[0].name != DISTANCE.name else FACTS
    write_facts(card, before)
    text = render(card)
    write_facts(card, changed)
    assert render(card) != text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.6, "1 second"), (90, "90 seconds"), (125, "2 minutes"), (7000, "117 minutes"), (9000, "2.5 hours")],
)
def test_durations_are_told_in_a_fitting_unit(seconds: float, words: str) -> None:
    assert cards.duration(seconds) == words


# Golden values


@pytest.mark.parametrize("family", ["vae", "judge", "realnvp"])
def test_golden_values_are_those_of_the_methods_on_images_that_are_always_the_same(family: str) -> None:
    model = Case(registry().spec(family)).model
    found = pictures.golden(model)
    assert found == pictures.golden(model)
    for method in {"encode", "log_prob", "elbo", "features"} & set(model.spec.capabilities):
        p = model.preparation
        value = getattr(model, method)(zoo.Noise(0, 0, 4).uniform(p.channels, p.size, p.size))
        assert found[method][0] == pytest.approx(value.flatten()[0].item(), rel=1e-5)
        assert found[method][-1] == pytest.approx(value.flatten()[-1].item(), rel=1e-5)
    assert all(0 < len(values) <= 16 for values in found.values())


def test_golden_values_tell_one_weight_from_another() -> None:
    model = Case(registry().spec("vae")).model
    before = pictures.golden(model)
    with torch.no_grad():
        next(model.module.parameters()).add_(0.01)
    after = pictures.golden(model)
    assert before.keys() == after.keys()
    assert all(before[method] != after[method] for method in before)


def test_what_has_no_such_method_has_no_golden_values() -> None:
    assert pictures.golden(Case(registry().spec("dcgan")).model) == {}


def test_a_model_claims_no_weights_before_they_are_written(tmp_path: Path) -> None:
    model = Case(registry().spec("dcgan")).model
    made = model.sample(2, seed=0)
    assert model.sha256 == ""
    assert "weights" not in made.info
    again = zoo.load(model.save_pretrained(tmp_path / "card"), device="cpu")
    assert again.sha256 == read_config(tmp_path / "card").weights.sha256 == sha256(tmp_path / "card" / folder.WEIGHTS)
    assert again.sample(2, seed=0).info["weights"] == again.sha256[:16]
    assert torch.equal(again.sample(2, seed=0).tensor, made.tensor)


# The picture of a translator


def translator() -> zoo.Model:
    spec = registry().spec("pix2pix")
    module = weights.build(spec, dict(spec.tiny))
    draft = CardDraft(
        name="edges2drawn",
        family="pix2pix",
        config=dict(spec.tiny),
        preparation=Preparation(size=16, filter="edges"),
    )
    return zoo.Model(module, spec, draft, device="cpu")


def test_a_translator_shows_generated_images_what_it_is_given_and_what_it_makes(
    tiny_card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.hub.places.bundled", lambda: {"dcgan-tiny": tiny_card})
    model = translator()
    shown = pictures.picture(model, "dcgan-tiny", columns=4)
    assert shown is not None
    generated, given, made = shown.tensor.split(4)
    assert torch.equal(generated, zoo.load(tiny_card, device="cpu").sample(4, seed=0).tensor)
    assert torch.equal(given, resolve(model.spec.filters["edges"])(generated))
    assert not torch.equal(made, generated)
    facts = FACTS.model_copy(update={"picture_inputs": "dcgan-tiny"})
    assert cards.caption(model.spec, model.card, facts) == (
        "From the top: samples of dcgan-tiny at seed 0, what the model is given, their translations; not picked"
    )


def test_a_translator_without_the_card_of_its_inputs_has_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.hub.places.bundled", dict)
    assert pictures.picture(translator(), "dcgan-celeba") is None


ORIGIN = {"data": "photos", "source": "somebody", "file": "a.pth", "sha256": "0" * 64, "command": "python convert.py"}


def outlined(folder: Path, faces: Path) -> Path:
    """A data set of pairs with both splits: each picture and, as its input, another one."""
    files = sorted(faces.iterdir())[:16]
    cells = [{"bytes": path.read_bytes(), "path": None} for path in reversed(files)]
    for split in ("train", "test"):
        write_table(folder, files, split=split, outline=(datasets.Image(), cells))
    return folder


@pytest.fixture(scope="module")
def coloured(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a few steps on pairs that may be shown."""
    tmp = tmp_path_factory.mktemp("coloured")
    small = {"image_size": 16, "width": 4, "patch_layers": 1, "patch_width": 4, "batch_size": 8, "steps": 1}
    zoo.train(
        "pix2pix-openmoji",
        out=tmp / "run",
        data=outlined(tmp / "data", faces),
        data_name="openmoji",
        columns={"input": "outline", "image": "image"},
        device="cpu",
        progress=False,
        **small,
    )
    return tmp / "run"


def test_a_picture_of_data_that_may_be_shown_shows_pairs_of_the_test_split_with_their_credit(coloured: Path) -> None:
    with Image.open(coloured / folder.PICTURE) as sheet:
        inputs, made, targets = Images.of_grid(sheet, 16, columns=12, rows=3).chunk(3)
        assert sheet.text["credit"] == "OpenMoji, CC BY-SA 4.0"  # type: ignore[attr-defined]
        below = np.asarray(sheet)[3 * 18 :]
    model = zoo.load(coloured, device="cpu")
    assert not torch.equal(inputs, targets)
    assert torch.allclose(model.translate(inputs, prepared=True).tensor, made, atol=1 / 255)
    assert below.min() < 128  # there are letters
    assert "OpenMoji, CC BY-SA 4.0" in (coloured / "README.md").read_text()


def test_verification_finds_a_picture_whose_results_are_not_the_models(coloured: Path, tmp_path: Path) -> None:
    card = shutil.copytree(coloured, tmp_path / "card")
    verdicts = {check.what: check.state for check in zoo.verify(card, device="cpu")}
    assert verdicts[folder.PICTURE] == "pass"
    with Image.open(card / folder.PICTURE) as sheet:
        better = np.array(sheet)
    better[18:34] = better[36:52]  # the originals in place of what was made of their outlines
    Image.fromarray(better).save(card / folder.PICTURE)
    verdicts = {check.what: check.state for check in zoo.verify(card, device="cpu")}
    assert verdicts[folder.PICTURE] == "fail"


def test_without_a_credit_no_image_of_the_data_is_shown(faces: Path, tmp_path: Path) -> None:
    """On data of one's own the recipe's credit says nothing."""
    small = {"image_size": 16, "width": 4, "patch_layers": 1, "patch_width": 4, "batch_size": 8, "steps": 1}
    data = outlined(tmp_path / "data", faces)
    zoo.train(
        "pix2pix-openmoji",
        out=tmp_path / "run",
        data=data,
        columns={"image": "image"},
        device="cpu",
        progress=False,
        **small,
    )
    assert not (tmp_path / "run" / folder.PICTURE).exists()
    assert read_facts(tmp_path / "run").picture_credit == ""


def test_facts_say_either_how_weights_were_trained_or_whose_they_are() -> None:
    for changes in ({"training": None}, {"origin": ORIGIN}):
        with pytest.raises(ConfigError, match="either training or origin"):
            validate(Facts, FACTS.model_dump() | changes, "facts")
    assert validate(Facts, FACTS.model_dump() | {"training": None, "origin": ORIGIN}, "facts").data == "photos"


# Facts are checked


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(card: Path) -> None:
        facts = json.loads((card / folder.FACTS).read_text())
        change(facts)
        (card / folder.FACTS).write_text(json.dumps(facts))

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited(lambda facts: facts.update(sumary="x")), "sumary: .*not permitted.*\n.*Did you mean 'summary'"),
        (edited(lambda facts: facts["training"].update(gpu="x")), r"training\.gpu: .*not permitted"),
        (edited(lambda facts: facts["metrics"][0].update(fid=1)), r"fid.*: .*not permitted"),
        (edited(lambda facts: facts.pop("license")), r"license: .*required"),
        (edited(lambda facts: facts["metrics"][1].pop("protocol")), r"protocol: .*required"),
        (edited(lambda facts: facts["metrics"][0].update(better="blue")), r"better: .*'lower' or 'higher'"),
        (edited(lambda facts: facts["training"].update(steps="many")), r"training\.steps: .*found 'many'"),
        (edited(lambda facts: facts.update(picture_inputs="../../secret")), r"picture_inputs: "),
        (lambda card: (card / folder.FACTS).write_text("{"), "not valid JSON"),
        (lambda card: (card / folder.FACTS).unlink(), "no such file"),
    ],
)
def test_facts_outside_the_schema_are_refused(change: Callable[[Path], object], message: str, card: Path) -> None:
    change(card)
    with pytest.raises((ConfigError, FormatError), match=rf"(?s)evaluation\.json: .*{message}"):
        render(card)


def test_a_figure_that_is_not_finite_is_not_written(card: Path) -> None:
    before = (card / folder.FACTS).read_bytes()
    broken = FACTS.model_copy(update={"metrics": [BOUND.model_copy(update={"value": float("nan")})]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_facts(card, broken)
    assert (card / folder.FACTS).read_bytes() == before


# The bundled cards


def names() -> list[str]:
    return list(bundled())


def makes_images(name: str) -> bool:
    return bool({"sample", "translate"} & set(capabilities(name)))


def capabilities(name: str) -> tuple[str, ...]:
    return registry().spec(read_config(bundled()[name]).family).capabilities


TRAINED = [name for name in names() if read_facts(bundled()[name]).training]
CONVERTED = [name for name in names() if name not in TRAINED]


@pytest.mark.parametrize("name", names())
def test_a_bundled_readme_follows_from_its_facts(name: str) -> None:
    assert (bundled()[name] / "README.md").read_text(encoding="utf-8") == render(bundled()[name])


@pytest.mark.parametrize("name", names())
def test_a_bundled_card_holds_what_a_card_holds(name: str) -> None:
    folder = bundled()[name]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictured = {"samples.png"} if makes_images(name) else set()
    shipped = {"statistics.safetensors"} if "features" in capabilities(name) and name in TRAINED else set()
    assert files == {"README.md", "config.json", "evaluation.json", "model.safetensors"} | pictured | shipped
    assert read_config(folder).name == name
    assert read_config(folder).conditions is not None
    assert name in cards_of(registry().spec(read_config(folder).family))


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_card_says_whose_weights_it_holds_and_claims_no_training(name: str) -> None:
    facts, readme = read_facts(bundled()[name]), (bundled()[name] / "README.md").read_text(encoding="utf-8")
    assert facts.origin is not None
    assert len(facts.origin.sha256) == 64
    assert facts.costs
    assert facts.golden
    assert facts.origin.source in readme
    assert "## Training" not in readme
    assert "zoo train" not in readme
    with pytest.raises(zoo.InputError, match="zoo did not train"):
        zoo.evaluate(name, progress=False)


@pytest.mark.parametrize("name", sorted(registry().recipes))
def test_a_recipe_of_ours_says_how_long_it_takes_and_fits_into_a_working_day(name: str) -> None:
    assert 0 < registry().recipe(name)[1].hours < 8


@pytest.mark.parametrize("name", TRAINED)
def test_a_bundled_card_has_figures_costs_limits_and_terms(name: str) -> None:
    facts = read_facts(bundled()[name])
    _, recipe = registry().recipe(name)
    assert facts.metrics
    assert [cost.machine[:3] for cost in facts.costs][:1] == ["CPU"]
    assert facts.evaluation is not None
    assert facts.golden or makes_images(name)
    said = (facts.license, facts.data_terms, tuple(facts.limits), facts.larger)
    assert said == (recipe.license, recipe.terms, recipe.limits, recipe.larger)
    data = ModelCard((bundled()[name] / "README.md").read_text(encoding="utf-8")).data
    assert data.datasets == ([recipe.data] if "/" in recipe.data else None)  # only what is on the Hub is named
    assert data.library_name == "genzoo"
    assert len(data.eval_results) == len(facts.metrics)


@pytest.mark.parametrize("name", names())
def test_a_bundled_card_is_small(name: str) -> None:
    assert size(bundled()[name]) < MAX_CARD


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", names())
def test_the_weights_of_a_bundled_card_have_the_hash_it_names(name: str) -> None:
    folder = bundled()[name]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert read_config(folder).weights.sha256 == digest


@pytest.mark.parametrize("name", [name for name in names() if makes_images(name)])
def test_a_bundled_card_makes_finite_different_images(name: str) -> None:
    model = zoo.load(name, device="cpu")
    if "sample" in model.spec.capabilities:
        images = model.sample(2, seed=0)
    else:
        size = model.preparation.size
        images = model.translate(zoo.Noise(0, 0, 2).uniform(model.preparation.channels, size, size))
    assert bool(images.tensor.isfinite().all())
    assert images.tensor.std() > 0.05
    assert not images.tensor[0].equal(images.tensor[1])
