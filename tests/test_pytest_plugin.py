"""The laws under pytest: as an option for installed families, and as one line in a test module."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo.testing
from zoo import pytest_plugin
from zoo.testing import BrokenLaw, Case, Law
from zoo.testing.law import SkippedLaw

pytest_plugins = ["pytester"]

Inner = Callable[..., pytest.RunResult]


def keeps(case: Case) -> None:
    """Nothing to say."""


def breaks(case: Case) -> None:
    raise BrokenLaw("it is upside down")


def cannot(case: Case) -> None:
    raise SkippedLaw("it is too dark to see")


LAWS = [
    Law("all is well", keeps, "sample", "Go on."),
    Law("up is up", breaks, "sample", "Turn it round."),
    Law("night is dark", cannot, "sample", "Wait for the day."),
    Law("only paint dries", keeps, "sample", "Paint.", needs=("translate",)),
    Law("chips are fast", keeps, "sample", "Buy one.", mark="gpu"),
]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """Run pytest inside, in an empty folder where four small laws are all there is, with no plugin but ours."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr(zoo.testing, "LAWS", {law.name: law for law in LAWS})
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*arguments, plugins=[pytest_plugin])

    return run


ONE_LINE = "import zoo.testing\n\ntest_laws = zoo.testing.laws('vae')\n"


def test_a_family_is_judged_by_one_test_for_each_law_and_nothing_else_runs(
    inner: Inner, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_of_the_package(): pass")
    result = inner("--zoo-family", "vae", "--zoo-family", "dcgan", "-v")
    result.assert_outcomes(passed=2, failed=2, skipped=2, deselected=2)
    result.stdout.fnmatch_lines(["zoo::vae::all_is_well PASSED*", "zoo::dcgan::up_is_up FAILED*"])
    result.stdout.no_fnmatch_line("*test_of_the_package*")


def test_with_a_path_its_tests_run_too(inner: Inner, pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("def test_of_the_package(): pass")
    inner("--zoo-family", "vae", str(path), "-k", "well or package").assert_outcomes(passed=2, deselected=3)


def test_without_the_option_nothing_changes(inner: Inner, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_of_the_package(): pass")
    inner().assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["option", "one line"])
def test_a_failure_says_which_promise_where_and_what_to_do_and_no_more(
    way: str, inner: Inner, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(ONE_LINE)
    result = inner("-k", "up_is_up", *(["--zoo-family", "vae"] if way == "option" else []))
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(
        [
            "vae breaks the law 'up is up': it is upside down",
            "  at *model.py:*, VAE.sample",
            "  Turn it round.",
        ]
    )
    result.stdout.no_fnmatch_line("*testing.py*")
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("way", ["option", "one line"])
def test_the_traceback_is_there_for_those_who_ask(way: str, inner: Inner, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_LINE)
    result = inner("-k", "up_is_up", "-vv", *(["--zoo-family", "vae"] if way == "option" else []))
    result.stdout.fnmatch_lines(['*raise BrokenLaw("it is upside down")*', "*breaks the law 'up is up'*"])


def test_one_line_gives_a_test_for_each_law_by_name(inner: Inner, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=ONE_LINE)
    result = inner("-v")
    result.assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["test_mine.py::test_laws[[]all_is_well[]] PASSED*"])
    inner("-k", "well").assert_outcomes(passed=1, deselected=3)


@pytest.mark.parametrize("way", ["option", "one line"])
@pytest.mark.parametrize("which", ["gpu", "all"])
def test_an_optional_law_runs_when_asked_for_and_bears_its_mark(
    which: str, way: str, inner: Inner, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(ONE_LINE)
    words = ["--zoo-family", "vae"] if way == "option" else []
    inner("--zoo-optional", which, "-m", "zoo_gpu", *words).assert_outcomes(passed=1, deselected=3)
    inner("--zoo-optional", "kill", "-m", "zoo_gpu", *words).assert_outcomes(deselected=4)


def test_a_skipped_law_gives_its_reason(inner: Inner) -> None:
    result = inner("--zoo-family", "vae", "-rs")
    result.stdout.fnmatch_lines(["SKIPPED*it is too dark to see"])


def test_an_unknown_family_is_a_usage_error_with_suggestions(inner: Inner) -> None:
    result = inner("--zoo-family", "vea")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --zoo-family vea: no family 'vea' is installed", "  Did you mean 'vae'*"])


def test_the_plugin_and_the_laws_agree_about_the_marks() -> None:
    assert tuple(zoo.testing.OPTIONAL) == pytest_plugin.OPTIONAL
    assert {law.mark for law in zoo.testing.LAWS.values()} == {"", *pytest_plugin.OPTIONAL}


def run_outside(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """pytest in a process of its own, with no plugin but ours."""
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "zoo.pytest_plugin", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_who_asks_for_no_family_pays_for_none(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n\n\n"
        "def test_light():\n"
        "    assert 'zoo.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'pydantic', 'numpy', 'zoo.testing', 'zoo.family.registry'} & sys.modules.keys()\n"
    )
    done = run_outside(tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_real_family_keeps_real_laws(tmp_path: Path) -> None:
    done = run_outside(tmp_path, "--zoo-family", "vae", "-k", "seed or threads or memory", "--strict-markers")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_entry_point_names_the_plugin() -> None:
    project: dict[str, Any] = tomllib.loads((Path(zoo.__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"zoo": pytest_plugin.__name__}
