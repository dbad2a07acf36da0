"""A browser for tests, and a watch over what goes wrong in it."""

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
DESK = {"width": 1280, "height": 1000}
PHONE = {"width": 390, "height": 844}


@dataclass
class Watch:
    """What goes wrong on pages while they are used."""

    address: str
    faults: list[str] = field(default_factory=list)

    def over(self, page: "Page") -> None:
        page.on("console", lambda message: self.note(message.type in ("error", "warning"), f"console: {message.text}"))
        page.on("pageerror", lambda error: self.note(True, f"error: {error}"))
        page.on("request", lambda request: self.note(not self.ours(request.url), f"leaves the site: {request.url}"))
        page.on("response", lambda answer: self.note(answer.status >= 400, f"{answer.status}: {answer.url}"))
        page.on("requestfailed", lambda request: self.note(not self.left(request.failure), f"failed: {request.url}"))

    def ours(self, url: str) -> bool:
        return url.startswith((self.address, "data:", "blob:" + self.address))

    def left(self, failure: str | None) -> bool:
        """A page that is left takes back what it still asked for."""
        return failure == "net::ERR_ABORTED"

    def note(self, bad: bool, what: str) -> None:
        if bad:
            self.faults.append(what)


def chromium() -> str | None:
    names = (os.environ.get("ZOO_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)
