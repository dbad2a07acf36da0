"""`zoo verify`: a good card passes, and every fault is found as the fault that it is."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tables import classes, write_table
from typer.testing import CliRunner

import zoo
from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig
from zoo.card.names import LIMITS, PICTURE, SIGNATURE
from zoo.cli.parser import app
from zoo.distances import sliced_wasserstein
from zoo.evaluation import cost, features, measures
from zoo.evaluation import figures as evaluation
from zoo.evaluation.features import Statistics
from zoo.evaluation.report import Check
from zoo.evaluation.verification import verify
from zoo.family.registry import registry
from zoo.hub import places as hub
from zoo.training import pictures

PREPARATIONS = {
    "judge": zoo.Preparation(size=16, mode="L"),
    "vae": zoo.Preparation(size=8, mode="L", binarize=True),
    "pixelcnn": zoo.Preparation(size=8, mode="L", binarize=True),
}
CONFIGS = {"pixelcnn": {"channels": 1, "n_levels": 2}}
NAMES = {family: f"{family}-tiny" for family in PREPARATIONS}


def make_data(folder: Path, seed: int = 0) -> Path:
    """60 images of each split: a bright bar whose place is the class."""
    draws, pictures = np.random.default_rng(seed), folder.with_name(f"{folder.name}-pictures")
    pictures.mkdir()
    for split in ("train", "test"):
        files = [pictures / f"{split}{i}.png" for i in range(60)]
        for i, file in enumerate(files):
            values = draws.integers(0, 120, (16, 16), dtype=np.uint8)
            values[:, i % 10 : i % 10 + 5] += 130
            Image.fromarray(values).save(file)
        write_table(folder, files, split, label=classes([i % 10 for i in range(60)], list("abcdefghij")))
    return folder


def make_card(family: str, root: Path) -> Path:
    """An untrained card of a family's tiny model, with its picture and its facts."""
    folder, spec = root / NAMES[family], registry().spec(family)
    folder.mkdir()
    module = weights.build(spec, dict(spec.tiny) | CONFIGS.get(family, {})).eval()
    config = CardConfig(
        name=folder.name,
        family=family,
        config=module.config.model_dump(mode="json"),
        preparation=PREPARATIONS[family],
        weights=weights.save_weights(module, folder),
    )
    cards.write_config(folder, config)
    shown = pictures.picture(zoo.Model(module, spec, config, device="cpu"), None)
    if shown is not None:
        shown.save(folder / PICTURE)
    columns = {"image": "image"} | ({"label": "label"} if family == "judge" else {})
    training = cards.Training(
        recipe="tiny", data="made/bars", split="train", columns=columns, images=60, steps=1, batch_size=8, passes=0.1,
        seconds=1, device="CPU", precision="float32", seed=0, settings={}, software={},
    )  # fmt: skip
    facts = cards.Facts(summary="Tiny.", license="cc0-1.0", data_terms="Drawn.", limits=[], training=training)
    cards.write_facts(folder, facts)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _few_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "IMPORTANCE_SAMPLES", 10)
        patch.setattr(measures, "sliced_wasserstein", partial(sliced_wasserstein, patches=4, directions=16))
        patch.setattr(evaluation, "SECOND", "")  # no second backbone: it takes longer than all else
        patch.setattr(evaluation, "cost", cost.measure)  # in this process: its memory does not matter here
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "bars")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A judge and two samplers with all their records."""
    root = tmp_path_factory.mktemp("cards")
    torch.manual_seed(0)
    for family in NAMES:
        folder = make_card(family, root)
        judge = None if family == "judge" else root / "judge-tiny"
        zoo.evaluate(folder, data=data, data_name="made/bars", judge=judge, seed=3, write=True, progress=False)
    return root


@pytest.fixture
def shelf(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cards, bundled as it were. A fresh copy, free to break."""
    root = Path(shutil.copytree(measured, tmp_path / "cards"))
    monkeypatch.setattr(hub, "bundled", lambda: {name: root / name for name in sorted(NAMES.values())})
    return root


@pytest.fixture
def vae(shelf: Path) -> Path:
    return shelf / "vae-tiny"


@pytest.fixture
def judge(shelf: Path) -> Path:
    return shelf / "judge-tiny"


def checks(name: str | Path, **options: Any) -> dict[str, Check]:
    found = verify(name, progress=False, **options)
    assert len({check.what for check in found}) == len(found)
    return {check.what: check for check in found}


def failed(name: str | Path, **options: Any) -> set[str]:
    return faults(checks(name, **options))


def faults(found: dict[str, Check]) -> set[str]:
    return {what for what, check in found.items() if check.state == "fail"}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def edit(folder: Path, **changes: Any) -> None:
    """Facts changed, and the README that follows from them."""
    cards.write_facts(folder, cards.read_facts(folder).model_copy(update=changes))


def edit_figure(folder: Path, name: str, **changes: Any) -> None:
    metrics = cards.read_facts(folder).metrics
    assert name in {metric.name for metric in metrics}
    edit(folder, metrics=[m.model_copy(update=changes) if m.name == name else m for m in metrics])


def figure(folder: Path, name: str) -> cards.Metric:
    return next(metric for metric in cards.read_facts(folder).metrics if metric.name == name)


# --- good cards


@pytest.mark.parametrize("family", NAMES)
def test_a_good_card_passes_and_what_needs_data_is_said(shelf: Path, family: str) -> None:
    found = checks(NAMES[family])
    assert {what for what, check in found.items() if check.state != "pass"} == {"figures"}
    assert "--data" in found["figures"].why
    assert not any(check.why for check in found.values() if check.state == "pass")


def test_what_is_checked_follows_from_what_the_card_has(shelf: Path) -> None:
    common = {"weights", "files", "README.md", "cost parameters", "cost bytes", "figures"}
    reference = {"reference judge-tiny weights", "reference judge-tiny statistics", "fd-judge-tiny"}
    assert set(checks("judge-tiny")) == common | {"golden infer.label", "golden features", "statistics"}
    assert set(checks("vae-tiny")) == common | reference | {"golden encode", "golden elbo", "samples.png"}
    assert set(checks("pixelcnn-tiny")) == common | reference | {"golden log_prob", "samples.png"}


def test_binary_samples_are_held_against_the_binary_images(shelf: Path) -> None:
    """A PixelCNN draws pixels of 0 and 1, a VAE shows their means."""
    model = zoo.load("judge-tiny", device="cpu")
    shipped = features.read_statistics(shelf / "judge-tiny", model)
    for name, kind in (("vae-tiny", "test"), ("pixelcnn-tiny", "binary")):
        assert checks(name)["reference judge-tiny statistics"].found == shipped[kind].sha256[:12]


@pytest.mark.parametrize("options", [{}, {"data": True}])
def test_verifying_changes_nothing(shelf: Path, data: Path, options: dict[str, bool]) -> None:
    before = contents(shelf)
    for name in NAMES.values():
        verify(name, progress=False, **({"data": data} if options else {}))
    assert contents(shelf) == before


# --- one fault, one check


def test_weights_that_are_not_those_of_the_config_are_the_end_of_it(vae: Path) -> None:
    whole = bytearray((vae / "model.safetensors").read_bytes())
    whole[-1] ^= 1
    (vae / "model.safetensors").write_bytes(whole)
    found = checks("vae-tiny")
    assert faults(found) == set(found) == {"weights"}
    assert "sha256" in found["weights"].why
    assert "Get the card again" in found["weights"].why


def test_one_changed_weight_under_a_new_hash_is_seen_in_what_it_makes(vae: Path) -> None:
    """A byte of the decoder's last bias: the picture and the bound are others, the encoder's results are not."""
    module, _, config = weights.load_module(vae)
    name = [key for key in module.state_dict() if key.startswith("decoder") and key.endswith("bias")][-1]
    with torch.no_grad():
        module.get_parameter(name).view(torch.uint8)[3] ^= 2
    facts = weights.save_weights(module, vae, config.weights.dtype)
    cards.write_config(vae, config.model_copy(update={"weights": facts}))
    found = failed("vae-tiny")
    assert {"samples.png", "golden elbo"} <= found
    assert not {"weights", "golden encode", "files", "cost bytes"} & found


def test_facts_that_do_not_fit_their_schema_leave_only_the_weights_to_check(vae: Path) -> None:
    facts = json.loads((vae / "evaluation.json").read_text())
    (vae / "evaluation.json").write_text(json.dumps(facts | {"sumary": "Tiny."}))
    found = checks("vae-tiny")
    assert {what: check.state for what, check in found.items()} == {"weights": "pass", "facts": "fail"}
    assert "Did you mean 'summary'" in found["facts"].why


def test_an_edited_readme_is_found_with_the_line(vae: Path) -> None:
    lines = (vae / "README.md").read_text().splitlines(keepends=True)
    lines[20] = "The best model there is.\n"
    (vae / "README.md").write_text("".join(lines))
    found = checks("vae-tiny")
    assert faults(found) == {"README.md"}
    assert "line 21 " in found["README.md"].why


@pytest.mark.parametrize("fault", ["missing", "longer", "other line ends"])
def test_a_readme_is_the_same_to_the_byte(vae: Path, fault: str) -> None:
    path = vae / "README.md"
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(
            path.read_bytes() + b"\nMore." if fault == "longer" else path.read_bytes().replace(b"\n", b"\r\n")
        )
    assert failed("vae-tiny") == {"README.md"}


@pytest.mark.parametrize("name", ["notes.txt", ".zoo-tmp-1", "sub"])
def test_a_stray_file_is_named(vae: Path, name: str) -> None:
    (vae / name).mkdir() if name == "sub" else (vae / name).write_text("x")
    found = checks("vae-tiny")
    assert faults(found) == {"files"}
    assert found["files"].found == name


def test_a_runs_folder_holds_more_than_its_card(vae: Path) -> None:
    (vae / "run.json").write_text("{}")
    (vae / "log.csv").write_text("")
    found = checks("vae-tiny")
    assert faults(found) == set()
    assert found["files"].state == "skipped"


def test_a_picture_of_other_samples_is_found(vae: Path) -> None:
    zoo.load(vae, device="cpu").sample(36, seed=1).save(vae / "samples.png")
    assert failed("vae-tiny") == {"samples.png"}


@pytest.mark.parametrize("n", [9, 35])
def test_a_picture_of_fewer_samples_is_found(vae: Path, n: int) -> None:
    zoo.load(vae, device="cpu").sample(n, seed=0).save(vae / "samples.png")
    assert failed("vae-tiny") == {"samples.png"}


def test_a_missing_or_broken_picture_is_found(vae: Path) -> None:
    (vae / "samples.png").write_bytes(b"not a picture")
    assert failed("vae-tiny") == {"samples.png"}
    (vae / "samples.png").unlink()
    assert "samples.png" in failed("vae-tiny")


@pytest.mark.parametrize(("step", "state"), [(2, "pass"), (3, "fail")])
def test_a_picture_may_differ_as_machines_do(vae: Path, step: int, state: str) -> None:
    values = np.asarray(Image.open(vae / "samples.png"))
    Image.fromarray(np.where(values > 127, values - step, values + step).astype(np.uint8)).save(vae / "samples.png")
    assert checks("vae-tiny")["samples.png"].state == state


def test_of_36_binary_samples_one_may_be_another(shelf: Path) -> None:
    """One early pixel that turns makes the rest of its image another, here by a fourth of its pixels; two may not."""
    path = shelf / "pixelcnn-tiny" / "samples.png"
    values = np.array(Image.open(path))
    values[:4, :4] = 255 - values[:4, :4]
    Image.fromarray(values).save(path)
    assert failed("pixelcnn-tiny") == set()
    values[10:18, 10:18] = 255 - values[10:18, 10:18]
    Image.fromarray(values).save(path)
    assert failed("pixelcnn-tiny") == {"samples.png"}


@pytest.mark.parametrize(("factor", "wrong"), [(1.0001, set()), (1.01, {"golden elbo"}), (-1, {"golden elbo"})])
def test_a_golden_number_is_found_again_up_to_round_off(vae: Path, factor: float, wrong: set[str]) -> None:
    golden = cards.read_facts(vae).golden
    edit(vae, golden=golden | {"elbo": [factor * golden["elbo"][0], *golden["elbo"][1:]]})
    found = checks("vae-tiny")
    assert faults(found) == wrong
    assert not wrong or found["golden elbo"].expected == pytest.approx(factor * golden["elbo"][0])


def test_golden_entries_that_are_missing_extra_or_short_are_found(vae: Path) -> None:
    golden = cards.read_facts(vae).golden
    edit(vae, golden={"elbo": golden["elbo"][:-1], "infer": [1.0]})
    assert failed("vae-tiny") == {"golden elbo", "golden encode", "golden infer"}


@pytest.mark.parametrize("key", ["parameters", "bytes"])
def test_a_wrong_cost_is_found(vae: Path, key: str) -> None:
    (found,) = cards.read_facts(vae).costs
    edit(vae, costs=[found.model_copy(update={key: getattr(found, key) + 1})])
    assert failed("vae-tiny") == {f"cost {key}"}


@pytest.mark.parametrize(("factor", "wrong"), [(1.01, set()), (1.03, {"fd-judge-tiny"}), (0.5, {"fd-judge-tiny"})])
def test_a_distance_is_measured_again_from_samples(vae: Path, factor: float, wrong: set[str]) -> None:
    edit_figure(vae, "fd-judge-tiny", value=factor * figure(vae, "fd-judge-tiny").value)
    assert failed("vae-tiny") == wrong


def test_a_figure_edited_behind_the_readmes_back_fails_there_too(vae: Path) -> None:
    text, value = (vae / "evaluation.json").read_text(), figure(vae, "fd-judge-tiny").value
    assert text.count(f'"value": {value}') == 1
    (vae / "evaluation.json").write_text(text.replace(f'"value": {value}', f'"value": {value / 2}'))
    assert failed("vae-tiny") == {"README.md", "fd-judge-tiny"}


def test_statistics_of_other_images_are_found_and_the_distance_is_left(vae: Path, judge: Path) -> None:
    shipped = features.read_statistics(judge, zoo.load(judge, device="cpu"))
    part = shipped["test"]
    other = Statistics(part.mean + 0.1, part.covariance, part.n)
    features.write_statistics(judge, shipped | {"test": other})
    found = checks("vae-tiny")
    assert faults(found) == {"reference judge-tiny statistics"}
    assert found["fd-judge-tiny"].state == "skipped"
    assert failed("pixelcnn-tiny") == set()  # its own kind is as it was


def test_another_judge_is_found_and_the_distance_is_left(vae: Path, judge: Path) -> None:
    module, _, config = weights.load_module(judge)
    with torch.no_grad():
        module.get_parameter("net.fc.bias").add_(1)
    cards.write_config(judge, config.model_copy(update={"weights": weights.save_weights(module, judge)}))
    found = checks("vae-tiny")
    assert faults(found) == {"reference judge-tiny weights"}
    assert found["fd-judge-tiny"].state == "skipped"


def test_broken_statistics_fail_at_the_judge_and_where_they_are_used(vae: Path, judge: Path) -> None:
    path = judge / "statistics.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert failed("judge-tiny") == {"statistics"}
    found = checks("vae-tiny")
    assert faults(found) == {"reference"}
    assert "statistics.safetensors" in found["reference"].why


def test_a_family_that_raises_fails_its_checks_and_no_other(vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(*_: Any) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr("zoo_vae.model.VAE.sample", sample)
    found = checks("vae-tiny")
    assert faults(found) == {"samples.png", "reference"}
    assert found["samples.png"].why == "RuntimeError: no luck"


# --- what cannot be checked


def test_a_card_without_records_is_told_how_to_get_them(vae: Path) -> None:
    edit(vae, golden={}, costs=[], metrics=[])
    found = checks(vae)
    skipped = {what: check.why for what, check in found.items() if check.state == "skipped"}
    assert faults(found) == set()
    assert set(skipped) == {"golden", "cost", "figures"}
    assert all(f"zoo evaluate {vae} --write" in why for why in skipped.values())


def test_a_judge_without_statistics_is_told_how_to_get_them(judge: Path) -> None:
    (judge / "statistics.safetensors").unlink()
    for name, what in (("judge-tiny", "statistics"), ("vae-tiny", "reference judge-tiny statistics")):
        found = checks(name)
        assert faults(found) == set()
        assert found[what].state == "skipped"
        assert "zoo evaluate judge-tiny --write" in found[what].why


def test_a_judge_that_is_not_bundled_is_used_where_it_is_given(
    vae: Path, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "bundled", dict)
    assert checks(vae)["reference judge-tiny"].state == "skipped"
    assert checks(vae, judge=judge)["fd-judge-tiny"].state == "pass"


def test_a_distance_on_other_data_is_not_held_against_the_judges(vae: Path) -> None:
    edit_figure(vae, "fd-judge-tiny", data="photos")
    found = checks("vae-tiny")
    assert found["reference judge-tiny statistics"].state == "skipped"
    assert "photos" in found["reference judge-tiny statistics"].why
    assert "fd-judge-tiny" not in found


def test_errors_of_the_caller_are_raised(vae: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.NotFoundError, match="vae-tiny"):
        verify("vae-tyni")
    with pytest.raises(zoo.InputError, match="device"):
        verify("vae-tiny", device="abacus")
    with pytest.raises(zoo.DataError, match="nowhere"):
        verify("vae-tiny", data=tmp_path / "nowhere", progress=False)


# --- with data


@pytest.mark.parametrize("family", NAMES)
def test_with_data_every_figure_of_a_good_card_passes(shelf: Path, data: Path, family: str) -> None:
    found = checks(NAMES[family], data=data)
    recorded = cards.read_facts(shelf / NAMES[family]).metrics
    assert {f"figure {metric.name}" for metric in recorded} <= found.keys()
    assert {what for what, check in found.items() if check.state != "pass"} == set()


@pytest.mark.parametrize(
    ("name", "change"),
    [("sharpness", {"value": 1.0}), ("elbo", {"n": 61}), ("recall", {"floor": 0.0}), ("coverage", {"floor": None})],
)
def test_with_data_an_edited_figure_is_found(vae: Path, data: Path, name: str, change: dict[str, Any]) -> None:
    assert any(getattr(figure(vae, name), key) != value for key, value in change.items())
    edit_figure(vae, name, **change)
    assert failed("vae-tiny") == set()
    assert failed("vae-tiny", data=data) == {f"figure {name}"}


def test_a_figure_may_differ_by_its_standard_error_where_that_is_more(judge: Path, data: Path) -> None:
    """An untrained judge is right in about one case of ten, and 60 images leave 4 % of doubt."""
    found = figure(judge, "accuracy")
    assert found.uncertainty
    assert found.uncertainty > 0.1 * found.value
    for errors, wrong in ((0.9, set()), (1.1, {"figure accuracy"})):
        edit_figure(judge, "accuracy", value=found.value + errors * found.uncertainty)
        assert failed("judge-tiny", data=data) == wrong


def test_with_data_figures_are_those_of_the_record_no_more_no_less(vae: Path, data: Path) -> None:
    metrics = cards.read_facts(vae).metrics
    invented = metrics[0].model_copy(update={"name": "beauty"})
    edit(vae, metrics=[invented, *metrics[1:]])
    assert failed("vae-tiny", data=data) == {"figure beauty", f"figure {metrics[0].name}"}


def test_figures_of_a_backbone_that_cannot_be_had_are_skipped_alone(vae: Path, data: Path) -> None:
    metrics = cards.read_facts(vae).metrics
    other = [m.reference and m.reference.model_copy(update={"backbone": "resnet0"}) for m in metrics]
    edit(vae, metrics=[m.model_copy(update={"reference": r}) for m, r in zip(metrics, other, strict=True)])
    found = checks("vae-tiny", data=data, judge="judge-tiny")
    skipped = {what for what, check in found.items() if check.state == "skipped"}
    assert faults(found) == set()
    assert skipped == {"reference resnet0", *(f"figure {m.name}" for m in metrics if m.reference)}
    assert "resnet0" in found["figure precision"].why


def test_figures_of_another_backbone_are_measured_with_it(
    vae: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge's features under another name stand in for a timm model, whose weights would be downloaded."""
    from dataclasses import replace

    eyes = replace(features.of_judge(zoo.load("judge-tiny", device="cpu")), name="resnet0")
    monkeypatch.setattr(features, "find_backbone", lambda name, device: {"resnet0": eyes}[name])
    renamed = [
        m.model_copy(
            update={
                "name": m.name.replace("judge-tiny", "resnet0"),
                "reference": m.reference.model_copy(update={"backbone": "resnet0"}),
            }
        )
        if m.reference
        else m
        for m in cards.read_facts(vae).metrics
    ]
    edit(vae, metrics=renamed)
    found = checks("vae-tiny", data=data)
    assert faults(found) == set()
    assert found["figure fd-resnet0"].state == found["figure kd-resnet0"].state == "pass"


def test_a_judges_statistics_are_held_against_the_data(judge: Path, tmp_path: Path) -> None:
    other = make_data(tmp_path / "others", seed=1)
    assert {"statistics test", "statistics binary"} <= failed("judge-tiny", data=other)


# --- the command


@pytest.fixture
def run() -> Callable[..., Any]:
    return lambda *words: CliRunner().invoke(app, ["verify", *map(str, words)])


def test_the_command_ends_with_1_when_a_check_fails(run: Callable[..., Any], vae: Path) -> None:
    assert run(vae).exit_code == 0
    (vae / "notes.txt").write_text("x")
    result = run("vae-tiny")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if " fail " in line] == [line for line in lines if line.split()[1] == "files"]


def test_all_goes_on_after_a_broken_card(run: Callable[..., Any], shelf: Path) -> None:
    (shelf / "judge-tiny" / "config.json").write_text("{}")
    (shelf / "pixelcnn-tiny" / "model.safetensors").unlink()
    result = run("--all", "--json")
    assert result.exit_code == 1
    assert result.stderr == ""
    entries = json.loads(result.stdout)
    wrong = {entry["card"]: entry["what"] for entry in entries if entry["state"] == "fail"}
    assert wrong == {"judge-tiny": "weights", "pixelcnn-tiny": "weights", "vae-tiny": "reference"}
    assert {e["what"] for e in entries if e["card"] == "vae-tiny"} >= {"weights", "files", "samples.png", "golden elbo"}
    assert entries[0].keys() == {"card"} | Check.__dataclass_fields__.keys()


def test_all_is_quiet_when_all_is_well(run: Callable[..., Any], shelf: Path) -> None:
    result = run("--all")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split()[0] for line in result.stdout.splitlines()[1:-1]]
    assert set(rows) == set(NAMES.values())
    assert len(rows) == sum(len(verify(name, progress=False)) for name in NAMES.values())


@pytest.mark.parametrize("words", [[], ["vae-tiny", "--all"], ["--all", "--data", "x"], ["--all", "--judge", "x"]])
def test_the_command_wants_one_card_or_all(run: Callable[..., Any], words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_what_a_card_may_hold_is_what_zoo_writes(measured: Path) -> None:
    written = {path.name for folder in measured.iterdir() for path in folder.iterdir()}
    assert written == LIMITS.keys() - {SIGNATURE}, "a publisher adds the signature"
