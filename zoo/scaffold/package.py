"""`zoo new`: write a complete, working package for a new family."""

import builtins
import importlib.util
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from zoo._version import DISTRIBUTION
from zoo.card.names import CONFIG, FACTS, PICTURE, README, WEIGHTS
from zoo.errors import InputError, PluginError
from zoo.family.registry import registry
from zoo.family.spec import API_VERSION, NAME
from zoo.files import new_folder

TEMPLATES = {
    "pyproject.toml": "pyproject.toml.jinja",
    "README.md": "readme.md.jinja",
    ".gitignore": "gitignore.jinja",
    ".github/workflows/test.yml": "workflow.yml.jinja",
    "{module}/__init__.py": "init.py.jinja",
    "{module}/model.py": "model.py.jinja",
    "{module}/train.py": "train.py.jinja",
    "tests/test_{words}.py": "test.py.jinja",
}
"""The template in the folder new_family for each file of the package. The text of the licence is added to them."""

LICENSES = {"mit": "MIT", "apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause"}
"""Licences by their id on the Hub, each with its SPDX id. The same one holds for the code and for the weights."""

RESERVED = {"all", "builtin"}
"""Words with a meaning of their own in ZOO_PLUGINS, where the name of a family may stand too."""
SIZES = range(4, 129)
"""Heights and widths, in pixels, that the written model can have."""
LENGTHS = {"name": 40, "title": 40, "summary": 64, "author": 60, "data": 48}
"""Most characters of an answer. Longer ones would break lines of the code, or make names that no card can have."""
IMPORTED = {"Annotated", "Field", "MultivariateNormal", "Tensor"}
"""Names that the written module imports, so that its class must have another name."""


@dataclass(frozen=True)
class Answers:
    """The answers that `zoo new` needs."""

    name: str
    """Name of the family, like "my-model"."""
    title: str
    summary: str
    """What the family is, in a few words. They follow its title and a colon."""
    author: str
    data: str
    """Name of the data set that the recipe is for: on the Hub, or of a folder."""
    image_size: int
    license: str
    """One of LICENSES."""

    @property
    def words(self) -> str:
        return self.name.replace("-", "_")

    @property
    def distribution(self) -> str:
        return f"zoo-{self.name}"

    @property
    def module(self) -> str:
        return f"zoo_{self.words}"

    @property
    def kind(self) -> str:
        """Name of the class: MyModel for my-model, but TensorModel for tensor, since Tensor is taken."""
        name = "".join(word.capitalize() for word in self.name.split("-"))
        taken = keyword.iskeyword(name) or hasattr(builtins, name) or name in IMPORTED
        return f"{name}Model" if taken else name

    @property
    def recipe(self) -> str:
        """Name of the recipe and its card: family and data set, without the owner of the data set."""
        data = re.sub(r"[^a-z0-9]+", "-", self.data.rpartition("/")[2].lower()).strip("-")
        return f"{self.name}-{data}"


@dataclass(frozen=True)
class Question:
    """A question for one field of Answers. An option or a terminal gives the answer."""

    field: str
    text: str
    default: str | int
    choices: tuple[str, ...] = ()


def questions(name: str) -> list[Question]:
    """The questions about a new family, each with a default. Raises what `new` raises for a wrong name."""
    check_name(name)
    title = name.replace("-", " ").capitalize()
    return [
        Question("title", "Title of the family, as on a card", title),
        Question("summary", "What it is, in a few words", "an autoencoder with a Gaussian to draw new codes from"),
        Question("author", "Author", f"the authors of zoo-{name}"),
        Question("data", "Data set of its recipe: its Hub name, or a folder's name", "your-name/photos"),
        Question("image_size", f"Side of its images in pixels, {SIZES[0]} to {SIZES[-1]}", 32),
        Question("license", "Licence of the code and the weights", next(iter(LICENSES)), tuple(LICENSES)),
    ]


def answers(name: str, given: Mapping[str, Any]) -> Answers:
    """The answers that were given, and defaults for the others. Raises what `new` raises for a wrong name."""
    defaults = {question.field: question.default for question in questions(name)}
    return Answers(name=name, **(defaults | {key: value for key, value in given.items() if value is not None}))


def new(folder: Path, answers: Answers) -> list[Path]:
    """Write the package of a new family into a folder that is new or empty. Returns the files, sorted.

    On an error nothing is written. Raises InputError for a wrong name, answer or folder, and PluginError for a name
    that an installed plugin has.
    """
    check_name(answers.name)
    _check_answers(answers)
    folder = check_folder(folder)
    try:
        with new_folder(folder) as temporary:
            for name, text in _texts(answers).items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
    except OSError:
        check_folder(folder)  # another process may have made the folder in the meantime
        raise
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_name(name: str) -> None:
    """InputError or PluginError if a new family cannot have this name."""
    module = f"zoo_{name.replace('-', '_')}"
    if not NAME.fullmatch(name) or len(name) > LENGTHS["name"]:
        rule = f"lower-case words joined by hyphens, like 'my-model', at most {LENGTHS['name']} characters"
        raise InputError(f"family name {name!r} must be {rule}", f"Try: zoo new {_suggestion(name)}")
    if keyword.iskeyword(name):
        raise _refused(name, "is a reserved word of Python")
    if name in RESERVED:
        raise _refused(name, "means something else in ZOO_PLUGINS")
    if name.replace("-", "_") in sys.stdlib_module_names:
        raise _refused(name, "is a module of Python's standard library")
    check_free("family", name)
    if importlib.util.find_spec(module) is not None:
        raise _refused(name, f"would be the module {module}, which is installed already")


def check_free(kind: str, name: str) -> None:
    """PluginError if a plugin has a family or a card of that name, even one that was set aside."""
    found = registry()
    found.refuse_set_aside(name)
    owner = found.specs.get(name) or found.recipes.get(name, (None, None))[0]
    if owner is not None:
        plugin = found.provider(owner.name)
        whose = f"{plugin.distribution} {plugin.version}"
        raise PluginError(
            f"{kind} {name!r} is taken by {whose}",
            "Choose another name: zoo new OTHER-NAME. 'zoo plugins' shows the taken ones.",
        )


def _check_answers(given: Answers) -> None:
    """InputError for an answer that would break the Python, TOML, YAML or Markdown file that holds it."""
    for key in ("title", "summary", "author"):
        text = getattr(given, key)
        option = f"--{key}"
        if not text.strip() or not text.isprintable() or len(text) > LENGTHS[key]:
            rule = f"1 to {LENGTHS[key]} printable characters"
            raise InputError(f"{key} must be {rule}, found {text!r}", f"Give another: {option} TEXT")
        if set(text) & set('"\\'):
            raise InputError(f'{key} must not contain " or \\, found {text!r}', f"Give another: {option} TEXT")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", given.data, re.ASCII) or len(given.data) > LENGTHS["data"]:
        hint = "Give only the name here: --data NAME. A path is given later: zoo train RECIPE --data PATH"
        raise InputError(f"data must be a name like 'your-name/photos' or 'photos', found {given.data!r}", hint)
    if given.image_size not in SIZES:
        hint = f"Give --image-size {min(max(given.image_size, SIZES[0]), SIZES[-1])}, and change the model later."
        raise InputError(f"image size must be {SIZES[0]} to {SIZES[-1]}, found {given.image_size}", hint)
    if given.license not in LICENSES:
        hint = f"Give --license {' or '.join(LICENSES)}. You can change the file LICENSE later."
        raise InputError(f"license {given.license!r} is none of {', '.join(LICENSES)}", hint)
    if not NAME.fullmatch(given.recipe) or len(given.recipe) > 64:
        raise InputError(f"{given.recipe!r} cannot name a card", "Give the data set another name: --data NAME")
    check_free("card", given.recipe)


def check_folder(folder: Path) -> Path:
    """The absolute path of the folder. InputError unless it is new or empty, and not the folder you are in."""
    folder = folder.expanduser().absolute()
    if folder.exists() and folder.samefile(Path.cwd()):
        hint = f"Go up one folder first: cd .. && zoo new NAME --out {folder.name}"
        raise InputError(f"{folder} is the folder you are in, which cannot be replaced", hint)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise _taken(folder)
    return folder


def _taken(folder: Path) -> InputError:
    return InputError(
        f"{folder} is there already; nothing was written", "Give another folder: zoo new NAME --out FOLDER"
    )


def _refused(name: str, why: str) -> InputError:
    return InputError(f"family name {name!r} {why}", f"Choose another name: zoo new {name}-model")


def _suggestion(name: str) -> str:
    """A valid name that is like a wrong one."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "-", name).lower()
    near = re.sub(r"^[^a-z]+", "", words)[: LENGTHS["name"]].strip("-")
    return near or "my-model"


def _texts(given: Answers) -> dict[str, str]:
    """The text of every file of the package, by its path in the package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("zoo", "scaffold/new_family"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    facts = _facts(given)
    files = {name.format(**facts): template for name, template in TEMPLATES.items()}
    files["LICENSE"] = f"licenses/{given.license}.txt"
    return {name: environment.get_template(template).render(facts) for name, template in files.items()}


def _facts(given: Answers) -> dict[str, Any]:
    """The values that the templates use."""
    return vars(given) | {
        "api": API_VERSION,
        "card_files": " ".join(sorted({README, CONFIG, FACTS, WEIGHTS, PICTURE})),
        "distribution": given.distribution,
        "folder": given.data.rpartition("/")[2],
        "kind": given.kind,
        "largest": SIZES[-1],
        "library": DISTRIBUTION,
        "module": given.module,
        "recipe": given.recipe,
        "smallest": SIZES[0],
        "spdx": LICENSES[given.license],
        "words": given.words,
        "year": date.today().year,
    }
