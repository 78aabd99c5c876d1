"""`ingestion retention`: what is old enough to be deleted. The jobs do the deleting, never this command."""

from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ingestion_assets.settings import load_settings

app = typer.Typer()


@app.command()
def retention(
    days: Annotated[
        int | None, typer.Option(min=0, help="Instead of INGESTION_RETENTION_DAYS, to see what it would do.")
    ] = None,
) -> None:
    """Show what is old enough to be deleted, and what stays because a reject of it is open. Deletes nothing."""
    from ingestion_assets.flows import all_flows  # noqa: PLC0415
    from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
    from ingestion_assets.landing.retention import plan  # noqa: PLC0415
    from ingestion_assets.orchestration.expired_runs import due  # noqa: PLC0415
    from ingestion_assets.orchestration.retention_job import NOT_SET  # noqa: PLC0415
    from ingestion_assets.stack.dagster_instance import dagster_instance  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    settings = load_settings()
    console, now = Console(), ledger_now(engine())
    with dagster_instance() as instance:
        runs = len(due(instance, now))
    console.print(f"Dagster's superseded runs that are old enough or too much: {runs:,}.", highlight=False)
    days = settings.retention_days if days is None else days
    if days is None:
        console.print(f"{NOT_SET} `--days N` shows what would go.", soft_wrap=True, highlight=False)
        return
    before = now - timedelta(days=days)
    table = Table("flow", "", "payloads", "bytes", "finished from", "to")
    with engine().connect() as connection:
        for old in plan(connection, all_flows().values(), before=before):
            what = "kept: open rejects" if old.kept else "goes"
            table.add_row(
                old.flow, what, f"{old.payloads:,}", f"{old.bytes:,}", f"{old.oldest:%Y-%m-%d}", f"{old.newest:%Y-%m-%d}"
            )  # fmt: skip
    console.print(f"Finished before {before:%Y-%m-%d %H:%M} UTC:", highlight=False)
    console.print(table if table.row_count else "No payload is old enough.")
    if settings.retention_days is None:
        console.print(NOT_SET, highlight=False)
