"""The documentation site, built as it is published and used in a real browser: the gallery first of all.

Needs mkdocs, playwright and a Chromium (in PATH, or named by ZOO_CHROMIUM), and is skipped without;
ZOO_BROWSER=required makes a failure of that. ZOO_SCREENSHOTS names a folder that keeps the pictures taken.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise, product
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageChops, ImageStat
from watching import DESK, PHONE, Watch

from zoo.hub.places import bundled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ["a_browser"]
pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.xdist_group("browser")]

ROOT = Path(__file__).resolve().parent.parent.parent
CARDS = sorted(bundled())
PICTURED = [name for name in CARDS if (bundled()[name] / "samples.png").is_file()]
SIZE = "node => [node.getBoundingClientRect().width, node.getBoundingClientRect().height]"
SHOWN = """gallery => [gallery.querySelector(".zoo-count").innerText,
  ...[...gallery.querySelectorAll(".zoo-tile")].filter(one => one.checkVisibility()).map(one => one.dataset.name)]"""
CHOSEN = """form => [form.elements.family.value, form.elements.data.value,
  [...form.querySelectorAll("[name=can]:checked")].map(box => box.value)]"""


@dataclass(frozen=True)
class Known:
    """What a card's files and its family's spec say, read without the site."""

    family: str
    data: str
    capabilities: tuple[str, ...]
    summary: str
    example: str


Visit = Callable[..., "Page"]


@pytest.fixture(scope="session")
def site(_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as it is published. Warnings of the build fail it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what matters of a request is seen in the browser."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def watch(address: str) -> Watch:
    return Watch(address)


@pytest.fixture
def visit(browser: "Browser", address: str, watch: Watch) -> Iterator[Visit]:
    """Open a page of the site as a new visitor. Until the test ends nothing may go wrong there, or leave the site."""
    with ExitStack() as stack:

        def go(path: str = "gallery/", **options: Any) -> "Page":
            page = stack.enter_context(browser.new_context(**options)).new_page()
            page.set_default_timeout(5000)
            watch.over(page)
            page.goto(address + path)
            return page

        yield go
    assert not watch.faults


@pytest.fixture(scope="session")
def known() -> dict[str, Known]:
    from zoo.card import facts as cards
    from zoo.card.config import read_config
    from zoo.family.registry import registry

    found = {}
    for name, folder in bundled().items():
        config, facts = read_config(folder), cards.read_facts(folder)
        spec = registry().spec(config.family)
        line = cards.example(spec, facts.repository or name, facts)
        found[name] = Known(spec.name, facts.data, spec.capabilities, facts.summary, line)
    return found


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ZOO_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def picture(name: str) -> Image.Image:
    """A card's picture."""
    with Image.open(bundled()[name] / "samples.png") as sheet:
        return sheet.convert("RGB")


def apart(thumbnail: Image.Image, sheet: Image.Image, scale: int) -> float:
    """Mean difference, 0 to 255, from the sheet's upper left, where each of its pixels has become scale x scale."""
    w, h = thumbnail.width // scale, thumbnail.height // scale
    detail = sheet.crop((0, 0, w, h)).resize(thumbnail.size, Image.Resampling.NEAREST)
    return max(ImageStat.Stat(ImageChops.difference(thumbnail, detail)).mean)


def shown(page: "Page") -> set[str]:
    """Names of the tiles in view. The count above them must agree."""
    count, *names = page.locator(".zoo-gallery").evaluate(SHOWN)
    assert count.startswith(f"{len(names)} of {len(CARDS)} cards")
    return set(names)


def choose(page: "Page", family: str = "", data: str = "", can: tuple[str, ...] = ()) -> None:
    """Set the controls that are not yet so."""
    *selected, checked = page.locator(".zoo-filters").evaluate(CHOSEN)
    for label, old, new in zip(("Family", "Data"), selected, (family, data), strict=True):
        if old != new:
            page.get_by_label(label).select_option(new)
    for name in set(checked) ^ set(can):
        page.get_by_label(name, exact=True).set_checked(name in can)


def wanted(known: dict[str, Known], family: str = "", data: str = "", can: tuple[str, ...] = ()) -> set[str]:
    return {
        name
        for name, card in known.items()
        if family in ("", card.family) and data in ("", card.data) and set(can) <= set(card.capabilities)
    }


def all_of(known: dict[str, Known]) -> tuple[list[str], list[str], list[str]]:
    """Every family, data set and capability that a card has."""
    families = sorted({card.family for card in known.values()})
    data = sorted({card.data for card in known.values()})
    return families, data, sorted({name for card in known.values() for name in card.capabilities})


def tab_to(page: "Page", css: str) -> None:
    """Reach an element by the Tab key alone."""
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("css => document.activeElement.matches(css)", css):
            return
    pytest.fail(f"a hundred tabs do not reach {css}")


def overflow(page: "Page") -> int:
    """Pixels by which the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_every_card_has_a_page_with_its_picture_and_its_line_of_code_that_fits_a_phone(
    visit: Visit, address: str, known: dict[str, Known]
) -> None:
    page = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    for name in CARDS:
        page.goto(f"{address}gallery/{name}/")
        assert page.locator("h1").inner_text().startswith(name)
        assert known[name].example in page.locator("pre code").first.inner_text()
        assert page.get_by_text(known[name].summary).count() == 1
        facts = page.locator(".zoo-facets").inner_text().split()
        assert {*known[name].data.split(), *known[name].capabilities} <= set(facts)
        assert facts[-1] in ("kB", "MB", "GB")
        pictures = page.locator("article img").evaluate_all(
            "all => all.map(one => [one.naturalWidth, one.naturalHeight])"
        )
        assert pictures == ([list(picture(name).size)] if name in PICTURED else []), name
        assert overflow(page) == 0, name


def test_a_card_page_carries_no_metadata_meant_for_the_hub(visit: Visit) -> None:
    text = visit(f"gallery/{PICTURED[0]}/").locator("article").inner_text()
    assert "model-index" not in text
    assert "library_name" not in text


def test_every_card_has_a_tile_that_leads_to_it(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    assert shown(page) == set(CARDS)
    for name in CARDS:
        tile = page.locator(f".zoo-tile[data-name={name}]")
        assert known[name].summary in tile.inner_text()
        assert urlsplit(tile.get_by_role("link", name=name).evaluate("link => link.href")).path == f"/gallery/{name}/"


def test_thumbnails_load_when_they_come_into_view_and_nothing_jumps(visit: Visit, site: Path) -> None:
    page = visit()
    for name in PICTURED:
        image = page.locator(f".zoo-tile[data-name={name}] img")
        promised = image.evaluate(
            "image => [image.getBoundingClientRect().width, image.getBoundingClientRect().height]"
        )
        image.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth", arg=image.element_handle())
        natural = image.evaluate("image => `${image.naturalWidth}x${image.naturalHeight}`")
        declared = f"{image.get_attribute('width')}x{image.get_attribute('height')}"
        assert natural == declared
        assert image.evaluate(SIZE) == promised
        assert image.get_attribute("loading") == "lazy"
    assert sum(path.stat().st_size for path in site.glob("gallery/*/thumbnail.webp")) < 40_000 * len(PICTURED)


@pytest.mark.parametrize("name", PICTURED)
def test_a_thumbnail_is_the_upper_left_of_its_cards_picture(site: Path, name: str) -> None:
    with Image.open(site / "gallery" / name / "thumbnail.webp") as file:
        thumbnail, sheet = file.convert("RGB"), picture(name)
    assert min(apart(thumbnail, sheet, scale) for scale in range(1, 9)) < 6
    assert thumbnail.width > thumbnail.height


def test_each_filter_shows_exactly_the_cards_it_names(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    families, data, capabilities = all_of(known)
    offered = page.locator("[name=family] option").evaluate_all("options => options.map(option => option.value)")
    assert sorted(offered) == ["", *families]
    single: list[dict[str, Any]] = [{"family": name} for name in families]
    single += [{"data": name} for name in data] + [{"can": (name,)} for name in capabilities]
    for choice in single:
        choose(page, **choice)
        assert shown(page) == wanted(known, **choice), choice


def test_two_filters_together_show_what_both_show(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    families, data, capabilities = all_of(known)
    for one, two in product(families, data):
        choose(page, family=one, data=two)
        assert shown(page) == wanted(known, family=one) & wanted(known, data=two)
    choose(page)
    for one, two in pairwise(capabilities):
        choose(page, can=(one, two))
        assert shown(page) == wanted(known, can=(one,)) & wanted(known, can=(two,))
    for one, two in zip(data, capabilities, strict=False):
        choose(page, data=one, can=(two,))
        assert shown(page) == wanted(known, data=one) & wanted(known, can=(two,))


def test_a_choice_that_nothing_fits_says_so(visit: Visit) -> None:
    page = visit()
    choose(page, family="dcgan", can=("features",))
    assert shown(page) == set()
    assert "none fits" in page.locator(".zoo-count").inner_text()


def test_the_count_is_spoken(visit: Visit) -> None:
    page = visit()
    assert page.locator(".zoo-count").get_attribute("aria-live") == "polite"
    assert page.get_by_role("status").inner_text() == f"{len(CARDS)} of {len(CARDS)} cards"


def test_an_address_restores_the_choice(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    choose(page, data="ylecun/mnist", can=("sample", "infer"))
    page.get_by_label("Find").fill("digits")
    before = shown(page)
    assert before
    assert before <= wanted(known, data="ylecun/mnist", can=("sample", "infer"))
    query = urlsplit(page.url).query
    again = visit(f"gallery/?{query}")
    assert shown(again) == before
    assert again.get_by_label("Find").input_value() == "digits"
    assert again.get_by_label("Data").input_value() == "ylecun/mnist"
    assert again.get_by_label("infer", exact=True).is_checked()


def test_an_address_that_asks_for_what_is_not_offered_shows_all(visit: Visit, address: str) -> None:
    page = visit()
    for query in ("family=nobody&can=fly", "data=&x=1", "find=%20%20", "q=vae"):
        page.goto(f"{address}gallery/?{query}")
        assert shown(page) == set(CARDS), query
        assert page.get_by_label("Family").input_value() == "", query
        assert page.locator("[name=can]:checked").count() == 0, query


def test_the_back_button_takes_back_one_choice_at_a_time(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    page.get_by_label("Data").select_option("flwrlabs/celeba")
    page.get_by_label("translate", exact=True).check()
    both = shown(page)
    page.go_back()
    assert shown(page) == wanted(known, data="flwrlabs/celeba")
    assert not page.get_by_label("translate", exact=True).is_checked()
    page.go_back()
    assert shown(page) == set(CARDS)
    assert page.get_by_label("Data").input_value() == ""
    page.go_forward()
    page.go_forward()
    assert shown(page) == both


def test_coming_back_from_a_card_finds_the_choice_again(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    choose(page, can=("log_prob",))
    page.get_by_role("link", name=min(shown(page)), exact=True).click()
    page.wait_for_url("**/gallery/*/")
    page.go_back()
    assert shown(page) == wanted(known, can=("log_prob",))


def test_what_is_typed_in_a_row_is_one_step_back(visit: Visit) -> None:
    page = visit()
    page.get_by_label("Find").press_sequentially("blond")
    assert "find=blond" in page.url
    page.go_back()
    assert shown(page) == set(CARDS)
    assert page.get_by_label("Find").input_value() == ""


def test_clear_brings_all_cards_back(visit: Visit) -> None:
    page = visit("gallery/?family=vae&data=ylecun/mnist&can=elbo&find=digits")
    assert shown(page) != set(CARDS)
    before = page.url
    page.get_by_role("button", name="Clear filters").click()
    assert shown(page) == set(CARDS)
    assert urlsplit(page.url).query == ""
    assert page.locator("[name=can]:checked").count() == 0
    page.go_back()
    assert page.url == before


def test_search_finds_a_card_by_its_name_and_by_any_word_of_its_summary(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    box = page.get_by_label("Find")
    for name, card in known.items():
        for text in (name.upper(), card.summary, " ".join(reversed(card.summary.split()))):
            box.fill(text)
            assert name in shown(page), text
    box.fill("clothes")
    assert shown(page) == {name for name, card in known.items() if "clothes" in card.summary.lower()}
    box.fill("no card says this")
    assert shown(page) == set()


def test_the_keyboard_alone_filters_and_opens_a_card(visit: Visit, known: dict[str, Known]) -> None:
    page = visit()
    tab_to(page, "[name=find]")
    page.keyboard.type("faces")
    tab_to(page, "[name=family]")
    page.keyboard.type("DC")
    assert page.get_by_label("Family").input_value() == "dcgan"
    tab_to(page, "[name=can][value=sample]")
    page.keyboard.press("Space")
    assert shown(page) == {name for name in wanted(known, family="dcgan") if "faces" in known[name].summary.lower()}
    tab_to(page, ".zoo-tile a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/gallery/dcgan-celeba/")


def test_the_focus_is_seen(visit: Visit) -> None:
    page = visit("gallery/?data=ylecun/mnist")
    outlined = """node => {
      while (node && getComputedStyle(node).outlineStyle !== "solid") node = node.parentElement;
      return Boolean(node);
    }"""
    for css in ("[name=find]", "[name=family]", "[name=can]", ".zoo-filters button", ".zoo-tile a"):
        tab_to(page, css)
        assert page.locator(":focus").evaluate(outlined), css


def test_a_tile_opens_wherever_it_is_touched(visit: Visit) -> None:
    page = visit(viewport=PHONE, has_touch=True)
    page.locator(f".zoo-tile[data-name={CARDS[0]}] dl").tap(force=True)
    page.wait_for_url(f"**/gallery/{CARDS[0]}/")


def test_a_chip_on_a_cards_page_leads_to_the_cards_like_it(visit: Visit, known: dict[str, Known]) -> None:
    page = visit("gallery/stargan-celeba/")
    page.locator(".zoo-facets").get_by_role("link", name="infer").click()
    page.wait_for_url("**/gallery/?**")
    assert shown(page) == wanted(known, can=("infer",))
    page.go_back()
    page.locator(".zoo-facets").get_by_role("link", name="flwrlabs/celeba").click()
    page.wait_for_url("**/gallery/?**")
    assert shown(page) == wanted(known, data="flwrlabs/celeba")
    page.go_back()
    page.locator(".zoo-facets").get_by_role("link", name="StarGAN").click()
    page.wait_for_url("**/families/stargan/")
    page.go_back()
    page.locator("article").get_by_role("link", name="Gallery").click()
    page.wait_for_url("**/gallery/")


def test_without_javascript_every_card_shows_and_no_filter_pretends_to_work(visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator(".zoo-tile:visible").count() == len(CARDS)
    assert page.locator(".zoo-filters:visible").count() == 0


def test_on_a_phone_a_wide_table_scrolls_in_itself(visit: Visit) -> None:
    page = visit("gallery/vae-mnist/", viewport=PHONE, is_mobile=True, has_touch=True)
    scrolled = """nodes => nodes.filter(node => node.scrollWidth > node.clientWidth)
      .filter(node => getComputedStyle(node).overflowX === "auto").length"""
    assert page.locator("article :is(.md-typeset__table, .md-typeset__scrollwrap, table)").evaluate_all(scrolled) > 0


def test_on_a_phone_a_finger_hits_each_control(visit: Visit) -> None:
    page = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    low = "nodes => nodes.map(node => node.getBoundingClientRect().height).filter(height => height < 24)"
    assert page.locator(".zoo-filters :is(label.zoo-chip, select, button, [type=search])").evaluate_all(low) == []


def brightness(page: "Page", path: Path) -> float:
    """Mean grey value, 0 to 255, of the page's left margin, where nothing stands."""
    page.screenshot(path=path)
    with Image.open(path) as taken:
        return ImageStat.Stat(taken.convert("L").crop((0, 80, 12, taken.height))).mean[0]


@pytest.mark.parametrize(("path", "screen"), [("gallery/", DESK), ("gallery/cvae-mnist/", PHONE)])
def test_pages_come_in_light_and_dark_as_the_system_asks_and_as_the_toggle_says(
    visit: Visit, screenshots: Path, path: str, screen: dict[str, int]
) -> None:
    name = path.strip("/").replace("/", "-")
    light, dark = (visit(path, color_scheme=scheme, viewport=screen) for scheme in ("light", "dark"))
    assert brightness(light, screenshots / f"{name}-light.png") > 200
    assert brightness(dark, screenshots / f"{name}-dark.png") < 60
    light.locator("label.md-header__button[for^=__palette]:visible").click()
    assert brightness(light, screenshots / f"{name}-toggled.png") < 60
    light.reload()
    assert brightness(light, screenshots / f"{name}-kept.png") < 60


CONTRAST = """nodes => {
  const colour = text => {
    const [r, g, b, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], alpha};
  };
  const over = (top, below) => top.rgb.map((value, i) => value * top.alpha + below[i] * (1 - top.alpha));
  const behind = node => {
    if (!node) return [255, 255, 255];
    const own = colour(getComputedStyle(node).backgroundColor);
    return own.alpha === 1 ? own.rgb : over(own, behind(node.parentElement));
  };
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = rgb => {
    const [r, g, b] = rgb.map(value => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const written = node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
  return nodes.filter(written).map(node => {
    const back = behind(node), text = over(colour(getComputedStyle(node).color), back);
    const [high, low] = [luminance(text), luminance(back)].sort((a, b) => b - a);
    return [(high + 0.05) / (low + 0.05), node.textContent.trim().slice(0, 30)];
  });
}"""
"""Of each element with words of its own: the contrast that accessibility guidelines ask to be 4.5, and the words."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(visit: Visit, address: str, scheme: str) -> None:
    page = visit("gallery/?can=sample", color_scheme=scheme)
    found = page.locator(".zoo-gallery *").evaluate_all(CONTRAST)
    page.goto(address + "gallery/vae-mnist/")
    found += page.locator(":is(.zoo-facets, .zoo-facets *, .zoo-back, figcaption)").evaluate_all(CONTRAST)
    assert len(found) > 100
    assert [entry for entry in found if entry[0] < 4.5] == []


def test_who_asks_for_less_motion_gets_none(visit: Visit) -> None:
    page = visit(reduced_motion="reduce")
    moving = "nodes => nodes.filter(node => parseFloat(getComputedStyle(node).transitionDuration) > 0).length"
    assert page.locator(".zoo-gallery *").evaluate_all(moving) == 0


def test_no_page_has_an_error_asks_for_anything_beyond_the_site_or_is_wider_than_a_phone(
    visit: Visit, site: Path, address: str
) -> None:
    """Errors and requests are seen by `visit`, at the end. The cards' pages have been seen one by one."""
    page = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    pages = sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html"))
    assert {"index.html", "404.html", "api/index.html", *(f"gallery/{name}/index.html" for name in CARDS)} <= set(pages)
    for path in pages:
        if Path(path).parent.name not in CARDS:
            page.goto(address + path.removesuffix("index.html"))
            assert overflow(page) == 0, path


def test_the_watch_sees_what_goes_wrong(browser: "Browser", address: str) -> None:
    watch, page = Watch(address), browser.new_page()
    watch.over(page)
    page.goto(address)
    assert not watch.faults
    page.evaluate("console.error('oh'); setTimeout(() => { throw Error('no') }); fetch('/nowhere'); 0")
    page.evaluate("fetch('http://elsewhere.invalid/').catch(() => 0)")
    page.wait_for_timeout(200)
    page.close()
    for fault in ("console: oh", "error: no", "404: ", "leaves the site: http://elsewhere.invalid/"):
        assert any(entry.startswith(fault) for entry in watch.faults), (fault, watch.faults)


def test_the_copy_button_copies_the_example(visit: Visit, known: dict[str, Known]) -> None:
    page = visit("gallery/dcgan-celeba/", permissions=["clipboard-read", "clipboard-write"])
    page.locator("pre").first.hover()
    page.get_by_role("button", name="Copy to clipboard").first.click()
    assert page.evaluate("navigator.clipboard.readText()").splitlines()[-1] == known["dcgan-celeba"].example


@pytest.mark.parametrize("path", ["gallery/", "gallery/dcgan-celeba/"])
def test_pages_speak_to_a_screen_reader(visit: Visit, path: str) -> None:
    page = visit(path)
    silent = "images => images.filter(image => !image.alt.trim()).map(image => image.src)"
    assert page.locator("img").evaluate_all(silent) == []
    nameless = """nodes => nodes.filter(node => node.checkVisibility()).filter(node => ![node.ariaLabel, node.title,
      node.labels?.[0]?.textContent, node.tagName === 'SELECT' ? '' : node.textContent].some(text => text?.trim()))
      .map(node => node.outerHTML)"""
    assert page.locator("article :is(a, button, input, select)").evaluate_all(nameless) == []
    levels = page.locator("article :is(h1, h2, h3, h4, h5, h6)").evaluate_all(
        "all => all.map(node => +node.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_the_sites_own_search_finds_a_card(visit: Visit) -> None:
    page = visit("")
    page.keyboard.press("/")
    page.keyboard.type("stargan-celeba")
    page.locator(".md-search-result__link[href*='gallery/stargan-celeba/']").first.wait_for()


def test_formulas_are_drawn_and_not_shown_as_they_are_written(visit: Visit) -> None:
    page = visit("families/realnvp/")
    heights = page.locator("math[display=block]").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert heights
    assert min(heights) > 10
    text = page.locator("article").inner_text()
    assert not [sign for sign in ("\\odot", "\\log", "$$", "\\(") if sign in text]


def test_formulas_ask_for_no_letters_that_browsers_do_not_draw(site: Path) -> None:
    styles = {style for page in site.rglob("*.html") for style in re.findall(r'mathvariant="(.*?)"', page.read_text())}
    assert styles <= {"normal"}
    assert "𝔼" in (site / "families" / "wgan-gp" / "index.html").read_text()


def test_the_home_page_begins_with_a_picture_and_a_line_of_code(visit: Visit) -> None:
    page = visit("")
    picture, code = page.locator("article img").first, page.locator("article pre").first
    assert picture.evaluate("image => image.naturalWidth") > 0
    assert 'zoo.load("' in code.inner_text()
    assert code.bounding_box()["y"] < DESK["height"]  # type: ignore[index]


def test_the_gallery_opens_with_the_cards_nearest_to_real_images(visit: Visit) -> None:
    from zoo.card.facts import read_facts

    far = []
    for name in visit().locator(".zoo-tile").evaluate_all("all => all.map(one => one.dataset.name)"):
        distances = [metric for metric in read_facts(bundled()[name]).metrics if metric.name.startswith("fd-")]
        far += [metric.value / metric.floor for metric in distances[:1] if metric.floor and name in PICTURED]
    assert len(far) > 5
    assert far == sorted(far)
