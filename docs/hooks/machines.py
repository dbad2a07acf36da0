"""For programs that read: each page of the site as Markdown too, and `llms.txt`, which lists all pages (llmstxt.org).

The Markdown of a page lies where its source lies in `docs/`, so that links from page to page hold there too: the page
`families/vae/` is also `families/vae.md`. What mkdocstrings would draw is written out as signatures and docstrings.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urljoin

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

REFERENCE = re.compile(r"^::: (?P<name>[\w.]+)\n(?P<options>(?:    .*\n|\n(?=    ))*)", re.M)
"""What mkdocstrings replaces: a name in Python, and options below it."""
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
CLASSES = re.compile(r"\{ ?\.[\w. -]+\}")
"""How a page tells the style sheet what something is."""
FIRST, OTHERS = "Docs", "Cards"
"""Sections of llms.txt for pages that are in no section of the menu, and for pages that are not in the menu."""

texts: dict[str, str] = {}
"""Of each page, by its source's path: the Markdown that is written."""
pages: dict[str, list[Page]] = {}
"""Of each section of llms.txt."""


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Sort the pages into sections; `mkdocs serve` builds again in the same process."""
    texts.clear()
    pages.clear()
    for page in nav.pages:
        pages.setdefault(page.ancestors[-1].title if page.ancestors else FIRST, []).append(page)
    pages[OTHERS] = [file.page for file in files.documentation_pages() if file.page and file.page not in nav.pages]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Keep a page's text."""
    written = REFERENCE.sub(lambda found: f"{_reference(found)}\n", markdown + "\n")
    texts[page.file.src_uri] = CLASSES.sub("", written).strip() + "\n"


def on_post_build(config: MkDocsConfig) -> None:
    """Write the texts and their list."""
    site = Path(config.site_dir)
    for place, text in texts.items():
        (site / place).parent.mkdir(parents=True, exist_ok=True)
        (site / place).write_text(text, encoding="utf-8")
    (site / "llms.txt").write_text("\n".join(_listed(config)) + "\n", encoding="utf-8")


def _listed(config: MkDocsConfig) -> Iterator[str]:
    yield from (f"# {config.site_name}", "", f"> {config.site_description}")
    for section, group in pages.items():
        yield from ("", f"## {section}", "")
        for page in group:
            place = page.file.src_uri
            yield f"- [{page.title}]({urljoin(config.site_url or '', place)}): {summary(page, texts[place])}"


def summary(page: Page, text: str) -> str:
    """The page's description, else the first sentence of its first paragraph, in plain words."""
    if given := page.meta.get("description"):
        return str(given)
    paragraphs = (part for part in text.split("\n\n") if re.match(r"[\w*`[]", part))
    found = re.match(r"(.+?\.)(\s|$)", LINK.sub(r"\1", next(paragraphs, "")), re.S)
    if found is None:
        raise PluginError(f"{page.file.src_uri} begins with no sentence: llms.txt has nothing to say of it")
    return " ".join(found[1].replace("*", "").split())


def _reference(found: re.Match[str]) -> str:
    options = (yaml.safe_load(dedent(found["options"])) or {}).get("options", {})
    name = found["name"]
    value = _resolved(name)
    if inspect.isclass(value) and (members := options.get("members")):
        parts = [_described(f"{name}.{member}", getattr(value, member)) for member in members]
        return "\n".join([f"`{name}`\n\n{inspect.getdoc(value)}\n", *parts])
    return _code(value) if options.get("show_source") else _described(name, value)


def _resolved(name: str) -> Any:
    """What a dotted name stands for."""
    module, _, rest = name, "", ""
    while True:
        try:
            value = import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
    for part in rest.split(".") if rest else []:
        value = getattr(value, part)
    return value


def _described(name: str, value: Any) -> str:
    """A function by its signature and docstring; a class or a module, whose fields matter, by its source."""
    if inspect.isclass(value) or inspect.ismodule(value):
        return f"`{name}`\n\n{_code(value)}"
    signature = "" if isinstance(value, property) else str(inspect.signature(value))
    return f"`{name}{signature}`\n\n{inspect.getdoc(value)}\n"


def _code(value: Any) -> str:
    return f"```python\n{dedent(inspect.getsource(value))}```\n"
