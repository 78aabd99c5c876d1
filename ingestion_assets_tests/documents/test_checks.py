"""The checks of all that is stored."""

from pathlib import Path

import dagster as dg
import psycopg

from ingestion_assets.documents.checks import documents_agree
from ingestion_assets_tests.environment import environment

CHUNKS = dg.AssetKey(["documents", "chunks"])


def test_a_check_can_be_run_by_itself_and_finds_an_orphan(documents_url: str, tmp_path: Path) -> None:
    chosen = dg.AssetSelection.checks(dg.AssetCheckKey(CHUNKS, "no_orphans"))
    definitions = dg.Definitions(
        assets=[dg.AssetSpec(CHUNKS)], asset_checks=[documents_agree], jobs=[dg.define_asset_job("one", selection=chosen)]
    )  # fmt: skip

    def found() -> list[tuple[str, bool]]:
        done = definitions.resolve_job_def("one").execute_in_process()
        return [(one.check_name, one.passed) for one in done.get_asset_check_evaluations()]

    with environment(INGESTION_HOME=tmp_path, INGESTION_POSTGRES_URL=documents_url):
        assert found() == [("no_orphans", True)]
        plant(documents_url)
        assert found() == [("no_orphans", False)]


def plant(url: str) -> None:
    """A content of no document."""
    with psycopg.connect(url) as connection:
        connection.execute("""
            INSERT INTO documents.contents (user_id, sha256, options, model, pipeline, mime, quality, pages, characters, chunks, text)
            VALUES ('u', 'x', 'o', 'm', '1', 'text/plain', 1, 1, 1, 0, 'x')
        """)
