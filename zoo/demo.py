"""A page in the browser to try a card, made with Gradio from the card's capabilities and conditions."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported: nothing leaves the machine

import gradio as gr

from zoo.errors import InputError, ZooError
from zoo.family.conditions import Categorical, Condition, Flags
from zoo.images.batch import Images
from zoo.model import Model, fresh_seed

MOST = 64
"""Most images that the page makes at once."""
UPLOAD = "64mb"
PICTURED = {"sample", "translate", "complete", "reconstruct", "interpolate"}
"""Methods that give images; the others give numbers."""
LEFT_OUT = "any"
"""What a menu shows for a condition that is left out."""


@dataclass(frozen=True)
class Control:
    """Parts of the page that give one argument. None leaves the argument out."""

    name: str
    parts: Sequence[Any]
    value: Callable[..., Any] = lambda value: value


@dataclass(frozen=True)
class Tab:
    """One thing that a card can do: the method of the handle that does it, and what it is given besides conditions."""

    method: str
    needs: tuple[str, ...]
    """Capabilities without which the tab is left out."""
    says: str
    pictures: Sequence[str] = ()
    """The pictures to upload, by their labels. They are the first arguments."""
    controls: Callable[[Model], list[Control]] = lambda model: []
    seeded: bool = False

    @property
    def pictured(self) -> bool:
        """Whether the method gives images; else it gives numbers."""
        return self.method in PICTURED


def _count(model: Model) -> list[Control]:
    return [Control("n", [gr.Slider(1, MOST, value=16, step=1, label="Images")], int)]


def _prepared(model: Model) -> list[Control]:
    if model.preparation.filter is None:
        return []
    label = f"The picture is a drawing already: leave out the filter {model.preparation.filter!r}"
    return [Control("prepared", [gr.Checkbox(label=label)])]


def _steps(model: Model) -> list[Control]:
    return [Control("steps", [gr.Slider(2, 32, value=8, step=1, label="Images")], int)]


def _kept(model: Model) -> list[Control]:
    def mask(share: float) -> Any:
        import torch

        side = model.preparation.size
        return (torch.arange(side) < round(share * side))[:, None].expand(side, side)

    return [Control("mask", [gr.Slider(0, 1, value=0.5, label="Share of the rows, from the top, that is kept")], mask)]


TABS = (
    Tab("sample", ("sample",), "New images.", controls=_count, seeded=True),
    Tab("translate", ("translate",), "Your picture in the other domain.", ("Picture",), _prepared),
    Tab("complete", ("complete",), "Your picture with its lower part made anew.", ("Picture",), _kept, seeded=True),
    Tab("reconstruct", ("encode", "decode"), "Your picture, encoded and decoded again.", ("Picture",)),
    Tab("interpolate", ("encode", "decode"), "From one picture to another.", ("From", "To"), _steps),
    Tab("infer", ("infer",), "What the model reads from your picture.", ("Picture",)),
    Tab("log_prob", ("log_prob",), "Exact log-probability of your picture, in nats.", ("Picture",)),
    Tab("elbo", ("elbo",), "A lower bound of the log-probability of your picture, in nats.", ("Picture",)),
    Tab("encode", ("encode",), "The latent of your picture.", ("Picture",)),
    Tab("features", ("features",), "The features of your picture.", ("Picture",)),
)


def page(model: Model) -> gr.Blocks:
    """The page of a model: a tab for each thing that it can do, with a control for each condition.

    Images come as PNG files that hold the card's name and the seed. A wrong input is answered on the page. Uploaded
    pictures are checked as `Model.prepare` checks them. The caller launches the page.
    """
    folder = Path(tempfile.mkdtemp(prefix="zoo-demo-"))
    blocks: gr.Blocks
    with gr.Blocks(title=f"zoo: {model.name}", analytics_enabled=False) as blocks:
        gr.Markdown(f"# {model.name}\n{model.spec.title}: {model.spec.summary}.")
        for tab in TABS:
            if set(tab.needs) <= set(model.spec.capabilities):
                with gr.Tab(tab.method.replace("_", " ").capitalize()):
                    _lay_out(tab, model, folder)
    blocks.queue(default_concurrency_limit=1)
    return blocks


def launch(
    model: Model, *, port: int | None = None, share: bool = False, browser: bool = True, wait: bool = True
) -> Any:
    """Serve the page of a model on this machine and open it in a browser. Returns Gradio's app, its address and links.

    port: by default the first free one from 7860. share: also serve it at a public address of Gradio; without it only
    this machine can see the page. wait: return only when the page is stopped.
    """
    # Fonts of the reader's system: those of the theme would be fetched.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page(model).launch(
        server_port=port,
        server_name="127.0.0.1",
        share=share,
        inbrowser=browser,
        prevent_thread_lock=not wait,
        max_file_size=UPLOAD,
        theme=theme,
        footer_links=["api"],
    )


def _lay_out(tab: Tab, model: Model, folder: Path) -> None:
    """The parts of one tab, and what its button does."""
    gr.Markdown(tab.says)
    with gr.Row():
        with gr.Column():
            pictures = [gr.Image(label=label, type="filepath") for label in tab.pictures]
            controls = tab.controls(model) + _conditions(model.conditions_of(tab.needs[-1]))
            seed = gr.Number(value=0, precision=0, minimum=0, label="Seed", visible=tab.seeded)
            locked = gr.Checkbox(value=False, label="Keep this seed", visible=tab.seeded)
            button = gr.Button("Go", variant="primary")
        with gr.Column():
            shown = gr.Image(label="Result", format="png", buttons=["download", "fullscreen"], visible=tab.pictured)
            told = gr.JSON(label="Result", visible=not tab.pictured)
    inputs = [seed, locked, *pictures, *(part for control in controls for part in control.parts)]
    act = partial(_act, tab, model, folder, controls)
    button.click(act, inputs, [shown if tab.pictured else told, seed], api_name=tab.method)


def _act(
    tab: Tab, model: Model, folder: Path, controls: Sequence[Control], seed: float | None, locked: bool, *values: Any
) -> tuple[Any, int]:
    """Call the method that a tab stands for, with what its parts hold. Returns the result and the seed."""
    with _answered():
        pictures, rest = values[: len(tab.pictures)], iter(values[len(tab.pictures) :])
        if not all(pictures):
            raise InputError("there is no picture yet", "Choose one, or drop it on the page.")
        arguments = {control.name: control.value(*islice(rest, len(control.parts))) for control in controls}
        number = int(seed) if locked and seed is not None else fresh_seed(None)
        given = {name: value for name, value in arguments.items() if value is not None}
        result = getattr(model, tab.method)(*pictures, **given, **({"seed": number} if tab.seeded else {}))
        return _file(result, folder) if tab.pictured else _numbers(result), number


@contextmanager
def _answered() -> Iterator[None]:
    """Errors of zoo as a note on the page."""
    try:
        yield
    except ZooError as error:
        raise gr.Error(". ".join(filter(None, (error.message, error.hint))), print_exception=False) from error


def _conditions(declared: Mapping[str, Condition]) -> list[Control]:
    return [control for name, condition in declared.items() for control in _condition(name, condition)]


def _condition(name: str, condition: Condition) -> list[Control]:
    """The controls for one condition. Each of them may be left out."""
    if isinstance(condition, Categorical):
        menu = gr.Dropdown([LEFT_OUT, *condition.names], label=name)
        return [Control(name, [menu], lambda value: None if value == LEFT_OUT else value)]
    if isinstance(condition, Flags):
        said = {LEFT_OUT: None, "yes": True, "no": False}
        return [Control(flag, [gr.Radio([*said], value=LEFT_OUT, label=flag)], said.get) for flag in condition.names]
    middle = (condition.low + condition.high) / 2
    labels = [f"{name} {i + 1}" if condition.size > 1 else name for i in range(condition.size)]
    sliders = [gr.Slider(condition.low, condition.high, value=middle, label=label) for label in labels]
    chosen = gr.Checkbox(label=f"Choose {name} with the sliders above")
    return [Control(name, [*sliders, chosen], lambda *values: [values[:-1]] if values[-1] else None)]


def _file(images: Images, folder: Path) -> str:
    """The images as a PNG file, which holds where they came from."""
    handle, name = tempfile.mkstemp(suffix=".png", dir=folder)
    os.close(handle)
    return str(images.save(name))


def _numbers(result: Any) -> Any:
    """Tensors as lists. Rows of one picture are shown without the list of rows around them."""
    if isinstance(result, Mapping):
        return {key: _numbers(value) for key, value in result.items()}
    return result[0].tolist() if len(result) == 1 else result.tolist()
