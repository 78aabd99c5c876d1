"""`ingestion send entities`: files of messages as one stream."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.files import open_regular, reason_of, shown
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
from ingestion_assets.sending.report import printing
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

    Exit status: 0 all stored, or superseded by something newer; 1 some lines were not (`ingestion rejects list --flow
    entities`), or a file could not be read to its end; 2 wrong usage, key or address, or the state file cannot be used;
    3 the server could not be reached, or did not finish, for as long as --retry-for says; 130 interrupted.
    """
    from ingestion_assets.sending.message_shipment import MessageShipment, prefix_of, ship_messages  # noqa: PLC0415

    settings = load_settings()
    for name in files:
        _check_readable(name)
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
    for problem in sent.problems:
        errors.print(problem, soft_wrap=True, highlight=False, markup=False)
    if reason != "complete":
        errors.print(reason, soft_wrap=True, highlight=False, markup=False)
    with printing(errors):
        if as_json_:
            typer.echo(
                json.dumps(
                    {
                        "stream": sent.stream, "lines": sent.lines, "ended": reason, "problems": sent.problems,
                        **sent.totals,
                    },
                    indent=2,
                )
            )  # fmt: skip
        elif not quiet:
            said = ", ".join(f"{number:,} {name}" for name, number in sent.totals.items() if number)
            typer.echo(f"{sent.lines:,} lines sent. {said}".rstrip())
    raise typer.Exit(status)


def _check_readable(name: str) -> None:
    """All files are there before the first is sent: lines of one may reference those of another."""
    if name == "-":
        return
    try:
        open_regular(Path(name)).close()
    except OSError as error:
        raise typer.BadParameter(f"{shown(name)}: {reason_of(error)}", param_hint="FILE") from error
