"""The command that makes new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import outputs
from zoo.cli.given import (
    PICTURES,
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
from zoo.errors import InputError


def sample(
    ctx: typer.Context,
    name: Card,
    n: Annotated[int, typer.Option("-n", metavar="N", help="Make N images.")] = 16,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help=f"{PICTURES} By default a grid in NAME-seedSEED.png.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed makes the same images. By default zoo draws a new seed."),
    ] = None,
    start: Annotated[int, typer.Option(metavar="N", help="Leave out the first N images of this seed.")] = 0,
    shard: Annotated[
        str | None, typer.Option(metavar="I/K", help="Make only part I of K, as one of K processes. It needs --seed.")
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    columns: Columns = None,
    force: Force = False,
    skip_existing: Skip = False,
    key: Key = None,
    setting: Conditions = None,
) -> None:
    """Make new images with a card.

    Conditions say what you want. Give them by name, after the card: --label 7 or --Blond_Hair true. 'zoo info' shows
    the conditions of a card.
    """
    if seed is None and (shard or skip_existing):
        ctx.fail("Give --seed too. Without it each call would make other images.")
    rows = _share(shard, n) if shard else range(n)
    model, given = open_model(ctx, name, ctx.args, setting, device=device, dtype=dtype, key=key)
    from zoo.calling import check_count
    from zoo.family.conditions import part, tensors
    from zoo.model import fresh_seed

    check_count(n, start)
    seed, taken = fresh_seed(seed), model.conditions_of("sample")
    out = out or Path(f"{model.name}-seed{seed}.png")
    width = max(5, len(str(start + n - 1)))
    names = {row: f"{start + row:0{width}d}.png" for row in rows}
    done = outputs.check_pictures(out, names.values(), force, skip_existing)
    outputs.check_same(out, done, model.info_of(seed, outputs.single(given)))
    labels = tensors(taken, part(taken, given, rows, n), len(rows))
    arrays = {key: values for key, values in labels.items() if values is not None}
    wanted = [row for row in rows if names[row] not in done]
    with (
        outputs.telling_how_to_go_on(out, f"--seed {seed} --skip-existing"),
        outputs.open_pictures(out, len(rows), model, columns, arrays) as sink,
        outputs.bar(len(wanted), f"sampling {model.name}") as advance,
    ):
        for run in _runs(wanted):
            first, some = run.start, part(taken, given, run, n)
            for images in model.stream(len(run), seed=seed, start=start + first, batch_size=batch_size, **some):
                made = range(first, first + len(images))
                sink.add(images, [names[row] for row in made], [start + row for row in made])
                advance(len(images))
                first = made.stop
    outputs.say(out, len(wanted), seed, len(done))


def _share(text: str, n: int) -> range:
    """The rows of part I of K of n rows: I/K. The parts follow each other, and their sizes differ by one at most."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise typer.BadParameter(f"{text!r} is not I/K. For example: --shard 2/4", param_hint="--shard")
    rows = range((int(part) - 1) * n // int(parts), int(part) * n // int(parts))
    if not rows:
        raise InputError(f"part {text} of {n} images has none", "Give -n a larger number, or fewer parts.")
    return rows


def _runs(rows: Sequence[int]) -> Iterator[range]:
    """Sorted numbers as ranges without a gap."""
    ends = [i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1]
    for first, last in zip([0, *ends], [*ends, len(rows)], strict=True):
        if last > first:
            yield range(rows[first], rows[last - 1] + 1)
