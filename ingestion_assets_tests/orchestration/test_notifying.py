"""People are told of what failed and is not tried again: once each, and not of what a retry will mend."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
import sqlalchemy as sa

from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.rejects import insert_rejects
from ingestion_assets.orchestration.incidents import Incident
from ingestion_assets.orchestration.notifying import NOT_SET, REFUSED, failure_notifications, to_tell
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration.conftest import Runs, execute, runs_of_a_worker
from ingestion_assets_tests.orchestration.one_payload import land_another, land_one

pytestmark = pytest.mark.usefixtures("stores_of_the_process")
NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def refused() -> set[str]:
    """Words of messages that the webhook refuses."""
    return set()


@pytest.fixture
def messages(runs: Runs, engine: sa.Engine, refused: set[str]) -> Iterator[list[str]]:
    """What a webhook takes, whose address is that of the settings."""
    got: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert body.keys() == {"text"}
            is_refused = any(word in body["text"] for word in refused)
            if not is_refused:
                got.append(body["text"])
            self.send_response(400 if is_refused else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    runs.instance.wipe()
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE ingestion.drops CASCADE"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with environment(INGESTION_NOTIFY_URL=f"http://127.0.0.1:{server.server_port}/hook"):
        yield got
    server.shutdown()
    server.server_close()


def _tick(runs: Runs, cursor: str | None = None) -> str:
    """Evaluate the sensor; its cursor afterwards."""
    with dg.build_sensor_context(instance=runs.instance, cursor=cursor) as context:
        result = failure_notifications(context)
    assert isinstance(result, dg.SensorResult)
    return str(result.cursor)


def test_without_an_address_the_sensor_says_so(runs: Runs) -> None:
    with dg.build_sensor_context(instance=runs.instance) as context:
        result = failure_notifications(context)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == NOT_SET


def test_payloads_that_failed_for_good_are_told_once_and_again_when_they_come_back(
    runs: Runs, engine: sa.Engine, messages: list[str]
) -> None:
    def fail() -> None:
        with engine.begin() as connection:
            land_one(connection, Lane("planned", "2026-02-01", "2026-02-01"))
            (drop,) = connection.scalars(sa.text("SELECT id FROM ingestion.drops"))
            reject = Reject(-1, "payload", "run_failed", "ValueError", b"the content")
            insert_rejects(connection, {drop: "planned"}, [DropOutcome(drop, {}, rejects=[reject])])

    cursor = _tick(runs)
    assert messages == []
    fail()
    cursor = _tick(runs, cursor)
    cursor = _tick(runs, cursor)
    (message,) = messages
    assert message.startswith("planned: 1 payloads failed for good (run_failed: ValueError)")
    assert "the content" not in message
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.rejects"))
    cursor = _tick(runs, cursor)
    fail()
    _tick(runs, cursor)
    assert len(messages) == 2


def test_a_job_is_told_of_when_no_retry_is_coming(runs: Runs, engine: sa.Engine, messages: list[str]) -> None:
    run_id = runs.create("failing")
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))
    assert runs.status(run_id) == dg.DagsterRunStatus.FAILURE
    runs.instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    _tick(runs)
    assert messages == []
    runs.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})
    cursor = _tick(runs)
    (message,) = messages
    assert message.startswith("The job failing failed and is not tried again: ")
    assert message.endswith(f"/runs/{run_id}")
    _tick(runs, cursor)
    assert len(messages) == 1


def test_assets_and_partitions_that_people_materialize_end_no_incident_of_each_other(
    runs: Runs, engine: sa.Engine, messages: list[str]
) -> None:
    """Dagster calls the job of all of them the same."""
    link_0, link_1 = dg.AssetKey(["chain", "link_0"]), dg.AssetKey(["chain", "link_1"])

    def materialize(key: dg.AssetKey, day: str, *, fails: bool = False) -> None:
        run_id = runs.create("__ASSET_JOB", tags={"dagster/partition": day}, asset_selection={key})
        if not fails:
            assert execute(runs.instance, run_id, runs_of_a_worker(engine))
            assert runs.status(run_id) == dg.DagsterRunStatus.SUCCESS
        elif run := runs.instance.get_run_by_id(run_id):
            runs.instance.report_run_failed(run)

    materialize(link_0, "2026-01-02", fails=True)
    materialize(link_0, "2026-01-03")
    materialize(link_1, "2026-01-03", fails=True)
    cursor = _tick(runs)
    assert sorted(one.partition(" failed and is")[0] for one in messages) == [
        "The job that materializes chain/link_0", "The job that materializes chain/link_1"
    ]  # fmt: skip
    materialize(link_0, "2026-01-02")
    cursor = _tick(runs, cursor)
    assert len(messages) == 2
    assert [one for one in json.loads(cursor) if "link" in one] == [
        "job __repository__@tests that materializes chain/link_1"
    ]


def test_what_the_webhook_did_not_take_is_told_later(
    runs: Runs, engine: sa.Engine, messages: list[str]
) -> None:
    run_id = runs.create("failing")
    assert execute(runs.instance, run_id, runs_of_a_worker(engine))
    with environment(INGESTION_NOTIFY_URL="http://127.0.0.1:1/hook"):
        cursor = _tick(runs)
    assert json.loads(cursor) == {}
    _tick(runs, cursor)
    assert len(messages) == 1


def test_a_message_that_is_refused_keeps_no_other(
    runs: Runs, engine: sa.Engine, messages: list[str], refused: set[str]
) -> None:
    with engine.begin() as connection:
        for lane in ("one", "two"):
            land_another(connection, Lane("planned", "2026-02-01", lane))
        landed = connection.scalars(sa.text("SELECT id FROM ingestion.drops")).all()
        for drop, code in zip(landed, ("too_odd", "fine"), strict=True):
            reject = Reject(-1, "payload", code, "ValueError", b"the content")
            insert_rejects(connection, {drop: "planned"}, [DropOutcome(drop, {}, rejects=[reject])])
    refused.add("too_odd")
    cursor = _tick(runs)
    assert [("fine" in one) for one in messages] == [True]
    assert REFUSED in json.loads(cursor).values()
    refused.clear()
    cursor = _tick(runs, cursor)
    assert [("too_odd" in one) for one in messages] == [False, True]
    _tick(runs, cursor)
    assert len(messages) == 2


def test_an_incident_that_lasts_is_told_again_after_a_day_if_more_came() -> None:
    def one(newest: datetime) -> Incident:
        return Incident(key="k", text="t", newest=newest)

    told = {"k": NOW.isoformat(), "over": NOW.isoformat()}
    later, day = NOW + timedelta(hours=1), NOW + timedelta(days=1, seconds=1)
    assert to_tell([one(NOW)], told, now=day) == ([], {"k": NOW.isoformat()}), "nothing new"
    assert to_tell([one(later)], told, now=later) == ([], {"k": NOW.isoformat()}), "not within a day"
    assert to_tell([one(later)], told, now=day)[0] == [one(later)]
    assert to_tell([], told, now=day) == ([], {})
