"""Why a run's worker interrupts it, for the process that is interrupted: its payloads may be at fault, or not."""

from alembic import op

revision = "0014"
down_revision = "0009"


def upgrade() -> None:
    op.execute("ALTER TABLE ingestion.run_heartbeats ADD COLUMN interrupt_reason text")


def downgrade() -> None:
    op.execute("ALTER TABLE ingestion.run_heartbeats DROP COLUMN interrupt_reason")
