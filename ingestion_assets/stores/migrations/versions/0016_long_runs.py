"""Long runs: how far they are with a payload, what a person wants of it, and whether a run is asked to stop early."""

from alembic import op

revision = "0016"
down_revision = "0013"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.progress (
            drop_id uuid PRIMARY KEY REFERENCES ingestion.drops ON DELETE CASCADE,
            number  bigint NOT NULL,             -- of the state, from 1: the order of what was told
            at      timestamptz NOT NULL,
            state   jsonb NOT NULL
        ) WITH (fillfactor = 50)
    """)
    # Asked of a payload that a run works on; kept where it is in effect: `pause` on what is held, `cancel` on what failed.
    op.execute("ALTER TABLE ingestion.drops ADD COLUMN wanted text")
    op.execute("""
        ALTER TABLE ingestion.drops ADD CONSTRAINT drops_wanted CHECK (
            wanted IS NULL
            OR wanted = 'pause' AND state IN ('claimed', 'held')
            OR wanted = 'cancel' AND state IN ('claimed', 'failed')
        ) NOT VALID
    """)  # every row has none yet, so there is nothing to look at
    op.execute("ALTER TABLE ingestion.run_heartbeats ADD COLUMN stop_requested_at timestamptz")
    op.execute("""
        CREATE TABLE ingestion.tickets (
            digest     bytea PRIMARY KEY,
            principal  text NOT NULL,
            scopes     text[] NOT NULL,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX tickets_expiry ON ingestion.tickets (expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.tickets")
    op.execute("ALTER TABLE ingestion.run_heartbeats DROP COLUMN stop_requested_at")
    op.execute("ALTER TABLE ingestion.drops DROP CONSTRAINT drops_wanted")
    op.execute("ALTER TABLE ingestion.drops DROP COLUMN wanted")
    op.execute("DROP TABLE ingestion.progress")
