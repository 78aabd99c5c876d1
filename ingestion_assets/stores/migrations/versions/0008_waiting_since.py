"""Since when a payload waits that was sent on its way again; open rejects and failed payloads by indexes of their own."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.drops ADD COLUMN queued_at timestamptz;
        CREATE INDEX drops_failed ON ingestion.drops (id) WHERE state = 'failed';
        CREATE INDEX rejects_open ON ingestion.rejects (flow, kind) WHERE redriven_at IS NULL;
    """)


def downgrade() -> None:
    op.execute("""
        DROP INDEX ingestion.rejects_open, ingestion.drops_failed;
        ALTER TABLE ingestion.drops DROP COLUMN queued_at;
    """)
