"""The SQL of what sessions add up to. Every statement is bounded by what was touched, never by what is stored."""

import sqlalchemy as sa

# The number is drawn once the lock is held, so whoever computes later writes with a greater one.
LOCK = sa.text("""
    WITH locked AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtext('ingestion.conversations.statistics'))
    )
    SELECT nextval('ingestion.fence') FROM locked
""")

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

# From lines with usage (`scoped`: what belongs together, and its facts) to what each answer took, once. Lines of one API
# message are one answer if they name one request. Those that name none belong to that of the lines around them; where there
# is none, a minute without a line ends an answer (lines of one request lay up to 50 s apart in real transcripts).
ANSWERS = """
    far AS (
        SELECT *, CASE WHEN ts - lag(ts) OVER lines >= interval '1 minute' THEN 1 ELSE 0 END AS far
        FROM scoped WINDOW lines AS (PARTITION BY scope, usage_key ORDER BY ts NULLS FIRST, uuid)
    ), bursts AS (
        SELECT *, sum(far) OVER (PARTITION BY scope, usage_key ORDER BY ts NULLS FIRST, uuid ROWS UNBOUNDED PRECEDING) AS burst
        FROM far
    ), lines AS MATERIALIZED (
        SELECT *, coalesce('r' || coalesce(
            request_id, min(request_id) OVER (PARTITION BY scope, usage_key, burst)
        ), 'b' || burst) AS answer
        FROM bursts
    ), answers AS (
        SELECT scope, coalesce(min(model), 'unknown') AS model,
            max(input_tokens) AS input_tokens, max(output_tokens) AS output_tokens,
            max(cache_creation_tokens) AS cache_creation_tokens, max(cache_read_tokens) AS cache_read_tokens,
            max(cache_creation_5m_tokens) AS cache_creation_5m_tokens,
            max(cache_creation_1h_tokens) AS cache_creation_1h_tokens,
            max(cost) AS cost
        FROM lines GROUP BY scope, usage_key, answer
    ), beside AS (
        SELECT scope, other.key AS model,
            max((other.value ->> 0)::bigint) AS input_tokens, max((other.value ->> 1)::bigint) AS output_tokens,
            max((other.value ->> 2)::bigint) AS cache_creation_tokens, max((other.value ->> 3)::bigint) AS cache_read_tokens,
            max((other.value ->> 4)::bigint) AS cache_creation_5m_tokens,
            max((other.value ->> 5)::bigint) AS cache_creation_1h_tokens
        FROM lines CROSS JOIN LATERAL jsonb_each(other_usage) AS other
        GROUP BY scope, usage_key, answer, other.key
    ), taken AS (
        SELECT scope, model, input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens,
            cache_creation_5m_tokens, cache_creation_1h_tokens
        FROM answers
        WHERE coalesce(input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens) IS NOT NULL
        UNION ALL
        SELECT * FROM beside
    ), by_model AS (
        SELECT scope, model, jsonb_build_array(
            coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cache_creation_tokens), 0),
            coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_creation_5m_tokens), 0),
            coalesce(sum(cache_creation_1h_tokens), 0)
        ) AS amounts
        FROM taken GROUP BY scope, model
    ), tokens AS (
        SELECT scope, jsonb_object_agg(model, amounts) AS tokens FROM by_model GROUP BY scope
    ), tools AS (
        SELECT scope, jsonb_object_agg(tool, uses) AS tools
        FROM (
            SELECT scope, tool, sum(uses) AS uses
            FROM (
                SELECT scope, used.key AS tool, max(used.value::bigint) AS uses
                FROM lines CROSS JOIN LATERAL jsonb_each(server_tools) AS used
                GROUP BY scope, usage_key, answer, used.key
            ) of_answers GROUP BY scope, tool
        ) of_scopes GROUP BY scope
    ), costs AS (
        SELECT scope, sum(cost) AS cost FROM answers GROUP BY scope
    )
"""

# What a message says of its directory and type may be of any length; a document must stay below 16 MB.
# A cost-state line holds what its process has counted so far. The counter goes on where a session is resumed, or begins
# anew: a rise adds the difference, a fall the whole. In order of the counters' beginnings, else of acceptance.
SESSION_TOTALS = sa.text(f"""
    WITH m AS MATERIALIZED (
        SELECT f.*, f.session_id AS scope
        FROM ingestion.conversation_facts f
        WHERE f.session_id = ANY(CAST(:ids AS text[]))
        UNION ALL
        SELECT f.*, f.owner AS scope
        FROM ingestion.conversation_facts f
        WHERE f.owner = ANY(CAST(:ids AS text[]))
    ), scoped AS (
        SELECT * FROM m WHERE usage_key IS NOT NULL
    ), {ANSWERS}, counted AS (
        SELECT scope, counting_since, trim_scale(cumulative_cost) AS value, trim_scale(lag(cumulative_cost) OVER (
            PARTITION BY scope ORDER BY counting_since NULLS FIRST,
                CASE WHEN counting_since IS NOT NULL THEN cumulative_cost END, drop_id, position
        )) AS former
        FROM m WHERE cumulative_cost IS NOT NULL
    ), steps AS (
        SELECT scope, concat(extract(epoch FROM counting_since), ':', start, '>', value) AS step, value - start AS amount
        FROM (SELECT *, CASE WHEN former <= value THEN former ELSE 0 END AS start FROM counted) c
    ), counters AS (
        SELECT scope, sum(amount) AS cost, jsonb_object_agg(concat(step, '#', n), amount) AS steps
        FROM (SELECT *, row_number() OVER (PARTITION BY scope, step) AS n FROM steps) numbered
        GROUP BY scope
    ), by_type AS (
        SELECT scope, jsonb_object_agg(type, n) AS by_type
        FROM (SELECT scope, left(type, 256) AS type, count(*) AS n FROM m GROUP BY scope, left(type, 256)) t
        GROUP BY scope
    ), totals AS (
        SELECT scope, count(*) AS messages, min(ts) AS started_at, max(ts) AS ended_at,
            (array_agg(left(cwd, 4096) ORDER BY ts NULLS LAST, uuid) FILTER (WHERE cwd IS NOT NULL))[1] AS first_cwd,
            array_agg(DISTINCT version ORDER BY version) FILTER (WHERE version IS NOT NULL) AS versions,
            array_agg(DISTINCT title COLLATE "C" ORDER BY title COLLATE "C")
                FILTER (WHERE title IS NOT NULL AND type = 'summary') AS summaries,
            array_agg(DISTINCT title COLLATE "C" ORDER BY title COLLATE "C")
                FILTER (WHERE title IS NOT NULL AND type <> 'summary') AS titles
        FROM m GROUP BY scope
    )
    SELECT s.session_id, s.created_by, s.created_at, s.touched_by, by_type.by_type, tokens.tokens, tools.tools, costs.cost,
        counters.cost AS counted_cost, counters.steps AS cost_steps, totals.messages, totals.started_at, totals.ended_at,
        totals.first_cwd, totals.versions, totals.summaries, totals.titles
    FROM totals
    JOIN ingestion.conversation_sessions s ON s.session_id = totals.scope AND s.session_id = ANY(CAST(:ids AS text[]))
    JOIN by_type ON by_type.scope = totals.scope
    LEFT JOIN tokens ON tokens.scope = totals.scope
    LEFT JOIN tools ON tools.scope = totals.scope
    LEFT JOIN costs ON costs.scope = totals.scope
    LEFT JOIN counters ON counters.scope = totals.scope
    ORDER BY s.session_id
""")

# The ids stand there twice, as rows and as a list, because only a list makes the planner go through the index.
# A session that moved leaves a project that must be computed anew too.
SESSIONS_DONE = sa.text("""
    WITH t AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS t (
            session_id text, project_id uuid, path text, messages int, started_at timestamptz, ended_at timestamptz,
            cost numeric, tokens jsonb, tools jsonb, cost_steps jsonb
        )
    ), left_behind AS (
        UPDATE ingestion.conversation_projects p SET stale = true
        FROM ingestion.conversation_sessions s JOIN t ON t.session_id = s.session_id
        WHERE p.project_id = s.project_id AND s.project_id <> t.project_id
            AND s.session_id = ANY(CAST(:ids AS text[]))
    )
    UPDATE ingestion.conversation_sessions s
    SET project_id = t.project_id, path = t.path, messages = t.messages, started_at = t.started_at,
        ended_at = t.ended_at, cost = t.cost, tokens = t.tokens, tools = t.tools, cost_steps = t.cost_steps, stale = false
    FROM t WHERE s.session_id = t.session_id AND s.session_id = ANY(CAST(:ids AS text[]))
""")

CREATORS = sa.text("""
    SELECT s.session_id, s.created_by, s.project_id, p.created_by AS project_created_by
    FROM ingestion.conversation_sessions s
    LEFT JOIN ingestion.conversation_projects p USING (project_id)
    WHERE s.session_id = ANY(CAST(:ids AS text[]))
""")
