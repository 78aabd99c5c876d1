"""When the processes of a run began, as their host's kernel tells it: whether they still live is no matter of clocks."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    # Of rows that were there before it is not known.
    op.execute("ALTER TABLE ingestion.run_heartbeats ADD COLUMN worker_start text, ADD COLUMN pid_start text")


def downgrade() -> None:
    op.execute("ALTER TABLE ingestion.run_heartbeats DROP COLUMN pid_start, DROP COLUMN worker_start")
