"""`ingestion retention`: what is old enough to be deleted. The jobs do the deleting, never this command."""

from datetime import timedelta
from typing import Annotated

import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.settings import load_settings

app = typer.Typer()


@app.command()
def retention(
    days: Annotated[
        int | None,
        typer.Option(min=0, max=36_500, help="Instead of INGESTION_RETENTION_DAYS, to see what it would do."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is old enough to be deleted, and what stays because a reject of it is open. Deletes nothing."""
    from ingestion_assets.installed_flows import all_flows, come_and_gone  # noqa: PLC0415
    from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
    from ingestion_assets.landing.retention import plan, planned_histories  # noqa: PLC0415
    from ingestion_assets.orchestration.expired_runs import due  # noqa: PLC0415
    from ingestion_assets.orchestration.retention_job import NOT_SET  # noqa: PLC0415
    from ingestion_assets.stack.dagster_instance import dagster_instance  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    settings = load_settings()
    now = ledger_now(engine())
    with dagster_instance() as instance:
        runs = len(due(instance, now))
    days = settings.retention_days if days is None else days
    before = None if days is None else now - timedelta(days=days)
    found, histories = [], 0
    if before is not None:
        with engine().connect() as connection:
            flows = [*all_flows().values(), *come_and_gone(connection).values()]
            found = plan(connection, flows, before=before)
            histories = planned_histories(connection, flows, before=before)
    if as_json:
        print_json(
            [{"superseded_runs": runs, "before": before, "payloads": found, "history_rows": histories}]
        )
        return
    typer.echo(f"Dagster's superseded runs that are old enough or too much: {runs:,}.")
    if before is None:
        typer.echo(f"{NOT_SET} `--days N` shows what would go.")
        return
    typer.echo(f"Finished before {before:%Y-%m-%d %H:%M} UTC:" if found else "No payload is old enough.")
    if found:
        print_table(
            ("flow", "what becomes of it", "payloads", "bytes", "finished from", "to"),
            (
                (
                    old.flow,
                    "kept: open rejects" if old.kept else "goes",
                    f"{old.payloads:,}",
                    f"{old.bytes:,}",
                    f"{old.oldest:%Y-%m-%d}",
                    f"{old.newest:%Y-%m-%d}",
                )
                for old in found
            ),
        )
    typer.echo(
        f"Rows of histories that go with these payloads, or tell of payloads which are gone: {histories:,}."
    )
    if settings.retention_days is None:
        typer.echo(NOT_SET)
