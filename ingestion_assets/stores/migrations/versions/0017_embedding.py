"""Embedding: texts that wait for a process with a model, the processes that have one, the servers that ask for a pause."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("CREATE SCHEMA embedding")
    # Unlogged: what a crash takes away is asked again by whoever waits for it.
    op.execute("""
        CREATE UNLOGGED TABLE embedding.requests (
            id       uuid PRIMARY KEY,
            model    text NOT NULL,                  -- its name, as settings know it
            question boolean NOT NULL,               -- somebody waits for the answer: goes first
            size     integer NOT NULL,               -- texts
            texts    bytea NOT NULL,                 -- MessagePack, as texts may hold what PostgreSQL's cannot
            asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            taken_by uuid,                           -- an answerer
            tries    integer NOT NULL DEFAULT 0,
            model_id text,                           -- name and revision of what made the vectors
            width    integer,
            vectors  bytea,                          -- float32, little-endian, one text after the other
            error    text
        )
    """)
    op.execute(
        "CREATE INDEX requests_open ON embedding.requests (asked_at) WHERE vectors IS NULL AND error IS NULL"
    )
    op.execute("""
        CREATE UNLOGGED TABLE embedding.answerers (
            id      uuid PRIMARY KEY,                -- one process
            host    text NOT NULL,
            main    boolean NOT NULL,                -- takes all; the others stand in where there is no such
            beat_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
    """)
    op.execute("CREATE TABLE embedding.endpoints (url text PRIMARY KEY, paused_until timestamptz NOT NULL)")


def downgrade() -> None:
    op.execute("DROP SCHEMA embedding CASCADE")
