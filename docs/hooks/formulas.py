"""Formulas as MathML, which browsers draw by themselves: made while the site is built, so no script need be fetched."""

import re
from html import unescape

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARKED = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[\[(](?P<latex>.*?)\\[\])]</(?P=tag)>', re.S)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """What arithmatex has marked, inline in a span and displayed in a div."""
    return MARKED.sub(_drawn, html)


def _drawn(found: re.Match[str]) -> str:
    display = "block" if found["tag"] == "div" else "inline"
    return str(convert(unescape(found["latex"]).strip(), display=display))
