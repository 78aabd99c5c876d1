"""A check that has failed on a partition stays red there until the partition is right; a CI can heed it."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import dagster as dg
import pytest
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.checks_command import as_junit
from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.orchestration import landing_assets
from ingestion_assets.orchestration.check_runs import NoSuchCheckError, evaluate, selected
from ingestion_assets.orchestration.check_states import CheckState
from ingestion_assets.orchestration.flow_definitions import flow_definitions
from ingestion_assets.orchestration.partition_checks import by_payloads, rate_of, reject_rate
from ingestion_assets.orchestration.stages import Stages
from ingestion_assets_tests.orchestration.conftest import Runs

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_offset=1)
DAY, ANOTHER = "2026-02-03", "2026-02-04"
STORED = dg.AssetKey(["judged", "stored"])
RIGHT, RATE, ROWS = (f"judged/stored:{name}" for name in ("right", "reject_rate", "rows"))
ACCOUNTING = "judged/ingestion_log:accounting"
JUDGED = Flow(name="judged")
broken: set[str] = set()  # what a fix in the code would mend


class JudgedWork:
    def __init__(self, run: "Working") -> None:
        self.plans = {drop.id: drop.attributes.get("plan", "") for drop in run.claim.drops}

    def rejected(self) -> Sequence[str]:
        return [plan for plan in self.plans.values() if plan == "rejected"]

    def outcomes(self) -> list[DropOutcome]:
        rejects = {"rejected": [Reject(0, "invalid", "planted", "planted", b"1")]}
        return [
            DropOutcome(
                one,
                {"counts": {"in": 1, "out": int(plan == "rejected")}},
                rejects=rejects.get(plan, []),
                failed=plan in broken,
            )
            for one, plan in self.plans.items()
        ]


stages = Stages(flow=JUDGED, partitions_def=DAYS, start=JudgedWork)


@stages.asset(
    kinds=set(),
    deps=["raw_batches"],
    check_specs=[
        by_payloads("right", asset=STORED, description="Right.", blocking=True),
        reject_rate(asset=STORED, most=0.4, received=["counts", "in"], rejected=["counts", "out"]),
        dg.AssetCheckSpec("rows", asset=STORED, description="Looks at all that is stored."),
    ],
)
def stored(work: JudgedWork) -> dg.MaterializeResult:
    """What is judged."""
    wrong = "wrong" in work.plans.values() and "wrong" in broken
    return dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(check_name="right", passed=not wrong),
            rate_of(received=len(work.plans), rejected=len(work.rejected()), most=0.4),
            dg.AssetCheckResult(check_name="rows", passed="rows" not in broken),
        ]
    )


definitions = dg.Definitions.merge(
    flow_definitions(
        JUDGED,
        assets=[
            stages.raw_batches("The payloads.", kinds=set()),
            stored,
            stages.ingestion_log("The outcomes.", kinds=set(), deps=["stored"], accounts=lambda _: True),
        ],
    ),
    dg.Definitions(executor=dg.in_process_executor),
)
REPOSITORY = definitions.get_repository_def()
LANDING = landing_assets.definitions.get_repository_def()
pytestmark = pytest.mark.usefixtures("stores_of_the_process")


@pytest.fixture(autouse=True)
def nothing_before(runs: Runs, engine: sa.Engine) -> Iterator[None]:
    runs.instance.wipe()
    broken.clear()
    with engine.begin() as connection:
        connection.execute(
            sa.text("TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches CASCADE")
        )
    yield
    broken.clear()


def _land(engine: sa.Engine, *plans: str, day: str) -> None:
    now = datetime.now(UTC)
    drops = [
        NewDrop(
            flow="judged", partition=day, lane=day, principal="test", body=b"1", records=1, attributes={"plan": plan}
        )
        for plan in plans
    ]  # fmt: skip
    packed = [pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=now) for drop in drops]
    with engine.begin() as connection:
        register(connection, [Landed("segment", entry) for entry in encode(packed, "segment")[1]])


def _dispatched(runs: Runs, engine: sa.Engine, *plans: str, day: str = DAY) -> bool:
    """Whether the run that takes these payloads succeeds."""
    _land(engine, *plans, day=day)
    with engine.begin() as connection:
        (asked,) = dispatch.request(connection, [Lane("judged", day, day)])
    return _execute(runs, asked.tags(), day=day)


def _execute(runs: Runs, tags: Mapping[str, str], *, day: str) -> bool:
    job = REPOSITORY.get_job("judged")
    return job.execute_in_process(
        instance=runs.instance, partition_key=day, tags=dict(tags), raise_on_error=False
    ).success


def _rebuilt(runs: Runs, *, day: str = DAY) -> bool:
    return _execute(runs, {}, day=day)


def _states(runs: Runs, *, since: timedelta | None = None) -> dict[tuple[str, str | None], CheckState]:
    checks = {key for key in selected([REPOSITORY], ["judged"]) if key.name != "no_red_partition"}
    states, unable = evaluate([REPOSITORY], runs.instance, checks, since=since, now=datetime.now(UTC))
    assert unable == []
    return {(one.name, one.partition): one for one in states}


def _red(runs: Runs) -> set[tuple[str, str | None]]:
    return {of for of, state in _states(runs).items() if not state.passed}


def test_good_payloads_and_an_empty_day_leave_a_red_check_red_until_its_day_is_rebuilt(
    runs: Runs, engine: sa.Engine
) -> None:
    broken.add("wrong")
    assert not _dispatched(runs, engine, "wrong")
    assert _red(runs) == {(RIGHT, DAY)}
    with engine.begin() as connection:  # it waits for its next try, which is not now
        connection.execute(sa.text("UPDATE ingestion.drops SET not_before = now() + interval '1 hour'"))
    assert _dispatched(runs, engine, "good")
    assert _dispatched(runs, engine, "good", day=ANOTHER)
    assert _rebuilt(runs, day="2026-01-05"), "a day without payloads"
    states = _states(runs)
    assert not states[RIGHT, DAY].passed
    assert states[RIGHT, DAY].severity == "ERROR"
    assert "materialize the partition" in states[RIGHT, DAY].metadata["what_to_do"]
    assert states[RIGHT, ANOTHER].passed
    assert (RIGHT, "2026-01-05") not in states, "of nothing, nothing is said"
    broken.clear()
    assert _rebuilt(runs)
    assert _red(runs) == set()


def test_a_payload_that_a_rebuild_cannot_make_again_is_told(runs: Runs, engine: sa.Engine) -> None:
    assert _dispatched(runs, engine, "lost", "good")
    broken.add("lost")
    assert _rebuilt(runs)
    assert _red(runs) == {(ACCOUNTING, DAY)}
    with engine.connect() as connection:
        drops = sa.text("SELECT id, attributes ->> 'plan' AS plan, state FROM ingestion.drops ORDER BY plan")
        (_, _, good), (lost, _, state) = connection.execute(drops).all()
    assert (good, state) == ("done", "done"), "receipts keep what they said"
    assert _states(runs)[ACCOUNTING, DAY].metadata["not_rebuilt"] == [str(lost)]
    broken.clear()
    assert _rebuilt(runs)
    assert _red(runs) == set()


def test_what_looks_at_all_that_is_stored_is_green_once_that_is_right(runs: Runs, engine: sa.Engine) -> None:
    broken.add("rows")
    assert _dispatched(runs, engine, "good")
    assert _red(runs) == {(ROWS, DAY)}
    broken.clear()
    assert _dispatched(runs, engine, "good")
    assert _red(runs) == set()


def test_the_share_of_rejects_is_that_of_the_whole_partition(runs: Runs, engine: sa.Engine) -> None:
    assert _dispatched(runs, engine, "rejected", "good")
    assert _red(runs) == {(RATE, DAY)}
    assert _dispatched(runs, engine, "good", day=ANOTHER)
    assert _red(runs) == {(RATE, DAY)}
    assert _dispatched(runs, engine, "good")  # 1 of 3
    state = _states(runs)[RATE, DAY]
    assert state.passed
    assert (state.metadata["received"], state.metadata["rejected"]) == (3, 1)
    assert _dispatched(runs, engine, "rejected", "rejected")  # 3 of 5
    assert _red(runs) == {(RATE, DAY)}


def test_the_audit_names_every_red_partition(runs: Runs, engine: sa.Engine) -> None:
    broken.add("rows")
    assert _dispatched(runs, engine, "good")
    broken.clear()
    assert _dispatched(runs, engine, "good", day=ANOTHER)
    states, _ = evaluate(
        [REPOSITORY], runs.instance, selected([REPOSITORY], ["judged/ingestion_log:no_red_partition"]),
        since=None, now=datetime.now(UTC),
    )  # fmt: skip
    assert [(one.check, one.passed, one.severity) for one in states] == [("no_red_partition", False, "ERROR")]
    assert states[0].metadata["red"] == 1


def test_partitions_not_written_to_of_late_are_left_out(runs: Runs, engine: sa.Engine) -> None:
    assert _dispatched(runs, engine, "good")
    assert (ROWS, DAY) in _states(runs, since=timedelta(hours=1))
    assert _states(runs, since=timedelta(0)) == {}


def test_a_check_that_was_never_evaluated_is_unknown_one_left_out_for_its_age_is_not(runs: Runs) -> None:
    @dg.asset(partitions_def=DAYS)
    def shop() -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(asset=shop, partitions_def=DAYS)
        def open_that_day() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

    checked = dg.define_asset_job("checked", dg.AssetSelection.checks(open_that_day))
    project = dg.Definitions(assets=[shop], asset_checks=[open_that_day], jobs=[checked]).get_repository_def()
    both = [project, REPOSITORY]

    def told(since: timedelta | None) -> tuple[list[str], list[str]]:
        chosen = selected(both, ["shop", "judged/stored"])
        states, unable = evaluate(both, runs.instance, chosen, since=since, now=datetime.now(UTC))
        return [one.name for one in states], unable

    assert told(None) == told(timedelta(hours=1)) == ([], ["shop:open_that_day"])
    dg.materialize([shop, open_that_day], partition_key=DAY, instance=runs.instance)
    assert told(timedelta(hours=1)) == (["shop:open_that_day"], [])
    assert told(timedelta(0)) == ([], [])


def test_checks_are_selected_by_group_asset_and_name() -> None:
    names = {key.name for key in selected([REPOSITORY], ["judged/stored"])}
    assert names == {"right", "reject_rate", "rows"}
    assert selected([REPOSITORY], []) == selected([REPOSITORY], ["judged"])
    assert {key.name for key in selected([REPOSITORY], [ROWS])} == {"rows"}
    with pytest.raises(
        NoSuchCheckError, match="there is no check judge; there are: judged/ingestion_log:acc"
    ):
        selected([REPOSITORY], ["judge"])


def test_the_junit_file_tells_failures_errors_and_warnings_apart(runs: Runs, engine: sa.Engine) -> None:
    broken.add("rows")
    assert _dispatched(runs, engine, "rejected")
    states = list(_states(runs).values())
    failed = [one for one in states if not one.passed and one.severity == "ERROR"]
    assert [one.check for one in failed] == ["rows"]
    suites = ElementTree.fromstring(  # noqa: S314  # our own
        as_junit(states, failed, ["judged/ingestion_log:no_red_partition"])
    )
    by_name = {case.get("name"): case for case in suites.iter("testcase")}
    assert by_name[f"rows[{DAY}]"].find("failure") is not None
    assert by_name[f"right[{DAY}]"].find("failure") is None
    warned = by_name[f"reject_rate[{DAY}]"].find("system-out")
    assert warned is not None
    assert (warned.text or "").startswith("warning:")
    assert by_name["no_red_partition"].find("error") is not None
    counts = [(one.get("name"), one.get("failures"), one.get("errors")) for one in suites]
    assert counts == [("judged/ingestion_log", "0", "1"), ("judged/stored", "1", "0")]


def test_the_share_of_the_last_hour_is_that_of_all_partitions(runs: Runs, engine: sa.Engine) -> None:
    rates = selected([LANDING], ["landing/rejects:rate_last_hour"])

    def newest() -> CheckState:
        states, _ = evaluate([LANDING], runs.instance, rates, since=None, now=datetime.now(UTC))
        return next(one for one in states if one.check == "rate_last_hour")

    assert _dispatched(runs, engine, *["good"] * 19, day=ANOTHER)
    assert _dispatched(runs, engine, "rejected")
    assert newest().passed, "1 of 20"
    assert _dispatched(runs, engine, "rejected")
    assert not newest().passed
    with engine.begin() as connection:
        ago = "UPDATE ingestion.{} SET {} = now() - interval '2 hours'"
        connection.execute(sa.text(ago.format("rejects", "created_at")))
        connection.execute(sa.text(ago.format("drops", "finished_at")))
    assert newest().passed
