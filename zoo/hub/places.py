"""The folder of a card, by name: a folder that was given, a bundled card, or a repository on the Hub."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zoo.card.names import CONFIG, FACTS, NEEDED, PLAN
from zoo.errors import HubError, InputError, NotFoundError, did_you_mean
from zoo.extras import install
from zoo.family.registry import registry

Name = str | os.PathLike[str]
HUB = "https://huggingface.co"
HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")


@dataclass(frozen=True)
class Place:
    """The folder of a card, and where it came from."""

    folder: Path
    repo: str = ""
    """The repository on the Hub that the folder is a copy of; empty for any other folder."""
    commit: str = ""
    """The commit of that repository."""


@cache
def bundled() -> dict[str, Path]:
    """The cards that come with what is installed: folders by name. A name that two packages hold is one card."""
    return _holding(NEEDED)


@cache
def elsewhere() -> dict[str, Path]:
    """The cards of which only the config and the facts are installed; the weights come with another package."""
    here = _holding(NEEDED)
    return {name: folder for name, folder in _holding((CONFIG, FACTS)).items() if name not in here}


def lacking() -> str:
    """Why there are no families or cards at all in a program that was frozen or zipped; empty if there are some."""
    if registry().lacking or bundled() or Path(__file__).is_file():
        return registry().lacking
    return "zoo is in an archive here, and cards are read from folders only. Unpack it, or install it with pip."


def _holding(files: tuple[str, ...]) -> dict[str, Path]:
    """By name, the first folder for a card that holds these files."""
    found: dict[str, Path] = {}
    for name, folder in _folders():
        if all((folder / file).is_file() for file in files):
            found.setdefault(name, folder)
    return dict(sorted(found.items()))


def _folders() -> Iterator[tuple[str, Path]]:
    """Where cards may be, each place with the card's name: ours in a wheel inside the package, in a clone beside it;
    then those of plugins."""
    package = Path(__file__).resolve().parent.parent
    roots = [root for root in (package / "_cards", package.parent / "cards") if root.is_dir()]
    yield from ((folder.name, folder) for root in roots[:1] for folder in root.iterdir())
    yield from registry().packaged_cards()


def namespace() -> str | None:
    """$ZOO_NAMESPACE: the organisation or user on the Hub to whom short names belong."""
    return os.environ.get("ZOO_NAMESPACE") or None


def locate(name: Name) -> Path:
    """The folder of a card; see `find`."""
    return find(name).folder


def find(
    name: Name,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Name | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Place:
    """Find a card. The first of these that exists is taken:

    1. a folder, if the name is a Path, looks like a path (`./x`, `/x`, `~/x`), or has a slash and is a folder here;
    2. a bundled card of that name, unless a revision is asked for;
    3. the repository `org/name` on the Hub, or for a short name `$ZOO_NAMESPACE/name`, at `name@revision`.

    The other arguments are those of the Hub's client, and matter for 3 only.
    Raises NotFoundError with suggestions, PluginError if the card's plugin was set aside, and what `fetch` raises.
    """
    text, asked = _split(name)
    if asked and revision and asked != revision:
        raise InputError(f"{os.fspath(name)}: two revisions, {asked!r} and {revision!r}", "Give only one of them.")
    revision = revision or asked
    if _is_path(name, text):
        return Place(_folder(Path(text)))
    if text in bundled() and revision is None:
        return Place(bundled()[text])
    if "/" not in text:
        registry().refuse_set_aside(text)
    repo = repository(text)
    if repo is None:
        raise _unknown(text, revision)
    from zoo.hub.download import fetch

    try:
        found = fetch(
            repo,
            revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
    except (HubError, NotFoundError) as error:
        if "/" not in text:
            raise
        raise type(error)(f"no folder {text}, and {error.message}", error.hint) from error
    return Place(found.folder, found.repo, found.commit)


def order(name: Name) -> Iterator[str]:
    """For each place where `find` looks for a card, a line that says whether it takes that one."""
    text, revision = _split(name)
    path, repo = _is_path(name, text), repository(text)
    ours = not path and revision is None and text in bundled()
    yield f"1. folder: {'this one' if path else 'none of that name'}"
    missing = f"none here, {registry().package_of_cards(text)} has it" if text in elsewhere() else "none of that name"
    yield f"2. bundled: {'this one' if ours else 'not asked' if path or revision else missing}"
    if path or ours:
        yield "3. Hub: not asked"
    elif repo is None:
        yield "3. Hub: not asked; a short name has no owner there unless ZOO_NAMESPACE is set"
    else:
        yield f"3. Hub: {repo} at {revision or 'main'}"


def origin(card: str) -> str:
    """Where a card comes from that is known here, in words; empty if nothing here says that there is one."""
    if card in bundled():
        return "bundled"
    if card not in elsewhere():
        return ""
    repo = repository(card)
    return f"on the Hub: {repo}" if repo else f"in {registry().package_of_cards(card)}"


def repository(text: str) -> str | None:
    """The Hub repository that a name means. None for a short name if there is no namespace."""
    if "/" in text:
        return text
    owner = namespace()
    return f"{owner}/{text}" if owner else None


def _split(name: Name) -> tuple[str, str | None]:
    """The two parts of `org/name@revision`, also of the address of its page. A path is not parted."""
    text = os.fspath(name)
    if isinstance(name, os.PathLike) or text.startswith((".", "~", os.sep)) or Path(text).is_dir():
        return os.path.expanduser(text), None
    address, _, revision = text.partition("@")
    repo, asked = page(address)
    if asked and revision and asked != revision:
        raise InputError(f"{text}: two revisions, {asked!r} and {revision!r}", "Give only one of them.")
    return repo, revision or asked


def page(text: str) -> tuple[str, str | None]:
    """The repository and the revision that the address of a page on the Hub shows; any other text as it is.

    InputError for the address of something else.
    """
    from urllib.parse import unquote, urlsplit

    ours = (urlsplit(os.environ.get("HF_ENDPOINT") or HUB).netloc, *HOSTS)
    parts = urlsplit(text if "://" in text or text.partition("/")[0] not in ours else f"https://{text}")
    if not parts.scheme or not parts.netloc:
        return text, None
    words = [unquote(word) for word in parts.path.split("/") if word]
    if parts.netloc not in ours or len(words) < 2 or words[0] in ("datasets", "spaces", "docs", "collections"):
        raise InputError(
            f"{text} is not the page of a model on the Hub", "Give a card as org/name or org/name@revision."
        )
    shown = words[3] if len(words) > 3 and words[2] in ("tree", "blob", "resolve", "commit") else None
    return "/".join(words[:2]), shown


def _is_path(name: Name, text: str) -> bool:
    if isinstance(name, os.PathLike) or text.startswith((".", os.sep)):
        return True
    # org/name looks like a path. A folder that exists comes first.
    return ("/" in text or os.sep in text) and (Path(text).is_dir() or text.count("/") != 1)


def _folder(folder: Path) -> Path:
    if (folder / CONFIG).is_file():
        return folder
    if folder.is_dir():
        if (folder / PLAN).is_file():
            hint = f"To make a card of its newest checkpoint: zoo finish {folder}"
            raise NotFoundError(f"{folder} is no card yet: it holds a run that has not ended", hint)
        raise NotFoundError(
            f"{folder} is no card: it has no {CONFIG}",
            "A card is the folder of a finished run: zoo train NAME --out FOLDER",
        )
    raise NotFoundError(f"no folder {folder}", "'zoo list' shows the cards that load by name.")


def _unknown(text: str, revision: str | None) -> NotFoundError:
    """The error for a name that means nothing here, when there is no namespace to ask the Hub with."""
    if revision is not None:
        hint = f"Give its owner too, like org/{text}@{revision}, or set ZOO_NAMESPACE=org."
        return NotFoundError(f"{text}@{revision}: only a repository on the Hub has revisions", hint)
    if text in elsewhere():
        package = registry().package_of_cards(text)
        return NotFoundError(f"card {text!r} is in the package {package}, which is not installed", install(package))
    if Path(text).is_dir():
        return NotFoundError(f"no card {text!r}, but there is a folder of that name", f"For the folder type ./{text}")
    if text in registry().recipes and not lacking():
        return NotFoundError(
            f"card {text!r} has a recipe, but it has not been trained here",
            f"Train it, and then give the folder ./runs/{text}: zoo train {text} --out runs/{text}",
        )
    known = {*bundled(), *registry().recipes}
    hint = lacking() or did_you_mean(text, known)
    hint = hint or "'zoo list' shows all. A card on the Hub has a name like org/name."
    return NotFoundError(f"no card {text!r}", hint)
