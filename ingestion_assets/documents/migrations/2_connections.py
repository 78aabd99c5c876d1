"""Connections to sources of files, their credentials sealed; and what a sync last saw of each of their files."""

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE documents.connections (
            id           text PRIMARY KEY,
            user_id      text NOT NULL,
            source_type  text NOT NULL,
            name         text NOT NULL,
            sealed       text NOT NULL,                  -- the configuration, credentials among it; bound to the id
            status       text NOT NULL DEFAULT 'active',
            error        text,                           -- why it is not, in a sentence
            sync_token   text,                           -- where the source's record of changes goes on
            sync_every_s integer,
            sync_options jsonb NOT NULL DEFAULT '{}',    -- processing options of the jobs that syncs make
            sync_at      timestamptz,                    -- when the next one is due
            synced_at    timestamptz,
            held         jsonb,                          -- a sync that waits for a person's word: why, and what it would do
            created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            CONSTRAINT connections_status CHECK (status IN ('active', 'needs_reauth', 'unreachable'))
        )
    """)
    op.execute("CREATE INDEX connections_user ON documents.connections (user_id, id)")
    op.execute("CREATE INDEX connections_due ON documents.connections (sync_at) WHERE sync_at IS NOT NULL")
    op.execute("""
        CREATE TABLE documents.source_files (
            connection_id text NOT NULL REFERENCES documents.connections ON DELETE CASCADE,
            file_id       text NOT NULL,
            path          text NOT NULL,
            size          bigint,
            digest        text,                          -- the source's word on its bytes
            version       text,                          -- changes when they may have changed
            PRIMARY KEY (connection_id, file_id)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE documents.source_files, documents.connections")
