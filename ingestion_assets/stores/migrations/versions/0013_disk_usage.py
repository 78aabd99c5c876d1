"""How full the disk was, by the minute: how fast it fills says when it will be full. And why a run's worker interrupts it."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.disk_usage (
            place      text NOT NULL,                -- host and folder
            at         timestamptz NOT NULL DEFAULT now(),
            used_bytes bigint NOT NULL,
            free_bytes bigint NOT NULL,
            PRIMARY KEY (place, at)
        )
    """)
    op.execute("ALTER TABLE ingestion.run_heartbeats ADD COLUMN interrupt_reason text")


def downgrade() -> None:
    op.execute("ALTER TABLE ingestion.run_heartbeats DROP COLUMN interrupt_reason")
    op.execute("DROP TABLE ingestion.disk_usage")
