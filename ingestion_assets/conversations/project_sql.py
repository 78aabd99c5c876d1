"""The SQL of what projects add up to. Every statement is bounded by what was touched, never by what is stored."""

import sqlalchemy as sa

from ingestion_assets.conversations.session_sql import ANSWERS

ADD_PROJECTS = sa.text("""
    INSERT INTO ingestion.conversation_projects AS p (project_id, path, created_by, created_at)
    SELECT t.project_id, t.path, t.drop_id, t.created_at
    FROM json_to_recordset(CAST(:rows AS json)) AS t (
        project_id uuid, path text, drop_id uuid, created_at timestamptz
    )
    ORDER BY t.project_id
    ON CONFLICT (project_id) DO UPDATE SET stale = true, removed_at = NULL,
        created_by = CASE WHEN p.removed_at IS NULL THEN p.created_by ELSE excluded.created_by END,
        created_at = CASE WHEN p.removed_at IS NULL THEN p.created_at ELSE excluded.created_at END
""")

STALE_PROJECTS = sa.text("""
    SELECT project_id, path, created_by, created_at
    FROM ingestion.conversation_projects WHERE stale ORDER BY project_id FOR UPDATE
""")

# Sessions computed by an earlier version have named amounts, and one path a project.
PROJECT_TOTALS = sa.text("""
    WITH s AS MATERIALIZED (
        SELECT * FROM ingestion.conversation_sessions WHERE project_id = ANY(CAST(:ids AS uuid[]))
    ), by_model AS (
        SELECT project_id, model, jsonb_build_array(
            sum(coalesce(amounts ->> 0, amounts ->> 'input_tokens')::numeric),
            sum(coalesce(amounts ->> 1, amounts ->> 'output_tokens')::numeric),
            sum(coalesce(amounts ->> 2, amounts ->> 'cache_creation_tokens')::numeric),
            sum(coalesce(amounts ->> 3, amounts ->> 'cache_read_tokens')::numeric),
            sum(coalesce(amounts ->> 4, '0')::numeric), sum(coalesce(amounts ->> 5, '0')::numeric)
        ) AS amounts
        FROM (
            SELECT s.project_id, model.key AS model, model.value AS amounts
            FROM s CROSS JOIN LATERAL jsonb_each(s.tokens) AS model
        ) of_sessions
        GROUP BY project_id, model
    ), tokens AS (
        SELECT project_id, jsonb_object_agg(model, amounts) AS tokens FROM by_model GROUP BY project_id
    ), tools AS (
        SELECT project_id, jsonb_object_agg(tool, uses) AS tools
        FROM (
            SELECT s.project_id, used.key AS tool, sum(used.value::bigint) AS uses
            FROM s CROSS JOIN LATERAL jsonb_each(s.tools) AS used GROUP BY s.project_id, used.key
        ) of_sessions GROUP BY project_id
    ), totals AS (
        SELECT project_id, min(path) AS spelled, sum(messages)::bigint AS messages, count(*) AS sessions,
            sum(cost) AS cost, min(started_at) AS started_at, max(ended_at) AS ended_at
        FROM s GROUP BY project_id
    )
    SELECT totals.*, tokens.tokens, tools.tools
    FROM totals LEFT JOIN tokens USING (project_id) LEFT JOIN tools USING (project_id)
""")

# Per project: what forked API messages count for once, less what they count for in each of its sessions.
FORK_CORRECTIONS = sa.text(f"""
    WITH forked AS MATERIALIZED (
        SELECT s.project_id, f.*
        FROM ingestion.conversation_sessions s
        JOIN ingestion.conversation_forks k ON k.session_id = s.session_id
        JOIN ingestion.conversation_facts f ON f.usage_key = k.usage_key AND f.session_id = k.session_id
        WHERE s.project_id = ANY(CAST(:ids AS uuid[]))
    ), shared AS (
        SELECT f.*
        FROM forked f
        JOIN (
            SELECT project_id, usage_key FROM forked
            GROUP BY project_id, usage_key HAVING min(session_id) <> max(session_id)
        ) several USING (project_id, usage_key)
    ), scoped AS (
        SELECT project_id::text AS scope, s.* FROM shared s
        UNION ALL
        SELECT project_id || '/' || session_id, s.* FROM shared s
    ), scopes AS (
        SELECT project_id, project_id::text AS scope, 1 AS sign FROM shared GROUP BY project_id
        UNION ALL
        SELECT project_id, project_id || '/' || session_id, -1 FROM shared GROUP BY project_id, session_id
    ), {ANSWERS}
    SELECT scopes.project_id, scopes.sign, tokens.tokens, tools.tools, costs.cost
    FROM scopes
    LEFT JOIN tokens USING (scope) LEFT JOIN tools USING (scope) LEFT JOIN costs USING (scope)
""")

# What copies of cost-state lines count for too much. A step of a counter is a copy if it stands in a session before it (by
# id) too, and both have the counter's beginning in common, or API messages.
COUNTER_CORRECTIONS = sa.text("""
    WITH steps AS MATERIALIZED (
        SELECT s.project_id, s.session_id, step.key AS step, (step.value #>> '{}')::numeric AS amount
        FROM ingestion.conversation_sessions s CROSS JOIN LATERAL jsonb_each(s.cost_steps) AS step
        WHERE s.project_id = ANY(CAST(:ids AS uuid[]))
    )
    SELECT later.project_id, -sum(later.amount) AS cost
    FROM steps later
    WHERE later.amount > 0 AND EXISTS (
        SELECT FROM steps first
        WHERE first.project_id = later.project_id AND first.step = later.step AND first.session_id < later.session_id
            AND (left(later.step, 1) <> ':' OR EXISTS (
                SELECT FROM ingestion.conversation_forks one JOIN ingestion.conversation_forks other USING (usage_key)
                WHERE one.session_id = first.session_id AND other.session_id = later.session_id
            ))
    )
    GROUP BY later.project_id
""")

PROJECTS_DONE = sa.text("""
    UPDATE ingestion.conversation_projects SET stale = false WHERE project_id = ANY(CAST(:ids AS uuid[]))
""")

REMOVE_PROJECTS = sa.text("""
    UPDATE ingestion.conversation_projects SET removed_at = clock_timestamp() WHERE project_id = ANY(CAST(:ids AS uuid[]))
""")

FORGET_PROJECTS = sa.text("""
    DELETE FROM ingestion.conversation_projects WHERE removed_at < clock_timestamp() - interval '1 day'
    RETURNING project_id
""")
