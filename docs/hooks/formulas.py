"""Formulas as MathML, which browsers draw by themselves: made while the site is built, so no script need be fetched."""

import re
import unicodedata
from html import unescape

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARKED = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[\[(](?P<latex>.*?)\\[\])]</(?P=tag)>', re.S)
VARIANT = re.compile(r'<mi mathvariant="(?P<style>double-struck|script)">(?P<letter>[A-Za-z])</mi>')


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """What arithmatex has marked, inline in a span and displayed in a div."""
    return MARKED.sub(_drawn, html)


def _drawn(found: re.Match[str]) -> str:
    display = "block" if found["tag"] == "div" else "inline"
    return VARIANT.sub(_lettered, convert(unescape(found["latex"]).strip(), display=display))


def _lettered(found: re.Match[str]) -> str:
    """A letter in another style as a character of its own: no attribute makes browsers draw it so."""
    style, size = found["style"].upper(), "CAPITAL" if found["letter"].isupper() else "SMALL"
    name = f"{style} {size} {found['letter'].upper()}"
    try:
        letter = unicodedata.lookup(name)  # the letters that Unicode had first, such as SCRIPT CAPITAL L
    except KeyError:
        letter = unicodedata.lookup(f"MATHEMATICAL {name}")
    return f"<mi>{letter}</mi>"
