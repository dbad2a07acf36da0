"""Makes a command of each job, and does it: what was given is read, sent through the model and written, in batches."""

import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import inputs, outputs
from zoo.cli.given import (
    PICTURES,
    TABLE,
    BatchSize,
    Card,
    Columns,
    Conditions,
    Device,
    Dtype,
    Force,
    Key,
    Skip,
    open_model,
)
from zoo.cli.jobs import OPTIONS, Job

if TYPE_CHECKING:
    from zoo.model import Model

CONDITIONS = (
    "Conditions say what you want. Give them by name, after the files: --label 7 or --Blond_Hair true. 'zoo info' "
    "shows the conditions of a card."
)
GIVEN = {
    0: ("IMAGE", "Images, or folders of images. Their names and folders are kept."),
    1: ("IMAGE", "One image file."),
    2: ("IMAGE", "Two image files."),
}


def command(job: Job) -> Callable[..., None]:
    """The function of a job's command. Its signature, of which typer makes the options, follows from the job."""

    def run(ctx: typer.Context, **options: Any) -> None:
        files = [*takewhile(lambda word: not word.startswith("--"), options["words"])]
        _check_number(job, ctx, options["name"], files)
        if job.gives == "numbers":
            return _table(job, ctx, files, options)
        return _together(job, ctx, files, options) if job.takes else _pictures(job, ctx, files, options)

    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for key, (kind, default) in _parameters(job).items()
    ]
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = f"{job.about}\n\n{CONDITIONS}"
    return run


def _parameters(job: Job) -> dict[str, tuple[Any, Any]]:
    """Each parameter's type and default."""
    needed, pictures, each = inspect.Parameter.empty, job.gives == "pictures", not job.takes
    metavar, about = ("CODES", "A .npy or .csv file, as 'zoo encode' writes it.") if job.codes else GIVEN[job.takes]
    found: dict[str, tuple[Any, Any]] = {
        "ctx": (typer.Context, needed),
        "name": (Card, needed),
        "words": (Annotated[list[str], typer.Argument(metavar=metavar, help=about)], needed),
    }
    if pictures:
        found["out"] = (Annotated[Path, typer.Option(metavar="PATH", help=PICTURES)], needed)
    else:
        found["out"] = (Annotated[Path | None, typer.Option(metavar="FILE", help=TABLE)], None)
    found |= {key: (OPTIONS[key].type, OPTIONS[key].default) for key in job.options}
    found |= {"batch_size": (BatchSize, 64)} if each else {}
    found |= {"device": (Device, "auto"), "dtype": (Dtype, "float32")}
    found |= {"columns": (Columns, None)} if pictures else {}
    found |= {"force": (Force, False)}
    found |= {"skip_existing": (Skip, False)} if pictures and each else {}
    return found | {"key": (Key, None), "setting": (Conditions, None)}


def _check_number(job: Job, ctx: typer.Context, name: str, files: Sequence[str]) -> None:
    wanted = 1 if job.codes else job.takes
    if not files or (wanted and len(files) != wanted):
        words = job.example.split()
        like = " ".join(["zoo", job.name, name, *takewhile(lambda word: not word.startswith("--"), words[3:])])
        count = f"{wanted} file{'s' * (wanted != 1)}" if wanted else "at least one image"
        ctx.fail(f"Give {count}, before the conditions: {like}{_out(ctx)}")


def _out(ctx: typer.Context) -> str:
    return f" --out {ctx.params['out']}" if ctx.params.get("out") else ""


def _pictures(job: Job, ctx: typer.Context, files: Sequence[str], options: Mapping[str, Any]) -> None:
    """An image of each input, into a folder or one file. Only a folder does without what cannot be read."""
    out = options["out"]
    source = _source(job, files, out)
    left_out: list[str] | None = [] if outputs.is_folder(out) else None
    done = outputs.check_pictures(out, source.results, options["force"], options["skip_existing"])
    model, call, given = _open(job, ctx, files, options)
    outputs.check_same(out, done, model.info_of(call.keywords.get("seed"), outputs.single(given)))
    wanted = {row for row, name in enumerate(source.results) if name not in done}
    with (
        outputs.telling_how_to_go_on(out, "--skip-existing"),
        outputs.open_pictures(out, len(wanted), model, options["columns"], {}) as sink,
        outputs.bar(len(wanted), job.name) as advance,
    ):
        for images, rows in _through(call, model, given, source, wanted, options["batch_size"], left_out):
            sink.add(images, [source.results[row] for row in rows], rows)
            advance(len(rows))
    outputs.say(out, len(wanted) - len(left_out or ()), call.keywords.get("seed"), len(done))
    _end(left_out)


def _table(job: Job, ctx: typer.Context, files: Sequence[str], options: Mapping[str, Any]) -> None:
    """Numbers of each input, into a table. Only a .npy file, which names no row, does not do without any."""
    out = options["out"]
    outputs.check_table(out, options["force"])
    source = _source(job, files, out)
    model, call, given = _open(job, ctx, files, options)
    n = len(source.names)
    left_out: list[str] | None = None if out is not None and out.suffix.lower() == ".npy" else []
    with outputs.open_table(out, n, job.method, model) as sink, outputs.bar(n, job.name) as advance:
        for result, rows in _through(call, model, given, source, range(n), options["batch_size"], left_out):
            sink.add(result, [source.names[row] for row in rows])
            advance(len(rows))
    if out is not None:
        rows_written = n - len(left_out or ())
        typer.echo(f"wrote {out}: {rows_written} row{'s' * (rows_written != 1)}")
    _end(left_out)


def _together(job: Job, ctx: typer.Context, files: Sequence[str], options: Mapping[str, Any]) -> None:
    """A row of images of a few that belong together."""
    out, force = options["out"], options["force"]
    outputs.check_pictures(out, (), force, False)
    pictures = inputs.find_pictures(files, None)
    model, call, given = _open(job, ctx, files, options)
    images = call(*(picture.path for picture in pictures), **given)
    names = [f"{number:05d}.png" for number in range(len(images))]
    outputs.check_pictures(out, names, force, False)
    with outputs.open_pictures(out, len(images), model, options["columns"] or len(images), {}) as sink:
        sink.add(images, names, range(len(images)))
    outputs.say(out, len(images), None, 0)


def _source(job: Job, files: Sequence[str], out: Path | None) -> inputs.Source:
    return inputs.Codes(Path(files[0])) if job.codes else inputs.Pictures(inputs.find_pictures(files, out))


def _open(
    job: Job, ctx: typer.Context, files: Sequence[str], options: Mapping[str, Any]
) -> "tuple[Model, partial[Any], dict[str, Any]]":
    """The model, its method with the job's own options as arguments, and the conditions."""
    how = {key: options[key] for key in ("device", "dtype", "key")}
    words = options["words"][len(files) :]
    model, given = open_model(ctx, options["name"], words, options["setting"], **how)
    method, arguments = getattr(model, job.method), {}
    for key in job.options:
        option, value = OPTIONS[key], options[key]
        name = option.argument or key
        if name in arguments and value is not None:
            ctx.fail(f"Give only one of {job.choice(name)}.")
        if value is not None:
            arguments[name] = option.read(model, value)
    for key in job.options:
        if (name := OPTIONS[key].argument) and name not in arguments:
            ctx.fail(f"Give one of {job.choice(name)}.")
    return model, partial(method, **arguments), given


def _through(
    call: "partial[Any]",
    model: "Model",
    given: Mapping[str, Any],
    source: inputs.Source,
    wanted: Container[int],
    size: int,
    left_out: list[str] | None,
) -> Iterator[tuple[Any, list[int]]]:
    """Results of the wanted inputs in batches, each with its rows.

    `left_out` gets a line for each input that cannot be read. Where it is None, that is an error.
    """
    from zoo.calling import batches
    from zoo.family.conditions import part

    n = len(source.names)
    for rows in batches(n, size):
        needed = [row for row in rows if row in wanted]
        if not needed:
            continue
        span = range(needed[0], needed[-1] + 1)
        batch, errors = source.read(span, needed, model.preparation, strict=left_out is None)
        if left_out is not None:
            left_out += [error.message for error in errors.values()]
        good = [row for row in needed if row not in errors]
        if good:
            place = {"start": span.start} if "seed" in call.keywords else {}
            result = call(batch, batch_size=size, **place, **part(model.conditions, given, span, n))
            yield _rows(result, [row - span.start for row in good]), good


def _rows(result: Any, rows: list[int]) -> Any:
    """Some rows of images, of a tensor, or of each tensor in a mapping."""
    if isinstance(result, Mapping):
        return {key: _rows(value, rows) for key, value in result.items()}
    if hasattr(result, "info"):
        return type(result)(result.tensor[rows], result.info)
    return result[rows]


def _end(left_out: list[str] | None) -> None:
    """Say what was left out. The exit status is 1 if anything was."""
    if left_out:
        outputs.say_left_out(left_out)
        raise typer.Exit(1)
