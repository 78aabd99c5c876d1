"""`ingestion send entities`: files of messages as one stream."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.options import (
    FIVE_MINUTES,
    AsJson,
    Key,
    Quiet,
    RetryFor,
    Url,
    Wait,
    front_door,
    key_of,
    state_file,
)
from ingestion_assets.settings import load_settings


def send_entities(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…|-", help="Files of messages, plain, gzip or zstd; `-` is standard input."
        ),
    ],
    url: Url = None,
    key: Key = None,
    entity: Annotated[
        str | None,
        typer.Option(
            help="Name or prefix of the entity of lines that have no prefix, such as those of `.tbl` files."
        ),
    ] = None,
    wait: Wait = True,
    concurrency: Annotated[int, typer.Option(min=1, max=16, help="Files sent at the same time.")] = 2,
    retry_for: RetryFor = FIVE_MINUTES,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers streams begun. Default: in the stack's home.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin anew instead of going on.")] = False,
    as_json_: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send files of messages as one stream: a line may reference any other. Run again, it goes on where it was.

    Exit status: 0 all stored; 1 some lines were not (`ingestion rejects list --flow entities`); 2 wrong usage or
    key; 3 the server could not be reached for as long as --retry-for says; 130 interrupted.
    """
    from ingestion_assets.sending.message_shipment import MessageShipment, prefix_of, ship_messages  # noqa: PLC0415

    settings = load_settings()
    for name in files:
        if name != "-" and not Path(name).is_file():
            raise typer.BadParameter(f"there is no file {name}", param_hint="FILE")
    try:
        prefix = None if entity is None else prefix_of(entity)
    except LookupError as error:
        raise typer.BadParameter(str(error), param_hint="--entity") from error
    if prefix is None and any(name.partition(".tbl")[1] for name in files):
        raise typer.BadParameter(
            "the lines of .tbl files have no prefix: say which entity they are", param_hint="--entity"
        )
    shipment = MessageShipment(
        files=tuple(files),
        prefix=prefix,
        url=url or front_door(settings),
        key=key or key_of(settings),
        state=(state or state_file(settings).with_name("streams.json")).absolute(),
        concurrency=concurrency,
        retry_for_s=retry_for,
        wait=wait,
        reset=reset,
        quiet=quiet,
    )
    errors = Console(stderr=True)
    status, reason, sent = ship_messages(shipment, console=errors)
    if as_json_:
        typer.echo(
            json.dumps({"stream": sent.stream, "lines": sent.lines, "ended": reason, **sent.totals}, indent=2)
        )
    elif not quiet:
        said = ", ".join(f"{number:,} {name}" for name, number in sent.totals.items() if number)
        typer.echo(f"{sent.lines:,} lines sent. {said}".rstrip())
    if reason != "complete":
        errors.print(reason, soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(status)
