"""`ingestion send`: transcripts to the front door, and sample transcripts to try it with."""

import contextlib
import json
import os
import re
import signal
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.delivery import AccessDenied, Delivery, GaveUp, Stopped
from ingestion_assets.sending.display import Display
from ingestion_assets.sending.memory import HeldByAnother, Memory
from ingestion_assets.sending.preview import preview
from ingestion_assets.sending.report import as_json, describe, print_problems, print_summary
from ingestion_assets.sending.sender import Cut, Sender
from ingestion_assets.sending.sources import Source, find_sources, watched_folders
from ingestion_assets.sending.tally import Tally
from ingestion_assets.settings import Settings, load_settings

EXIT_PROBLEMS, EXIT_USAGE, EXIT_GAVE_UP, EXIT_INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="send", no_args_is_help=True, help="Send local data to the front door, or make sample data to send."
)


class EncodingChoice(StrEnum):
    zstd = "zstd"
    gzip = "gzip"
    none = "none"


_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 30s, 5m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


@app.command("claude")
def send_claude(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH…",
            help="Transcript files or folders of them. Default: ~/.claude/projects.",
            exists=True,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the front door. Default: that of the running stack.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="API key. Default: $INGESTION_API_KEY, then the stack's own admin token."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep watching for new lines and new files until Ctrl-C.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the outcome of every line is known.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Files sent at the same time.")] = 4,
    encoding: Annotated[EncodingChoice, typer.Option(help="Compression of requests.")] = EncodingChoice.zstd,
    batch_lines: Annotated[int, typer.Option(min=1, max=1000, help="Most lines of one request.")] = 1000,
    batch_bytes: Annotated[
        int, typer.Option(min=1, help="Most bytes of lines of one request; a longer line goes alone.")
    ] = 4 * 2**20,
    retry_for: Annotated[
        float,
        typer.Option(
            parser=_duration,
            metavar="DURATION",
            help="How long to retry while the server is away: 30s, 5m, 2h. With --follow there is no limit.",
        ),
    ] = "5m",  # pyright: ignore[reportArgumentType]  # typer hands the text to the parser
    todos: Annotated[
        bool, typer.Option("--todos/--no-todos", help="Also send the todo lists (todos/*.json) found.")
    ] = True,
    with_settings: Annotated[
        bool,
        typer.Option(
            "--with-settings",
            help="Also send settings.json and config.json of a .claude folder, as they are: look for secrets in `env`.",
        ),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers what was sent. Default: in the stack's home.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget what was sent to this server before, and send all again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, send nothing.")
    ] = False,
    poll: Annotated[
        bool, typer.Option("--poll", help="With --follow: look at the files instead of waiting for notices.")
    ] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")] = False,
) -> None:
    """Send Claude Code transcripts. What was sent before is not sent again.

    Exit status: 0 all sent; 1 lines could not be sent or were rejected (they are listed); 2 wrong usage or key;
    3 the server could not be reached for as long as --retry-for says; 130 interrupted.
    """
    settings = load_settings()
    errors = Console(stderr=True)
    wanted = paths or [Path("~/.claude/projects").expanduser()]
    for path in wanted:
        if not path.exists():
            raise typer.BadParameter(f"there is no {path}", param_hint="PATH")
    wanted = [path.absolute() for path in wanted]

    def find() -> list[Source]:
        return find_sources(wanted, with_todos=todos, with_settings=with_settings)

    tally, began = Tally(), time.monotonic()
    cut = Cut(
        max_records=batch_lines, max_bytes=batch_bytes, encoding=encoding.value, concurrency=concurrency
    )  # pyright: ignore[reportArgumentType]
    ended, status = "complete", 0
    with _stop_on_signals() as stop, contextlib.ExitStack() as stack:
        base = url or _front_door(settings)
        try:
            memory = Memory(path=(state or _state_file(settings)).absolute(), target=base.rstrip("/"))
        except HeldByAnother as error:
            errors.print(str(error), soft_wrap=True, highlight=False)
            raise typer.Exit(EXIT_USAGE) from None
        stack.callback(memory.close)
        if reset and not dry_run:
            memory.forget()
        if dry_run:
            preview(find(), memory=memory, cut=cut, tally=tally, forget=reset)
        else:
            delivery = Delivery(
                url=base, key=key or _key(settings), retry_for_s=None if follow else retry_for, stop=stop,
                on_outage=tally.outage_changed, connections=concurrency + 2,
            )  # fmt: skip
            stack.callback(delivery.close)
            display = stack.enter_context(Display(tally=tally, console=errors, quiet=quiet, endless=follow))
            sender = Sender(
                delivery=delivery, memory=memory, cut=cut, tally=tally, stop=stop, wait=wait,
                patience_s=None if follow else max(retry_for, 30.0),
            )  # fmt: skip
            try:
                if follow:
                    _follow(sender, wanted, find=find, tally=tally, display=display, console=errors, stop=stop,
                            poll=poll)  # fmt: skip
                else:
                    sources = find()
                    tally.bytes_total = sum(source.path.stat().st_size for source in sources)
                    sender.send_all(sources, tick=display.refresh)
                    sender.wait_for_outcomes(tick=display.refresh)
            except Stopped:
                ended, status = "stopped", (0 if follow else EXIT_INTERRUPTED)
            except AccessDenied as error:
                ended, status = str(error), EXIT_USAGE
            except GaveUp as error:
                ended, status = f"gave up: {error}", EXIT_GAVE_UP
            stop.set()
    elapsed = time.monotonic() - began
    if as_json_:
        typer.echo(json.dumps(as_json(tally, elapsed_s=elapsed, ended=ended), indent=2))
    elif not quiet:
        print_summary(tally, console=Console(), elapsed_s=elapsed, dry_run=dry_run)
    if not as_json_:
        print_problems(tally, console=errors)
    if status in {EXIT_USAGE, EXIT_GAVE_UP}:
        errors.print(ended, soft_wrap=True, highlight=False, markup=False)
        if status == EXIT_GAVE_UP:
            errors.print("What was sent is remembered; run the same command again to go on.", soft_wrap=True)
    raise typer.Exit(status or (EXIT_PROBLEMS if tally.failed else 0))


@app.command("sample")
def write_sample(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; made when missing.", file_okay=False)],
    sessions: Annotated[int, typer.Option(min=1, help="Sessions to make.")] = 24,
    lines: Annotated[int, typer.Option(min=1, help="Least number of lines in all.")] = 6000,
    seed: Annotated[int, typer.Option(help="Same seed, same transcripts.")] = 1,
    end: Annotated[
        str | None, typer.Option(help="Date the newest session is of, YYYY-MM-DD. Default: 2026-03-01.")
    ] = None,
) -> None:
    """Write made-up transcripts with everything that real ones hold, as a `.claude` folder."""
    from ingestion_assets.sending.synthetic import write_transcripts  # noqa: PLC0415

    written = write_transcripts(folder, sessions=sessions, lines=lines, seed=seed, end=end)
    typer.echo(
        f"{written.lines:,} lines of {written.sessions} sessions in {written.files} files under {folder / 'projects'}"
    )


def _follow(
    sender: Sender, paths: list[Path], *, find, tally: Tally, display: Display, console: Console,
    stop: threading.Event, poll: bool,
) -> None:  # fmt: skip
    from ingestion_assets.sending.watching import changes  # noqa: PLC0415

    told = 0
    for sources in changes(
        folders=watched_folders(paths), find=find, stop=stop, poll=poll, tick=display.refresh
    ):
        tally.bytes_total = 0
        sender.send_all(sources, tick=display.refresh)
        for problem in tally.problems[told:]:
            console.print(describe(problem), soft_wrap=True, highlight=False)
        told = len(tally.problems)
    raise Stopped


@contextlib.contextmanager
def _stop_on_signals():
    """The first Ctrl-C (or SIGTERM) ends after the requests in hand, the second at once."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _front_door(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
    return f"http://{host}:{settings.port}"


def _key(settings: Settings) -> str | None:
    for secret in (settings.api_key, settings.admin_token):
        if secret is not None:
            return secret.get_secret_value()
    token = settings.home / "admin_token"
    return token.read_text(encoding="utf-8").strip() if token.is_file() else None


def _state_file(settings: Settings) -> Path:
    if settings.home.is_dir():
        return settings.home / "sending" / "state.sqlite"
    return Path(typer.get_app_dir("ingestion")) / "sending.sqlite"
