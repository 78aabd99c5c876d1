"""How long files will take, by what like files took: the median of the last thousand of the same kind and size, else a constant."""

from collections.abc import Sequence

import sqlalchemy as sa

NEWEST = 1000
MS_A_FILE, MS_A_MB = 1500, 4000
"""Where nothing like it was done before."""

# Kind by the name's ending, size by powers of eight; files without a size count as small.
_KIND = "lower(substring(name from '[.]([A-Za-z0-9]{1,8})$'))"
_CLASS = "(log(8, greatest(coalesce(size, 1), 1)))::int"
_ESTIMATE = sa.text(f"""
    WITH history AS (
        SELECT kind, class, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM (
            SELECT {_KIND} AS kind, {_CLASS} AS class, (SELECT sum(value::int) FROM jsonb_each_text(took)) AS ms
            FROM documents.files WHERE status = 'completed' ORDER BY ended_at DESC LIMIT :newest
        ) newest GROUP BY kind, class
    ), asked AS (
        SELECT {_KIND} AS kind, {_CLASS} AS class, coalesce(size, 0) AS size
        FROM unnest(CAST(:names AS text[]), CAST(:sizes AS bigint[])) AS file (name, size)
    )
    SELECT coalesce(sum(coalesce(history.ms, :ms_a_file + asked.size / 1e6 * :ms_a_mb)), 0)::float8
    FROM asked LEFT JOIN history USING (kind, class)
""")
_RENEW = sa.text("""
    UPDATE documents.jobs SET estimated_ms = round(1000 * extract(epoch FROM clock_timestamp() - started_at) + :left_ms)
    WHERE id = :job_id AND started_at IS NOT NULL
""")
_LEFT = sa.text("SELECT name, size FROM documents.files WHERE job_id = :job_id AND ended_at IS NULL")
_WAIT = sa.text("""
    SELECT coalesce(sum(greatest(0, coalesce(estimated_ms, 0) * (1 - progress / (100.0 * greatest(total_files, 1))))), 0)::float8
    FROM documents.jobs WHERE status IN ('queued', 'running', 'retrying')
""")


def estimate_ms(
    connection: sa.Connection,
    names: Sequence[str],
    sizes: Sequence[int | None],
    *,
    workers: int,
    jobs_at_once: int,
) -> int:
    """Milliseconds that files take together, with what goes before them."""
    wait = connection.scalar(_WAIT) or 0.0
    return round(_work_ms(connection, names, sizes, workers) + wait / max(1, jobs_at_once))


def renew(connection: sa.Connection, job_id: str, *, workers: int) -> None:
    """Of a job that runs: what it took until now, and what the files that are left will take, its own that are done among the history."""
    left = connection.execute(_LEFT, {"job_id": job_id}).all()
    left_ms = _work_ms(connection, [file.name for file in left], [file.size for file in left], workers)
    connection.execute(_RENEW, {"job_id": job_id, "left_ms": left_ms})


def _work_ms(
    connection: sa.Connection, names: Sequence[str], sizes: Sequence[int | None], workers: int
) -> float:
    values = {
        "names": list(names),
        "sizes": list(sizes),
        "newest": NEWEST,
        "ms_a_file": MS_A_FILE,
        "ms_a_mb": MS_A_MB,
    }
    return (connection.scalar(_ESTIMATE, values) or 0.0) / max(1, workers)
