"""The tables that a flow brings itself: counted apart from the spine's, in a database that has been in use before."""

from pathlib import Path

import sqlalchemy as sa

from ingestion_assets.stores.postgres import engine, migrate, migrate_flow

FIRST = """
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE ingestion.notes (id uuid PRIMARY KEY)")
"""
SECOND = """
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.execute("ALTER TABLE ingestion.notes ADD COLUMN body text")
"""


def _versions(url: str) -> dict[str, str]:
    with engine(url).connect() as connection:
        tables = connection.scalars(
            sa.text(
                "SELECT relname FROM pg_class WHERE relname LIKE 'ingestion_schema_version%' AND relkind = 'r'"
            )
        ).all()
        return {name: connection.scalar(sa.text(f"SELECT version_num FROM {name}")) for name in tables}


def test_a_flow_counts_its_own_revisions(fresh_postgres_url: str, tmp_path: Path) -> None:
    revisions = tmp_path / "a folder, 100% its own"
    revisions.mkdir()
    (revisions / "1_notes.py").write_text(FIRST, encoding="utf-8")
    before = _versions(fresh_postgres_url)
    migrate_flow("notes", revisions, url=fresh_postgres_url)
    with engine(fresh_postgres_url).begin() as connection:
        connection.execute(sa.text("INSERT INTO ingestion.notes VALUES (gen_random_uuid())"))
    (revisions / "2_body.py").write_text(SECOND, encoding="utf-8")
    for _ in range(2):  # the second time there is nothing to do
        migrate_flow("notes", revisions, url=fresh_postgres_url)
        migrate(fresh_postgres_url)
    assert _versions(fresh_postgres_url) == before | {"ingestion_schema_version_notes": "2"}
    with engine(fresh_postgres_url).connect() as connection:
        assert connection.execute(sa.text("SELECT count(*), count(body) FROM ingestion.notes")).one() == (
            1,
            0,
        )
    engine(fresh_postgres_url).dispose()
