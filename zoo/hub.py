"""Name -> folder of a card: an explicit folder, or a card bundled with the package."""

import os
from functools import cache
from pathlib import Path

from zoo.errors import NotFoundError, did_you_mean
from zoo.registry import registry


@cache
def bundled() -> dict[str, Path]:
    """The cards that come with the installation: in a wheel inside the package, in a clone beside it."""
    package = Path(__file__).resolve().parent
    for root in (package / "_cards", package.parent / "cards"):
        if root.is_dir():
            return {path.name: path for path in sorted(root.iterdir()) if (path / "config.json").is_file()}
    return {}


def locate(name: str | os.PathLike[str]) -> Path:
    """The folder of a card.

    `name` is a folder if it looks like a path (`./x`, `runs/x`, an absolute path, a Path), else the name of a bundled
    card. Raises NotFoundError with suggestions, PluginError if the card's plugin was set aside.
    """
    text = os.fspath(name)
    folder = Path(text).expanduser()
    looks_like_path = isinstance(name, os.PathLike) or os.sep in text or text.startswith((".", "~"))
    if looks_like_path:
        if (folder / "config.json").is_file():
            return folder
        if folder.is_dir():
            raise NotFoundError(
                f"{folder} is no card: it has no config.json", "A finished 'zoo train --out' folder is one."
            )
        raise NotFoundError(f"no folder {folder}", "'zoo list' shows the cards that load by name.")
    if text in bundled():
        return bundled()[text]
    registry().refuse_set_aside(text)
    if text in registry().recipes:
        raise NotFoundError(
            f"card {text!r} has a recipe but no weights here",
            f"Train it with 'zoo train {text} --out runs/{text}', then load that folder.",
        )
    known = {*bundled(), *registry().recipes}
    raise NotFoundError(f"no card {text!r}", did_you_mean(text, known) or "'zoo list' shows all.")
