"""`ingestion send claude`: Claude Code transcripts, or sample ones made up."""

import contextlib
import math
import stat
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from ingestion_assets.conversations.sending.report import as_json, describe, print_problems, print_summary
from ingestion_assets.conversations.sending.sender import Cut, Sender
from ingestion_assets.conversations.sending.slices import Problem
from ingestion_assets.conversations.sending.sources import Source, find_sources, watched_folders
from ingestion_assets.conversations.sending.tally import Tally
from ingestion_assets.conversations.sending.transcript_memory import Memory
from ingestion_assets.sending.endings import StoppedError
from ingestion_assets.sending.files import is_folder, kind_of, shown
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
from ingestion_assets.sending.run import EXIT_INTERRUPTED, EXIT_PROBLEMS, Run

app = typer.Typer()


class EncodingChoice(StrEnum):
    zstd = "zstd"
    gzip = "gzip"
    none = "none"


@app.command("claude")
def send_claude(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH…",
            help="Transcript files or folders of them. Default: `projects` in $CLAUDE_CONFIG_DIR (several: `A,B`), else ~/.claude/projects.",
            exists=True,
            readable=False,  # what cannot be read is listed
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Keep watching for new lines and new files until Ctrl-C, however long the server is away.",
        ),
    ] = False,
    wait: Wait = True,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Files sent at the same time.")] = 4,
    encoding: Annotated[EncodingChoice, typer.Option(help="Compression of requests.")] = EncodingChoice.zstd,
    batch_lines: Annotated[int, typer.Option(min=1, max=1000, help="Most lines of one request.")] = 1000,
    batch_bytes: Annotated[
        int, typer.Option(min=1, help="Most bytes of lines of one request; a longer line goes alone.")
    ] = 4 * 2**20,
    retry_for: RetryFor = FIVE_MINUTES,
    todos: Annotated[
        bool, typer.Option("--todos/--no-todos", help="Also send the todo lists (todos/*.json) found.")
    ] = True,
    with_settings: Annotated[
        bool,
        typer.Option(
            "--with-settings",
            help="Also send settings.json and config.json of a .claude folder, as they are; mind secrets.",
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
    as_json_: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send Claude Code transcripts. What was sent before is not sent again.

    Exit status: 0 all sent; 1 lines could not be sent, were rejected or are in conflict with others (they are listed);
    2 wrong usage, key or address, or the state file cannot be used; 3 the server could not be reached for as long as
    --retry-for says; 130 interrupted.
    """
    run = Run(url=url, key=key, retry_for_s=math.inf if follow else retry_for, quiet=quiet)
    wanted = paths or claude_folders(run.settings.claude_config_dir)
    for path in wanted:
        _check_path(path)
    wanted = [path.absolute() for path in wanted]
    tally = Tally()
    cut = Cut(
        max_records=batch_lines, max_bytes=batch_bytes, encoding=encoding.value, concurrency=concurrency
    )

    def find() -> list[Source]:
        """The files there are now; what cannot be looked at goes into the tally."""
        found = find_sources(wanted, with_todos=todos, with_settings=with_settings)
        tally.unreadable, tally.passed_over = found.unreadable, found.passed_over
        return found.sources

    with (
        run.ending(),
        contextlib.closing(
            Memory(path=(state or state_file(run.settings)).absolute(), target=run.target)
        ) as memory,
        run.delivery(tally.figures, connections=concurrency + 2) as (delivery, display),
    ):
        if reset and not dry_run:
            memory.forget()
        sender = Sender(
            delivery=delivery, memory=memory, cut=cut, tally=tally, stop=run.stop, wait=wait,
            patience_s=run.patience_s, dry=dry_run, anew=reset and dry_run,
        )  # fmt: skip
        try:
            if follow and not dry_run:
                _follow(
                    run,
                    sender,
                    find,
                    folders=watched_folders(wanted),
                    poll=poll,
                    tally=tally,
                    tick=display.refresh,
                )
            sources = find()
            tally.bytes_total = sum(source.size for source in sources)
            sender.send_all(sources, tick=display.refresh)
            sender.wait_for_outcomes(tick=display.refresh)
        finally:
            run.stop.set()
            sender.close()
    if follow and run.status == EXIT_INTERRUPTED:
        run.status = 0
    run.status = run.status or (EXIT_PROBLEMS if tally.failed else 0)
    if not as_json_:
        print_problems(tally, console=run.console)
    elapsed_s = time.monotonic() - tally.began
    run.exit(
        lambda: print_summary(tally, console=Console(), elapsed_s=elapsed_s, dry_run=dry_run),
        as_json=as_json(tally, elapsed_s=elapsed_s, ended=run.reason) if as_json_ else None,
    )


def _follow(
    run: Run,
    sender: Sender,
    find: Callable[[], list[Source]],
    *,
    folders: Iterable[Path],
    poll: bool,
    tally: Tally,
    tick: Callable[[], None],
) -> NoReturn:
    from ingestion_assets.conversations.sending.watching import changes  # noqa: PLC0415  # only --follow needs it

    told, unreadable = 0, set[str]()

    def tell(problems: Iterable[Problem]) -> None:
        for problem in problems:
            run.console.print(describe(problem), soft_wrap=True, highlight=False)

    def found() -> list[Source]:
        nonlocal unreadable
        sources = find()
        tell(problem for name, problem in tally.unreadable.items() if name not in unreadable)
        unreadable = set(tally.unreadable)
        return sources

    for sources in changes(folders=folders, find=found, stop=run.stop, poll=poll, tick=tick):
        sender.send_all(sources, tick=tick)
        tell(tally.problems[told:])
        told = len(tally.problems)
    raise StoppedError


def claude_folders(configured: str | None) -> list[Path]:
    """Where Claude Code keeps its transcripts: `configured` is one folder, or several with commas between them."""
    if not configured:
        return [Path("~/.claude/projects").expanduser()]
    whole = Path(configured).expanduser()
    several = [Path(one.strip()).expanduser() for one in configured.split(",") if one.strip()]
    folders = [whole] if is_folder(whole) else several
    return [folder if folder.name == "projects" else folder / "projects" for folder in folders]


def _check_path(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return  # listed with all that cannot be read
    except OSError as error:
        raise typer.BadParameter(f"there is no {shown(path)}", param_hint="PATH") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise typer.BadParameter(
            f"{shown(path)} is {kind_of(path)}, neither a file nor a folder", param_hint="PATH"
        )


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
    from ingestion_assets.samples.transcripts import write_transcripts  # noqa: PLC0415

    written = write_transcripts(folder, sessions=sessions, lines=lines, seed=seed, end=end)
    typer.echo(
        f"{written.lines:,} lines of {written.sessions} sessions "
        f"in {written.files} files under {folder / 'projects'}"
    )
