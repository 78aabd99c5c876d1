"""A worker that stood still until its lane was another's writes nothing that is older than what that one wrote."""

import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing
from ingestion_assets.landing.drops import Lane
from ingestion_assets.modules.checks import check_inventory
from ingestion_assets.modules.sync import RemovalGuard
from ingestion_assets.modules.work import ModulesWork
from ingestion_assets.orchestration.retries import is_transient
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, module, stored, tables


@pytest.fixture
def front(fresh_postgres_url: str, tmp_path: Path):
    with serving(home=tmp_path, postgres_url=fresh_postgres_url) as running:
        yield running


def sync(front: Front, site_id: int, version: str, *, minute: int) -> dict:
    with front.client() as admin:
        sent = body([module("shop", version)], minute=minute)
        return admin.post(f"/sites/{site_id}/modules/sync", json=sent).raise_for_status().json()


def land(front: Front, site_id: int, sent: dict) -> dict:
    """The receipt of a sync that waits for its run; its row is there."""
    with front.client() as admin:
        landed = admin.post(
            f"/sites/{site_id}/modules/sync", json=sent, headers={"Prefer": "respond-async"}
        ).json()
        return admin.get(f"/receipts/{landed['id']}").raise_for_status().json()


def work_of(front: Front, site_id: int, claim: claims.Claim) -> ModulesWork:
    return ModulesWork(
        claim=claim, site_id=site_id, storage=front.runs.storage, engine=front.engine, guard=RemovalGuard(),
        is_transient=is_transient,
    )  # fmt: skip


def claimed(front: Front, site_id: int, *, rebuild: bool) -> claims.Claim:
    """What a run takes that is then lost sight of: its lease has ended."""
    run, lane = str(uuid.uuid4()), Lane("modules", str(site_id), str(site_id))
    with front.engine.begin() as connection:
        if rebuild:
            claim = claims.claim_partition(
                connection, [lane], flow="modules", partition=lane.partition, claim_id=run, run_id=run, lease_s=0, take_open=True
            )  # fmt: skip
        else:
            claim = claims.claim_landed(
                connection, lane, claim_id=run, run_id=run, dispatch_id=None, max_bytes=2**20, lease_s=0
            )
    return claim


def test_a_rebuild_that_lost_its_lane_takes_nothing_back(front: Front) -> None:
    site_id, _ = front.site()
    sync(front, site_id, "1.0.0", minute=0)
    late = work_of(front, site_id, claimed(front, site_id, rebuild=True))
    sync(front, site_id, "2.0.0", minute=1)
    before = tables(front.engine, site_id)
    with pytest.raises(claims.ClaimLostError, match="no longer holds the lane"):
        late.outcomes()
    assert tables(front.engine, site_id) == before
    assert stored(front.engine, site_id)["shop"]["version"] == "2.0.0"
    front.runs.rebuild(site_id)
    assert tables(front.engine, site_id) == before


def test_a_run_that_lost_its_payload_leaves_the_result_as_it_is(front: Front) -> None:
    site_id, _ = front.site()
    front.runs.paused = True
    landed = land(front, site_id, body([module("shop", "1.0.0")]))
    late = work_of(front, site_id, claimed(front, site_id, rebuild=False))
    with front.engine.begin() as connection:  # the warden gives back what the lost run held
        finishing.give_back(
            connection, late.claim.claim_id, error={}, transient=True, delay_s=0, max_attempts=4
        )
    quick = claimed(front, site_id, rebuild=False)
    front.runs.finish(quick)
    told = sa.text("SELECT result FROM ingestion.module_syncs WHERE id = :id")
    with front.engine.connect() as connection:
        before = connection.scalar(told, {"id": landed["id"]})
    outcomes = late.outcomes()
    with front.engine.begin() as connection:
        assert connection.scalar(told, {"id": landed["id"]}) == before
        with pytest.raises(claims.ClaimLostError):
            finishing.finish(connection, late.claim, outcomes)


def test_a_sync_repeated_after_a_newer_one_accounts_for_itself(front: Front) -> None:
    """Its run was lost between the site's tables and the ledger, and a newer sync came first when it was given back."""
    site_id, _ = front.site()
    front.runs.paused = True
    sent = body([module(name) for name in ("shop", "cart")])
    land(front, site_id, sent)
    lost = work_of(front, site_id, claimed(front, site_id, rebuild=False))
    assert lost.done()[0].applied.counts.present == 2
    land(front, site_id, body([module(name) for name in ("shop", "cart", "tax")], minute=1))
    front.runs.finish(claimed(front, site_id, rebuild=False))
    with front.engine.begin() as connection:
        finishing.give_back(
            connection, lost.claim.claim_id, error={}, transient=True, delay_s=0, max_attempts=4
        )
    again = work_of(front, site_id, claimed(front, site_id, rebuild=False))
    with front.engine.connect() as connection:
        results = check_inventory(connection, site_id=site_id, done=again.done())
    assert {result.check_name: result.passed for result in results} == {
        "no_duplicates": True,
        "accounting": True,
    }


def test_what_fails_in_the_database_says_nothing_of_what_was_sent(front: Front) -> None:
    site_id, _ = front.site()
    with front.engine.begin() as connection:
        refuses = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not today'; END$$"
        connection.execute(sa.text(refuses))
        connection.execute(
            sa.text(
                "CREATE TRIGGER t BEFORE UPDATE OF site_info ON ingestion.sites EXECUTE FUNCTION refuse()"
            )
        )
    with front.client() as admin:
        sent = body([module("shop")]) | {"site_info": {"password": "hunter2"}}
        answer = admin.post(f"/sites/{site_id}/modules/sync", json=sent)
        receipt = admin.get(f"/receipts/{answer.headers['X-Receipt-Id']}").text
    assert "not today" in receipt
    assert "hunter2" not in answer.text + receipt


def refuse_site_info(front: Front, *, holding: str) -> None:
    """Have PostgreSQL refuse the syncs whose `site_info` holds this."""
    with front.engine.begin() as connection:
        refuses = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not today'; END$$"
        connection.execute(sa.text(refuses))
        condition = f"WHEN (NEW.site_info::text LIKE '%{holding}%')"
        connection.execute(
            sa.text(
                f"CREATE TRIGGER t BEFORE UPDATE OF site_info ON ingestion.sites FOR EACH ROW {condition} EXECUTE FUNCTION refuse()"
            )
        )


def test_a_payload_that_can_never_be_applied_does_not_keep_its_site_from_being_rebuilt(front: Front) -> None:
    site_id, _ = front.site()
    refuse_site_info(front, holding="bad")
    sync(front, site_id, "1.0.0", minute=0)
    with front.client() as admin:
        sent = body([module("shop", "2.0.0")], minute=1) | {"site_info": {"bad": True}}
        answer = admin.post(f"/sites/{site_id}/modules/sync", json=sent)
        receipt = f"/receipts/{answer.headers['X-Receipt-Id']}"
        assert admin.get(receipt).json()["state"] == "failed"
        front.runs.paused = True
        land(front, site_id, body([module("shop", "3.0.0")], minute=2))
        front.runs.rebuild(site_id)
        assert admin.get(receipt).json()["state"] == "failed"
    assert stored(front.engine, site_id)["shop"]["version"] == "3.0.0"
    front.runs.rebuild(site_id)
    assert stored(front.engine, site_id)["shop"]["version"] == "3.0.0"


def test_a_sync_that_a_lost_run_applied_survives_a_rebuild_without_it(front: Front) -> None:
    """The rebuild comes between the end of the lost run's lease and the return of its payload."""
    site_id, _ = front.site()
    sync(front, site_id, "1.0.0", minute=0)
    front.runs.paused = True
    land(front, site_id, body([module("shop", "2.0.0")], minute=1))
    lost = work_of(front, site_id, claimed(front, site_id, rebuild=False))
    assert lost.done()[0].applied.state == "applied"
    front.runs.rebuild(site_id)
    with front.engine.begin() as connection:
        finishing.give_back(
            connection, lost.claim.claim_id, error={}, transient=True, delay_s=0, max_attempts=4
        )
    front.runs.finish(claimed(front, site_id, rebuild=False))
    assert stored(front.engine, site_id)["shop"]["version"] == "2.0.0"
