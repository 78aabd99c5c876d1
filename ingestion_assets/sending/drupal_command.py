"""`ingestion send drupal`: what is installed on a Drupal site."""

import contextlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.sending.delivery import AccessDeniedError, Delivery, GaveUpError, StoppedError
from ingestion_assets.sending.files import read_given, shown
from ingestion_assets.sending.options import (
    FIVE_MINUTES,
    AsJson,
    Key,
    Quiet,
    RetryFor,
    Url,
    front_door,
    key_of,
)
from ingestion_assets.sending.report import (
    EXIT_GAVE_UP,
    EXIT_INTERRUPTED,
    EXIT_PROBLEMS,
    EXIT_USAGE,
    printing,
)
from ingestion_assets.sending.shipment import LEAST_PATIENCE_S, stop_on_signals
from ingestion_assets.sending.site_sync import SyncRefusedError, known_modules, sync
from ingestion_assets.settings import load_settings


def send_drupal(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…",
            help="`drush pm:list --format=json`, composer.lock, the API's JSON, or core.extension.yml (alone or beside one of the "
            "others), `drush core:status --format=json` beside them; - reads standard input.",
        ),
    ],
    site: Annotated[int, typer.Option(min=1, help="The site's number.")],
    url: Url = None,
    key: Key = None,
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
    retry_for: RetryFor = FIVE_MINUTES,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check, send nothing.")] = False,
    as_json_: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send what is installed on a Drupal site.

    Exit status: 0 sent; 1 the server refused it, holds it, or has a newer one; 2 wrong usage, key, address or file; 3 the server could not be
    reached, or did not finish, for as long as --retry-for says; 130 interrupted.
    """
    from ingestion_assets.modules.inventories import InventoryError  # noqa: PLC0415
    from ingestion_assets.modules.sending import outgoing, read_files  # noqa: PLC0415

    settings = load_settings()
    errors = Console(stderr=True)

    def outage(reason: str | None, pause_s: float) -> None:
        if reason is not None and not quiet:
            told = f"{reason}; trying again in {pause_s:.1f} s"
            errors.print(told, markup=False, highlight=False, soft_wrap=True)

    with stop_on_signals() as stop:
        try:
            delivery = Delivery(
                url=url or front_door(settings), key=key or key_of(settings), retry_for_s=retry_for, stop=stop,
                on_outage=outage,
            )  # fmt: skip
            with contextlib.closing(delivery):
                inventory = read_files([(name, _text(name)) for name in files])
                alone = inventory.kind == "core.extension.yml"
                request = outgoing(
                    inventory, known=known_modules(delivery, site) if alone else (), drupal_version=drupal_version,
                    php_version=php_version, taken_at=at.replace(tzinfo=UTC) if at else None, partial=partial,
                )  # fmt: skip
                if not quiet:
                    unmapped = [f"{one.name}: {one.reason}" for one in request.unmapped]
                    _print_unmapped(errors, unmapped, request.notes)
                if dry_run:
                    count = f"{len(request.body['modules'])} modules would be sent."
                    with printing(errors):
                        typer.echo(json.dumps(request.body, indent=2) if as_json_ else count)
                    return
                result = sync(
                    delivery, site, request.body, confirm_removals=confirm_removals,
                    patience_s=max(retry_for, LEAST_PATIENCE_S),
                )  # fmt: skip
        except (InventoryError, OSError, AccessDeniedError) as error:
            raise _ended(errors, _printable(str(error)), EXIT_USAGE) from error
        except SyncRefusedError as error:
            raise _ended(errors, str(error), EXIT_PROBLEMS) from error
        except GaveUpError as error:
            raise _ended(errors, f"gave up: {error}", EXIT_GAVE_UP) from error
        except StoppedError as error:
            raise _ended(errors, "stopped", EXIT_INTERRUPTED) from error
    for warning in (result.get("result") or result).get("warnings") or ():
        errors.print(warning, markup=False, highlight=False, soft_wrap=True)
    with printing(errors):
        if as_json_:
            typer.echo(json.dumps(result, indent=2))
        elif not quiet and result.get("state") not in _NOT_APPLIED:
            counted = ", ".join(
                f"{result[f'{name}_modules']} {name}" for name in _COUNTED if result.get(f"{name}_modules")
            )
            typer.echo(f"Site {site}: {result['processed_count']} modules; {counted or 'nothing changed'}; "
                       f"{result['security_updates_found']} need a security update.")  # fmt: skip
    if result.get("state") in _NOT_APPLIED:
        raise typer.Exit(1)


_LONGEST_LINE = 500
_NOT_APPLIED = {"held", "superseded"}
_COUNTED = ("new", "updated", "removed", "returned", "enabled", "disabled", "unchanged", "superseded")


def _ended(errors: Console, why: str, status: int) -> typer.Exit:
    errors.print(why, markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(status)


def _text(name: str) -> str:
    content = sys.stdin.buffer.read() if name == "-" else read_given(Path(name))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(f"{shown(name)} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _print_unmapped(errors: Console, unmapped: list[str], notes: Sequence[str]) -> None:
    for line in notes:
        errors.print(_printable(line), markup=False, highlight=False, soft_wrap=True)
    if unmapped:
        errors.print(f"{len(unmapped)} entries were not mapped:", markup=False, highlight=False)
        for line in unmapped:
            errors.print(f"  {_printable(line)}", markup=False, highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """A line for a terminal, whatever the names in a file hold."""
    shown = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in shown)
