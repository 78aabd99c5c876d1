"""`ingestion send drupal`: what is installed on a Drupal site."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ingestion_assets.modules.inventories import InventoryError
from ingestion_assets.modules.sending import Outgoing, outgoing, read_files
from ingestion_assets.modules.site_sync import known_modules, sync
from ingestion_assets.sending.acknowledgement import one_line
from ingestion_assets.sending.display import Figures
from ingestion_assets.sending.endings import UsageError
from ingestion_assets.sending.files import open_regular, shown
from ingestion_assets.sending.options import FIVE_MINUTES, AsJson, Key, Quiet, RetryFor, Url
from ingestion_assets.sending.run import EXIT_PROBLEMS, Run

_NOT_APPLIED = {"held", "superseded"}
_COUNTED = ("new", "updated", "removed", "returned", "enabled", "disabled", "unchanged", "superseded")

app = typer.Typer()


@app.command("drupal")
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
    run = Run(url=url, key=key, retry_for_s=retry_for, quiet=quiet)
    request = result = None
    with (
        run.ending(),
        run.delivery(lambda: Figures(0, 0, f"sending site {site}"), connections=2) as (delivery, _),
    ):
        try:
            inventory = read_files([(name, _text(name)) for name in files])
            alone = inventory.kind == "core.extension.yml"
            request = outgoing(
                inventory, known=known_modules(delivery, site) if alone else (), drupal_version=drupal_version,
                php_version=php_version, taken_at=at.replace(tzinfo=UTC) if at else None, partial=partial,
            )  # fmt: skip
        except (InventoryError, OSError) as error:
            raise UsageError(one_line(str(error))) from error
        if not quiet:
            _tell_unmapped(run, request)
        if not dry_run:
            result = sync(
                delivery, site, request.body, confirm_removals=confirm_removals, patience_s=run.patience_s
            )
    if result is None:  # a dry run, or one that failed
        body = request.body if dry_run and request else None
        count = f"{len(body['modules'])} modules would be sent." if body else None
        run.exit(lambda: count and typer.echo(count), as_json=body if as_json_ else None, resumes=False)
    for warning in (result.get("result") or result).get("warnings") or ():
        run.tell(warning)
    applied = result.get("state") not in _NOT_APPLIED
    run.status = 0 if applied else EXIT_PROBLEMS
    run.exit(lambda: applied and _print_counts(site, result), as_json=result if as_json_ else None)


def _print_counts(site: int, result: dict[str, Any]) -> None:
    counted = ", ".join(
        f"{result[f'{name}_modules']} {name}" for name in _COUNTED if result.get(f"{name}_modules")
    )
    typer.echo(
        f"Site {site}: {result['processed_count']} modules; {counted or 'nothing changed'}; "
        f"{result['security_updates_found']} need a security update."
    )


def _text(name: str) -> str:
    if name == "-":
        content = sys.stdin.buffer.read()
    else:
        with open_regular(Path(name), pipes=True) as file:
            content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(f"{shown(name)} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _tell_unmapped(run: Run, request: Outgoing) -> None:
    for note in request.notes:
        run.tell(one_line(note))
    if request.unmapped:
        run.tell(f"{len(request.unmapped)} entries were not mapped:")
    for one in request.unmapped:
        run.tell(f"  {one_line(f'{one.name}: {one.reason}')}")
