"""`ingestion send claude`: Claude Code transcripts, or sample ones made up."""

import json
import stat
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.files import is_folder, kind_of, shown
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
from ingestion_assets.sending.report import (
    EXIT_GAVE_UP,
    EXIT_USAGE,
    as_json,
    print_problems,
    print_summary,
    printing,
)
from ingestion_assets.sending.sender import Cut
from ingestion_assets.sending.shipment import Shipment, ship
from ingestion_assets.settings import load_settings


class EncodingChoice(StrEnum):
    zstd = "zstd"
    gzip = "gzip"
    none = "none"


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
    settings = load_settings()
    wanted = paths or claude_folders(settings.claude_config_dir)
    for path in wanted:
        _check_path(path)
    errors = Console(stderr=True)
    ending = ship(
        Shipment(
            paths=tuple(path.absolute() for path in wanted),
            url=url or front_door(settings),
            key=key or key_of(settings),
            state=(state or state_file(settings)).absolute(),
            cut=Cut(
                max_records=batch_lines,
                max_bytes=batch_bytes,
                encoding=encoding.value,
                concurrency=concurrency,
            ),
            retry_for_s=retry_for,
            follow=follow,
            poll=poll,
            wait=wait,
            todos=todos,
            with_settings=with_settings,
            reset=reset,
            dry_run=dry_run,
            quiet=quiet,
        ),
        console=errors,
    )
    if not as_json_:
        print_problems(ending.tally, console=errors)
    if ending.status in {EXIT_USAGE, EXIT_GAVE_UP}:
        errors.print(ending.reason, soft_wrap=True, highlight=False, markup=False)
    if ending.status == EXIT_GAVE_UP:
        errors.print("What was sent is remembered; run the same command again to go on.", soft_wrap=True)
    with printing(errors):
        if as_json_:
            typer.echo(
                json.dumps(as_json(ending.tally, elapsed_s=ending.elapsed_s, ended=ending.reason), indent=2)
            )
        elif not quiet:
            print_summary(ending.tally, console=Console(), elapsed_s=ending.elapsed_s, dry_run=dry_run)
    raise typer.Exit(ending.status)


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
        f"{written.lines:,} lines of {written.sessions} sessions "
        f"in {written.files} files under {folder / 'projects'}"
    )
