"""`ingestion send entities`: files of messages as one stream."""

from pathlib import Path
from typing import Annotated

import typer

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.sending.message_files import STDIN, MessageFile
from ingestion_assets.entities.sending.message_stream import Sent, StreamMemory, send_stream
from ingestion_assets.sending.display import Figures
from ingestion_assets.sending.files import open_regular, reason_of, shown
from ingestion_assets.sending.options import (
    FIVE_MINUTES,
    AsJson,
    Key,
    Quiet,
    RetryFor,
    Url,
    Wait,
    state_file,
)
from ingestion_assets.sending.run import EXIT_PROBLEMS, Run

app = typer.Typer()


@app.command("entities")
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
    for name in files:
        _check_readable(name)
    prefix = None if entity is None else _prefix_of(entity)
    if prefix is None and any(name.partition(".tbl")[1] for name in files):
        raise typer.BadParameter(
            "the lines of .tbl files have no prefix: say which entity they are", param_hint="--entity"
        )
    run = Run(url=url, key=key, retry_for_s=retry_for, quiet=quiet)
    sent, messages = Sent(""), [MessageFile(name, prefix) for name in files]

    total = sum(one.size for one in messages)

    def figures() -> Figures:
        words = f"{'storing' if sent.totals else 'sending'} {sent.lines:,} lines"
        return Figures(sent.bytes_read, total, words)

    with run.ending():
        memory = StreamMemory((state or state_file(run.settings)).absolute())
        if reset:
            memory.ended(target=run.target, files=messages)
        sent.stream = memory.name_for(target=run.target, files=messages)
        with run.delivery(figures, connections=concurrency) as (delivery, display):
            send_stream(
                delivery, messages, sent=sent, concurrency=concurrency, stop=run.stop, wait=wait,
                patience_s=run.patience_s, tick=display.refresh,
            )  # fmt: skip
        memory.ended(target=run.target, files=messages)
    run.status = run.status or (EXIT_PROBLEMS if sent.totals.get("failed") or sent.problems else 0)
    for problem in sent.problems:
        run.tell(problem)
    told = {"stream": sent.stream, "lines": sent.lines, "ended": run.reason, "problems": sent.problems}
    said = ", ".join(f"{number:,} {name}" for name, number in sent.totals.items() if number)
    run.exit(
        lambda: typer.echo(f"{sent.lines:,} lines sent. {said}".rstrip()),
        as_json=told | sent.totals if as_json_ else None,
    )


def _prefix_of(entity: str) -> str:
    """The prefix of an entity, given by its name or prefix."""
    entities = defined_entities().entities
    for one in entities:
        if entity in {one.entity, one.prefix}:
            return one.prefix
    known = ", ".join(f"{one.entity} ({one.prefix})" for one in entities)
    raise typer.BadParameter(f"there is no entity {entity}; there are {known}", param_hint="--entity")


def _check_readable(name: str) -> None:
    """All files are there before the first is sent: lines of one may reference those of another."""
    if name == STDIN:
        return
    try:
        open_regular(Path(name)).close()
    except OSError as error:
        raise typer.BadParameter(f"{shown(name)}: {reason_of(error)}", param_hint="FILE") from error
