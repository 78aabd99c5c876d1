"""The SQL behind `statistics`. Every statement is bounded by what was touched, never by what is stored."""

import sqlalchemy as sa

LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('ingestion.conversations.statistics'))")

STALE_SESSIONS = sa.text("""
    SELECT session_id FROM ingestion.conversation_sessions
    WHERE stale AND session_id <> ALL(CAST(:failed AS text[])) ORDER BY session_id LIMIT :limit FOR UPDATE
""")

# Summaries are looked at when they are new, and when a stale session may own the leaf they name. Those sessions must be
# locked by then: one that became stale after this looked, and was computed after that, would never be asked.
SETTLE_SUMMARIES = sa.text("""
    WITH candidates AS (
        SELECT f.session_id, f.uuid, f.leaf_uuid, f.owner
        FROM ingestion.conversation_facts f
        WHERE f.unsettled
        UNION
        SELECT s.session_id, s.uuid, s.leaf_uuid, s.owner
        FROM ingestion.conversation_facts m
        JOIN ingestion.conversation_facts s ON s.leaf_uuid = m.uuid
        WHERE m.session_id = ANY(CAST(:ids AS text[]))
    ), settled AS (
        SELECT c.session_id, c.uuid, c.owner AS former, (
            SELECT min(m.session_id) FROM ingestion.conversation_facts m
            WHERE m.uuid = c.leaf_uuid AND m.session_id <> ''
        ) AS owner
        FROM candidates c
    )
    UPDATE ingestion.conversation_facts f
    SET owner = s.owner, unsettled = false
    FROM settled s
    WHERE f.session_id = s.session_id AND f.uuid = s.uuid
        AND (f.unsettled OR s.owner IS DISTINCT FROM s.former)
    RETURNING f.uuid, s.owner, s.former
""")

MARK_SESSIONS = sa.text("""
    UPDATE ingestion.conversation_sessions SET stale = true WHERE session_id = ANY(CAST(:ids AS text[]))
""")

# API messages that occur in several sessions, recorded for all of them: a fork may be stored before its origin.
FIND_FORKS = sa.text("""
    INSERT INTO ingestion.conversation_forks (session_id, usage_key)
    SELECT DISTINCT shared.session_id, k.usage_key
    FROM (
        SELECT DISTINCT session_id, usage_key FROM ingestion.conversation_facts
        WHERE session_id = ANY(CAST(:ids AS text[])) AND usage_key IS NOT NULL
    ) k
    CROSS JOIN LATERAL (
        SELECT f.session_id FROM ingestion.conversation_facts f WHERE f.usage_key = k.usage_key
        UNION
        SELECT k.session_id
    ) shared
    WHERE EXISTS (
        SELECT FROM ingestion.conversation_facts f
        WHERE f.usage_key = k.usage_key AND f.session_id <> k.session_id
    )
    ON CONFLICT DO NOTHING
""")

# What a message says of its directory and type may be of any length; a document must stay below 16 MB.
SESSION_TOTALS = sa.text("""
    WITH m AS MATERIALIZED (
        SELECT f.*, f.session_id AS session
        FROM ingestion.conversation_facts f
        WHERE f.session_id = ANY(CAST(:ids AS text[]))
        UNION ALL
        SELECT f.*, f.owner AS session
        FROM ingestion.conversation_facts f
        WHERE f.owner = ANY(CAST(:ids AS text[]))
    ), api AS MATERIALIZED (
        SELECT session, usage_key, coalesce(min(model), 'unknown') AS model,
            max(input_tokens) AS input_tokens, max(output_tokens) AS output_tokens,
            max(cache_creation_tokens) AS cache_creation_tokens, max(cache_read_tokens) AS cache_read_tokens,
            max(cost) AS cost
        FROM m WHERE usage_key IS NOT NULL GROUP BY session, usage_key
    ), by_model AS (
        SELECT session, model, jsonb_build_object(
            'input_tokens', coalesce(sum(input_tokens), 0), 'output_tokens', coalesce(sum(output_tokens), 0),
            'cache_creation_tokens', coalesce(sum(cache_creation_tokens), 0),
            'cache_read_tokens', coalesce(sum(cache_read_tokens), 0)
        ) AS amounts
        FROM api
        WHERE coalesce(input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens) IS NOT NULL
        GROUP BY session, model
    ), tokens AS (
        SELECT session, jsonb_object_agg(model, amounts) AS tokens FROM by_model GROUP BY session
    ), costs AS (
        SELECT session, sum(cost) AS cost FROM api GROUP BY session
    ), by_type AS (
        SELECT session, jsonb_object_agg(type, n) AS by_type
        FROM (SELECT session, left(type, 256) AS type, count(*) AS n FROM m GROUP BY session, left(type, 256)) t
        GROUP BY session
    ), totals AS (
        SELECT session, count(*) AS messages, min(ts) AS started_at, max(ts) AS ended_at,
            max(cumulative_cost) AS cumulative_cost,
            (array_agg(left(cwd, 4096) ORDER BY ts NULLS LAST, uuid) FILTER (WHERE cwd IS NOT NULL))[1] AS first_cwd,
            array_agg(DISTINCT version ORDER BY version) FILTER (WHERE version IS NOT NULL) AS versions,
            array_agg(DISTINCT title COLLATE "C" ORDER BY title COLLATE "C")
                FILTER (WHERE title IS NOT NULL AND type = 'summary') AS summaries,
            array_agg(DISTINCT title COLLATE "C" ORDER BY title COLLATE "C")
                FILTER (WHERE title IS NOT NULL AND type <> 'summary') AS titles
        FROM m GROUP BY session
    )
    SELECT s.session_id, s.created_by, s.created_at, s.touched_by, by_type.by_type, tokens.tokens, costs.cost,
        totals.messages, totals.started_at, totals.ended_at, totals.cumulative_cost, totals.first_cwd,
        totals.versions, totals.summaries, totals.titles
    FROM totals
    JOIN ingestion.conversation_sessions s ON s.session_id = totals.session AND s.session_id = ANY(CAST(:ids AS text[]))
    JOIN by_type ON by_type.session = totals.session
    LEFT JOIN tokens ON tokens.session = totals.session
    LEFT JOIN costs ON costs.session = totals.session
    ORDER BY s.session_id
""")

ADD_PROJECTS = sa.text("""
    INSERT INTO ingestion.conversation_projects (project_id, path, created_by, created_at)
    SELECT t.project_id, t.path, t.drop_id, t.created_at
    FROM json_to_recordset(CAST(:rows AS json)) AS t (
        project_id uuid, path text, drop_id uuid, created_at timestamptz
    )
    ORDER BY t.project_id
    ON CONFLICT (project_id) DO UPDATE SET stale = true
""")

# The ids stand there twice, as rows and as a list, because only a list makes the planner go through the index.
# A session that moved leaves a project that must be computed anew too.
SESSIONS_DONE = sa.text("""
    WITH t AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS t (
            session_id text, project_id uuid, messages int, started_at timestamptz, ended_at timestamptz,
            cost numeric, tokens jsonb
        )
    ), left_behind AS (
        UPDATE ingestion.conversation_projects p SET stale = true
        FROM ingestion.conversation_sessions s JOIN t ON t.session_id = s.session_id
        WHERE p.project_id = s.project_id AND s.project_id <> t.project_id
            AND s.session_id = ANY(CAST(:ids AS text[]))
    )
    UPDATE ingestion.conversation_sessions s
    SET project_id = t.project_id, messages = t.messages, started_at = t.started_at, ended_at = t.ended_at,
        cost = t.cost, tokens = t.tokens, stale = false
    FROM t WHERE s.session_id = t.session_id AND s.session_id = ANY(CAST(:ids AS text[]))
""")

STALE_PROJECTS = sa.text("""
    SELECT project_id, path, created_by, created_at FROM ingestion.conversation_projects
    WHERE stale ORDER BY project_id FOR UPDATE
""")

PROJECT_TOTALS = sa.text("""
    WITH s AS MATERIALIZED (
        SELECT * FROM ingestion.conversation_sessions WHERE project_id = ANY(CAST(:ids AS uuid[]))
    ), by_model AS (
        SELECT s.project_id, model.key AS model, jsonb_build_array(
            sum((model.value ->> 'input_tokens')::numeric), sum((model.value ->> 'output_tokens')::numeric),
            sum((model.value ->> 'cache_creation_tokens')::numeric), sum((model.value ->> 'cache_read_tokens')::numeric)
        ) AS amounts
        FROM s CROSS JOIN LATERAL jsonb_each(s.tokens) AS model
        GROUP BY s.project_id, model.key
    ), tokens AS (
        SELECT project_id, jsonb_object_agg(model, amounts) AS tokens, array_agg(model) AS models
        FROM by_model GROUP BY project_id
    ), totals AS (
        SELECT project_id, sum(messages)::bigint AS messages, count(*) AS sessions, sum(cost) AS cost,
            min(started_at) AS started_at, max(ended_at) AS ended_at
        FROM s GROUP BY project_id
    )
    SELECT totals.*, tokens.tokens, tokens.models FROM totals LEFT JOIN tokens USING (project_id)
""")

# Per project: what forked API messages count for once, less what they count for in each of its sessions.
FORK_CORRECTIONS = sa.text("""
    WITH per_session AS MATERIALIZED (
        SELECT s.project_id, k.session_id, k.usage_key, coalesce(min(f.model), 'unknown') AS model,
            max(f.input_tokens) AS input_tokens, max(f.output_tokens) AS output_tokens,
            max(f.cache_creation_tokens) AS cache_creation_tokens, max(f.cache_read_tokens) AS cache_read_tokens,
            max(f.cost) AS cost
        FROM ingestion.conversation_sessions s
        JOIN ingestion.conversation_forks k ON k.session_id = s.session_id
        JOIN ingestion.conversation_facts f ON f.usage_key = k.usage_key AND f.session_id = k.session_id
        WHERE s.project_id = ANY(CAST(:ids AS uuid[]))
        GROUP BY s.project_id, k.session_id, k.usage_key
    ), per_project AS (
        SELECT project_id, usage_key, min(model) AS model,
            max(input_tokens) AS input_tokens, max(output_tokens) AS output_tokens,
            max(cache_creation_tokens) AS cache_creation_tokens, max(cache_read_tokens) AS cache_read_tokens,
            max(cost) AS cost
        FROM per_session GROUP BY project_id, usage_key HAVING count(*) > 1
    ), changes AS (
        SELECT project_id, model, input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens, cost
        FROM per_project
        UNION ALL
        SELECT e.project_id, e.model, -e.input_tokens, -e.output_tokens, -e.cache_creation_tokens,
            -e.cache_read_tokens, -e.cost
        FROM per_session e JOIN per_project USING (project_id, usage_key)
    )
    SELECT project_id, model,
        coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,
        coalesce(sum(cache_creation_tokens), 0) AS cache_creation_tokens,
        coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens, sum(cost) AS cost
    FROM changes GROUP BY project_id, model
""")

PROJECTS_DONE = sa.text("""
    UPDATE ingestion.conversation_projects SET stale = false WHERE project_id = ANY(CAST(:ids AS uuid[]))
""")

FORGET_PROJECTS = sa.text("""
    DELETE FROM ingestion.conversation_projects WHERE project_id = ANY(CAST(:ids AS uuid[]))
""")

CREATORS = sa.text("""
    SELECT s.session_id, s.created_by, s.project_id, p.created_by AS project_created_by
    FROM ingestion.conversation_sessions s
    LEFT JOIN ingestion.conversation_projects p USING (project_id)
    WHERE s.session_id = ANY(CAST(:ids AS text[]))
""")
