"""Segments whose payloads are deleted: from the moment their rows go until the files are gone."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.retired_segments (
            path text PRIMARY KEY,
            retired_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.retired_segments")
