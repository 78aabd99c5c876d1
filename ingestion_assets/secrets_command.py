"""`ingestion secrets`: what is kept sealed in the database is sealed anew with another key, while everything goes on."""

import secrets

import sqlalchemy as sa
import typer

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets.stores.sealing import Sealer, SealError, keep_keys, secret_keys

BATCH = 500

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keys that secrets in the database are sealed with."""


@app.command()
def rotate(
    new_key: bool = typer.Option(False, "--new-key", help="Make a new key first, in <home>/secret_key."),
    forget_old: bool = typer.Option(
        False, "--forget-old", help="Then take all keys but the first out of <home>/secret_key."
    ),
) -> None:
    """Seal every secret anew with the first key; nothing stops meanwhile, as all keys open.

    Where the keys are in INGESTION_SECRET_KEYS: put the new one first everywhere, run this, take the old one away everywhere.
    """
    settings = load_settings()
    if (new_key or forget_old) and (settings.secret_keys or settings.secret_key):
        typer.echo("The keys are in INGESTION_SECRET_KEYS: change them there.", err=True)
        raise typer.Exit(2)
    if new_key:
        keep_keys(settings, [secrets.token_urlsafe(32), *secret_keys(settings)])
    resealed, faults = reseal(settings)
    typer.echo(f"{resealed} secrets are sealed with the first key.")
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(1)
    if forget_old:
        keep_keys(settings, secret_keys(settings)[:1])


def reseal(settings: Settings) -> tuple[int, list[str]]:
    """Seal what every flow keeps with the first key: how many secrets are so now, and a sentence for each that no key opens."""
    keys = secret_keys(settings)
    sealer, first = Sealer(*keys), Sealer(keys[0])
    done, faults = 0, []
    own = engine(settings.require("postgres_url"))
    try:
        for place in [one for flow in all_flows().values() for one in flow.sealed]:
            schema, table, column = place.split(".")
            with own.connect() as connection:
                if not sa.inspect(connection).has_table(table, schema=schema):
                    continue  # a flow whose tables are not made yet
            count, unopened = _reseal_column(
                own, sa.table(table, sa.column(column), schema=schema), column, sealer, first
            )
            done += count
            if unopened:
                faults.append(
                    f"{unopened} secrets in {place} open with none of the keys: add the key of then."
                )
    finally:
        own.dispose()
    return done, faults


def _reseal_column(
    own: sa.Engine, table: sa.TableClause, column: str, sealer: Sealer, first: Sealer
) -> tuple[int, int]:
    """A row that is written meanwhile is left as it is: whoever wrote it sealed it with the first key, or is found the next time."""
    cell = table.c[column]
    with own.connect() as connection:
        sealed = connection.scalars(sa.select(cell).where(cell.is_not(None)).distinct()).all()
    done = unopened = 0
    for start in range(0, len(sealed), BATCH):
        with own.begin() as connection:
            for one in sealed[start : start + BATCH]:
                if _opens(first, one):
                    done += 1
                    continue
                try:
                    anew = sealer.rotate(one)
                except SealError:
                    unopened += 1
                    continue
                connection.execute(sa.update(table).where(cell == one).values({column: anew}))
                done += 1
    return done, unopened


def _opens(sealer: Sealer, sealed: str) -> bool:
    try:
        sealer.rotate(sealed)
    except SealError:
        return False
    return True
