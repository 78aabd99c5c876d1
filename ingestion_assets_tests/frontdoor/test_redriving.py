"""Rejects sent again by a filter: each once, whatever becomes of it, and those of a flow that went are named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.cli import app
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets_tests.environment import BEHIND_A_PROXY, environment
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front
from ingestion_assets_tests.frontdoor.instant_runs import failed, stored
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
REDRIVE = "/api/v1/rejects/redrive"
MANY = 1200
"""More than are sent at once."""


def all_rejected(drop: DropRef) -> DropOutcome:
    rejects = [Reject(index, "invalid", "no", "never", b'{"type":"user"}') for index in range(drop.records)]
    return replace(stored(drop), rejects=rejects)


def whole_rejected(drop: DropRef) -> DropOutcome:
    return replace(failed(drop), rejects=[Reject(-1, "payload", "no", "never", b"")])


@pytest.fixture
def shell(front: Front) -> Iterator[CliRunner]:
    """The command line beside a front door whose runs reject everything."""
    host, port = front.url.removeprefix("http://").split(":")
    with front.engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE ingestion.drops CASCADE"))
    with environment(
        INGESTION_HOST=host, INGESTION_PORT=port, INGESTION_ADMIN_TOKEN=ADMIN_TOKEN,
        INGESTION_POSTGRES_URL=front.settings.postgres_url,
    ):  # fmt: skip
        yield CliRunner()
    front.runs.outcome = stored


def send(front: Front, *, records: int) -> str:
    with front.client() as client:
        return client.post(BATCH, json={"messages": [{"type": "user"}] * records}).headers["x-receipt-id"]


def open_rejects(front: Front) -> int:
    with front.engine.connect() as connection:
        return connection.execute(
            sa.text("SELECT count(*) FROM ingestion.rejects WHERE redriven_at IS NULL")
        ).scalar_one()


def test_what_is_rejected_anew_is_not_sent_again(front: Front, shell: CliRunner) -> None:
    front.runs.outcome = all_rejected
    for _ in range(2):
        send(front, records=MANY // 2)
    seen = 0
    asked: dict[str, str] = {}
    with front.client() as client:
        while seen < 2 * MANY:
            page = client.post(REDRIVE, params=asked).json()
            for receipt in {
                item["receipt"] for item in page["items"]
            }:  # they end before the next page is asked for
                client.get(f"/api/v1/receipts/{receipt}", headers={"Prefer": "wait=10"})
            seen += len(page["items"])
            if page["next"] is None:
                break
            asked["cursor"] = page["next"]
    assert seen == MANY
    assert open_rejects(front) == MANY
    assert shell.invoke(app, ["rejects", "redrive", "--all"]).output.splitlines()[-1] == f"{MANY} sent again."


def test_a_key_with_the_scope_will_do_where_there_is_no_admin_token(
    front: Front, shell: CliRunner, tmp_path: Path
) -> None:
    front.runs.outcome = all_rejected
    send(front, records=1)
    with environment(
        INGESTION_ADMIN_TOKEN=None, INGESTION_API_KEY=ADMIN_TOKEN, INGESTION_HOME=tmp_path, **BEHIND_A_PROXY
    ):
        assert shell.invoke(app, ["rejects", "redrive", "--all"]).output.splitlines()[-1] == "1 sent again."


def test_a_payload_that_fails_anew_is_sent_once(front: Front, shell: CliRunner) -> None:
    front.runs.outcome = whole_rejected
    receipts = [send(front, records=1) for _ in range(3)]
    done = shell.invoke(app, ["rejects", "redrive", "--kind", "payload"])
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "3 sent again.")
    wait_until(lambda: open_rejects(front) == len(receipts), seconds=10, what="them to fail anew")


def test_rejects_of_a_flow_that_went_are_left_and_named(front: Front, shell: CliRunner) -> None:
    front.runs.outcome = all_rejected
    send(front, records=2)
    with front.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.rejects SET flow = 'gone'"))
        (lost, _) = connection.execute(sa.text("SELECT id FROM ingestion.rejects")).scalars().all()
    send(front, records=3)
    front.runs.outcome = stored
    done = shell.invoke(app, ["rejects", "redrive", "--all"])
    assert "3 sent again." in done.output
    assert "2 left, of gone: there is no flow gone here" in done.output
    assert done.exit_code == 1
    assert open_rejects(front) == 2

    front.runs.outcome = all_rejected
    send(front, records=1)
    with front.client() as client:
        kept = client.get("/api/v1/rejects", params={"open": True}).json()["items"][-1]["id"]
        assert client.post(f"/api/v1/rejects/{lost}/redrive").status_code == 409
    done = shell.invoke(app, ["rejects", "redrive", str(lost), kept])
    assert "1 sent again." in done.output
    assert f"1 left, {lost}: It cannot be sent again: there is no flow gone here." in done.output
    assert done.exit_code == 1
