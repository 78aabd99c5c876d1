"""Since when a payload waits that was sent on its way again; open rejects, and payloads that failed or are held, by indexes of their own."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.drops ADD COLUMN queued_at timestamptz;
        CREATE INDEX drops_stopped ON ingestion.drops (id) WHERE state IN ('failed', 'held');
        CREATE INDEX rejects_open ON ingestion.rejects (flow, kind) WHERE redriven_at IS NULL;
    """)


def downgrade() -> None:
    op.execute("""
        DROP INDEX ingestion.rejects_open, ingestion.drops_stopped;
        ALTER TABLE ingestion.drops DROP COLUMN queued_at;
    """)
