"""`ingestion keys`: create, list and revoke API keys."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.frontdoor.keys import ApiKey, create_key, list_keys, revoke_key
from ingestion_assets.frontdoor.tokens import scopes_help
from ingestion_assets.installed_flows import known_scopes
from ingestion_assets.stores.postgres import engine

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The key's name; it owns the receipts of what the key sends.")],
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            "-s",
            help=f"What it may do; repeatable: {scopes_help(known_scopes())}, or the name of a drop zone.",
        ),
    ],
    days: Annotated[
        float | None,
        typer.Option("--days", min=0, max=36_500, help="Days until it expires; for ever if not given."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the token only.")] = False,
) -> None:
    """Create a key and print its token, which is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    ledger = engine()
    try:
        with ledger.begin() as connection:
            key, token = create_key(
                connection, name=name, scopes=scope, known=known_scopes(connection), expires_at=expires_at
            )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if quiet:
        typer.echo(token)
        return
    typer.echo(
        f"{token}\n\nThis is the only time the token is shown. Key {key.name!r}: {', '.join(sorted(key.scopes))}."
    )


@app.command("list")
def list_all(
    everything: Annotated[bool, typer.Option("--all", help="Revoked keys too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List keys."""
    with engine().connect() as connection:
        keys = [key for key in list_keys(connection) if everything or key.revoked_at is None]
    if as_json:
        print_json({**asdict(key), "scopes": sorted(key.scopes), "state": _state(key)} for key in keys)
        return
    print_table(
        ("name", "state", "created (UTC)", "expires", "last used", "scopes"),
        (
            (key.name, _state(key), *map(_day, (key.created_at, key.expires_at, key.last_used_at)), " ".join(sorted(key.scopes)))
            for key in keys
        ),
    )  # fmt: skip


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The key's name or id.")]) -> None:
    """Revoke a key; front doors turn it away within seconds."""
    with engine().begin() as connection:
        key = revoke_key(connection, name_or_id=name)
    if key is None:
        typer.echo(
            f"There is no key named {name!r} that could be revoked; `ingestion keys list` shows them.",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(f"Revoked {key.name!r}.")


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"


def _day(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"
