"""The front door's own tables: API keys."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.api_keys (
            id uuid PRIMARY KEY,
            name text NOT NULL,
            token_sha256 bytea NOT NULL UNIQUE,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            expires_at timestamptz,
            revoked_at timestamptz,
            last_used_at timestamptz
        );
        CREATE UNIQUE INDEX api_keys_name ON ingestion.api_keys (name) WHERE revoked_at IS NULL;
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.api_keys")
