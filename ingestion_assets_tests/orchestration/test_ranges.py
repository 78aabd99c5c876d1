"""One run rebuilds a range of days: told by day, a failed one alone, a lane at a time, live payloads first."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import dagster as dg
import pytest
import sqlalchemy as sa
import uuid_utils.compat
from dagster._core.definitions.job_base import InMemoryJob

from ingestion_assets.landing import dispatch
from ingestion_assets.landing.claims import claim_landed
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.flows import Days, Flow, Keys
from ingestion_assets.landing.leases import LaneBusyError, release
from ingestion_assets.landing.piecewise import groups
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.orchestration.check_states import newest_states
from ingestion_assets.orchestration.dagster_internals import execute_run_iterator
from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.partition_checks import by_payloads, rate_of, reject_rate
from ingestion_assets.orchestration.ranges import summed
from ingestion_assets.orchestration.retries import what_failed
from ingestion_assets.orchestration.stages import Stages
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration.conftest import Runs

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_offset=1)
STORED = dg.AssetKey(["ranged", "stored"])
LOG = dg.AssetKey(["ranged", "ingestion_log"])
RANGED = Flow(name="ranged", partitions=Days())
broken: set[str] = set()
claims: list[tuple[str, str, int]] = []  # day, lane and payloads of each
during: list[Callable[[], None]] = []  # what happens while the first group is worked through


class RangedWork:
    def __init__(self, run: "Working") -> None:
        self.plans = {drop.id: drop.attributes.get("plan", "") for drop in run.claim.drops}
        claims.append((run.partition, "".join(lane.name for lane in run.claim.lanes), len(self.plans)))
        while during:
            during.pop()()

    def outcomes(self) -> list[DropOutcome]:
        return [
            DropOutcome(one, {"counts": {"in": 1, "out": int(plan == "rejected")}})
            for one, plan in self.plans.items()
        ]


stages = Stages(flow=RANGED, partitions_def=DAYS, start=RangedWork)


@stages.asset(
    kinds=set(),
    deps=["raw_batches"],
    check_specs=[
        by_payloads("right", asset=STORED, description="Right.", blocking=True),
        by_payloads("tidy", asset=STORED, description="Tidy."),
        reject_rate(asset=STORED, most=0.4, received=["counts", "in"], rejected=["counts", "out"]),
    ],
)
def stored(work: RangedWork) -> dg.MaterializeResult:
    """What is rebuilt."""
    plans = list(work.plans.values())
    if "raises" in plans and "raises" in broken:
        raise ValueError("planted")
    return dg.MaterializeResult(
        metadata={"received": len(plans), "what": f"{len(plans)} payloads"},
        check_results=[
            dg.AssetCheckResult(check_name="right", passed=not ("wrong" in plans and "wrong" in broken)),
            dg.AssetCheckResult(check_name="tidy", passed="untidy" not in plans),
            rate_of(received=len(plans), rejected=plans.count("rejected"), most=0.4),
        ],
    )


REPOSITORY = dg.Definitions.merge(
    flow_definitions(
        RANGED,
        assets=[
            stages.raw_batches("The payloads.", kinds=set()),
            stored,
            stages.ingestion_log("The outcomes.", kinds=set(), deps=["stored"], accounts=lambda _: True),
        ],
    ),
    dg.Definitions(executor=dg.in_process_executor),
).get_repository_def()
pytestmark = pytest.mark.usefixtures("stores_of_the_process")


@pytest.fixture(autouse=True)
def nothing_before(runs: Runs, engine: sa.Engine) -> Iterator[None]:
    runs.instance.wipe()
    broken.clear()
    claims.clear()
    with engine.begin() as connection:
        connection.execute(
            sa.text("TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches CASCADE")
        )
    yield
    broken.clear()


def _land(engine: sa.Engine, *plans: str, day: str, lane: str | None = None, state: str = "done") -> None:
    now = datetime.now(UTC)
    drops = [
        NewDrop(
            flow="ranged", partition=day, lane=lane or day, principal="test", body=b"1", records=1,
            attributes={"plan": plan},
        )
        for plan in plans
    ]  # fmt: skip
    packed = [pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=now) for drop in drops]
    with engine.begin() as connection:
        register(connection, [Landed("segment", entry) for entry in encode(packed, "segment")[1]])
        connection.execute(
            sa.text("UPDATE ingestion.drops SET state = :state WHERE state = 'landed' AND partition = :day"),
            {"state": state, "day": day},
        )


def _rebuild(runs: Runs, first: str, last: str, *, parent: str | None = None) -> str:
    """The run that has rebuilt these days, `parent` executed again where one is given."""
    job = REPOSITORY.get_job("ranged")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    run = runs.instance.create_run_for_job(job, tags=tags, parent_run_id=parent, root_run_id=parent)
    for _ in execute_run_iterator(InMemoryJob(job), run, runs.instance):
        pass
    return run.run_id


def _succeeded(runs: Runs, run_id: str) -> bool:
    return runs.status(run_id) == dg.DagsterRunStatus.SUCCESS


def _days_of(runs: Runs, run_id: str, asset: dg.AssetKey = LOG) -> list[str]:
    entries = runs.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.dagster_event for entry in entries]
    return sorted(str(event.partition) for event in events if event and event.asset_key == asset)


def _checks(runs: Runs) -> dict[tuple[str, str | None], bool]:
    return {(one.check, one.partition): one.passed for one in newest_states(runs.instance)}


def test_days_are_told_one_by_one_and_empty_ones_too(runs: Runs, engine: sa.Engine) -> None:
    _land(engine, "good", "untidy", day="2026-02-02")
    _land(engine, "good", "good", "good", day="2026-02-04")
    done = _rebuild(runs, "2026-02-01", "2026-02-05")
    assert _succeeded(runs, done)
    wanted = [f"2026-02-0{number}" for number in range(1, 6)]
    assert [_days_of(runs, done, key) for key in (STORED, LOG)] == [wanted, wanted]
    assert claims == [("2026-02-02", "2026-02-02", 2), ("2026-02-04", "2026-02-04", 3)]
    checks = _checks(runs)
    assert (checks["tidy", "2026-02-02"], checks["tidy", "2026-02-04"]) == (False, True)
    assert {day for _, day in checks} == {"2026-02-02", "2026-02-04"}, "nothing is said of empty days"
    told = runs.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=STORED, asset_partitions=["2026-02-04"]), limit=1
    ).records[0]
    assert told.asset_materialization is not None
    assert told.asset_materialization.metadata["received"].value == 3
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT * FROM ingestion.leases")).all() == []


def test_a_failed_day_takes_no_other_and_a_retry_does_it_alone(runs: Runs, engine: sa.Engine) -> None:
    broken.update(("raises", "wrong"))
    for day, plan in (("01", "good"), ("02", "raises"), ("03", "wrong"), ("04", "good")):
        _land(engine, plan, day=f"2026-02-{day}", state="failed")
    done = _rebuild(runs, "2026-02-01", "2026-02-05")
    assert not _succeeded(runs, done)
    assert _days_of(runs, done) == ["2026-02-01", "2026-02-04", "2026-02-05"]
    said = what_failed(runs.instance, done)
    assert "2 of 5 days failed" in said
    assert "2026-02-02: ValueError" in said
    assert "2026-02-03: BlockedError" in said
    assert not _checks(runs)["right", "2026-02-03"]
    with engine.connect() as connection:
        states = connection.execute(sa.text("SELECT partition, state FROM ingestion.drops ORDER BY 1")).all()
    assert [state for _, state in states] == ["done", "landed", "landed", "done"], "they wait for another try"
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.drops SET not_before = now() + interval '1 hour'"))
    broken.clear()
    claims.clear()
    again = _rebuild(runs, "2026-02-01", "2026-02-05", parent=done)
    assert _succeeded(runs, again)
    assert [day for day, _, _ in claims] == ["2026-02-02", "2026-02-03"]
    assert _days_of(runs, again) == ["2026-02-02", "2026-02-03"]
    assert _checks(runs)["right", "2026-02-03"]
    claims.clear()
    assert _succeeded(runs, _rebuild(runs, "2026-02-01", "2026-02-05", parent=again))
    assert len(claims) == 4, "one that succeeded is done again as a whole"


def test_a_check_fails_on_a_day_if_it_does_on_any_group_of_it(runs: Runs, engine: sa.Engine) -> None:
    _land(engine, "untidy", "rejected", day="2026-02-02", lane="a")
    _land(engine, "good", "good", "good", day="2026-02-02", lane="b")
    assert _succeeded(runs, _rebuild(runs, "2026-02-01", "2026-02-02"))
    assert claims == [("2026-02-02", "a", 2), ("2026-02-02", "b", 3)]
    checks = _checks(runs)
    assert not checks["tidy", "2026-02-02"]
    assert checks["reject_rate", "2026-02-02"], "1 of 5 of the day, though 1 of 2 of a lane"


def test_what_checks_said_of_a_day_whose_payloads_are_gone_is_judged_anew(
    runs: Runs, engine: sa.Engine
) -> None:
    _land(engine, "untidy", day="2026-02-02")
    assert _succeeded(runs, _rebuild(runs, "2026-02-02", "2026-02-02")), "a range of one day"
    assert not _checks(runs)["tidy", "2026-02-02"]
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.drops"))
    assert _succeeded(runs, _rebuild(runs, "2026-02-01", "2026-02-03"))
    assert _checks(runs)["tidy", "2026-02-02"]


def test_between_two_groups_the_lane_is_a_live_runs(runs: Runs, engine: sa.Engine) -> None:
    """A run that is asked for while a group is worked through gets the lane after that one, though others are left."""
    today = datetime.now(UTC).date().isoformat()
    lane = Lane("ranged", today, today)
    _land(engine, *["good"] * 3, day=today)
    taken: list[int] = []

    def ask_for_a_run() -> None:
        with engine.begin() as connection:
            (asked,) = dispatch.request(connection, [lane])
        thread = threading.Thread(target=work_live, args=(asked.id,))
        thread.start()

    def work_live(asked: UUID) -> None:
        claimed = None
        while claimed is None:
            try:
                with engine.begin() as connection:
                    claimed = claim_landed(
                        connection, lane, claim_id="live", run_id="live", dispatch_id=asked, max_bytes=1, lease_s=30
                    )  # fmt: skip
            except LaneBusyError:
                threading.Event().wait(0.01)
        taken.append(len(claims))
        with engine.begin() as connection:
            release(connection, "live")

    during.append(ask_for_a_run)
    first = (date.fromisoformat(today) - timedelta(days=2)).isoformat()
    with environment(INGESTION_CLAIM_MAX_BYTES=1):
        assert _succeeded(runs, _rebuild(runs, first, today))
    assert taken == [1]
    assert claims == [(today, today, 1)] * 3


def test_what_has_just_landed_is_left_to_its_own_run(runs: Runs, engine: sa.Engine) -> None:
    _land(engine, "good", day="2026-02-02")
    _land(engine, "good", day="2026-02-03", state="landed")
    assert _succeeded(runs, _rebuild(runs, "2026-02-02", "2026-02-03"))
    with engine.connect() as connection:
        states = connection.execute(sa.text("SELECT state FROM ingestion.drops ORDER BY partition")).all()
    assert [state for (state,) in states] == ["done", "landed"]


@pytest.mark.parametrize(
    ("max_bytes", "max_drops", "sizes"), [(10, 5000, [5]), (1, 5000, [1] * 5), (10, 2, [2, 2, 1])]
)
def test_groups_are_bounded_and_hold_each_payload_once(
    engine: sa.Engine, max_bytes: int, max_drops: int, sizes: Sequence[int]
) -> None:
    _land(engine, *["good"] * 5, day="2026-02-02")
    cut = list(
        groups(engine, flow="ranged", partition="2026-02-02", max_bytes=max_bytes, max_drops=max_drops)
    )
    assert [len(group.ids) for group in cut] == sizes
    ids = [one for group in cut for one in group.ids]
    assert ids == sorted(set(ids))


def test_figures_of_groups_are_added_up() -> None:
    before = {"received": 2, "seconds": 0.5, "what": "a", "dagster/row_count": 7, "seconds_waited_p95": 3.0}
    given = {"received": 3, "seconds": 0.2, "what": "b", "dagster/row_count": 9, "seconds_waited_p95": 1.0}
    assert summed(before, given) == {
        "received": 5, "seconds": 0.7, "what": "b", "dagster/row_count": 9, "seconds_waited_p95": 1.0
    }  # fmt: skip


def test_days_go_in_ranges_and_keys_one_by_one() -> None:
    from ingestion_assets.definitions import definitions  # noqa: PLC0415
    from ingestion_assets.installed_flows import all_flows  # noqa: PLC0415

    repository: dg.RepositoryDefinition = definitions.get_repository_def()
    for flow in all_flows().values():
        policy = repository.asset_graph.get(dg.AssetKey([flow.name, flow.assets[1]])).backfill_policy
        days = policy.max_partitions_per_run if policy is not None else 1
        assert days == (1 if isinstance(flow.partitions, Keys) else 100), flow.name
