"""Segments that cannot be read, wholly or in part, until they are whole or a person discards them."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.unreadable_segments (
            path text PRIMARY KEY,
            reason text NOT NULL,
            since timestamptz NOT NULL DEFAULT clock_timestamp(),
            looked_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.unreadable_segments")
