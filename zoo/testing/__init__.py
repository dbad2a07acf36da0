"""The laws that every family keeps: zoo's own families, and those of other packages.

pytest --zoo-family my-family           # one test per law; the same as the next line in a test module
test_laws = zoo.testing.laws("my-family")
zoo.testing.check_family("my-family")   # without pytest: raises one BrokenLaw that names all broken laws
zoo.testing.report("my-family")         # a Result for each law
"""

import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo.errors import ZooError
from zoo.extras import require
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec
from zoo.testing import declarations as _of_declarations  # noqa: F401  (importing them registers their laws)
from zoo.testing import inference as _of_inference  # noqa: F401
from zoo.testing import learning as _of_learning  # noqa: F401
from zoo.testing import probability as _of_probability  # noqa: F401
from zoo.testing.case import Case as Case
from zoo.testing.law import LAWS as LAWS
from zoo.testing.law import OPTIONAL as OPTIONAL
from zoo.testing.law import BrokenLaw as BrokenLaw
from zoo.testing.law import Law as Law
from zoo.testing.law import SkippedLaw


@dataclass(frozen=True)
class Result:
    """The result of one law for one family."""

    law: str
    state: Literal["kept", "broken", "skipped"]
    message: str
    """Which law is broken, where, and what to do; or why it was skipped; empty for a law that is kept."""
    seconds: float
    error: BrokenLaw | None = field(default=None, repr=False, compare=False)


def laws_of(spec: ModelSpec, optional: Iterable[str] = OPTIONAL) -> list[Law]:
    """The laws that apply to a family. Of the optional laws, only those with these marks."""
    marks = {"", *optional}
    return [law for law in LAWS.values() if law.mark in marks and law.concerns(spec)]


def report(family: str | ModelSpec, optional: Iterable[str] = ()) -> Iterator[Result]:
    """Test a family by every law, one after the other, and yield the results.

    optional: the marks (keys of `OPTIONAL`) of optional laws that are tested too.
    Raises NotFoundError or PluginError for a family that is not there, and MissingExtraError without the extra `train`.
    """
    case = case_of(family)
    return (judge(case, law) for law in laws_of(case.spec, optional))


def check_family(family: str | ModelSpec, optional: Iterable[str] = ()) -> None:
    """Test a family by every law. Raises one BrokenLaw that names all laws that it breaks, and what `report` raises."""
    broken = [result for result in report(family, optional) if result.error]
    if len(broken) == 1:
        raise broken[0].error or AssertionError
    if broken:
        texts = "\n\n".join(result.message for result in broken)
        raise BrokenLaw(f"{len(broken)} laws are broken\n\n{texts}")


def check_law(case: Case, name: str) -> None:
    """Test a family by one law. Raises BrokenLaw if it breaks the law."""
    error = judge(case, LAWS[name]).error
    if error:
        raise error


def laws(family: str, optional: Iterable[str] = OPTIONAL) -> Callable[..., None]:
    """A test function with one test for each law of an installed family: `test_laws = zoo.testing.laws("my-family")`.

    Optional laws have pytest's marks `zoo_gpu`, `zoo_compile` and `zoo_kill`. They run only if `--zoo-optional` asks
    for them.
    """
    import pytest

    case = case_of(family)
    known = [
        pytest.param(law, id=law.slug, marks=getattr(pytest.mark, f"zoo_{law.mark}") if law.mark else ())
        for law in laws_of(case.spec, optional)
    ]

    @pytest.mark.parametrize("law", known)
    def test_laws(law: Law, request: pytest.FixtureRequest) -> None:
        under_pytest(case, law, request.config.get_verbosity())

    return test_laws


def under_pytest(case: Case, law: Law, verbosity: int) -> None:
    """Run one law as a test. A skipped or broken law shows only its message; with -vv also the traceback."""
    import pytest

    result = judge(case, law)
    if result.state == "skipped":
        pytest.skip(result.message)
    if result.error and verbosity > 1:
        raise result.error
    if result.error:
        pytest.fail(result.message, pytrace=False)


def case_of(family: str | ModelSpec) -> Case:
    """The test case of an installed family, or of a spec. MissingExtraError without the extra `train`."""
    require("train", "testing a family by the laws")
    return Case(family if isinstance(family, ModelSpec) else registry().spec(family))


def judge(case: Case, law: Law) -> Result:
    """Test a family by one law. Any error in the test breaks the law."""
    started = time.perf_counter()
    skipped, error = "", None
    try:
        if law.needs and not set(law.needs) <= set(case.capabilities):
            raise SkippedLaw(f"{case.spec.name} declares {', '.join(law.needs)}, but its module does not have it all")
        law.check(case)
    except SkippedLaw as reason:
        skipped = str(reason)
    except Exception as fault:
        error = _verdict(case, law, fault)
    state: Literal["kept", "broken", "skipped"] = "broken" if error else "skipped" if skipped else "kept"
    return Result(law.name, state, str(error) if error else skipped, time.perf_counter() - started, error)


def _verdict(case: Case, law: Law, fault: Exception) -> BrokenLaw:
    """The error as a BrokenLaw that says which law is broken, where, and what to do."""
    found = fault.message if isinstance(fault, BrokenLaw) else f"{type(fault).__name__}: {fault}"
    about = getattr(fault, "about", "") or law.about
    where = _line_of(case, fault) or _definition(case, about)
    place = f"\n  at {where}" if where else ""
    error = BrokenLaw(f"{case.spec.name} breaks the law '{law.name}': {found}{place}", law.remedy)
    error.__cause__ = fault
    return error


def _line_of(case: Case, fault: Exception) -> str:
    """The last line of the family's own code in the traceback of an error; empty if there is none."""
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if _is_own(case, frame.filename)]
    return f"{_short_path(frames[-1].filename)}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""


def _definition(case: Case, about: str) -> str:
    """File and line where the family defines what a law is about; empty if that is not known."""
    try:
        kind = resolve(case.spec.module)
        thing: Any = {"train": lambda: resolve(case.spec.train), "Config": lambda: kind.Config}.get(
            about, lambda: getattr(kind, about, kind)
        )()
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (ZooError, OSError, TypeError, AttributeError):
        return ""
    return f"{_short_path(file)}:{line}, {getattr(thing, '__qualname__', about)}" if file else ""


def _is_own(case: Case, file: str) -> bool:
    """Whether a file belongs to the package (or is the module) that holds the family's network or its loop."""
    for where in (case.spec.module, case.spec.train):
        module = sys.modules.get(where.partition(":")[0])
        home = getattr(module, "__file__", None)
        if home and (
            Path(file) == Path(home) or ("." in where.partition(":")[0] and Path(home).parent in Path(file).parents)
        ):
            return True
    return False


def _short_path(file: str) -> str:
    """The path relative to the current folder, if it is inside of it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
