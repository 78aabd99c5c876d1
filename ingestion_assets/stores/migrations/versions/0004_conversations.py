"""Facts of stored messages, the sessions and projects they add up to, and format drift.

Ids compare byte by byte (COLLATE "C"), so that "the smallest session id" means the same everywhere.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.conversation_facts (
            session_id text COLLATE "C" NOT NULL,
            uuid text COLLATE "C" NOT NULL,
            drop_id uuid NOT NULL,
            position int NOT NULL,
            content_hash bytea NOT NULL,
            type text NOT NULL,
            ts timestamptz,
            cwd text,
            version text,
            title text,
            usage_key text COLLATE "C",
            model text,
            input_tokens bigint,
            output_tokens bigint,
            cache_creation_tokens bigint,
            cache_read_tokens bigint,
            cost numeric,
            cumulative_cost numeric,
            leaf_uuid text COLLATE "C",
            owner text COLLATE "C",
            unsettled boolean NOT NULL DEFAULT false,
            PRIMARY KEY (session_id, uuid)
        );
        CREATE INDEX conversation_facts_uuid ON ingestion.conversation_facts (uuid);
        CREATE INDEX conversation_facts_usage ON ingestion.conversation_facts (usage_key)
            WHERE usage_key IS NOT NULL;
        CREATE INDEX conversation_facts_leaf ON ingestion.conversation_facts (leaf_uuid)
            WHERE leaf_uuid IS NOT NULL;
        CREATE INDEX conversation_facts_owner ON ingestion.conversation_facts (owner)
            WHERE owner IS NOT NULL;
        CREATE INDEX conversation_facts_unsettled ON ingestion.conversation_facts (uuid)
            WHERE unsettled;

        CREATE TABLE ingestion.conversation_projects (
            project_id uuid PRIMARY KEY,
            path text,
            created_by uuid NOT NULL,
            created_at timestamptz NOT NULL,
            stale boolean NOT NULL DEFAULT true
        );
        CREATE INDEX conversation_projects_stale ON ingestion.conversation_projects (project_id) WHERE stale;

        CREATE TABLE ingestion.conversation_sessions (
            session_id text COLLATE "C" PRIMARY KEY,
            project_id uuid,
            messages int NOT NULL DEFAULT 0,
            started_at timestamptz,
            ended_at timestamptz,
            cost numeric,
            tokens jsonb NOT NULL DEFAULT '{}',
            created_by uuid NOT NULL,
            created_at timestamptz NOT NULL,
            touched_by uuid NOT NULL,
            stale boolean NOT NULL DEFAULT true
        );
        CREATE INDEX conversation_sessions_project ON ingestion.conversation_sessions (project_id);
        CREATE INDEX conversation_sessions_stale ON ingestion.conversation_sessions (session_id) WHERE stale;

        CREATE TABLE ingestion.conversation_forks (
            session_id text COLLATE "C" NOT NULL,
            usage_key text COLLATE "C" NOT NULL,
            PRIMARY KEY (session_id, usage_key)
        );

        CREATE TABLE ingestion.format_drift (
            flow text NOT NULL,
            version text NOT NULL,
            path text NOT NULL,
            first_drop uuid NOT NULL,
            first_seen timestamptz NOT NULL,
            PRIMARY KEY (flow, version, path)
        );
        CREATE INDEX format_drift_listing ON ingestion.format_drift (first_drop, flow, version, path);
    """)


def downgrade() -> None:
    op.execute("""
        DROP TABLE ingestion.conversation_facts, ingestion.conversation_projects, ingestion.conversation_sessions,
            ingestion.conversation_forks, ingestion.format_drift
    """)
