"""A front door with the documents flow whose jobs are really worked on, by threads of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.server import create_app
from ingestion_assets.stores import postgres
from ingestion_assets.stores.postgres import engine as engine_of
from ingestion_assets_tests.documents.job_runs import JobRuns
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front, served, settings_for

USER = "user123"


def make_tables(url: str) -> None:
    """The tables of flows in a migrated database."""
    for flow in ("documents", "repositories"):  # whose sweep the front door runs beside
        with as_file(files(f"ingestion_assets.{flow}") / "migrations") as revisions:
            postgres.migrate_flow(flow, revisions, url=url)


@contextmanager
def documents_front(url: str, home: Path, **settings_of_flow: object) -> Iterator[Front]:
    """With these settings of the flow, `document_roots` and so on."""
    named = {f"INGESTION_{name.upper()}": value for name, value in settings_of_flow.items()}
    with environment(INGESTION_FLOWS="ingestion_assets.documents.flow:DOCUMENTS", **named):
        settings = settings_for(home=home, postgres_url=url)
        own = engine_of(url)
        runs: Any = JobRuns(engine=own, settings=settings, chosen=DocumentsSettings())
        try:
            with served(create_app(settings, launch=runs)) as address:
                yield Front(url=address, engine=own, runs=runs, settings=settings, app=None)  # type: ignore[arg-type]
            runs.end()
        finally:
            own.dispose()
