"""Heartbeats of the processes that execute runs."""

from alembic import op

revision = "0003"
down_revision = "0002"

HEARTBEATS = """
CREATE TABLE ingestion.run_heartbeats (
    run_id              text PRIMARY KEY,
    worker              uuid NOT NULL,                      -- one start of a worker (or of a process that runs by itself)
    host                text NOT NULL,                      -- host and pid namespace: where the two pids mean something
    worker_pid          integer NOT NULL,                   -- the process that beats and kills
    pid                 integer NOT NULL,                   -- the process that executes the run
    started_at          timestamptz NOT NULL DEFAULT now(),
    beat_at             timestamptz NOT NULL DEFAULT now(),
    cancel_requested_at timestamptz,
    ended_at            timestamptz
)
"""


def upgrade() -> None:
    op.execute(HEARTBEATS)
    op.execute("CREATE INDEX run_heartbeats_live ON ingestion.run_heartbeats (worker) WHERE ended_at IS NULL")
    op.execute("CREATE INDEX run_heartbeats_ended ON ingestion.run_heartbeats (ended_at)")


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.run_heartbeats")
