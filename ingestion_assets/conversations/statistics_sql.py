"""The SQL behind `statistics`. Every statement is bounded by what was touched, never by what is stored."""

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
_ANSWERS = """
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
    ), {_ANSWERS}, counted AS (
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
    ), {_ANSWERS}
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

CREATORS = sa.text("""
    SELECT s.session_id, s.created_by, s.project_id, p.created_by AS project_created_by
    FROM ingestion.conversation_sessions s
    LEFT JOIN ingestion.conversation_projects p USING (project_id)
    WHERE s.session_id = ANY(CAST(:ids AS text[]))
""")
