"""What flows tell of payloads goes after them, and not before: jobs of repositories and of documents."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ingestion_assets.documents.flow import DOCUMENTS
from ingestion_assets.landing import retention
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.repositories.flow import REPOSITORIES
from ingestion_assets_tests.documents.fronts import make_tables
from ingestion_assets_tests.landing.test_retention import LIMIT, NOW, OLD, keep_reject, land

_JOBS = {
    "repositories": sa.text("""
        INSERT INTO repositories.jobs (repository, partition, principal, drop_id, state, ended_at)
        VALUES (:name, :name, 'test', :drop_id, :state, :ended_at)
    """),
    "documents": sa.text("""
        INSERT INTO documents.jobs (id, user_id, name, priority, selections, options, model, principal, total_files, drop_id, status, ended_at)
        VALUES (:name, 'ann', :name, 'normal', '[]', '{}', 'm', 'test', 0, :drop_id, CASE :state WHEN 'complete' THEN 'completed' ELSE :state END, :ended_at)
    """),
}
_KEYS = {
    "repositories": "INSERT INTO repositories.idempotency_keys SELECT 'test', partition, id FROM repositories.jobs",
    "documents": "INSERT INTO documents.idempotency_keys SELECT 'test', name, '', id FROM documents.jobs",
}
_KEPT = {
    "repositories": "SELECT key FROM repositories.idempotency_keys JOIN repositories.jobs ON id = job_id",
    "documents": "SELECT key FROM documents.idempotency_keys JOIN documents.jobs ON id = job_id",
}


@pytest.fixture(scope="module", autouse=True)
def tables(postgres_url: str) -> None:
    make_tables(postgres_url)


@pytest.mark.parametrize("flow", [DOCUMENTS, REPOSITORIES], ids=lambda flow: flow.name)
def test_a_job_goes_after_its_payload(engine: sa.Engine, storage: LocalStorage, flow: Flow) -> None:
    def payload(at: datetime, **how: str):
        made = NewDrop(flow=flow.name, partition="p", lane="p", principal="test", body=b"{}", records=1)
        return land(engine, storage, [made], at=at, **how)[0]

    rejected = payload(OLD, state="failed")
    keep_reject(engine, rejected, "failed")
    jobs = {
        "old": (payload(OLD), "complete", OLD),
        "skipped": (None, "failed", OLD),
        "of a reject that is open": (rejected, "failed", OLD),
        "redone": (payload(NOW - timedelta(days=1)), "complete", OLD),
        "new": (payload(NOW), "complete", NOW),
        "waits": (payload(OLD, state="landed"), "pending", None),
    }
    with engine.begin() as connection:
        for name, (drop_id, state, ended_at) in jobs.items():
            values = {"name": name, "drop_id": drop_id, "state": state, "ended_at": ended_at}
            connection.execute(_JOBS[flow.name], values)
        connection.execute(sa.text(_KEYS[flow.name]))
    with engine.connect() as connection:
        assert retention.planned_histories(connection, [flow], before=LIMIT) == 2
    deleted = retention.delete_finished(engine, storage, [flow], before=LIMIT, holder="retention")
    with engine.connect() as connection:
        kept = set(connection.scalars(sa.text(_KEPT[flow.name])))
    assert kept == jobs.keys() - {"old", "skipped"}
    assert (deleted.payloads, deleted.histories) == (1, 2)


def test_a_long_history_goes_in_parts(engine: sa.Engine, storage: LocalStorage) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM repositories.jobs"))
        connection.execute(
            sa.text("""
                INSERT INTO repositories.jobs (repository, partition, principal, state, ended_at)
                SELECT n, n, 'test', 'skipped', :ended_at FROM generate_series(1, :rows) n
            """),
            {"ended_at": datetime(2020, 1, 1, tzinfo=UTC), "rows": 2 * retention.ROWS_AT_ONCE + 1},
        )
    deleted = retention.delete_finished(engine, storage, [REPOSITORIES], before=LIMIT, holder="retention")
    assert deleted.histories == 2 * retention.ROWS_AT_ONCE + 1
