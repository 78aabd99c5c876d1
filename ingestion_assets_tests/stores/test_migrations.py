"""Databases that were filled by an earlier release are brought up to date: their rows stay, and are put right where that is promised."""

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from ingestion_assets.stores.postgres import MIGRATIONS, VERSION_TABLE, engine, migrate

FILLED_AT = ("0009", "0010")
DROP, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
_ROWS = f"""
    INSERT INTO ingestion.drops (id, flow, partition, lane, principal, idempotency_key, body_sha256, size_bytes, records,
            segment, "offset", length, state, received_at) VALUES
        ('{DROP}', 'conversations', '2026-01-01', '0', 'key', 'a', '', 1, 1, 'segments/a.seg', 0, 1, 'landed', now()),
        ('{OTHER}', 'modules', '1', '1', 'key', NULL, '', 1, 1, 'segments/a.seg', 1, 1, 'failed', now());
    INSERT INTO ingestion.dispatches (id, flow, lane, partition, state) VALUES
        (gen_random_uuid(), 'conversations', '0', '2026-01-01', 'pending'), (gen_random_uuid(), 'modules', '1', '1', 'lost');
    INSERT INTO ingestion.leases VALUES ('conversations', '0', 'run', now());
    INSERT INTO ingestion.landing_watermark (minute) VALUES (now());
    INSERT INTO ingestion.receipt_records VALUES ('{OTHER}', '');
    INSERT INTO ingestion.rejects (id, flow, drop_id, position, kind, code, reason, record) VALUES
        (gen_random_uuid(), 'modules', '{OTHER}', -1, 'payload', 'run_failed', 'it failed', '');
    INSERT INTO ingestion.api_keys (id, name, token_sha256, scopes) VALUES (gen_random_uuid(), 'key', 'a', '{{admin}}');
    INSERT INTO ingestion.run_heartbeats (run_id, worker, host, worker_pid, pid) VALUES ('run', gen_random_uuid(), 'host', 1, 2);
    INSERT INTO ingestion.retired_segments (path) VALUES ('segments/b.seg');
    INSERT INTO ingestion.format_drift VALUES ('conversations', '1', 'user.path', '{DROP}', now());

    INSERT INTO ingestion.conversation_projects (project_id, path, created_by, created_at, stale) VALUES
        (gen_random_uuid(), '/srv/plain', '{DROP}', now(), false), (gen_random_uuid(), 'C:\\x\\y', '{DROP}', now(), false);
    INSERT INTO ingestion.conversation_sessions (session_id, project_id, created_by, created_at, touched_by, stale)
        SELECT split_part(path, '/', 3) || left(path, 1), project_id, '{DROP}', now(), '{DROP}', false
        FROM ingestion.conversation_projects;
    INSERT INTO ingestion.conversation_facts (session_id, uuid, drop_id, position, content_hash, type, ts, usage_key, model, input_tokens)
        VALUES ('a/b%', 'line', '{DROP}', 0, '', 'assistant', '1970-01-01', 'u:line', 'some-model', 5),
               ('a/b%', 'told', '{DROP}', 1, '', 'assistant', now(), 'm:told', 'some-model', 7),
               ('a/b%', 'made', '{DROP}', 2, '', 'assistant', now(), 'm:made', '<synthetic>', 0);
    INSERT INTO ingestion.conversation_forks VALUES ('fork', 'u:line'), ('fork', 'm:told');

    INSERT INTO ingestion.sites (name, drupal_version) VALUES ('site', '10.2.1');
    INSERT INTO ingestion.module_syncs (id, site_id, state, sequence, sync_type, snapshot_at, received_at, principal, attributes,
            modules, counts)
        SELECT gen_random_uuid(), id, state, CASE state WHEN 'applied' THEN 1 END, 'full', now(), now(), 'key', '{{}}', 1, '{{}}'
        FROM ingestion.sites, unnest(ARRAY['applied', 'stale', 'held']) state;
    INSERT INTO ingestion.module_states (site_id, machine_name, sequence, valid_from, present, first_seen, seen_at, name, type, version,
            status, core_compatibility, dependencies, security_coverage, project)
        SELECT id, 'token', 1, now(), true, now(), now(), 'Token', 'module', '8.x-1.0', true, '{{}}', '{{}}', true, 'token'
        FROM ingestion.sites;
    INSERT INTO ingestion.module_projects (project, known, etag, ask_after) VALUES
        ('token', true, 'kept', 'infinity'), ('own', false, 'old', 'infinity');
    INSERT INTO ingestion.module_releases (project, version, position, published, types) VALUES ('token', '8.x-1.0', 0, true, '{{}}');
    INSERT INTO ingestion.module_advice (project, version, datestamp, status, security_updates, also)
        VALUES ('token', '8.x-1.0', 0, 'current', '{{}}', '{{}}');
    INSERT INTO ingestion.module_sync_attempts (id, site_id, at, via, status, outcome)
        SELECT gen_random_uuid(), id, now(), 'http', 200, 'applied' FROM ingestion.sites;
    INSERT INTO ingestion.module_webhooks (sync_id, site_id, body) SELECT gen_random_uuid(), id, '{{}}' FROM ingestion.sites;
"""
_LATER_ROWS = {
    "0010": "INSERT INTO ingestion.unreadable_segments (path, reason) VALUES ('segments/c.seg', 'it is cut off')"
}


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    yield url
    engine(url).dispose()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("revision", FILLED_AT)
def test_a_database_with_rows_of_each_table_is_upgraded(empty_postgres_url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine(empty_postgres_url).begin() as connection:
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        command.upgrade(config, revision)
        for statement in (_ROWS, *(rows for since, rows in _LATER_ROWS.items() if since <= revision)):
            connection.connection.driver_connection.execute(statement)  # as it stands, `%` and all
        before = _counts(connection)
    assert all(before.values()), "each table has rows"

    migrate(empty_postgres_url)

    with engine(empty_postgres_url).connect() as connection:
        after = _counts(connection)

        def column(query: str) -> list[object]:
            return list(connection.scalars(sa.text(query)))

        # The one thing that goes, and the one that is asked for anew.
        assert after.pop("conversation_forks") == before.pop("conversation_forks") - 1
        assert after.pop("module_projects") == before.pop("module_projects") + 1
        assert {table: after[table] for table in before} == before
        assert column("SELECT state FROM ingestion.module_syncs ORDER BY 1") == [
            "applied",
            "held",
            "superseded",
        ]
        assert column(
            "SELECT project FROM ingestion.module_projects WHERE ask_after = '-infinity' ORDER BY 1"
        ) == ["drupal", "own"]
        assert column("SELECT etag FROM ingestion.module_projects WHERE project = 'token'") == ["kept"]
        assert column("SELECT usage_key FROM ingestion.conversation_facts ORDER BY uuid") == [
            "u:a%2Fb%25/line",
            None,
            "m:told",
        ]
        assert column("SELECT model FROM ingestion.conversation_facts ORDER BY uuid") == [
            "some-model",
            None,
            "some-model",
        ]
        assert column("SELECT uuid FROM ingestion.conversation_facts WHERE ts IS NULL") == ["line"]
        assert column("SELECT count(*) FROM ingestion.conversation_sessions WHERE stale") == [1]


def _counts(connection: sa.Connection) -> dict[str, int]:
    tables = sa.inspect(connection).get_table_names(schema="ingestion")
    return {
        name: connection.execute(sa.text(f'SELECT count(*) FROM ingestion."{name}"')).scalar_one()
        for name in tables
    }
