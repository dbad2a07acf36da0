"""A plugin of pytest: a Chromium for tests."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from watching import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def _tools() -> None:
    """Skip, or fail where the browser is required, with the name of what is missing."""
    missing = [name for name in ("mkdocs", "playwright") if find_spec(name) is None]
    missing += [] if chromium() else ["chromium"]
    if missing and os.environ.get("ZOO_BROWSER") == "required":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def browser(_tools: None) -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield running
        running.close()
