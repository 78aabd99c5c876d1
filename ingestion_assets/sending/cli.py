"""`ingestion send`: transcripts to the front door, and sample transcripts to try it with."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.report import as_json, print_problems, print_summary
from ingestion_assets.sending.sender import Cut
from ingestion_assets.sending.shipment import EXIT_GAVE_UP, EXIT_USAGE, Shipment, ship
from ingestion_assets.settings import Settings, load_settings

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
def send_claude(  # typer passes by name
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
    as_json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")] = False,
) -> None:
    """Send Claude Code transcripts. What was sent before is not sent again.

    Exit status: 0 all sent; 1 lines could not be sent or were rejected (they are listed); 2 wrong usage or
    key; 3 the server could not be reached for as long as --retry-for says; 130 interrupted.
    """
    settings = load_settings()
    wanted = paths or [Path("~/.claude/projects").expanduser()]
    for path in wanted:
        if not path.exists():
            raise typer.BadParameter(f"there is no {path}", param_hint="PATH")
    errors = Console(stderr=True)
    ending = ship(
        Shipment(
            paths=tuple(path.absolute() for path in wanted),
            url=url or _front_door(settings),
            key=key or _key(settings),
            state=(state or _state_file(settings)).absolute(),
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
    if as_json_:
        typer.echo(
            json.dumps(as_json(ending.tally, elapsed_s=ending.elapsed_s, ended=ending.reason), indent=2)
        )
    elif not quiet:
        print_summary(ending.tally, console=Console(), elapsed_s=ending.elapsed_s, dry_run=dry_run)
    if not as_json_:
        print_problems(ending.tally, console=errors)
    if ending.status in {EXIT_USAGE, EXIT_GAVE_UP}:
        errors.print(ending.reason, soft_wrap=True, highlight=False, markup=False)
    if ending.status == EXIT_GAVE_UP:
        errors.print("What was sent is remembered; run the same command again to go on.", soft_wrap=True)
    raise typer.Exit(ending.status)


@app.command("entities")
def send_entities(  # typer passes by name
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…|-", help="Files of messages, plain, gzip or zstd; `-` is standard input."
        ),
    ],
    url: Annotated[
        str | None, typer.Option(help="Address of the front door. Default: that of the running stack.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="API key. Default: $INGESTION_API_KEY, then the stack's own admin token."),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(
            help="Name or prefix of the entity of lines that have no prefix, such as those of `.tbl` files."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the outcome of every line is known.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=16, help="Files sent at the same time.")] = 2,
    retry_for: Annotated[
        float,
        typer.Option(
            parser=_duration,
            metavar="DURATION",
            help="How long to retry while the server is away: 30s, 5m, 2h.",
        ),
    ] = "5m",  # pyright: ignore[reportArgumentType]  # typer hands the text to the parser
    state: Annotated[
        Path | None, typer.Option(help="File that remembers streams begun. Default: in the stack's home.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin anew instead of going on.")] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print the totals as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")] = False,
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
        url=url or _front_door(settings),
        key=key or _key(settings),
        state=(state or _state_file(settings).with_name("streams.json")).absolute(),
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


@app.command("drupal")
def send_drupal(  # typer passes by name
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…",
            help="`drush pm:list --format=json`, composer.lock, the API's JSON, or core.extension.yml (alone or beside one of the "
            "others); - reads standard input.",
        ),
    ],
    site: Annotated[int, typer.Option(min=1, help="The site's number.")],
    url: Annotated[
        str | None, typer.Option(help="Address of the front door. Default: that of the running stack.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The site's API key. Default: $INGESTION_API_KEY, then the stack's own admin token."
        ),
    ] = None,
    drupal_version: Annotated[
        str | None, typer.Option(help="Drupal's version, where the file does not say it.")
    ] = None,
    php_version: Annotated[
        str | None, typer.Option(help="PHP's version, where the file does not say it.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            help="When the file was made (UTC), if not now.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]
        ),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Touch only what the file names.")] = False,
    confirm_removals: Annotated[
        bool, typer.Option("--confirm-removals", help="Remove modules however many they are.")
    ] = False,
    retry_for: Annotated[
        float,
        typer.Option(
            parser=_duration, metavar="DURATION", help="How long to retry while the server is away."
        ),
    ] = "5m",  # pyright: ignore[reportArgumentType]  # typer hands the text to the parser
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check, send nothing.")] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")] = False,
) -> None:
    """Send what is installed on a Drupal site.

    Exit status: 0 sent; 1 the server refused it or holds it; 2 wrong usage, key or file; 3 the server could not be reached.
    """
    from ingestion_assets.modules.inventories import InventoryError  # noqa: PLC0415
    from ingestion_assets.modules.sending import SendError, SiteClient, outgoing, read_files  # noqa: PLC0415

    settings = load_settings()
    errors = Console(stderr=True)
    client = SiteClient(
        url=url or _front_door(settings), key=key or _key(settings) or "", site=site, retry_for_s=retry_for,
        on_retry=lambda why: errors.print(f"Waiting: {why}", markup=False, highlight=False, soft_wrap=True),
    )  # fmt: skip
    try:
        inventory = read_files([(name, _text(name)) for name in files])
        alone = inventory.kind == "core.extension.yml"
        request = outgoing(
            inventory, known=client.modules() if alone else (), drupal_version=drupal_version, php_version=php_version,
            taken_at=at.replace(tzinfo=UTC) if at else None, partial=partial,
        )  # fmt: skip
        if not quiet:
            _print_unmapped(errors, [f"{one.name}: {one.reason}" for one in request.unmapped], request.notes)
        if dry_run:
            typer.echo(
                json.dumps(request.body, indent=2)
                if as_json_
                else f"{len(request.body['modules'])} modules would be sent."
            )
            return
        result = client.sync(request.body, confirm_removals=confirm_removals)
    except (InventoryError, OSError, UnicodeDecodeError) as error:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from error
    except SendError as error:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_GAVE_UP if error.gave_up else 1) from error
    finally:
        client.close()
    if as_json_:
        typer.echo(json.dumps(result, indent=2))
    elif not quiet and result.get("state") != "held":
        counted = ", ".join(
            f"{result[f'{name}_modules']} {name}" for name in _COUNTED if result.get(f"{name}_modules")
        )
        typer.echo(f"Site {site}: {result['processed_count']} modules; {counted or 'nothing changed'}; "
                   f"{result['security_updates_found']} need a security update.")  # fmt: skip
    for warning in (result.get("result") or result).get("warnings") or ():
        errors.print(warning, markup=False, highlight=False, soft_wrap=True)
    if result.get("state") == "held":
        raise typer.Exit(1)


_COUNTED = ("new", "updated", "removed", "returned", "enabled", "disabled", "unchanged")


def _text(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")


def _print_unmapped(errors: Console, unmapped: list[str], notes: Sequence[str]) -> None:
    for line in notes:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)
    if unmapped:
        errors.print(f"{len(unmapped)} entries were not mapped:", markup=False, highlight=False)
        for line in unmapped:
            errors.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


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
        f"{written.lines:,} lines of {written.sessions} sessions "
        f"in {written.files} files under {folder / 'projects'}"
    )


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
