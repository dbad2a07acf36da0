"""The page of a card that `zoo demo` serves, in a real browser."""

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from serving import served
from watching import DESK, PHONE, Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ["a_browser"]
pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.xdist_group("browser")]


def test_a_button_makes_images_and_nothing_leaves_the_machine(browser: "Browser") -> None:
    with served("infogan-mnist") as address, browser.new_context(viewport=DESK) as context:
        page, watch = context.new_page(), Watch(address)
        page.on("request", lambda request: watch.note(not watch.ours(request.url), f"leaves: {request.url}"))
        page.goto(address)
        page.get_by_label("Keep this seed").check()
        page.get_by_role("button", name="Go", exact=True).first.click()
        picture = page.locator("img[src*='/file=']").first
        picture.wait_for()
        with Image.open(io.BytesIO(page.request.get(picture.get_attribute("src") or "").body())) as made:
            assert made.text["model"] == "infogan-mnist"
            assert made.text["seed"] == "0"
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert not watch.faults
