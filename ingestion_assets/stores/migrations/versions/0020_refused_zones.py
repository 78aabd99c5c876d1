"""Drop zones that were refused before they were ever in force, and why."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.refused_zones (
            name     text NOT NULL,
            location text NOT NULL,
            refused  text NOT NULL,
            seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (name, location)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.refused_zones")
