"""`zoo new`: a package for a new family, complete and working, written whole or not at all."""

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
"""File of the package -> its template in the folder new_family; the licence's text comes beside them."""

LICENSES = {"mit": "MIT", "apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause"}
"""Hub's id -> the packaging world's. One licence for the code and for the weights that the recipe makes."""

RESERVED = {"all", "builtin"}
"""Words of ZOO_PLUGINS, which takes the names of entry points too."""
SIZES = range(4, 129)
"""Sides of images, in pixels, that the toy takes."""
LENGTHS = {"name": 40, "title": 40, "summary": 64, "author": 60, "data": 48}
"""Characters: longer ones would break lines of the code that they stand in, or make names that a card cannot have."""
IMPORTED = {"Annotated", "Field", "MultivariateNormal", "Tensor"}
"""Names that a written module imports, which its class must not be called."""


@dataclass(frozen=True)
class Answers:
    """What `zoo new` needs to know."""

    name: str
    """Of the family, like "my-model"."""
    title: str
    summary: str
    """What the family is, in a few words that go on after its title and a colon."""
    author: str
    data: str
    """The data set that the recipe is for: its name on the Hub, or that of a folder."""
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
        """The class: MyModel for my-model; TensorModel where Tensor is something else already."""
        name = "".join(word.capitalize() for word in self.name.split("-"))
        taken = keyword.iskeyword(name) or hasattr(builtins, name) or name in IMPORTED
        return f"{name}Model" if taken else name

    @property
    def recipe(self) -> str:
        """The card: the family and the data, without whose they are."""
        data = re.sub(r"[^a-z0-9]+", "-", self.data.rpartition("/")[2].lower()).strip("-")
        return f"{self.name}-{data}"


@dataclass(frozen=True)
class Question:
    """One field of Answers, to be asked on a terminal or taken from an option."""

    field: str
    text: str
    default: str | int
    choices: tuple[str, ...] = ()


def questions(name: str) -> list[Question]:
    """What to ask about a new family, with answers that do as they are. Raises as `new` does for the name."""
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
    """Answers from what was given by field, defaults for the rest. Raises as `new` does for the name."""
    defaults = {question.field: question.default for question in questions(name)}
    return Answers(name=name, **(defaults | {key: value for key, value in given.items() if value is not None}))


def new(folder: Path, answers: Answers) -> list[Path]:
    """Write the package of a new family into a folder that is not there yet, or empty; returns the files, sorted.

    The folder appears whole or not at all. Raises InputError for a name, an answer or a folder that will not do,
    PluginError for a name that an installed plugin has.
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
        check_folder(folder)  # somebody else may have taken it meanwhile
        raise
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_name(name: str) -> None:
    """InputError or PluginError unless a new family may be called so here."""
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
    """PluginError if a plugin has a family or a card of that name, or would have if it were not set aside."""
    found = registry()
    found.refuse_set_aside(name)
    owner = found.specs.get(name) or found.recipes.get(name, (None, None))[0]
    if owner is not None:
        plugin = found.provider(owner.name)
        whose = f"{plugin.distribution} {plugin.version}"
        raise PluginError(f"{kind} {name!r} is taken by {whose}", "Choose another: zoo new OTHER-NAME; see zoo plugins")


def _check_answers(given: Answers) -> None:
    """InputError for an answer that could not stand where it goes: in Python, TOML, YAML and Markdown."""
    for key in ("title", "summary", "author"):
        text = getattr(given, key)
        option = f"--{key}"
        if not text.strip() or not text.isprintable() or len(text) > LENGTHS[key]:
            rule = f"1 to {LENGTHS[key]} printable characters"
            raise InputError(f"{key} must be {rule}, found {text!r}", f"Give a shorter one: {option} TEXT")
        if set(text) & set('"\\'):
            raise InputError(f'{key} must do without " and \\, found {text!r}', f"Put it otherwise: {option} TEXT")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", given.data, re.ASCII) or len(given.data) > LENGTHS["data"]:
        hint = "A path goes to zoo train, as --data; the recipe keeps to the name: --data NAME"
        raise InputError(f"data must be a name like 'your-name/photos' or 'photos', found {given.data!r}", hint)
    if given.image_size not in SIZES:
        hint = f"Give --image-size {min(max(given.image_size, SIZES[0]), SIZES[-1])}, and change the model later."
        raise InputError(f"image size must be {SIZES[0]} to {SIZES[-1]}, found {given.image_size}", hint)
    if given.license not in LICENSES:
        hint = f"Give --license {' or '.join(LICENSES)}; LICENSE is yours to change."
        raise InputError(f"license {given.license!r} is none of {', '.join(LICENSES)}", hint)
    if not NAME.fullmatch(given.recipe) or len(given.recipe) > 64:
        raise InputError(f"{given.recipe!r} cannot name a card", "Give data another name: --data NAME")
    check_free("card", given.recipe)


def check_folder(folder: Path) -> Path:
    """The folder's absolute path. InputError unless a new folder can take its place."""
    folder = folder.expanduser().absolute()
    if folder.exists() and folder.samefile(Path.cwd()):
        hint = f"Go up and name it from there: cd .. && zoo new NAME --out {folder.name}"
        raise InputError(f"{folder} is the folder you are in, which cannot be replaced", hint)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise _taken(folder)
    return folder


def _taken(folder: Path) -> InputError:
    return InputError(f"{folder} is there already; nothing was written", "Give another: zoo new NAME --out FOLDER")


def _refused(name: str, why: str) -> InputError:
    return InputError(f"family name {name!r} {why}", f"Choose another: zoo new {name}-model")


def _suggestion(name: str) -> str:
    """A good name near a bad one."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "-", name).lower()
    near = re.sub(r"^[^a-z]+", "", words)[: LENGTHS["name"]].strip("-")
    return near or "my-model"


def _texts(given: Answers) -> dict[str, str]:
    """Every file of the package, by its path in it."""
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
    """All that the templates speak of."""
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
