"""`zoo export`: what it writes and shows, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo.cli.parser import app
from zoo.extras import EXTRAS


def test_export_writes_a_folder_and_shows_what_became_of_each_method(tiny_card: Path, tmp_path: Path) -> None:
    words = ["export", str(tiny_card), "--out", str(tmp_path / "out"), "--dtype", "float16", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = {one["method"]: one for one in json.loads(done.stdout)}
    assert found.keys() == {"sample", "decode"}
    for one in found.values():
        assert (tmp_path / "out" / one["file"]).stat().st_size == one["bytes"]
        assert one["difference"] <= 1 / 255
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)


def test_export_refuses_another_format_and_names_the_extra(
    tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", str(tiny_card), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, [*words, "--format", "gguf"]).exit_code == 2
    done = CliRunner().invoke(app, [*words, "--only", "sampel"])
    assert (done.exit_code, "Did you mean 'sample'?" in done.stderr) == (1, True)
    monkeypatch.setitem(EXTRAS, "export", ("a_package_nobody_has",))
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "pip install 'genzoo[export]'" in done.stderr) == (1, True)
    assert not (tmp_path / "out").exists()
