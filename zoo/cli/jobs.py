"""The commands that call a method of the handle on files, as a table: what goes in, what comes out, which options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zoo.cli import inputs
from zoo.cli.given import read_pairs, read_values

if TYPE_CHECKING:
    from zoo.model import Model


@dataclass(frozen=True)
class Option:
    """An option of some commands, and what it becomes as an argument of the method."""

    type: Any
    default: Any = None
    argument: str = ""
    """Name of the argument, where one of several options must say what it is. Without it, the option's own name."""
    read: Callable[["Model", Any], Any] = lambda model, value: value


def _option(kind: Any, metavar: str | None, help: str, *names: str) -> Any:
    return Annotated[kind, typer.Option(*names, metavar=metavar, help=help)]


OPTIONS = {
    "prepared": Option(
        _option(bool, None, "The images are the model's input already: do not apply the card's filter.", "--prepared"),
        False,
    ),
    "seed": Option(_option(int, "N", "Seed of the model's noise, if the model draws any."), 0),
    "mask": Option(
        _option(str | None, "FILE", "Keep the pixels that are white in this picture, and fill in the others."),
        argument="mask",
        read=lambda model, value: inputs.read_mask(value, model.preparation),
    ),
    "keep": Option(
        _option(str | None, "SIDE:SHARE", "Keep this part: top:0.5 is the upper half. Also bottom, left and right."),
        argument="mask",
        read=lambda model, value: inputs.read_side(value, model.preparation),
    ),
    "steps": Option(_option(int, "N", "Make N images, with both ends."), 8),
    "dim": Option(_option(int, "N", "Change number N of the code. The first is number 0."), 0),
    "values": Option(
        _option(str, "LIST", "Values to give it."), "-3,-2,-1,0,1,2,3", read=lambda model, value: _numbers(value)
    ),
    "source": Option(
        _option(list[str] | None, "KEY=VALUE", "A condition that the images have. Can be given several times."),
        read=lambda model, value: read_values(model, read_pairs(value, "--source")),
    ),
}


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} are no numbers. For example: --values -2,0,2", param_hint="--values"
        ) from None


@dataclass(frozen=True)
class Job:
    """A command that calls a method of the handle. A card that has the method's capabilities can do it."""

    method: str
    about: str
    example: str
    gives: Literal["pictures", "numbers"]
    options: tuple[str, ...] = ()
    takes: int = 0
    """How many pictures the method takes together; 0 if it takes any number, each by itself."""
    codes: bool = False
    """Whether it takes codes instead of pictures."""

    @property
    def name(self) -> str:
        return self.method.replace("_", "-")

    def choice(self, argument: str) -> str:
        """The options that say what an argument is."""
        return " and ".join(f"--{key}" for key in self.options if OPTIONS[key].argument == argument)


BINARY = " For a model of binary images, grey values are cut at 1/2."

JOBS = (
    Job(
        "translate",
        "Translate images, for instance black hair into blond.",
        "zoo translate cyclegan-celeba-blond photo.jpg --out blond.png",
        "pictures",
        ("prepared", "seed"),
    ),
    Job("encode", "Write the codes of images.", "zoo encode vae-celeba photos --out codes.npy", "numbers"),
    Job(
        "decode",
        "Make images from codes, as 'zoo encode' writes them.",
        "zoo decode vae-celeba codes.npy --out faces.png",
        "pictures",
        codes=True,
    ),
    Job(
        "reconstruct",
        "Encode images and decode them again.",
        "zoo reconstruct vae-celeba photo.jpg --out again.png",
        "pictures",
    ),
    Job(
        "complete",
        "Fill in the missing pixels of images.",
        "zoo complete cvae-mnist digit.png --keep top:0.5 --out whole.png",
        "pictures",
        ("mask", "keep", "seed"),
    ),
    Job(
        "interpolate",
        "Make images on the way from one image to another.",
        "zoo interpolate vae-celeba a.png b.png --steps 8 --out row.png",
        "pictures",
        ("steps",),
        takes=2,
    ),
    Job(
        "traverse",
        "Change one number of an image's code, and make an image for each value.",
        "zoo traverse vae-celeba photo.jpg --dim 3 --values -2,0,2 --out row.png",
        "pictures",
        ("dim", "values"),
        takes=1,
    ),
    Job(
        "swap",
        "Make the same images with other conditions.",
        "zoo swap cvae-mnist three.png --source label=3 --label 7 --out seven.png",
        "pictures",
        ("source",),
    ),
    Job("infer", "Write what a model reads from images.", "zoo infer judge-mnist photos --out labels.csv", "numbers"),
    Job("features", "Write features of images.", "zoo features judge-mnist photos --out features.npy", "numbers"),
    Job(
        "log_prob",
        f"Write log-probabilities of images, in nats.{BINARY}",
        "zoo log-prob realnvp-mnist digit.png",
        "numbers",
    ),
    Job(
        "bits_per_dim",
        f"Write bits per dimension of images.{BINARY}",
        "zoo bits-per-dim realnvp-mnist digit.png",
        "numbers",
    ),
    Job(
        "elbo",
        f"Write lower bounds of log-probabilities, in nats.{BINARY}",
        "zoo elbo vae-mnist digit.png",
        "numbers",
        ("seed",),
    ),
)
