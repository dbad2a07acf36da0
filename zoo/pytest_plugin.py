"""pytest's side of the laws: `pytest --zoo-family NAME` judges an installed family, one test for each law.

Every run of pytest on a machine with zoo imports this file, so it imports nothing but pytest: the laws, and torch with
them, come when a family is asked for.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from zoo.testing import Case, Law

OPTIONAL = ("gpu", "compile", "kill")
"""Marks of the laws that run only when asked for; `zoo.testing.OPTIONAL` says what each needs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zoo", "the laws of model families")
    group.addoption(
        "--zoo-family",
        action="append",
        default=[],
        metavar="NAME",
        help="judge this installed family by every law; may be repeated. Without paths the laws are all that runs.",
    )
    group.addoption(
        "--zoo-optional",
        action="append",
        default=[],
        choices=[*OPTIONAL, "all"],
        help="run the optional laws of this mark too; may be repeated.",
    )


def pytest_configure(config: pytest.Config) -> None:
    for mark in OPTIONAL:
        config.addinivalue_line(
            "markers", f"zoo_{mark}: an optional law of zoo, left out without --zoo-optional {mark}"
        )
    families = config.getoption("zoo_family")
    if families:
        _check_names(families)
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The families stand beside the files that the session was given."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        names = dict.fromkeys(collector.config.getoption("zoo_family"))
        report.result = [*report.result, *(Family.of(collector, name) for name in names)]
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.getoption("zoo_optional")
    if "all" in asked:
        return
    marks = [f"zoo_{mark}" for mark in OPTIONAL if mark not in asked]
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class Family(pytest.Collector):
    """One family of `--zoo-family`."""

    @classmethod
    def of(cls, session: pytest.Session, name: str) -> "Family":
        family: Family = cls.from_parent(session, name=name, nodeid=f"zoo::{name}")
        return family

    def collect(self) -> Iterator[pytest.Item]:
        from zoo.testing import case_of, laws_of

        case = case_of(self.name)
        for law in laws_of(case.spec):
            item = LawItem.from_parent(self, name=law.slug, case=case, law=law)
            if law.mark:
                item.add_marker(f"zoo_{law.mark}")
            yield item


class LawItem(pytest.Item):
    """One law, for one family."""

    def __init__(self, *, case: "Case", law: "Law", **options: Any) -> None:
        super().__init__(**options)
        self.case, self.law = case, law

    def runtest(self) -> None:
        from zoo.testing import under_pytest

        under_pytest(self.case, self.law, self.config.get_verbosity())

    def reportinfo(self) -> tuple[str, None, str]:
        return "zoo", None, f"{self.case.spec.name}: {self.law.name}"


def _check_names(families: list[str]) -> None:
    """UsageError, in the registry's words, for a family that is not there."""
    from zoo.errors import ZooError
    from zoo.family.registry import registry

    for name in families:
        try:
            registry().spec(name)
        except ZooError as error:
            raise pytest.UsageError(f"--zoo-family {name}: {error}") from None
