"""What tells answers, counters and spellings of a directory apart, and the number that lets the newest write to MongoDB win.

What earlier versions kept is put right as far as the facts go, and its sessions computed anew by the next run. What only the
messages say (request ids, tiers of cache writes, advisors, tools) comes in when a day is rebuilt.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute(r"""
        CREATE SEQUENCE ingestion.fence;

        ALTER TABLE ingestion.conversation_facts
            ADD COLUMN request_id text COLLATE "C",
            ADD COLUMN cache_creation_5m_tokens bigint,
            ADD COLUMN cache_creation_1h_tokens bigint,
            ADD COLUMN other_usage jsonb,
            ADD COLUMN server_tools jsonb,
            ADD COLUMN counting_since timestamptz;
        ALTER TABLE ingestion.conversation_sessions
            ADD COLUMN path text COLLATE "C",
            ADD COLUMN tools jsonb,
            ADD COLUMN cost_steps jsonb;
        ALTER TABLE ingestion.conversation_projects ADD COLUMN removed_at timestamptz;
        CREATE INDEX conversation_projects_removed ON ingestion.conversation_projects (removed_at)
            WHERE removed_at IS NOT NULL;

        UPDATE ingestion.conversation_sessions s SET stale = true
        WHERE EXISTS (
            SELECT FROM ingestion.conversation_facts f WHERE f.session_id = s.session_id AND (
                f.usage_key LIKE 'u:%' OR f.model = '<synthetic>' OR f.cumulative_cost IS NOT NULL
                OR f.ts < '1990-01-01 00:00+00' OR f.ts >= '2100-01-01 00:00+00'
            )
        ) OR EXISTS (
            SELECT FROM ingestion.conversation_projects p WHERE p.project_id = s.project_id
                AND (p.path ~ '^[A-Za-z]:|^\\\\|//|/\.{1,2}(/|$)|worktrees' OR p.path <> normalize(p.path, NFC))
        );
        UPDATE ingestion.conversation_facts SET ts = NULL
        WHERE ts < '1990-01-01 00:00+00' OR ts >= '2100-01-01 00:00+00';
        UPDATE ingestion.conversation_facts SET
            usage_key = 'u:' || replace(replace(session_id, '%', '%25'), '/', '%2F') || '/' || uuid
        WHERE usage_key LIKE 'u:%';
        DELETE FROM ingestion.conversation_forks WHERE usage_key LIKE 'u:%';
        UPDATE ingestion.conversation_facts SET usage_key = NULL, input_tokens = NULL, output_tokens = NULL,
            cache_creation_tokens = NULL, cache_read_tokens = NULL
        WHERE model = '<synthetic>' AND cost IS NULL
            AND coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_creation_tokens, 0)
                + coalesce(cache_read_tokens, 0) = 0;
        UPDATE ingestion.conversation_facts SET model = NULL WHERE model = '<synthetic>';
    """)


def downgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.conversation_projects DROP COLUMN removed_at;
        ALTER TABLE ingestion.conversation_sessions DROP COLUMN path, DROP COLUMN tools, DROP COLUMN cost_steps;
        ALTER TABLE ingestion.conversation_facts DROP COLUMN request_id, DROP COLUMN cache_creation_5m_tokens,
            DROP COLUMN cache_creation_1h_tokens, DROP COLUMN other_usage, DROP COLUMN server_tools,
            DROP COLUMN counting_since;
        DROP SEQUENCE ingestion.fence;
    """)
